//! The options that are a choice among names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use znn_kernels::Isa;

use super::JobError;
use crate::conv::TuningFile;
use crate::data;
use crate::segment::{Mode, Norm};

/// What the network learns from the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Inside a cell (label > 0) or not, as one channel or, with the complement, as two.
    Boundary,
    /// Three channels: whether a voxel and its predecessor along x, y, z have the same label.
    Affinity,
    /// A channel for each class: labels are their numbers, from 0.
    Semantic,
    /// One channel: the labels as they are.
    Raw,
}

impl Target {
    /// The target of a network with `channels` output maps, or `None` where it cannot have so many.
    pub(crate) fn with_channels(self, channels: usize) -> Option<data::Target> {
        match (self, channels) {
            (Target::Boundary, 1 | 2) => Some(data::Target::Boundary { channels }),
            (Target::Affinity, 3) => Some(data::Target::Affinity),
            (Target::Semantic, classes @ 2..) => Some(data::Target::Semantic { classes }),
            (Target::Raw, 1) => Some(data::Target::Raw),
            _ => None,
        }
    }

    /// The numbers of output maps that a network for this target may have, in words.
    pub(crate) fn expected_channels(self) -> &'static str {
        match self {
            Target::Boundary => "1 or 2",
            Target::Affinity => "3",
            Target::Semantic => "at least 2",
            Target::Raw => "1",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Target::Boundary => "boundary",
            Target::Affinity => "affinity",
            Target::Semantic => "semantic",
            Target::Raw => "raw",
        })
    }
}

/// The loss as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// `softmax` for boundaries in two maps and classes, `binomial-cross-entropy` for affinities, `square` for one map.
    Auto,
    /// The squared difference.
    Square,
    /// The squared difference where it exceeds a margin of 0.2.
    SquareSquare,
    /// The cross entropy of each channel for itself.
    BinomialCrossEntropy,
    /// Softmax over the channels and its cross entropy.
    Softmax,
}

impl LossKind {
    /// The loss that `auto` stands for with `target`; any other is itself.
    ///
    /// # Errors
    /// The softmax of a single channel, which is 1 whatever the network does.
    pub(crate) fn resolve(self, target: data::Target) -> Result<Self, JobError> {
        match (self, target) {
            (LossKind::Auto, data::Target::Boundary { channels: 1 } | data::Target::Raw) => {
                Ok(LossKind::Square)
            }
            (LossKind::Auto, data::Target::Boundary { .. } | data::Target::Semantic { .. }) => {
                Ok(LossKind::Softmax)
            }
            (LossKind::Auto, data::Target::Affinity) => Ok(LossKind::BinomialCrossEntropy),
            (LossKind::Softmax, target) if target.channels() == 1 => Err(JobError::Value {
                key: "loss",
                value: self.to_string(),
                expected: "another loss: the network has one output map, and softmax needs at least two",
            }),
            (loss, _) => Ok(loss),
        }
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LossKind::Auto => "auto",
            LossKind::Square => "square",
            LossKind::SquareSquare => "square-square",
            LossKind::BinomialCrossEntropy => "binomial-cross-entropy",
            LossKind::Softmax => "softmax",
        })
    }
}

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserKind {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam, with the weight decay as a part of the gradient.
    Adam,
    /// Adam, with the weight decay apart from the gradient.
    Adamw,
}

impl fmt::Display for OptimiserKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OptimiserKind::Sgd => "sgd",
            OptimiserKind::Adam => "adam",
            OptimiserKind::Adamw => "adamw",
        })
    }
}

/// How the gradients of affinities are weighted by what they decide for a segmentation ([`segment`](crate::segment)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Malis {
    /// All alike.
    #[default]
    Off,
    /// By pairs of voxels.
    Pairs,
    /// By pairs, as parts of the segments' sizes.
    Frac,
    /// By pairs, over the number of voxels.
    Num,
    /// By pairs, over their number.
    Pair,
    /// Mergers and splitters each by their number, with the truth as constraint.
    Constrained,
}

impl Malis {
    /// The mode, if there is one.
    pub(crate) fn mode(self) -> Option<Mode> {
        match self {
            Malis::Off => None,
            Malis::Pairs => Some(Mode::Plain(Norm::None)),
            Malis::Frac => Some(Mode::Plain(Norm::Frac)),
            Malis::Num => Some(Mode::Plain(Norm::Num)),
            Malis::Pair => Some(Mode::Plain(Norm::Pair)),
            Malis::Constrained => Some(Mode::Constrained),
        }
    }
}

impl fmt::Display for Malis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Malis::Off => "off",
            Malis::Pairs => "pairs",
            Malis::Frac => "frac",
            Malis::Num => "num",
            Malis::Pair => "pair",
            Malis::Constrained => "constrained",
        })
    }
}

/// Where it is kept which algorithms measured fastest: `auto`, `none` or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// At [`TuningFile::default_path`].
    Auto,
    /// Nowhere: it is measured again each time.
    Off,
    /// In this file.
    File(PathBuf),
}

impl Tuning {
    /// The path that is meant, where there is one.
    #[doc(hidden)]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Tuning::Auto => TuningFile::default_path(),
            Tuning::Off => None,
            Tuning::File(path) => Some(path.clone()),
        }
    }

    /// Whether an option is a path and not one of the words.
    pub(super) fn is_path(text: &str) -> bool {
        !["auto", "none"].contains(&text)
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tuning::Auto => f.pad("auto"),
            Tuning::Off => f.pad("none"),
            Tuning::File(path) => path.display().fmt(f),
        }
    }
}

/// The text names neither a place nor a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, none or the path of a file, found nothing")]
pub struct NoTuning;

impl FromStr for Tuning {
    type Err = NoTuning;
    fn from_str(text: &str) -> Result<Self, NoTuning> {
        match text {
            "" => Err(NoTuning),
            "auto" => Ok(Tuning::Auto),
            "none" => Ok(Tuning::Off),
            path => Ok(Tuning::File(path.into())),
        }
    }
}

/// The instruction-set tier as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsaChoice {
    /// The widest of the machine.
    Auto,
    /// Portable code.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 foundation.
    Avx512f,
}

impl IsaChoice {
    /// The tier that is meant on this machine, which may lack it ([`Isa::is_available`]).
    pub(crate) fn isa(self) -> Isa {
        match self {
            IsaChoice::Auto => Isa::best(),
            IsaChoice::Scalar => Isa::Scalar,
            IsaChoice::Avx2 => Isa::Avx2,
            IsaChoice::Avx512f => Isa::Avx512f,
        }
    }
}
