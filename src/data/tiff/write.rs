//! Writing.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tiff::encoder::colortype::{Gray8, Gray16, Gray32Float};
use tiff::encoder::{TiffEncoder, TiffKind, TiffKindBig};
use tiff::{TiffError, TiffResult};

use super::SampleType;
use crate::data::DataError;
use crate::volume::{Extent, Tensor};

/// Writes the sections of a volume one after the other. The file appears under its name with
/// [`finish`](Self::finish), complete or not at all; it is BigTIFF where classic TIFF (4 GiB) is too small.
pub struct Writer {
    path: PathBuf,
    partial: PartialFile,
    /// Also held by the encoder, which does not give its writer back.
    file: Arc<File>,
    encoder: Encoder,
    extent: Extent,
    written: usize,
    sample: SampleType,
}

enum Encoder {
    Classic(TiffEncoder<Arc<File>>),
    Big(TiffEncoder<Arc<File>, TiffKindBig>),
}

/// A file that is removed unless it was renamed.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After the rename there is nothing to remove; otherwise the first error is what the caller hears of.
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Starts a file of `extent.z` sections of `extent.y` rows and `extent.x` columns.
    ///
    /// # Errors
    /// When the file cannot be created or the extent is empty or too large for TIFF.
    pub fn create(path: &Path, extent: Extent, sample: SampleType) -> Result<Self, DataError> {
        Self::create_as(path, extent, sample, needs_big_tiff(extent, sample))
    }

    fn create_as(path: &Path, extent: Extent, sample: SampleType, big: bool) -> Result<Self, DataError> {
        if extent.is_empty() || u32::try_from(extent.x).is_err() || u32::try_from(extent.y).is_err() {
            return Err(DataError::WriteTiff {
                path: path.to_owned(),
                reason: format!("the volume has the extent {extent}, expected 1 to 2^32 - 1 per axis"),
            });
        }
        // A rename at the end would fail.
        if path.is_dir() {
            return Err(DataError::WriteTiff {
                path: path.to_owned(),
                reason: "it is a folder, expected the name of a file".to_owned(),
            });
        }
        let partial = PartialFile(partial_path(path));
        let file = File::create(&partial.0).map_err(DataError::io("create", path))?;
        let file = Arc::new(file);
        let encoder = if big {
            TiffEncoder::new_big(file.clone()).map(Encoder::Big)
        } else {
            TiffEncoder::new(file.clone()).map(Encoder::Classic)
        };
        let encoder = encoder.map_err(|e| write_error(path, &e))?;
        Ok(Self { path: path.to_owned(), partial, file, encoder, extent, written: 0, sample })
    }

    /// Writes the next section, `[y][x]`.
    ///
    /// # Errors
    /// When the disk refuses, or all sections have been written. Panics when `voxels` is not one section.
    pub fn write_section(&mut self, voxels: &[f32]) -> Result<(), DataError> {
        assert_eq!(voxels.len(), self.extent.y * self.extent.x, "a section of {}", self.extent);
        if self.written == self.extent.z {
            return Err(self.miscounted(self.written + 1));
        }
        let size = (self.extent.x as u32, self.extent.y as u32);
        let result = match &mut self.encoder {
            Encoder::Classic(encoder) => encode(encoder, size, voxels, self.sample),
            Encoder::Big(encoder) => encode(encoder, size, voxels, self.sample),
        };
        result.map_err(|e| write_error(&self.path, &e))?;
        self.written += 1;
        Ok(())
    }

    /// Forces the file to disk and gives it its name.
    ///
    /// # Errors
    /// When the disk refuses, or sections are missing; then a file of that name is as it was before.
    pub fn finish(self) -> Result<(), DataError> {
        if self.written != self.extent.z {
            return Err(self.miscounted(self.written));
        }
        self.file.sync_all().map_err(DataError::io("write", &self.partial.0))?;
        fs::rename(&self.partial.0, &self.path).map_err(DataError::io("rename to", &self.path))
    }

    fn miscounted(&self, sections: usize) -> DataError {
        DataError::WriteTiff {
            path: self.path.clone(),
            reason: format!("{sections} sections for a volume of {}", self.extent.z),
        }
    }
}

/// Writes a volume of one channel.
///
/// # Errors
/// As [`Writer`], and when `volume` has several channels.
pub fn write(path: &Path, volume: &Tensor, sample: SampleType) -> Result<(), DataError> {
    if volume.channels() != 1 {
        return Err(DataError::WriteTiff {
            path: path.to_owned(),
            reason: format!("the volume has {} channels, expected 1", volume.channels()),
        });
    }
    let extent = volume.extent();
    let mut writer = Writer::create(path, extent, sample)?;
    for section in volume.data().chunks_exact(extent.y * extent.x) {
        writer.write_section(section)?;
    }
    writer.finish()
}

