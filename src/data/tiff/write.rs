//! Writing.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use tiff::encoder::colortype::{
    ColorType, Gray8, Gray16, Gray32, Gray32Float, Gray64, Gray64Float, GrayI8, GrayI16, GrayI32, GrayI64,
};
use tiff::encoder::compression::DeflateLevel;
use tiff::encoder::{Compression, Rational, TiffEncoder, TiffKind, TiffKindBig, TiffValue};
use tiff::tags::{ResolutionUnit, Tag};
use tiff::{TiffError, TiffResult};

use crate::atomic_file::NewFile;
use crate::data::{DataError, NumberType, VoxelSize};
use crate::volume::{Extent, Tensor};

/// The fastest level: what is written is mostly floats, of which higher ones make little less.
const COMPRESSION: Compression = Compression::Deflate(DeflateLevel::Fast);

/// Writes the sections of a volume one after the other. The file appears under its name with
/// [`finish`](Self::finish), complete or not at all; it is BigTIFF where classic TIFF (4 GiB) is too small. Sections are
/// compressed by deflate.
pub struct Writer {
    path: PathBuf,
    new: NewFile,
    encoder: Encoder,
    extent: Extent,
    written: usize,
    numbers: NumberType,
    voxel: Option<VoxelSize>,
}

/// The encoder does not give its writer back.
enum Encoder {
    Classic(TiffEncoder<File>),
    Big(TiffEncoder<File, TiffKindBig>),
}

impl Writer {
    /// Starts a file of `extent.z` sections of `extent.y` rows and `extent.x` columns.
    ///
    /// # Errors
    /// When the file cannot be created or the extent is empty or too large for TIFF.
    pub fn create(path: &Path, extent: Extent, numbers: NumberType) -> Result<Self, DataError> {
        Self::create_as(path, extent, numbers, needs_big_tiff(extent, numbers))
    }

    fn create_as(path: &Path, extent: Extent, numbers: NumberType, big: bool) -> Result<Self, DataError> {
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
        let new = NewFile::create(path).map_err(DataError::io("create", path))?;
        let file = new.file().try_clone().map_err(DataError::io("create", path))?;
        let encoder = if big {
            TiffEncoder::new_big(file).map(|it| Encoder::Big(it.with_compression(COMPRESSION)))
        } else {
            TiffEncoder::new(file).map(|it| Encoder::Classic(it.with_compression(COMPRESSION)))
        };
        let encoder = encoder.map_err(|e| write_error(path, &e))?;
        Ok(Self { path: path.to_owned(), new, encoder, extent, written: 0, numbers, voxel: None })
    }

