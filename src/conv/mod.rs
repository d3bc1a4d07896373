//! How convolutions are computed: by which method, how exactly, for which passes.
//!
//! | | |
//! |---|---|
//! | [`Choice`] | who chooses: a measurement, a model, or the caller |
//! | [`Method`], [`Variant`], [`Decision`] | what there is to choose, and what was chosen for each [`Pass`] |
//! | [`Passes`] | what will be computed: the choice depends on it |
//! | [`Accuracy`] | how much rounding is admitted |
//! | [`TuningFile`] | where measurements are kept |
//!
//! ```
//! use znn::conv::{Accuracy, Choice, Decision, Method, Pass, Passes, TuningFile, Variant};
//! use znn::conv::{UnknownAccuracy, UnknownChoice, UnknownVariant};
//! use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Larger Winograd tiles are admitted. With a file for them, measurements would serve later runs.
//! let options = EngineOptions { threads: Some(1), accuracy: Accuracy::Fast, tuning: None, ..Default::default() };
//! println!("the program keeps its measurements in {:?}", TuningFile::default_path());
//! let engine = Engine::new(&options)?;
//! let problem = Problem::valid(8, 8, Extent::new(8, 16, 16), Extent::new(3, 3, 3), Extent::ONE);
//!
//! // Chosen by a model for the passes of training, or by hand.
//! let options = Conv3dOptions { passes: Passes::Training, algorithm: Choice::Estimate, ..Default::default() };
//! let decision: Decision = Conv3d::new(&engine, problem, &options)?.decision();
//! println!("forward by {}: {}", decision.forward.method(), decision.forward);
//! let options = Conv3dOptions { algorithm: Choice::Fixed(Method::Direct), ..options };
//! let direct = Conv3d::new(&engine, problem, &options)?.decision();
//! assert_eq!(direct, Decision::all(Variant::Direct));
//! assert_eq!(direct.of(Pass::BackwardData).method().name(), "direct");
//!
//! // All have names, for options and reports.
//! assert_eq!("auto".parse(), Ok(Choice::Measure));
//! assert_eq!("fast".parse(), Ok(Accuracy::Fast));
//! let errors = ("fastest".parse::<Choice>(), "half".parse::<Accuracy>(), "strassen".parse::<Variant>());
//! let (UnknownChoice { .. }, UnknownAccuracy { .. }) = (errors.0.unwrap_err(), errors.1.unwrap_err());
//! let UnknownVariant { .. } = errors.2.unwrap_err();
//! assert_eq!(Passes::Training.list().len(), 3);
//! assert_eq!(Passes::Inference.list()[0].name(), "forward");
//! # Ok(())
//! # }
//! ```
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
