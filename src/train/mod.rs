//! Training: the iteration, the run, and what a person sees of it.

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

/// Which pairs of voxels affinities join or part: weights of their gradients.
pub mod malis {
    pub use crate::segment::{Mode, Norm, Window};
}
