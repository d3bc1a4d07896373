//! Convolution layers: the problem, and the algorithms that solve it.
//!
//! An [`Algorithm`] adds the tasks of a layer's passes to a plan. It is made once per layer by [`begin`] and asked
//! for the passes in program order, so that it can remember what several of them need (packed weights, spectra). It
//! knows nothing of networks.

mod direct;
mod fft;
mod problem;
mod tuner;
mod winograd;

use std::ops::Range;
use std::sync::Arc;

pub use problem::{Problem, ProblemError};
pub use tuner::{Choice, Passes, Tuner, UnknownChoice, estimate};
pub use winograd::{Accuracy, UnknownAccuracy};
use znn_kernels::{Kernels, Transfer};

use crate::fft::{FftError, Planner};
use crate::plan::{Buffer, PlanBuilder, Sum};

/// An algorithm by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// SIMD micro-kernels over the images as they are.
    Direct,
    /// Products of spectra, of tiles or of whole images.
    Fft,
    /// Winograd tiles, for kernels of three taps.
    Winograd,
}

impl Method {
    /// All algorithms.
    pub const ALL: [Method; 3] = [Method::Direct, Method::Fft, Method::Winograd];

    /// Whether one [`Algorithm`] may be asked for the forward or the backward-data pass of several images, all of which
    /// use the same prepared weights.
    pub fn shares_weights(self) -> bool {
        match self {
            Method::Direct | Method::Winograd => true,
            // It remembers the spectra of one image.
            Method::Fft => false,
        }
    }

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::Direct => "direct",
            Method::Fft => "fft",
            Method::Winograd => "winograd",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What every layer of an engine shares.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// The instruction-set tier.
    pub kernels: Kernels,
    /// Plans of transforms.
    pub planner: &'a Planner,
    /// How exact results must be.
    pub accuracy: Accuracy,
}

/// A convolution layer of a plan.
#[derive(Clone)]
pub struct Layer {
    /// For labels.
    pub name: Arc<str>,
    /// Sizes.
    pub problem: Problem,
    /// The weights: rows are output maps, columns `[c_in][kz][ky][kx]` (cross-correlation).
    pub weights: Buffer,
    /// Whether only the caller changes the weights, so that what is derived from them is kept between steps.
    pub frozen: bool,
}

/// What becomes of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Rows are output maps, columns voxels.
    pub y: Buffer,
    /// Add to what `y` holds instead of overwriting it.
    pub accumulate: bool,
    /// One row: a bias for each output map, added at the end.
    pub bias: Option<Buffer>,
    /// Applied after the bias.
    pub transfer: Transfer,
}

/// The gradient of a block of the weights, as the sum that tasks of the backward pass contribute to.
#[derive(Clone, Debug)]
pub struct WeightGradient {
    /// Output maps: rows of the weights.
    pub rows: Range<usize>,
    /// Columns of the weights.
    pub cols: Range<usize>,
    /// `rows.len() * cols.len()` floats, row-major. Its collector must be added to the plan.
    pub sum: Sum,
}

/// The passes of one layer. Each is asked for at most once, forward first; forward and backward-data of tiles may be asked
/// for several images (see [`Method::shares_weights`]).
pub trait Algorithm {
    /// `y = transfer(x * w + bias)`.
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination);

    /// `dx = adjoint(w) dy`, overwritten or accumulated.
    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool);

    /// `dw[o][i][k] = sum over p of dy[o][p] x[i][p + k * dilation]`. The tasks are deferred.
    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient>;
}

/// Begins to lower `layer` by `method`; Winograd tiles leave kernels that they do not admit to the direct method.
pub fn begin(method: Method, layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    Ok(match method {
        Method::Direct => Box::new(direct::Direct::new(layer, tools)),
        Method::Fft => fft::begin(layer, tools)?,
        Method::Winograd if winograd::admits(&layer.problem) => {
            Box::new(winograd::Winograd::new(layer, tools))
        }
        Method::Winograd => Box::new(direct::Direct::new(layer, tools)),
    })
}

#[cfg(test)]
mod tests;
