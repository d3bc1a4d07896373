//! HDF5: the dataset `/main`, or the one behind the name of the file in `volume.h5:/path/of/dataset`.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::chunked::array::{Array, Key, Place};
use super::chunked::reader::Reader as ChunkReader;
use super::codec::Codec;
use super::flat::{FlatReader, Layout};
use super::{VolumeInfo, VolumeReader, VolumeWriter, check_box, shape_of};
use crate::data::{DataError, NumberType, VoxelSize};
use crate::hdf5::{self, AttrValue, FileBuilder, Hdf5File, Storage};
use crate::machine::memory;
use crate::volume::{Extent, Tensor};

/// The dataset of a volume.
pub const MAIN: &str = "main";

/// Opens a dataset. Boxes are read from the disk where it is stored as it is or in chunks compressed by deflate; else it is
/// read as a whole.
///
/// # Errors
/// Where it is no HDF5 file, or the dataset no volume of numbers.
pub fn open(path: &Path, dataset: &str) -> Result<Box<dyn VolumeReader>, DataError> {
    let file = Hdf5File::open_on_disk(path)?;
    reader(&file, dataset, true)
}

/// The volume in a file; `is_on_disk` says that it is at its path.
pub(crate) fn reader(
    file: &Hdf5File,
    dataset: &str,
    is_on_disk: bool,
) -> Result<Box<dyn VolumeReader>, DataError> {
    let shape = file.shape(dataset)?;
    let (channels, extent) = shape_of(&shape).map_err(|reason| file.error(dataset, reason))?;
    let (numbers, order) = file.number_type(dataset)?;
    let info = VolumeInfo { channels, extent, numbers, voxel: voxel(file, dataset), chunk: None };
    let path = file.path();
    if is_on_disk {
        match file.storage(dataset)? {
            Storage::Contiguous(offset) => {
                let source = File::open(path).map_err(DataError::io("open", path))?;
                let layout = Layout { order, ..Layout::plain(info, offset) };
                return Ok(Box::new(FlatReader::new(path, source, layout)?));
            }
            Storage::Chunked { chunk, filters, chunks } => {
                let codec = |filter: &u16| match filter {
                    1 => Some(Codec::Zlib),
                    2 => Some(Codec::Shuffle(numbers.bytes())),
                    3 => Some(Codec::Fletcher32),
                    _ => None,
                };
                if let Some(codecs) = filters.iter().map(codec).collect::<Option<Vec<Codec>>>() {
                    let (size, grid) =
                        Array::axes(&shape, &chunk, numbers).map_err(|reason| file.error(dataset, reason))?;
                    let mut table = HashMap::new();
                    for stored in chunks {
                        let mut at = [0; 4];
                        for (axis, &first) in stored.first.iter().rev().take(4).enumerate() {
                            at[3 - axis] = first as usize / grid[3 - axis];
                        }
                        let place =
                            Place { offset: stored.offset, bytes: stored.bytes, left_out: stored.left_out };
                        table.insert(at, place);
                    }
                    let array = Array {
                        folder: path.to_owned(),
                        rank: shape.len(),
                        size,
                        chunk: grid,
                        numbers,
                        order,
                        is_fortran: false,
                        fill: 0.0,
                        codecs,
                        key: Key::OneFile,
                        shards: None,
                        table,
                    };
                    return Ok(Box::new(ChunkReader::new(array, info.voxel)));
                }
            }
            Storage::Other => {}
        }
    }
    let bytes = (channels as u64).saturating_mul(extent.len() as u64).saturating_mul(3 * 8);
    memory::check(bytes).map_err(|error| file.error(dataset, error))?;
    let (_, values) = file.numbers::<f64>(dataset)?;
    let is_integer = !matches!(numbers, NumberType::F32 | NumberType::F64);
    // Segment ids beyond this one would fall together.
    let most = crate::volume::number_type::EXACT;
    if let Some(value) = values.iter().find(|value| is_integer && value.abs() > most) {
        let reason = format!("the value {value} is too large, expected at most {most}");
        return Err(file.error(dataset, reason).into());
    }
    Ok(Box::new(Whole { volume: Tensor::from_fn(channels, extent, |i| values[i] as f32), info }))
}

/// CREMI and funlib say `resolution` in their order of axes, ilastik and Fiji `element_size_um`.
fn voxel(file: &Hdf5File, dataset: &str) -> Option<VoxelSize> {
    let size = |name: &str| file.float_attribute(dataset, name)?.last_chunk::<3>().copied();
    if let Some(size) = size("element_size_um") {
        return VoxelSize::new(size, "um");
    }
    let unit = file.text_attribute(dataset, "units").or_else(|| file.text_attribute(dataset, "unit"));
    VoxelSize::new(size("resolution")?, &unit.unwrap_or_default())
}

/// A volume that was read as a whole.
struct Whole {
    volume: Tensor,
    info: VolumeInfo,
}

impl VolumeReader for Whole {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        Ok(self.volume.crop(origin, extent))
    }
}

/// Begins a file with the dataset `/main`, `[channel, z, y, x]`, compressed. It is made in memory.
///
/// # Errors
/// Where the machine has not the memory.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    let bytes = (info.channels as u64).saturating_mul(info.extent.len() as u64);
    memory::check(bytes.saturating_mul(4 + info.numbers.bytes() as u64)).map_err(|error| {
        let reason = format!("an HDF5 file is made in memory: {error}; Zarr and N5 are not");
        DataError::format(path, "/main", reason)
    })?;
    let volume = Tensor::zeros(info.channels, info.extent);
    Ok(Box::new(Writer { path: path.to_owned(), volume, info: info.clone() }))
}

struct Writer {
    path: PathBuf,
    volume: Tensor,
    info: VolumeInfo,
}

impl VolumeWriter for Writer {
    fn write(&mut self, origin: Extent, part: &Tensor) -> Result<(), DataError> {
        check_box(origin, part.extent(), self.info.extent);
        self.volume.paste(part, origin);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), DataError> {
        /// Voxels of a chunk along z, y and x: a few hundred kilobytes, as it is read at once.
        const CHUNK: Extent = Extent::new(8, 128, 128);
        let values = self.volume.data();
        let mut file = FileBuilder::new();
        let dataset = file.create_dataset(MAIN);
        macro_rules! data {
            ($type:ty) => {
                dataset.with_data(&values.iter().map(|value| value.round() as $type).collect::<Vec<_>>())
            };
        }
        use NumberType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        match self.info.numbers {
            U8 => data!(u8),
            U16 => data!(u16),
            U32 => data!(u32),
            U64 => data!(u64),
            I8 => data!(i8),
            I16 => data!(i16),
            I32 => data!(i32),
            I64 => data!(i64),
            F32 => dataset.with_data(values),
            F64 => dataset.with_data(&values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()),
        };
        let extent = self.info.extent;
        let shape = |channels: usize, extent: Extent| {
            let [z, y, x] = extent.to_array();
            [channels, z, y, x].map(|axis| axis as u64)
        };
        let chunk = self.info.chunk.unwrap_or(CHUNK).min(extent);
        dataset.with_shape(&shape(self.info.channels, extent)).with_chunks(&shape(1, chunk)).with_deflate(4);
        if let Some(voxel) = &self.info.voxel {
            dataset.set_attr("resolution", AttrValue::F64Array(voxel.size.to_vec()));
            dataset.set_attr("units", AttrValue::String(voxel.unit.clone()));
        }
        Ok(hdf5::write(&self.path, file)?)
    }
}