    /// Says how large a voxel is, in the description of the pages as ImageJ writes and reads it.
    #[must_use]
    pub fn with_voxel_size(self, voxel: Option<VoxelSize>) -> Self {
        Self { voxel, ..self }
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
        let page = Page {
            size: (self.extent.x as u32, self.extent.y as u32),
            // Readers take the description of the first page.
            voxel: self.voxel.as_ref().filter(|_| self.written == 0),
            sections: self.extent.z,
        };
        let result = match &mut self.encoder {
            Encoder::Classic(encoder) => encode(encoder, &page, voxels, self.numbers),
            Encoder::Big(encoder) => encode(encoder, &page, voxels, self.numbers),
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
        self.new.commit().map_err(DataError::io("write", &self.path))
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
pub fn write(path: &Path, volume: &Tensor, numbers: NumberType) -> Result<(), DataError> {
    if volume.channels() != 1 {
        return Err(DataError::WriteTiff {
            path: path.to_owned(),
            reason: format!("the volume has {} channels, expected 1", volume.channels()),
        });
    }
    let extent = volume.extent();
    let mut writer = Writer::create(path, extent, numbers)?;
    for section in volume.data().chunks_exact(extent.y * extent.x) {
        writer.write_section(section)?;
    }
    writer.finish()
}

/// Whether an offset could exceed 32 bits.
fn needs_big_tiff(extent: Extent, numbers: NumberType) -> bool {
    // Tags take some hundred bytes and each strip of about a megabyte two offsets of four bytes.
    let page = extent.y as u128 * extent.x as u128 * numbers.bytes() as u128;
    let overhead = 1024 + page / 1000;
    (page + overhead) * extent.z as u128 > u128::from(u32::MAX)
}

/// What a page needs besides its voxels.
struct Page<'a> {
    /// Columns and rows.
    size: (u32, u32),
    voxel: Option<&'a VoxelSize>,
    sections: usize,
}

fn encode<W: Write + Seek, K: TiffKind>(
    encoder: &mut TiffEncoder<W, K>,
    page: &Page<'_>,
    voxels: &[f32],
    numbers: NumberType,
) -> TiffResult<()> {
    macro_rules! page {
        ($color:ty, $convert:expr) => {{
            let values: Vec<_> = voxels.iter().map($convert).collect();
            write_page::<_, _, $color>(encoder, page, &values)
        }};
    }
    match numbers {
        NumberType::U8 => page!(Gray8, |v| v.round() as u8),
        NumberType::U16 => page!(Gray16, |v| v.round() as u16),
        NumberType::U32 => page!(Gray32, |v| v.round() as u32),
        NumberType::U64 => page!(Gray64, |v| v.round() as u64),
        NumberType::I8 => page!(GrayI8, |v| v.round() as i8),
        NumberType::I16 => page!(GrayI16, |v| v.round() as i16),
        NumberType::I32 => page!(GrayI32, |v| v.round() as i32),
        NumberType::I64 => page!(GrayI64, |v| v.round() as i64),
        NumberType::F32 => write_page::<_, _, Gray32Float>(encoder, page, voxels),
        NumberType::F64 => page!(Gray64Float, |&v| f64::from(v)),
    }
}

fn write_page<W: Write + Seek, K: TiffKind, C: ColorType>(
    encoder: &mut TiffEncoder<W, K>,
    page: &Page<'_>,
    values: &[C::Inner],
) -> TiffResult<()>
where
    [C::Inner]: TiffValue,
{
    let (width, height) = page.size;
    let mut image = encoder.new_image::<C>(width, height)?;
    if let Some(voxel) = page.voxel {
        let [z, y, x] = voxel.size;
        let unit = if voxel.unit.is_empty() { "pixel" } else { &voxel.unit };
        let description =
            format!("ImageJ=1.54\nimages={0}\nslices={0}\nunit={unit}\nspacing={z}\n", page.sections);
        image.encoder().write_tag(Tag::ImageDescription, &*description)?;
        image.resolution_unit(ResolutionUnit::None);
        image.x_resolution(per_unit(x));
        image.y_resolution(per_unit(y));
    }
    image.write_data(values)
}

/// Voxels per unit as a fraction, as exact as 32 bits allow.
fn per_unit(size: f64) -> Rational {
    const MOST: f64 = u32::MAX as f64;
    // The larger of both numbers uses all digits.
    let scale = if size > 1.0 { (MOST / size).min(1e6) } else { (MOST * size).min(1e6) / size };
    Rational { n: scale.round().max(1.0) as u32, d: (scale * size).round().clamp(1.0, MOST) as u32 }
}

fn write_error(path: &Path, error: &TiffError) -> DataError {
    DataError::WriteTiff { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::ByteOrder;
    use crate::data::tiff::{Stack, read};

    fn volume() -> Tensor {
        Tensor::from_fn(1, Extent::new(3, 5, 7), |i| (i * 37 % 300) as f32 - 20.25)
    }

    #[test]
    fn a_volume_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.tif");
        for big in [false, true] {
            for numbers in NumberType::ALL {
                let volume = volume();
                let voxel = VoxelSize::new([30.0, 4.25, 0.125], "nm");
                let mut writer = Writer::create_as(&path, volume.extent(), numbers, big).unwrap();
                writer = writer.with_voxel_size(voxel.clone());
                volume.data().chunks(35).for_each(|section| writer.write_section(section).unwrap());
                writer.finish().unwrap();
                let magic = if big { 43 } else { 42 };
                assert_eq!(fs::read(&path).unwrap()[2], magic);
                let mut expected = Vec::new();
                numbers.decode(&numbers.encode(volume.data()), ByteOrder::Little, &mut expected).unwrap();
                assert_eq!(read(&path).unwrap().data(), expected, "{numbers} {big}");
                let stack = Stack::open(&path, false).unwrap();
                assert_eq!((stack.numbers(), stack.voxel_size()), (numbers, voxel.as_ref()));
            }
        }
    }

    #[test]
    fn pages_of_several_strips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.tif");
        let volume = Tensor::from_fn(1, Extent::new(2, 700, 900), |i| (i % 10_007) as f32);
        write(&path, &volume, NumberType::F32).unwrap();
        assert_eq!(read(&path).unwrap(), volume);
    }

    #[test]
    fn big_tiff_where_offsets_need_it() {
        assert!(!needs_big_tiff(Extent::new(1000, 1000, 1000), NumberType::F32));
        assert!(needs_big_tiff(Extent::new(1100, 1000, 1000), NumberType::F32));
        assert!(!needs_big_tiff(Extent::new(1100, 1000, 1000), NumberType::U8));
        assert!(needs_big_tiff(Extent::new(5_000_000, 1, 1), NumberType::U8), "tags count too");
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.tif");
        write(&path, &volume(), NumberType::F32).unwrap();
        let mut writer = Writer::create(&path, Extent::new(2, 4, 4), NumberType::U8).unwrap();
        writer.write_section(&[0.0; 16]).unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("1 sections for a volume of 2"));
        assert_eq!(read(&path).unwrap(), volume());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("volume.tif");
        let text = write(&path, &volume(), NumberType::U8).unwrap_err().to_string();
        assert!(text.starts_with("cannot create") && text.contains("missing"), "{text}");
        let path = folder.path().join("volume.tif");
        for bad in [Tensor::zeros(2, Extent::ONE), Tensor::zeros(1, Extent::new(1, 0, 3))] {
            assert!(write(&path, &bad, NumberType::U8).unwrap_err().to_string().contains("volume.tif"));
        }
        let mut writer = Writer::create(&path, Extent::ONE, NumberType::U8).unwrap();
        writer.write_section(&[0.0]).unwrap();
        assert!(writer.write_section(&[0.0]).is_err());
    }
}
