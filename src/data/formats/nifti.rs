//! NIfTI-1 and NIfTI-2, one file (`.nii`), also compressed by gzip (`.nii.gz`).
//!
//! The axes of the file are x, y, z, t, x being contiguous; t, or where there is none the fifth axis, are channels.

use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::flat::{FlatReader, FlatWriter, Layout};
use super::spool::{Sections, Spool};
use super::{Source, VolumeInfo, VolumeReader, VolumeWriter, shape_of};
use crate::atomic_file::NewFile;
use crate::data::{ByteOrder, DataError, NumberType, VoxelSize};
use crate::machine::memory;

/// Bytes of the header of NIfTI-1, and of the numbers' offset: four bytes say that there are no extensions.
const HEADER: usize = 348;
/// The same of NIfTI-2.
const HEADER_2: usize = 540;

/// Opens a file; of a compressed one the whole volume is decompressed into memory.
///
/// # Errors
/// Where it is no NIfTI file, is truncated, or holds anything else than numbers.
pub fn open(path: &Path) -> Result<Box<dyn VolumeReader>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return decode(path, file);
    }
    let mut stream = MultiGzDecoder::new(BufReader::new(file));
    let mut bytes = Vec::new();
    stream.by_ref().take(HEADER_2 as u64).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    let layout = header(&bytes).map_err(|reason| DataError::format(path, "the header", reason))?;
    let whole = layout.end();
    memory::check(whole).map_err(|error| DataError::format(path, "the header", error.to_string()))?;
    let rest = whole.saturating_sub(bytes.len() as u64);
    stream.take(rest).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(Box::new(FlatReader::new(path, Cursor::new(bytes), layout)?))
}

/// The volume in `source`, not compressed, which errors call `path`.
///
/// # Errors
/// As [`open`].
pub fn decode<S: Source + 'static>(path: &Path, mut source: S) -> Result<Box<dyn VolumeReader>, DataError> {
    let mut bytes = Vec::new();
    source.by_ref().take(HEADER_2 as u64).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    let layout = header(&bytes).map_err(|reason| DataError::format(path, "the header", reason))?;
    Ok(Box::new(FlatReader::new(path, source, layout)?))
}

/// The fields of a header, of either version.
struct Fields<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        if self.order == ByteOrder::Big {
            array.reverse();
        }
        array
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    fn f32(&self, at: usize) -> f64 {
        f64::from(f32::from_le_bytes(self.array(at)))
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.array(at))
    }
}

/// Where the numbers are, by the first bytes of a file.
fn header(bytes: &[u8]) -> Result<Layout, String> {
    let size = bytes.first_chunk::<4>().ok_or("shorter than any NIfTI file")?;
    let (order, is_second) = match (i32::from_le_bytes(*size), i32::from_be_bytes(*size)) {
        (348, _) => (ByteOrder::Little, false),
        (_, 348) => (ByteOrder::Big, false),
        (540, _) => (ByteOrder::Little, true),
        (_, 540) => (ByteOrder::Big, true),
        _ => return Err("this is not a NIfTI file".to_owned()),
    };
    if bytes.len() < if is_second { HEADER_2 } else { HEADER } {
        return Err("it is truncated".to_owned());
    }
    let magic = if is_second { &bytes[4..7] } else { &bytes[344..347] };
    if magic != (if is_second { b"n+2" } else { b"n+1" }) {
        return Err("the numbers are in another file (.img), expected one file (.nii)".to_owned());
    }
    let fields = Fields { bytes, order };
    let axis = |i: usize| if is_second { fields.i64(16 + 8 * i) } else { i64::from(fields.i16(40 + 2 * i)) };
    let rank = axis(0);
    if !(2..=7).contains(&rank) {
        return Err(format!("{rank} axes, expected 2 to 7"));
    }
    let mut shape = Vec::new();
    for i in (1..=rank as usize).rev() {
        let found = axis(i);
        shape.push(usize::try_from(found).map_err(|_| format!("axis {i} has {found} voxels"))?);
    }
    // Vectors are the fifth axis, behind a time of one step.
    while shape.len() > 4 {
        let one = shape.iter().take(shape.len() - 3).position(|&axis| axis == 1);
        let all = shape.clone();
        shape.remove(one.ok_or_else(|| format!("the shape {all:?}, expected channels,z,y,x"))?);
    }
    let (channels, extent) = shape_of(&shape)?;
    let code = if is_second { fields.i16(12) } else { fields.i16(70) };
    let numbers = number_type(code).ok_or_else(|| format!("values of type {code}, expected numbers"))?;
    let size = |i: usize| if is_second { fields.f64(104 + 8 * i) } else { fields.f32(76 + 4 * i) };
    let units = if is_second { fields.i32(500) } else { i32::from(bytes[123]) };
    let unit = match units & 7 {
        1 => "m",
        2 => "mm",
        3 => "um",
        _ => "",
    };
    let z = if rank == 2 { 1.0 } else { size(3).abs() };
    let voxel = VoxelSize::new([z, size(2).abs(), size(1).abs()], unit);
    let offset = if is_second { fields.i64(168) as f64 } else { fields.f32(108) };
    let (slope, intercept) =
        if is_second { (fields.f64(176), fields.f64(184)) } else { (fields.f32(112), fields.f32(116)) };
    if offset.is_nan() || !(0.0..1e15).contains(&offset) {
        return Err(format!("the numbers begin at byte {offset}"));
    }
    let is_scaled =
        slope != 0.0 && slope.is_finite() && intercept.is_finite() && (slope, intercept) != (1.0, 0.0);
    let info = VolumeInfo { channels, extent, numbers, voxel, chunk: None };
    let scale = is_scaled.then_some((slope as f32, intercept as f32));
    Ok(Layout { order, scale, ..Layout::plain(info, offset as u64) })
}

