//! Training: the job, the learning rate, and what a person sees of a run.

pub mod job;
pub mod report;
pub mod schedule;
