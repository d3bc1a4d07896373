//! What can be wrong with data.

use std::io;
use std::path::PathBuf;

use crate::volume::Extent;

/// A volume that cannot be read, written or trained on. The text names the file or volume, the place in it, and
/// what was expected.
///
/// ```
/// use znn::data::{DataError, TrainingVolume};
/// use znn::{Extent, Tensor};
///
/// let tensor = Tensor::from_fn(1, Extent::new(1, 2, 2), |i| if i == 3 { f32::NAN } else { 0.0 });
/// let label = Tensor::zeros(1, tensor.extent());
/// let error: DataError = TrainingVolume::new("a", vec![tensor], label, None).unwrap_err();
/// assert!(error.to_string().contains("0,1,1"), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `open`, `create`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is no TIFF stack that can be read. Pages are counted from 1.
    #[error("{}, page {page}: {reason}", path.display())]
    Tiff {
        /// The file.
        path: PathBuf,
        /// The page, counted from 1.
        page: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// The volume cannot be written as TIFF.
    #[error("cannot write {}: {reason}", path.display())]
    WriteTiff {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// An HDF5 file cannot be read or written, or holds no volume.
    #[error(transparent)]
    Hdf5(#[from] crate::hdf5::Hdf5Error),
    /// A volume of another format is damaged, or is not as expected.
    #[error("{}, {place}: {reason}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// The place in it.
        place: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A raw volume and its size do not fit together.
    #[error("{}: {reason}", path.display())]
    Raw {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A voxel is not a number, or infinite.
    #[error("{name}: the {role} has the value {value} at z,y,x = {position}; expected finite numbers")]
    NotFinite {
        /// The volume.
        name: String,
        /// `image`, `label` or `mask`.
        role: &'static str,
        /// The value.
        value: f32,
        /// The first such voxel.
        position: Extent,
    },
    /// A valid voxel of a label has the number of no class.
    #[error(
        "{name}: the label has the value {value} at z,y,x = {position}, expected the number of a class, 0 to {}, or a \
         mask of 0",
        classes - 1
    )]
    Class {
        /// The volume.
        name: String,
        /// The value.
        value: f32,
        /// The first such voxel.
        position: Extent,
        /// The number of classes.
        classes: usize,
    },
    /// There is not one factor for each class.
    #[error("class-weights: {found} numbers, expected {expected}: one for each class")]
    ClassWeights {
        /// How many there are.
        found: usize,
        /// The number of classes.
        expected: usize,
    },
    /// A volume has not one label for each output of the network.
    #[error("{name}: {found} labels for a network with {expected} outputs")]
    Outputs {
        /// The volume.
        name: String,
        /// The number of labels.
        found: usize,
        /// The number of outputs.
        expected: usize,
    },
    /// A part of a volume has another extent than expected.
    #[error("{name}: the {role} has the extent {found}, expected {expected} like the label (z,y,x)")]
    Extents {
        /// The volume.
        name: String,
        /// `image` or `mask`.
        role: &'static str,
        /// Its extent.
        found: Extent,
        /// The label's extent.
        expected: Extent,
    },
    /// A part of a volume has no voxel.
    #[error("{name}: the {role} is empty (extent {extent})")]
    Empty {
        /// The volume.
        name: String,
        /// `image`, `label` or `mask`.
        role: &'static str,
        /// Its extent.
        extent: Extent,
    },
    /// A label or mask has several channels.
    #[error("{name}: the {role} has {channels} channels, expected 1")]
    Channels {
        /// The volume.
        name: String,
        /// `label` or `mask`.
        role: &'static str,
        /// How many.
        channels: usize,
    },
    /// A volume has not one image for each input of the network.
    #[error("{name}: {found} images for a network with {expected} inputs")]
    Inputs {
        /// The volume.
        name: String,
        /// The number of images.
        found: usize,
        /// The number of inputs.
        expected: usize,
    },
    /// An image has another number of channels than that of the first volume.
    #[error("{name}: image {input} has {found} channels, in the first volume it has {expected}")]
    ImageChannels {
        /// The volume.
        name: String,
        /// The input, counted from 1.
        input: usize,
        /// The number of channels.
        found: usize,
        /// That of the first volume.
        expected: usize,
    },
    /// No patch fits into the volume.
    #[error("{name}: the volume is too small ({found}) for a patch{transposed}: {need}{advice}")]
    TooSmall {
        /// The volume.
        name: String,
        /// Its label's extent.
        found: Extent,
        /// Says that the patch is the transposed one; otherwise empty.
        transposed: &'static str,
        /// The part that does not fit, and the least extent.
        need: String,
        /// What helps.
        advice: &'static str,
    },
    /// The mask leaves no place for a patch.
    #[error("{name}: the mask has no valid voxel (> 0) at which a patch could be centred")]
    EmptyMask {
        /// The volume.
        name: String,
    },
    /// A patch has a zero extent, an input patch is smaller than the output patch, or there is nothing to sample.
    #[error("cannot sample patches: {0}")]
    Patches(String),
    /// The background thread stopped.
    #[error("the thread that prepares samples stopped: {0}")]
    Prefetch(String),
}

impl DataError {
    /// What is wrong at a place of a file.
    pub(crate) fn format(path: &std::path::Path, place: &str, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), place: place.to_owned(), reason: reason.into() }
    }

    /// `map_err` for the calls of the operating system.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