fn number_type(code: i16) -> Option<NumberType> {
    NumberType::ALL.into_iter().find(|&number| code_of(number) == code)
}

const fn code_of(numbers: NumberType) -> i16 {
    match numbers {
        NumberType::U8 => 2,
        NumberType::I16 => 4,
        NumberType::I32 => 8,
        NumberType::F32 => 16,
        NumberType::F64 => 64,
        NumberType::I8 => 256,
        NumberType::U16 => 512,
        NumberType::U32 => 768,
        NumberType::I64 => 1024,
        NumberType::U64 => 1280,
    }
}

/// Begins a file, compressed if its name ends in `.gz`; NIfTI-2, where an axis is too long for NIfTI-1.
///
/// # Errors
/// Where the file system fails.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    let header = header_of(info);
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(Box::new(FlatWriter::create(path, &header, info.clone())?));
    }
    let new = NewFile::create(path).map_err(DataError::io("create", path))?;
    let file = new.file().try_clone().map_err(DataError::io("create", path))?;
    let mut stream = GzEncoder::new(BufWriter::new(file), Compression::fast());
    stream.write_all(&header).map_err(DataError::io("write", path))?;
    let sections = Gzip { path: path.to_owned(), new, stream, numbers: info.numbers };
    Ok(Box::new(Spool::new(path, sections, info)))
}

struct Gzip {
    path: PathBuf,
    new: NewFile,
    stream: GzEncoder<BufWriter<File>>,
    numbers: NumberType,
}

impl Sections for Gzip {
    fn section(&mut self, voxels: &[f32]) -> Result<(), DataError> {
        self.stream.write_all(&self.numbers.encode(voxels)).map_err(DataError::io("write", &self.path))
    }

    fn finish(self) -> Result<(), DataError> {
        let write = |result: std::io::Result<()>| result.map_err(DataError::io("write", &self.path));
        write(self.stream.finish().and_then(|mut file| file.flush()))?;
        write(self.new.commit())
    }
}

/// The header of a new file, with the four bytes that say that there are no extensions.
fn header_of(info: &VolumeInfo) -> Vec<u8> {
    let Extent3 { x, y, z } = Extent3::of(info);
    let rank = if info.channels == 1 { 3 } else { 4 };
    let axes = [rank, x, y, z, info.channels as i64, 1, 1, 1];
    // Nanometres are not known to the format.
    let voxel = info.voxel.as_ref().map(|voxel| match voxel.unit.as_str() {
        "m" | "mm" | "um" => voxel.clone(),
        _ => voxel.in_unit("um"),
    });
    let size = voxel.as_ref().map_or([1.0; 3], |voxel| voxel.size);
    let sizes = [1.0, size[2], size[1], size[0], 1.0, 1.0, 1.0, 1.0];
    let units = match voxel.as_ref().map(|voxel| voxel.unit.as_str()) {
        Some("m") => 1,
        Some("mm") => 2,
        Some("um") => 3,
        _ => 0,
    };
    let bits = 8 * info.numbers.bytes() as i16;
    let is_second = axes.iter().any(|&axis| i16::try_from(axis).is_err());
    let mut bytes = vec![0; if is_second { HEADER_2 } else { HEADER } + 4];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    if is_second {
        put(0, &(HEADER_2 as i32).to_le_bytes());
        put(4, b"n+2\0\r\n\x1a\n");
        put(12, &code_of(info.numbers).to_le_bytes());
        put(14, &bits.to_le_bytes());
        for i in 0..8 {
            put(16 + 8 * i, &axes[i].to_le_bytes());
            put(104 + 8 * i, &sizes[i].to_le_bytes());
        }
        put(168, &(HEADER_2 as i64 + 4).to_le_bytes());
        put(176, &1f64.to_le_bytes());
        put(500, &units_of(units));
    } else {
        put(0, &(HEADER as i32).to_le_bytes());
        for i in 0..8 {
            put(40 + 2 * i, &(axes[i] as i16).to_le_bytes());
            put(76 + 4 * i, &(sizes[i] as f32).to_le_bytes());
        }
        put(70, &code_of(info.numbers).to_le_bytes());
        put(72, &bits.to_le_bytes());
        put(108, &(HEADER as f32 + 4.0).to_le_bytes());
        put(112, &1f32.to_le_bytes());
        put(123, &[units]);
        put(344, b"n+1\0");
    }
    bytes
}

