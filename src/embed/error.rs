//! What can be wrong with a convolution.

use crate::conv::{Problem, ProblemError};
use crate::fft::FftError;
use crate::machine::memory::TooLittleMemory;
use crate::plan::PlanError;

use super::Strides;

/// A convolution cannot be planned or run. After an error of a call, the plan can be used again; what the call should
/// have written is then undefined.
///
/// ```
/// use znn::{Conv3d, Conv3dError, Conv3dOptions, Engine, EngineOptions, Extent, Problem};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// let problem = Problem::valid(1, 1, Extent::new(4, 4, 4), Extent::new(5, 3, 3), Extent::ONE);
/// let error = Conv3d::new(&engine, problem, &Conv3dOptions::default()).err().expect("a kernel too large");
/// assert!(matches!(error, Conv3dError::Problem { .. }), "{error}");
/// # Ok::<(), znn::EngineError>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Conv3dError {
    /// The sizes are not those of a convolution.
    #[error("{problem}: {source}")]
    Problem {
        /// What was asked for.
        problem: Problem,
        /// What is wrong with it.
        source: ProblemError,
    },
    /// A batch of no images.
    #[error("a batch needs at least one image")]
    EmptyBatch,
    /// Maps would overlap, or end beyond what can be addressed.
    #[error(
        "strides of {} for images and {} for maps: the maps of {batch} images with {maps} maps of {voxels} voxels would overlap or leave the address space",
        strides.image, strides.map
    )]
    Strides {
        /// What was asked for.
        strides: Strides,
        /// Images.
        batch: usize,
        /// Maps of an image.
        maps: usize,
        /// Voxels of a map.
        voxels: usize,
    },
    /// An array is too short or too long.
    #[error("{array} has {found} floats, expected {expected}")]
    Length {
        /// Which one.
        array: &'static str,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// The plan was made for other passes.
    #[error("the plan was made without the {pass} pass: see Conv3dOptions::passes")]
    NotPlanned {
        /// What was called.
        pass: &'static str,
    },
    /// The machine is too small.
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// A transform cannot be made.
    #[error(transparent)]
    Fft(#[from] FftError),
    /// A task panicked.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
