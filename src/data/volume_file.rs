//! Volumes in files of any format; the name says which. See `docs/volumes.md`.
//!
//! | name | |
//! |---|---|
//! | `.h5`, `.hdf5` | HDF5, the dataset `/main`, or with `:` behind the name the one whose path follows |
//! | `.zarr`, `.n5`, or a folder | an array of Zarr v2, Zarr v3 or N5, or a group of scales; `raw.zarr/volumes/raw` is an array in it. `zarr2:`, `zarr3:` and `n5:` before a name say what a new one becomes |
//! | `.nii`, `.nii.gz` | NIfTI |
//! | `.npy` | an array of NumPy |
//! | `NAME:TYPE:ZxYxX` | raw numbers, little-endian, such as `cells.raw:uint8:30x512x512`; with `be` behind the type big-endian |
//! | `.image`, `.label` | 64-bit floats of the original system, with the extents in a `.size` file beside |
//! | any other | [`tiff`](super::tiff) |
//!
//! ```
//! use znn::data::{NumberType, volume_file};
//! use znn::{Extent, Tensor};
//!
//! # let folder = tempfile::tempdir()?;
//! let volume = Tensor::from_fn(1, Extent::new(2, 3, 4), |i| i as f32);
//! let path = folder.path().join("cells.zarr");
//! volume_file::write(&path, &volume, NumberType::U8, None)?;
//! assert_eq!(volume_file::read_image(&path)?, volume);
//! // The same for labels, images of any number of channels, and boxes of volumes of any size.
//! assert_eq!(volume_file::read_label(&path)?, volume_file::read_maps(&path)?);
//! let mut reader = volume_file::open(&path)?;
//! assert_eq!(reader.info().numbers, NumberType::U8);
//! let mut writer = volume_file::create(&folder.path().join("copy.h5"), reader.info())?;
//! writer.write(Extent::ZERO, &reader.read(Extent::ZERO, volume.extent())?)?;
//! writer.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};

use super::formats::{
    self, ChunkedFormat, RawSpec, VolumeInfo, VolumeReader, VolumeWriter, create_chunked, create_hdf5,
    create_nifti, create_npy, create_raw, create_tiff, open_chunked, open_doubles, open_hdf5, open_nifti,
    open_npy, open_raw, open_tiff,
};
use super::{DataError, NumberType};
use crate::hdf5::Hdf5File;
use crate::machine::memory;
use crate::volume::{Extent, Tensor};

/// The dataset of a volume in HDF5.
const MAIN: &str = "main";

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    Hdf5 { path: PathBuf, dataset: String },
    Chunked { path: PathBuf, format: Option<ChunkedFormat> },
    Nifti,
    Npy,
    Raw(RawSpec),
    Doubles,
    Tiff,
}

/// The beginnings that say how chunks are stored.
const SCHEMES: [(&str, ChunkedFormat); 3] =
    [("zarr2:", ChunkedFormat::Zarr2), ("zarr3:", ChunkedFormat::Zarr3), ("n5:", ChunkedFormat::N5)];

impl Format {
    fn of(path: &Path) -> Self {
        let name = path.to_string_lossy();
        for (scheme, format) in SCHEMES {
            if let Some(rest) = name.strip_prefix(scheme) {
                return Self::Chunked { path: PathBuf::from(rest), format: Some(format) };
            }
        }
        if let Some(spec) = RawSpec::parse(&name) {
            return Self::Raw(spec);
        }
        for end in [".h5:", ".hdf5:"] {
            if let Some(at) = name.find(end) {
                let (file, dataset) = name.split_at(at + end.len());
                let file = PathBuf::from(file.trim_end_matches(':'));
                return Self::Hdf5 { path: file, dataset: dataset.trim_start_matches('/').to_owned() };
            }
        }
        let extension =
            |path: &Path| path.extension().and_then(|it| it.to_str()).map(str::to_ascii_lowercase);
        match extension(path).as_deref() {
            Some("h5" | "hdf5") => return Self::Hdf5 { path: path.to_owned(), dataset: MAIN.to_owned() },
            Some("image" | "label") => return Self::Doubles,
            Some("npy") => return Self::Npy,
            Some("nii") => return Self::Nifti,
            Some("gz") if extension(&path.with_extension("")).as_deref() == Some("nii") => {
                return Self::Nifti;
            }
            _ => {}
        }
        // An array may lie anywhere in a container.
        for folder in path.ancestors() {
            let format = match extension(folder).as_deref() {
                Some("zarr") => None,
                Some("n5") => Some(ChunkedFormat::N5),
                _ => continue,
            };
            return Self::Chunked { path: path.to_owned(), format };
        }
        if path.is_dir() {
            return Self::Chunked { path: path.to_owned(), format: None };
        }
        Self::Tiff
    }
}

/// The file or folder that a name of a volume means, without what says its format or the place in it.
#[doc(hidden)]
pub fn file_of(path: &Path) -> PathBuf {
    match Format::of(path) {
        Format::Hdf5 { path, .. } | Format::Chunked { path, .. } => path,
        Format::Raw(spec) => spec.path,
        Format::Nifti | Format::Npy | Format::Doubles | Format::Tiff => path.to_owned(),
    }
}

/// Whether volumes of that name are made of chunks, each in a file: such can be written by several processes, and gone on
/// with.
#[doc(hidden)]
pub fn is_chunked(path: &Path) -> bool {
    matches!(Format::of(path), Format::Chunked { .. })
}

