//! Training: the iteration, the run, and what a person sees of it.

mod check;
mod hdf5_run;
pub mod job;
pub mod report;
pub mod schedule;
mod step;
mod trainer;
mod validation;

pub use check::{CheckError, Derivative, check, natural_loss};
pub use hdf5_run::{import, records, statistics};
pub use step::{Inspection, Outcome, Settings, StepError, StepOptions, TrainingStep, Wanted};
pub use trainer::{End, FileNames, Start, TrainError, Trainer, notes};
