//! Network files of the original system: HDF5.
//!
//! A file has one HDF5 group for each group of the network, in the root or, together with the statistics of the
//! training, in [`Layout::Single`]. Each holds
//!
//! | dataset | |
//! |---|---|
//! | `group_type` | `node` or `edge` |
//! | `size`, `stride` | integers |
//! | `order` | the place of the group in the network's own order, which the file has not; not in files of the original |
//! | `filters`, `momentum_vol` of a convolution | floats `[c_in, c_out, s0, s1, s2]`, true convolution |
//! | `biases`, `momentum_vol` of a transfer group | floats `[maps]` |
//! | `filters`, `momentum_vol` of a deconvolution | floats `[c_in, c_out, s0, s1, s2]`, not flipped |
//! | `filters`, `momentum_vol` of a scale edge | floats `[maps]` |
//! | `slopes`, `scales`, each with `_momentum`, and `means`, `variances` | floats `[maps]`, of nodes that have them |
//! | any other key of the group ([`spec`](super::spec)) | its text |
//!
//! The shape of `filters` deceives: the values of one kernel lie with the **first** axis contiguous, so that value
//! `(a, b, c)` is the one at `(c * s1 + b) * s0 + a`. A reader that trusts the shape exchanges y and x.
//!
//! The keys `eta`, `momentum` and `weight_decay` in such a file are what the trainer used last, and `fft` is what was
//! fastest on the machine of the training: neither belongs to the network, and both are left out when it is read.

mod kernel_order;
mod read;
mod statistics;
mod write;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hdf5::Hdf5Error;
use crate::network::spec::SpecError;
use crate::network::{EdgeId, EdgeOp, Network};

pub use read::{Loaded, from_bytes, load, statistics_path};
pub use statistics::{Measure, Statistics};
pub use write::{Contents, Rates, save};

/// Where the groups are in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// In the root. The statistics are in a file of their own, which has `_statistics` in its name.
    #[default]
    Root,
    /// Below `/processing/znn/train`, with the statistics (the original's option `is_stdio`).
    Single,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "root" => Ok(Layout::Root),
            "single" => Ok(Layout::Single),
            _ => Err(format!("expected root or single, found `{text}`")),
        }
    }
}

/// The group that holds all that training writes into a file of [`Layout::Single`].
const TRAIN: &str = "processing/znn/train";

impl Layout {
    /// The path of an object of the network in the file.
    fn network(self, name: &str) -> String {
        match self {
            Layout::Root => name.to_owned(),
            Layout::Single => format!("{TRAIN}/network/{name}"),
        }
    }

    /// The path of an object of the statistics.
    fn statistics(self, name: &str) -> String {
        match self {
            Layout::Root => name.to_owned(),
            Layout::Single => format!("{TRAIN}/statistics/{name}"),
        }
    }
}

/// The datasets of one of what a node learns or remembers: of its values and of its momentum.
fn node_datasets(name: &str) -> [String; 2] {
    match name {
        "bias" => ["biases", "momentum_vol"].map(str::to_owned),
        _ => [format!("{name}s"), format!("{name}s_momentum")],
    }
}

/// The shape of the dataset of an edge's weights.
fn filters_shape(network: &Network, edge: EdgeId) -> Option<Vec<usize>> {
    let [c_out, c_in, z, y, x] = network.weight_shape(edge)?.to_array();
    Some(match network[edge].op {
        EdgeOp::Deconv { .. } => vec![c_out, c_in, z, y, x],
        EdgeOp::Scale { .. } => vec![c_out],
        _ => vec![c_in, c_out, z, y, x],
    })
}

/// A network file in HDF5 cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum Hdf5FileError {
    /// The file, or something in it.
    #[error(transparent)]
    Hdf5(#[from] Hdf5Error),
    /// The groups make no network.
    #[error(transparent)]
    Network(#[from] SpecError),
}

#[cfg(test)]
mod tests;