/// Whether files of that name hold several channels.
#[doc(hidden)]
pub fn has_channels(path: &Path) -> bool {
    !matches!(Format::of(path), Format::Tiff | Format::Doubles)
}

/// Opens a volume, of which then boxes can be read.
///
/// # Errors
/// Names the file, and the place in it, where it is damaged or of a shape or type that is not expected.
pub fn open(path: &Path) -> Result<Box<dyn VolumeReader>, DataError> {
    open_as(path, false)
}

/// As [`open`]; colours of a TIFF are segment ids `r * 65536 + g * 256 + b`.
fn open_as(path: &Path, is_label: bool) -> Result<Box<dyn VolumeReader>, DataError> {
    match Format::of(path) {
        Format::Hdf5 { path, dataset } => open_hdf5(&path, &dataset),
        Format::Chunked { path, .. } => open_chunked(&path),
        Format::Nifti => open_nifti(path),
        Format::Npy => open_npy(path),
        Format::Raw(spec) => open_raw(&spec),
        Format::Doubles => open_doubles(path),
        Format::Tiff => open_tiff(path, is_label),
    }
}

/// Begins a volume, of which then boxes can be written.
///
/// # Errors
/// Where the file cannot be created, or the format has no room for such a volume.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    match Format::of(path) {
        Format::Hdf5 { path, dataset } if dataset == MAIN => create_hdf5(&path, info),
        Format::Hdf5 { path, dataset } => {
            let reason = format!("the dataset `{dataset}`, expected `{MAIN}` of a new file");
            Err(DataError::format(&path, "the name", reason))
        }
        Format::Chunked { path, format } => {
            Ok(Box::new(create_chunked(&path, format.unwrap_or(ChunkedFormat::Zarr3), info)?))
        }
        Format::Nifti => create_nifti(path, info),
        Format::Npy => create_npy(path, info),
        Format::Raw(spec) => {
            let [z, y, x] = info.extent.to_array();
            let wanted: &[usize] = if info.channels == 1 { &[z, y, x] } else { &[info.channels, z, y, x] };
            if spec.shape != wanted || spec.numbers != info.numbers {
                let reason = format!(
                    "{} of {:?}, but the volume is {} of {wanted:?}",
                    spec.numbers, spec.shape, info.numbers
                );
                return Err(DataError::format(&spec.path, "the given shape", reason));
            }
            create_raw(&spec.path, info)
        }
        Format::Doubles => {
            let reason = "volumes of this format are only read; expected another extension";
            Err(DataError::format(path, "the name", reason))
        }
        Format::Tiff => create_tiff(path, info),
    }
}

/// Reads an image of one channel.
///
/// # Errors
/// Names the file, and the place in it, where it is damaged or of a shape or type that is not expected.
pub fn read_image(path: &Path) -> Result<Tensor, DataError> {
    one_channel(path, open_as(path, false)?.as_mut())
}

/// Reads a label or a mask of one channel; colours of a TIFF give segment ids `r * 65536 + g * 256 + b`.
///
/// # Errors
/// As [`read_image`].
pub fn read_label(path: &Path) -> Result<Tensor, DataError> {
    one_channel(path, open_as(path, true)?.as_mut())
}

/// Reads an image of any number of channels.
///
/// # Errors
/// As [`read_image`].
pub fn read_maps(path: &Path) -> Result<Tensor, DataError> {
    whole(path, open_as(path, false)?.as_mut())
}

fn one_channel(path: &Path, reader: &mut dyn VolumeReader) -> Result<Tensor, DataError> {
    let channels = reader.info().channels;
    if channels != 1 {
        let reason = format!("{channels} channels, expected z,y,x or one channel of them");
        return Err(DataError::format(path, "the shape", reason));
    }
    whole(path, reader)
}

/// All voxels of a volume that fits into memory.
fn whole(path: &Path, reader: &mut dyn VolumeReader) -> Result<Tensor, DataError> {
    let VolumeInfo { channels, extent, .. } = *reader.info();
    let bytes = (channels as u64).saturating_mul(extent.len() as u64).saturating_mul(4);
    memory::check(bytes).map_err(|error| {
        DataError::format(path, "the shape", format!("{channels} x {extent} (channels x z,y,x): {error}"))
    })?;
    reader.read(Extent::ZERO, extent)
}

/// The volume in an HDF5 file in memory.
///
/// # Errors
/// Where it is no volume, or a number is too large to be exact.
#[doc(hidden)]
pub fn decode_hdf5(file: &Hdf5File) -> Result<Tensor, DataError> {
    whole(file.path(), formats::hdf5_in_memory(file)?.as_mut())
}

/// Writes a whole volume, with the type and the size of a voxel as `numbers` and `voxel` say.
///
/// # Errors
/// As [`create`].
pub fn write(
    path: &Path,
    volume: &Tensor,
    numbers: NumberType,
    voxel: Option<super::VoxelSize>,
) -> Result<(), DataError> {
    let (channels, extent) = (volume.channels(), volume.extent());
    let mut writer = create(path, &VolumeInfo { channels, extent, numbers, voxel, chunk: None })?;
    writer.write(Extent::ZERO, volume)?;
    writer.finish()
}

#[cfg(test)]
mod tests;
