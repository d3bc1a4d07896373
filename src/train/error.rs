//! Why training cannot begin or go on.

use std::path::PathBuf;

use super::job::JobError;
use super::report::ReportError;
use super::step::StepError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::infer::InferError;
use crate::network::ShapeError;
use crate::network::model_file::ModelFileError;
use crate::network::spec;
use crate::network::weights_file::WeightsFileError;
use crate::plan::PlanError;

/// Training cannot begin or go on.
///
/// ```
/// use znn::train::job::Job;
/// use znn::train::{Start, TrainError, Trainer};
///
/// // A job without images.
/// let error = Trainer::new(Job::default(), Start::New, None).err().expect("nothing to train on");
/// println!("{error}");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The job is wrong.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network's file is wrong.
    #[error(transparent)]
    Network(#[from] spec::SpecError),
    /// Images or labels are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The sizes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The iteration cannot be planned.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The validation cannot be planned or run.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// An iteration failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] WeightsFileError),
    /// A model in another format cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The folder of the run cannot be made or tidied.
    #[error("{}: cannot {action} the folder of the run: {source}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A run is there already.
    #[error("{}: there is a trained model already: go on with it (--resume), or choose another folder (--out)", path.display())]
    Occupied {
        /// Its file.
        path: PathBuf,
    },
    /// The network has the wrong number of outputs for the target.
    #[error(
        "the network ends in {found}, but training with the target `{target}` needs one output group of {expected} \
         maps (--target)"
    )]
    Outputs {
        /// Names and sizes of the network's output groups, in words.
        found: String,
        /// The target.
        target: String,
        /// Its channels.
        expected: String,
    },
    /// A table of the job is of no group.
    #[error("[{side}.{name}]: the network has no such group, its {side} are {known}")]
    Group {
        /// `inputs` or `outputs`.
        side: &'static str,
        /// The table.
        name: String,
        /// The groups that there are.
        known: String,
    },
    /// A group has not a file for each volume.
    #[error("a group has {found} {files}, expected {expected} like the first input group has images")]
    Volumes {
        /// `images` or `labels`.
        files: &'static str,
        /// How many.
        found: usize,
        /// The volumes.
        expected: usize,
    },
    /// An input of the network is not for images of one channel.
    #[error(
        "input group `{node}` of the network takes {maps} maps, expected 1: an image has one value for each voxel"
    )]
    Inputs {
        /// The input group.
        node: String,
        /// Its maps.
        maps: usize,
    },
    /// The model of a resumed run has another network.
    #[error("{}: the network of the checkpoint is not that of {}; use the same, or another folder (--out)", path.display(), net.display())]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// The network's file.
        net: PathBuf,
    },
    /// A note of the checkpoint is no number.
    #[error("{}: the note `{note}` is `{found}`, expected a number", path.display())]
    Note {
        /// The checkpoint.
        path: PathBuf,
        /// The note.
        note: &'static str,
        /// Its text.
        found: String,
    },
    /// Numbers are not finite any more.
    #[error(
        "iteration {iteration}: {what} is not finite. {finding}\nThe last checkpoint is kept{state}. What often helps: \
         {advice}"
    )]
    Diverged {
        /// The iteration.
        iteration: u64,
        /// Which number, with its value.
        what: String,
        /// Where it came from, in words.
        finding: String,
        /// Where the network before this iteration is, in words.
        state: String,
        /// What to try.
        advice: &'static str,
    },
}
