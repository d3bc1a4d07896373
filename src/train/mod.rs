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

pub use check::{CheckError, Derivative, check, natural_loss};
pub use diagnosis::{DiagnosisError, Finding, Place, Summary, Suspect, diagnose};
pub use error::TrainError;
pub use hdf5_run::{import, records, statistics};
pub use samples::preview;
pub use step::{
    Clip, Inspection, Optimiser, Outcome, OutputLoss, Settings, StepError, StepOptions, TrainingStep, Wanted,
};
pub use trainer::{End, FileNames, Start, Trainer, notes};
