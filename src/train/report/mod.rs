//! What a person sees of a training run: progress, metrics, learning curve and preview.
//!
//! The trainer tells an [`Observer`] what happens; [`Reporter`] is the one that shows it on the terminal and keeps
//! `metrics.jsonl`, `curve.png` and `preview.png` in the folder of the run.
//!
//! An observer of one's own:
//!
//! ```
//! use std::path::Path;
//! use znn::Tensor;
//! use znn::train::report::{ClassScore, Observer, ReportError, TrainStep, Validation};
//!
//! #[derive(Default)]
//! struct Log(Vec<String>);
//!
//! impl Observer for Log {
//!     fn on_train(&mut self, step: &TrainStep) -> Result<(), ReportError> {
//!         self.0.push(format!("{}: {}", step.iteration, step.loss));
//!         Ok(())
//!     }
//!
//!     fn on_validation(&mut self, validation: &Validation) -> Result<(), ReportError> {
//!         let found = |score: &ClassScore| score.iou.map_or("none".to_owned(), |iou| iou.to_string());
//!         self.0.push(validation.classes.iter().map(found).collect::<Vec<_>>().join(" "));
//!         Ok(())
//!     }
//!
//!     fn on_preview(&mut self, _input: &Tensor, prediction: &Tensor, _target: &Tensor) -> Result<(), ReportError> {
//!         self.0.push(format!("{} maps to look at", prediction.channels()));
//!         Ok(())
//!     }
//!
//!     fn on_checkpoint(&mut self, iteration: u64, path: &Path) -> Result<(), ReportError> {
//!         self.0.push(format!("{iteration}: {}", path.display()));
//!         Ok(())
//!     }
//!
//!     fn finish(&mut self) -> Result<(), ReportError> {
//!         self.0.push("done".to_owned());
//!         Ok(())
//!     }
//! }
//!
//! let mut log = Log::default();
//! log.on_checkpoint(10, Path::new("run/model.safetensors"))?;
//! log.finish()?;
//! assert_eq!(log.0, ["10: run/model.safetensors", "done"]);
//! # Ok::<(), ReportError>(())
//! ```

mod chart;
#[doc(hidden)]
pub mod comparison;
mod curve;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod picture;
#[doc(hidden)]
pub mod preview;
#[doc(hidden)]
pub mod progress;
mod reporter;
mod tensorboard;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::volume::Tensor;
use metrics::MetricsError;
use picture::PictureError;

pub use progress::Verbosity;
pub use reporter::{FileNames, Reporter, ReporterOptions};

/// One training iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainStep {
    /// The iterations done, this one included.
    pub iteration: u64,
    /// The loss for each output voxel and channel.
    pub loss: f64,
    /// The fraction of output voxels and channels on the wrong side of 0.5.
    pub pixel_error: f64,
    /// The fraction of pairs of voxels that the affinities join or part wrongly, where MALIS has found it.
    pub rand_error: Option<f64>,
    /// The norm of the gradients before they were clipped, where it is known.
    pub gradient_norm: Option<f64>,
    /// The patches of the iteration.
    pub batch: u64,
    /// The output voxels computed.
    pub voxels: u64,
    /// The time that the iteration took.
    pub elapsed: Duration,
    /// The learning rate.
    pub eta: f64,
}

/// How well a class is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The fraction of its voxels that are taken for it; none where it has no voxel.
    pub accuracy: Option<f64>,
    /// The voxels that are of the class and taken for it, over those that are either; none where there is no such.
    pub iou: Option<f64>,
}

/// One validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// The training iterations done.
    pub iteration: u64,
    /// The mean loss for each output voxel and channel.
    pub loss: f64,
    /// The fraction of output voxels and channels on the wrong side of 0.5.
    pub pixel_error: f64,
    /// The Rand error of the segments that affinities above one half make in a patch, on average; for affinities.
    pub rand_error: Option<f64>,
    /// The pixel error of the best constant prediction on the same voxels, where known.
    pub constant_error: Option<f64>,
    /// Of each class; for the target `semantic`.
    pub classes: Vec<ClassScore>,
    /// The output voxels computed.
    pub voxels: u64,
    /// The time that the validation took.
    pub elapsed: Duration,
    /// The learning rate of training.
    pub eta: f64,
}

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The history.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The history for TensorBoard.
    #[error("{}: cannot write the events for TensorBoard", path.display())]
    Events {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The curve or the preview.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// Is told what happens in a training run. An error stops the run. Every method does nothing unless implemented.
pub trait Observer {
    /// An iteration has been done.
    fn on_train(&mut self, _step: &TrainStep) -> Result<(), ReportError> {
        Ok(())
    }

    /// A validation has been done.
    fn on_validation(&mut self, _validation: &Validation) -> Result<(), ReportError> {
        Ok(())
    }

    /// There is a prediction to look at. `input` may be larger than `prediction` by the field of view; `prediction`
    /// (after the softmax, where the loss has one) and `target` have one shape and lie in 0..1.
    fn on_preview(
        &mut self,
        _input: &Tensor,
        _prediction: &Tensor,
        _target: &Tensor,
    ) -> Result<(), ReportError> {
        Ok(())
    }

    /// The state after `iteration` iterations is safe in `path`.
    fn on_checkpoint(&mut self, _iteration: u64, _path: &Path) -> Result<(), ReportError> {
        Ok(())
    }

    /// The run has ended, be it early.
    fn finish(&mut self) -> Result<(), ReportError> {
        Ok(())
    }
}

/// The observer that looks away.
impl Observer for () {}
