//! How exact results must be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How exact results must be.
///
/// The errors of Winograd tiles grow with their size; `docs/accuracy.md` has the table. Nothing is computed in less than
/// f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accuracy {
    /// Root mean square errors within 4 times those of direct convolution.
    #[default]
    Standard,
    /// Tiles of four voxels along all axes: up to 6 times in outputs, 10 in gradients of inputs, 14 in those of weights.
    Fast,
}

/// The text is not the name of an accuracy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected standard or fast, found `{0}`")]
pub struct UnknownAccuracy(String);

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Accuracy::Standard => "standard",
            Accuracy::Fast => "fast",
        })
    }
}

impl FromStr for Accuracy {
    type Err = UnknownAccuracy;
    fn from_str(text: &str) -> Result<Self, UnknownAccuracy> {
        match text {
            "standard" => Ok(Accuracy::Standard),
            "fast" => Ok(Accuracy::Fast),
            _ => Err(UnknownAccuracy(text.to_owned())),
        }
    }
}
