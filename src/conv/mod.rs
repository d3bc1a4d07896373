//! How convolutions are computed: by which method, how exactly, for which passes.
//!
//! | | |
//! |---|---|
//! | [`Choice`] | who chooses: a measurement, a model, or the caller |
//! | [`Method`], [`Variant`], [`Decision`] | what there is to choose, and what was chosen for each [`Pass`] |
//! | [`Passes`] | what will be computed: the choice depends on it |
//! | [`Accuracy`] | how much rounding is admitted |
//! | [`TuningFile`] | where measurements are kept |
// An `Algorithm` adds the tasks of a layer's passes to a plan. It is made once per layer by `begin` and asked for the passes
// in program order, so that it can remember what several of them need (packed weights, spectra). It knows nothing of networks.

mod accuracy;
mod direct;
mod fft;
mod layer;
mod method;
mod mixed;
mod padded;
pub(crate) mod problem;
mod tuner;
mod winograd;

pub use accuracy::{Accuracy, UnknownAccuracy};
#[doc(hidden)]
pub use layer::{Algorithm, Destination, Layer, Tools, WeightGradient, begin};
pub use method::{Decision, Method, Pass, Passes, UnknownVariant, Variant};
pub(crate) use problem::{Problem, ProblemError};
pub use tuner::{Choice, TuningFile, UnknownChoice};
#[doc(hidden)]
pub use tuner::{PassCost, Tuner, costs, estimate, of_method};

#[cfg(test)]
mod tests;
