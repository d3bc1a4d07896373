//! Training: the iteration, the run, and what a person sees of it.
//!
//! What can be chosen for an iteration:
//!
//! ```
//! use znn::network::spec;
//! use znn::train::{Clip, Loss, Optimiser, Outcome, StepOptions, natural_loss};
//!
//! let adam = Optimiser::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true };
//! let clip = Clip { value: Some(0.1), norm: Some(1.0) };
//! let options = StepOptions { loss: Loss::Softmax, optimiser: adam, weight_decay: 1e-4, batch: 4, clip, ..StepOptions::default() };
//! assert_eq!(options.momentum, 0.0);
//!
//! // The loss that the end of a network is made for.
//! let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
//! assert_eq!(natural_loss(&network), Loss::BINOMIAL_CROSS_ENTROPY);
//!
//! // What iterations find can be added up.
//! let mut total = Outcome::default();
//! total.add(&Outcome { loss: 3.0, errors: 1.0, counted: 10.0 });
//! total.add(&Outcome { loss: 1.0, errors: 0.0, counted: 10.0 });
//! assert_eq!((total.mean_loss(), total.pixel_error()), (0.2, 0.05));
//! # Ok::<(), znn::network::spec::SpecError>(())
//! ```

mod check;
mod diagnosis;
mod error;
mod groups;
mod hdf5_run;
pub mod job;
pub mod report;
mod samples;
pub mod schedule;
mod step;
mod trainer;
mod validation;

pub use check::natural_loss;
#[doc(hidden)]
pub use check::{CheckError, Derivative, check};

#[doc(hidden)]
pub use diagnosis::{DiagnosisError, Finding, Place, Summary, Suspect, diagnose};
pub use error::TrainError;
#[doc(hidden)]
pub use hdf5_run::{import, records, statistics};
#[doc(hidden)]
pub use samples::preview;
#[doc(hidden)]
pub use step::Inspection;
pub use step::{OutputLoss, Settings, StepError, StepOptions, TrainingStep, Wanted};
#[doc(hidden)]
pub use trainer::notes;
pub use trainer::{End, FileNames, Start, Trainer};

pub use crate::ops::loss::{Loss, Outcome};
pub use crate::ops::update::{Clip, Optimiser};

/// How the gradients of affinities are weighted by the pairs of voxels that they part or join wrongly (Turaga et al., arXiv
/// 0911.5372).
///
/// ```
/// use znn::train::StepOptions;
/// use znn::train::malis::{Mode, Norm};
///
/// let options = StepOptions { malis: Some(Mode::Plain(Norm::Frac)), ..StepOptions::default() };
/// assert_ne!(options.malis, Some(Mode::Constrained));
/// ```
pub mod malis {
    pub use crate::segment::{Mode, Norm};
}
