//! One face for all formats of volumes: boxes of voxels are read from and written to files of any size.

mod blosc;
mod chunked;
mod codec;
mod flat;
mod hdf5;
mod memory;
mod nifti;
mod npy;
mod raw;
mod spool;
mod tiff_stack;

pub use blosc::decode as decode_blosc;
pub use chunked::{ChunkedFormat, ChunkedWriter, create as create_chunked, open as open_chunked};
pub use hdf5::{create as create_hdf5, open as open_hdf5};
pub use memory::MemoryReader;
pub use nifti::{create as create_nifti, decode as decode_nifti, open as open_nifti};
pub use npy::{create as create_npy, decode as decode_npy, open as open_npy};
pub use raw::{RawSpec, create as create_raw, open as open_raw, open_doubles};
pub use tiff_stack::{create as create_tiff, open as open_tiff};

use std::io::{Read, Seek};

use super::{DataError, NumberType, VoxelSize};
use crate::hdf5::Hdf5File;
use crate::volume::{Extent, Tensor};

/// What is known of a volume before a voxel is read, and what a writer has to know.
///
/// ```
/// use znn::Extent;
/// use znn::data::{NumberType, VolumeInfo, VoxelSize};
///
/// let info = VolumeInfo {
///     channels: 1,
///     extent: Extent::new(30, 512, 512),
///     numbers: NumberType::U8,
///     voxel: VoxelSize::new([40.0, 4.0, 4.0], "nm"),
///     chunk: Some(Extent::new(16, 64, 64)),
/// };
/// assert_eq!((info.numbers.name(), info.numbers.bytes()), ("uint8", 1));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeInfo {
    /// Images of the volume.
    pub channels: usize,
    /// Voxels of each.
    pub extent: Extent,
    /// How a voxel is stored.
    pub numbers: NumberType,
    /// The size of a voxel, where it is known.
    pub voxel: Option<VoxelSize>,
    /// The voxels that are stored together, where the format is made of such chunks. For a writer: the wish.
    pub chunk: Option<Extent>,
}

/// A volume of which boxes can be read.
///
/// A source of one's own, here a volume that is computed where it is read:
///
/// ```
/// use znn::data::{DataError, MemoryReader, NumberType, VolumeInfo, VolumeReader};
/// use znn::{Extent, Tensor};
///
/// struct Ramp(VolumeInfo);
///
/// impl VolumeReader for Ramp {
///     fn info(&self) -> &VolumeInfo {
///         &self.0
///     }
///
///     fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
///         Ok(Tensor::from_fn(1, extent, |i| (origin.x + i % extent.x) as f32))
///     }
/// }
///
/// let extent = Extent::new(1000, 1000, 1000);
/// let info = VolumeInfo { channels: 1, extent, numbers: NumberType::F32, voxel: None, chunk: None };
/// let part = Ramp(info).read(Extent::new(0, 0, 500), Extent::new(1, 1, 3))?;
/// assert_eq!(part.data(), [500.0, 501.0, 502.0]);
/// // What is in memory already has a reader.
/// assert_eq!(MemoryReader::new(&part).info().extent, part.extent());
/// # Ok::<(), DataError>(())
/// ```
pub trait VolumeReader: Send {
    /// Its shape and type.
    fn info(&self) -> &VolumeInfo;

    /// All channels of the box of extent `extent` whose first voxel is at `origin`. Panics where it does not lie in the
    /// volume.
    ///
    /// # Errors
    /// Where the file is damaged there, or a number is too large to be exact in f32.
    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError>;
}

/// A volume of which boxes can be written, each voxel once.
///
/// ```
/// use znn::data::{NumberType, VolumeInfo, VolumeWriter, volume_file};
/// use znn::{Extent, Tensor};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("out.npy");
/// let extent = Extent::new(2, 4, 4);
/// let info = VolumeInfo { channels: 1, extent, numbers: NumberType::F32, voxel: None, chunk: None };
/// let mut writer: Box<dyn VolumeWriter> = volume_file::create(&path, &info)?;
/// let half = Tensor::from_fn(1, Extent::new(1, 4, 4), |i| i as f32);
/// writer.write(Extent::ZERO, &half)?;
/// writer.write(Extent::new(1, 0, 0), &half)?;
/// writer.finish()?;
/// assert_eq!(volume_file::open(&path)?.read(Extent::new(1, 0, 0), half.extent())?, half);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait VolumeWriter: Send {
    /// Writes all channels of a box whose first voxel is at `origin`. Panics where it does not lie in the volume, or, where
    /// the format is chunked, cuts a chunk.
    ///
    /// # Errors
    /// Where the file system fails.
    fn write(&mut self, origin: Extent, part: &Tensor) -> Result<(), DataError>;

    /// Completes the file, and gives it its name where it has not got it yet.
    ///
    /// # Errors
    /// Where the file system fails.
    fn finish(self: Box<Self>) -> Result<(), DataError>;
}

/// The volume `/main` of an HDF5 file in memory.
///
/// # Errors
/// Where it is no volume.
pub(crate) fn hdf5_in_memory(file: &Hdf5File) -> Result<Box<dyn VolumeReader>, DataError> {
    hdf5::reader(file, hdf5::MAIN, false)
}

/// What a volume can be read from.
pub trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Panics where a box does not lie in a volume: a mistake of the program.
fn check_box(origin: Extent, extent: Extent, volume: Extent) {
    assert!(
        (origin + extent).all(volume, |end, size| end <= size),
        "the box {extent} at {origin} outside the volume {volume}"
    );
}

/// The channels and the extent of an array of that shape, its first axis being the slowest: y,x, or z,y,x, or channels
/// before these; further axes before those have to be of size one.
///
/// # Errors
/// What was found and what was expected.
fn shape_of(shape: &[usize]) -> Result<(usize, Extent), String> {
    let fail = || format!("the shape {shape:?}, expected z,y,x, or channels before them");
    let mut trimmed = shape;
    while trimmed.len() > 4 {
        trimmed = trimmed.strip_prefix(&[1]).ok_or_else(fail)?;
    }
    let (channels, extent) = match *trimmed {
        [y, x] => (1, Extent::new(1, y, x)),
        [z, y, x] => (1, Extent::new(z, y, x)),
        [channels, z, y, x] => (channels, Extent::new(z, y, x)),
        _ => return Err(fail()),
    };
    // Offsets of bytes of the widest type must not overflow, nor those of an index.
    let bytes = shape.iter().try_fold(8_u64, |product, &axis| product.checked_mul(axis as u64));
    match bytes {
        Some(0) => Err(format!("the shape {shape:?}, expected at least one voxel")),
        Some(bytes) if bytes <= i64::MAX as u64 => Ok((channels, extent)),
        _ => Err(format!("the shape {shape:?} is larger than any file; is it damaged?")),
    }
}
