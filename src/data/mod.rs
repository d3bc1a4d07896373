//! Volumes on disk and in memory, and the samples that training draws from them.
//!
//! [`volume_file`] opens and creates volumes of any of the [`formats`], of which boxes are read and written, [`tiff`] stacks, [`synthetic()`] makes a volume that needs no file, [`Preprocess`] normalises
//! images. A [`TrainingVolume`] holds images with their label and mask; a [`Sampler`] turns a set of them into
//! [`Sample`]s (input patches, target, weights), each a pure function of the seed and the iteration; a
//! [`Prefetcher`] prepares the next ones in the background. [`data_set`] reads the data sets of the original system.
//!
//! Patches of an image in memory, as training takes them:
//!
//! ```
//! use std::sync::Arc;
//! use znn::data::{Augment, Distort, Orientation, OutputOptions, Patch, Prefetcher, Preprocess, Rebalance};
//! use znn::data::{Label, LabelWarning, Sample, SampleOutput, Sampler, SamplerOptions, Target, TrainingVolume};
//! use znn::{Extent, Tensor, data};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut image, label) = data::synthetic(1, Extent::new(6, 40, 40));
//! Preprocess::Standard3d.apply(&mut image);
//! let volume = TrainingVolume::new("cells", vec![image], label, None)?;
//!
//! let distort = Distort { rotate: 10.0, contrast: 0.1, ..Distort::NONE };
//! let target = Target::Boundary { channels: 1 };
//! let options = SamplerOptions {
//!     seed: 1,
//!     stream: 0,
//!     target,
//!     mirror: true,
//!     augment: Augment { distort, ..Augment::ALL },
//!     rebalance: Some(Rebalance::Patch),
//! };
//! // For a network that sees 3 x 9 x 9 voxels, and gives 1 x 8 x 8 of them.
//! let input = Extent::new(3, 16, 16);
//! let sampler = Arc::new(Sampler::new(vec![volume], &[input], Extent::new(1, 8, 8), options)?);
//! assert!(sampler.warnings().iter().all(|warning: &LabelWarning| warning.is_all_positive));
//!
//! let mut sample: Sample = sampler.new_sample();
//! sampler.sample(7, &mut sample);
//! assert_eq!(sample.inputs[0].extent(), input);
//! let SampleOutput { target, weight, .. } = &sample.outputs[0];
//! assert_eq!(target.extent(), weight.as_ref().expect("weights of the classes").extent());
//!
//! // The same, prepared by a thread while something else is computed.
//! let mut prefetcher = Prefetcher::new(Arc::clone(&sampler), 7, 2)?;
//! let mut ahead = sampler.new_sample();
//! prefetcher.next(&mut ahead)?;
//! assert_eq!(ahead, sample);
//!
//! // Places of one's own choice.
//! let patch = Patch { volume: 0, centre: Extent::new(2, 20, 20), orientation: Orientation::default() };
//! sampler.read(&patch, &mut sample);
//! let label: &Label = &sampler.volumes()[0].labels()[0];
//! let at = label.values.extent().index(2, 17, 17);
//! assert_eq!(sample.outputs[0].target.data()[0] > 0.0, label.values.data()[at] > 0.0);
//! # let _ = OutputOptions::new(options.target);
//! # Ok(())
//! # }
//! ```

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
