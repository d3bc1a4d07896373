//! Volumes on disk and in memory, and the samples that training draws from them.
//!
//! [`volume_file`] opens and creates volumes of any of the [`formats`], of which boxes are read and written, [`tiff`] stacks, [`synthetic()`] makes a volume that needs no file, [`Preprocess`] normalises
//! images. A [`TrainingVolume`] holds images with their label and mask; a [`Sampler`] turns a set of them into
//! [`Sample`]s (input patches, target, weights), each a pure function of the seed and the iteration; a
//! [`Prefetcher`] prepares the next ones in the background. [`data_set`] reads the data sets of the original system.

mod candidates;
#[doc(hidden)]
pub mod data_set;
mod distort;
mod error;
#[doc(hidden)]
pub mod formats;
#[doc(hidden)]
pub mod ini;
mod mirror;
mod patch;
mod prefetch;
mod preprocess;
mod rebalance;
mod sampler;
mod synthetic;
mod target;
#[doc(hidden)]
pub mod tiff;
mod training_volume;
pub mod volume_file;
mod voxel_size;
mod weighting;

pub use distort::Distort;
pub use error::DataError;
pub use formats::{MemoryReader, VolumeInfo, VolumeReader, VolumeWriter};
#[cfg(test)]
pub(crate) use mirror::mirror_pad;
pub(crate) use mirror::reflect;
pub use patch::{Orientation, Patch};
pub use prefetch::Prefetcher;
pub use preprocess::{Normalisation, ParsePreprocessError, Preprocess};
pub use rebalance::Rebalance;
pub use sampler::{Augment, Sample, SampleOutput, Sampler, SamplerOptions};
pub use synthetic::synthetic;
pub use target::Target;
#[doc(hidden)]
pub use training_volume::check_finite;
pub(crate) use training_volume::check_finite_at;
pub use training_volume::{Label, LabelWarning, TrainingVolume};
pub use voxel_size::VoxelSize;
pub use weighting::OutputOptions;

#[doc(hidden)]
pub use crate::volume::ByteOrder;
pub use crate::volume::NumberType;