/// Beside the file, since a rename is atomic only within a file system.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

/// Whether an offset could exceed 32 bits.
fn needs_big_tiff(extent: Extent, sample: SampleType) -> bool {
    // Tags take some hundred bytes and each strip of about a megabyte two offsets of four bytes.
    let page = extent.y as u128 * extent.x as u128 * sample.bytes() as u128;
    let overhead = 1024 + page / 1000;
    (page + overhead) * extent.z as u128 > u128::from(u32::MAX)
}

fn encode<W: Write + Seek, K: TiffKind>(
    encoder: &mut TiffEncoder<W, K>,
    (width, height): (u32, u32),
    voxels: &[f32],
    sample: SampleType,
) -> TiffResult<()> {
    match sample {
        SampleType::U8 => {
            let values: Vec<u8> = voxels.iter().map(|v| v.round() as u8).collect();
            encoder.write_image::<Gray8>(width, height, &values)
        }
        SampleType::U16 => {
            let values: Vec<u16> = voxels.iter().map(|v| v.round() as u16).collect();
            encoder.write_image::<Gray16>(width, height, &values)
        }
        SampleType::F32 => encoder.write_image::<Gray32Float>(width, height, voxels),
    }
}

fn write_error(path: &Path, error: &TiffError) -> DataError {
    DataError::WriteTiff { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tiff::read;

    fn volume() -> Tensor {
        Tensor::from_fn(1, Extent::new(3, 5, 7), |i| (i * 37 % 300) as f32 - 20.25)
    }

    #[test]
    fn a_volume_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.tif");
        for big in [false, true] {
            for sample in [SampleType::U8, SampleType::U16, SampleType::F32] {
                let volume = volume();
                let mut writer = Writer::create_as(&path, volume.extent(), sample, big).unwrap();
                volume.data().chunks(35).for_each(|section| writer.write_section(section).unwrap());
                writer.finish().unwrap();
                let magic = if big { 43 } else { 42 };
                assert_eq!(fs::read(&path).unwrap()[2], magic);
                let expected = Tensor::from_fn(1, volume.extent(), |i| {
                    let v = volume.data()[i];
                    match sample {
                        SampleType::U8 => v.round().clamp(0.0, 255.0),
                        SampleType::U16 => v.round().clamp(0.0, 65535.0),
                        SampleType::F32 => v,
                    }
                });
                assert_eq!(read(&path).unwrap(), expected, "{sample:?} {big}");
            }
        }
    }

    #[test]
    fn pages_of_several_strips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.tif");
        let volume = Tensor::from_fn(1, Extent::new(2, 700, 900), |i| (i % 10_007) as f32);
        write(&path, &volume, SampleType::F32).unwrap();
        assert_eq!(read(&path).unwrap(), volume);
    }

    #[test]
    fn big_tiff_where_offsets_need_it() {
        assert!(!needs_big_tiff(Extent::new(1000, 1000, 1000), SampleType::F32));
        assert!(needs_big_tiff(Extent::new(1100, 1000, 1000), SampleType::F32));
        assert!(!needs_big_tiff(Extent::new(1100, 1000, 1000), SampleType::U8));
        assert!(needs_big_tiff(Extent::new(5_000_000, 1, 1), SampleType::U8), "tags count too");
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.tif");
        write(&path, &volume(), SampleType::F32).unwrap();
        let mut writer = Writer::create(&path, Extent::new(2, 4, 4), SampleType::U8).unwrap();
        writer.write_section(&[0.0; 16]).unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("1 sections for a volume of 2"));
        assert_eq!(read(&path).unwrap(), volume());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("volume.tif");
        let text = write(&path, &volume(), SampleType::U8).unwrap_err().to_string();
        assert!(text.starts_with("cannot create") && text.contains("missing"), "{text}");
        let path = folder.path().join("volume.tif");
        for bad in [Tensor::zeros(2, Extent::ONE), Tensor::zeros(1, Extent::new(1, 0, 3))] {
            assert!(write(&path, &bad, SampleType::U8).unwrap_err().to_string().contains("volume.tif"));
        }
        let mut writer = Writer::create(&path, Extent::ONE, SampleType::U8).unwrap();
        writer.write_section(&[0.0]).unwrap();
        assert!(writer.write_section(&[0.0]).is_err());
    }
}
