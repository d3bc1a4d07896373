//! What a layer is computed by: methods, their variants, and the decision for a layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Problem, fft, winograd};
use crate::volume::Extent;

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

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::Direct => "direct",
            Method::Fft => "fft",
            Method::Winograd => "winograd",
        }
    }

    /// The method itself where it can compute `problem`, else the direct one, which can compute any: spectra are of
    /// problems without stride, Winograd tiles of kernels of one or three taps without stride.
    pub(crate) fn or_direct(self, problem: &Problem) -> Self {
        let can = match self {
            Method::Direct => true,
            Method::Fft => problem.stride == Extent::ONE,
            Method::Winograd => winograd::admits(problem),
        };
        if can { self } else { Method::Direct }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A pass of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Outputs from inputs.
    Forward,
    /// The gradient of the input.
    BackwardData,
    /// The gradient of the weights.
    BackwardWeights,
}

impl Pass {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward_data",
            Pass::BackwardWeights => "backward_weights",
        }
    }
}

/// The passes of a layer that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passes {
    /// Forward with weights that do not change.
    Inference,
    /// Forward and backward-weights: a layer on the input.
    FirstLayer,
    /// All three.
    Training,
}

impl Passes {
    /// In the order of an iteration.
    pub fn list(self) -> &'static [Pass] {
        match self {
            Passes::Inference => &[Pass::Forward],
            Passes::FirstLayer => &[Pass::Forward, Pass::BackwardWeights],
            Passes::Training => &[Pass::Forward, Pass::BackwardData, Pass::BackwardWeights],
        }
    }

    /// Whether the weights do not change.
    pub(crate) fn is_frozen(self) -> bool {
        self == Passes::Inference
    }
}

/// A method with the sizes of its tiles, along z, y and x: what computes a pass.
///
/// As text `direct`, `fft whole`, `fft 12,12,12`, `winograd 2,4,4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Variant {
    /// [`Method::Direct`].
    Direct,
    /// [`Method::Fft`] of whole images.
    WholeFft,
    /// [`Method::Fft`] of tiles of so many voxels of the input.
    TiledFft(Extent),
    /// [`Method::Winograd`] with tiles of so many voxels of what the pass computes.
    Winograd(Extent),
}

impl Variant {
    /// The method.
    pub fn method(self) -> Method {
        match self {
            Variant::Direct => Method::Direct,
            Variant::WholeFft | Variant::TiledFft(_) => Method::Fft,
            Variant::Winograd(_) => Method::Winograd,
        }
    }

    /// Whether one [`Algorithm`](super::Algorithm) may be asked for the forward or the backward-data pass of several images,
    /// which use the same prepared weights. One of spectra remembers those of one image.
    pub(crate) fn shares_weights(self) -> bool {
        self.method() != Method::Fft
    }

    /// The variant itself where it can compute `problem`: where its [method can](Method::or_direct) and the tiles fit the
    /// kernel; else the direct one.
    pub(crate) fn or_direct(self, problem: &Problem) -> Self {
        let fits = match self {
            Variant::Direct | Variant::WholeFft => true,
            Variant::TiledFft(size) => fft::fits(size, problem.kernel),
            Variant::Winograd(tile) => winograd::fits(tile, problem.kernel),
        };
        if fits && self.method().or_direct(problem) == self.method() { self } else { Variant::Direct }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method();
        match self {
            Variant::Direct => f.pad(method.name()),
            Variant::WholeFft => f.pad(&format!("{method} whole")),
            Variant::TiledFft(size) | Variant::Winograd(size) => f.pad(&format!("{method} {size}")),
        }
    }
}

impl From<Variant> for String {
    fn from(variant: Variant) -> Self {
        variant.to_string()
    }
}

/// The text is not the name of a variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a variant such as `direct`, `fft whole`, `fft 12,12,12` or `winograd 2,4,4`, found `{0}`")]
pub struct UnknownVariant(String);

impl FromStr for Variant {
    type Err = UnknownVariant;
    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        let unknown = || UnknownVariant(text.to_owned());
        let size = |text: &str| text.parse::<Extent>().map_err(|_| unknown());
        match text.split_once(' ') {
            None if text == Method::Direct.name() => Ok(Variant::Direct),
            Some(("fft", "whole")) => Ok(Variant::WholeFft),
            Some(("fft", tile)) => size(tile).map(Variant::TiledFft),
            Some(("winograd", tile)) => size(tile).map(Variant::Winograd),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Variant {
    type Error = UnknownVariant;
    fn try_from(text: String) -> Result<Self, UnknownVariant> {
        text.parse()
    }
}

/// What each pass of a layer is computed by. Passes by the same variant of [`Method::Fft`] share spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decision {
    /// Of the forward pass.
    pub forward: Variant,
    /// Of the gradient of the input.
    pub backward_data: Variant,
    /// Of the gradient of the weights.
    pub backward_weights: Variant,
}

impl Decision {
    /// All passes by one variant.
    pub const fn all(variant: Variant) -> Self {
        Self { forward: variant, backward_data: variant, backward_weights: variant }
    }

    /// Of one pass.
    pub fn of(&self, pass: Pass) -> Variant {
        match pass {
            Pass::Forward => self.forward,
            Pass::BackwardData => self.backward_data,
            Pass::BackwardWeights => self.backward_weights,
        }
    }

    /// The decision with another variant for some passes.
    pub(super) fn with(mut self, passes: &[Pass], variant: Variant) -> Self {
        for pass in passes {
            match pass {
                Pass::Forward => self.forward = variant,
                Pass::BackwardData => self.backward_data = variant,
                Pass::BackwardWeights => self.backward_weights = variant,
            }
        }
        self
    }

    /// Of each pass, [what can compute it](Variant::or_direct).
    pub(crate) fn or_direct(self, problem: &Problem) -> Self {
        Self {
            forward: self.forward.or_direct(problem),
            backward_data: self.backward_data.or_direct(problem),
            backward_weights: self.backward_weights.or_direct(problem),
        }
    }
}