fn units_of(units: u8) -> [u8; 4] {
    i32::from(units).to_le_bytes()
}

/// Voxels as the header has them.
struct Extent3 {
    x: i64,
    y: i64,
    z: i64,
}

impl Extent3 {
    fn of(info: &VolumeInfo) -> Self {
        let [z, y, x] = info.extent.to_array().map(|axis| axis as i64);
        Self { x, y, z }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Extent, Tensor};

    #[test]
    fn volumes_round_trip_with_their_voxel_size() {
        let folder = tempfile::tempdir().unwrap();
        for (name, extent) in [
            ("a.nii", Extent::new(3, 4, 5)),
            ("a.nii.gz", Extent::new(3, 4, 5)),
            ("long.nii", Extent::new(1, 2, 40_000)),
        ] {
            for channels in [1, 2] {
                let path = folder.path().join(name);
                let info = VolumeInfo {
                    channels,
                    extent,
                    numbers: NumberType::I16,
                    voxel: VoxelSize::new([30.0, 4.0, 4.0], "nm"),
                    chunk: None,
                };
                let volume = Tensor::from_fn(channels, extent, |i| (i % 300) as f32 - 100.0);
                let mut writer = create(&path, &info).unwrap();
                // Out of order: both halves along x.
                let half = Extent { x: extent.x / 2, ..extent };
                let rest = Extent { x: extent.x - half.x, ..extent };
                let middle = Extent::new(0, 0, half.x);
                writer.write(middle, &volume.crop(middle, rest)).unwrap();
                writer.write(Extent::ZERO, &volume.crop(Extent::ZERO, half)).unwrap();
                writer.finish().unwrap();
                let mut reader = open(&path).unwrap();
                assert_eq!(reader.read(Extent::ZERO, extent).unwrap(), volume, "{name} {channels}");
                let found = reader.info().voxel.clone().unwrap();
                assert_eq!(found.unit, "um");
                assert!((found.size[0] - 0.03).abs() < 1e-8 && (found.size[2] - 0.004).abs() < 1e-8);
            }
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 3, "no temporary file is left");
    }

    #[test]
    fn values_are_scaled_and_damage_is_named() {
        let info = VolumeInfo {
            channels: 1,
            extent: Extent::new(1, 1, 2),
            numbers: NumberType::U8,
            voxel: None,
            chunk: None,
        };
        let good = {
            let mut bytes = header_of(&info);
            bytes.extend([3, 4]);
            bytes
        };
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            decode(Path::new("a.nii"), Cursor::new(bytes))
        };
        let mut scaled = changed(&|bytes| {
            bytes[112..116].copy_from_slice(&2f32.to_le_bytes());
            bytes[116..120].copy_from_slice(&1f32.to_le_bytes());
        })
        .unwrap();
        assert_eq!(scaled.read(Extent::ZERO, info.extent).unwrap().data(), [7.0, 9.0]);
        let error = |change: &dyn Fn(&mut Vec<u8>)| changed(change).err().unwrap().to_string();
        assert_eq!(error(&|bytes| bytes.truncate(3)), "a.nii, the header: shorter than any NIfTI file");
        assert_eq!(error(&|bytes| bytes[0] = 0), "a.nii, the header: this is not a NIfTI file");
        assert_eq!(error(&|bytes| bytes.truncate(300)), "a.nii, the header: it is truncated");
        assert!(error(&|bytes| bytes.truncate(353)).contains("the data: 353 bytes, expected 354"));
        assert!(error(&|bytes| bytes[70] = 32).contains("values of type 32, expected numbers"));
        assert!(error(&|bytes| bytes[40] = 9).contains("9 axes, expected 2 to 7"));
        assert!(error(&|bytes| bytes[43] = 0xff).contains("axis 1 has -254 voxels"));
        assert!(error(&|bytes| bytes[46] = 0).contains("expected at least one voxel"));
        assert!(error(&|bytes| bytes[108..112].fill(0xff)).contains("the numbers begin at byte NaN"));
    }
}
