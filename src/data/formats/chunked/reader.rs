//! Reading boxes of an array.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::codec::Codec;
use super::super::{VolumeInfo, VolumeReader, check_box};
use super::array::{Array, Axes, Key, Shards, chunks_of, copy_box};
use super::n5;
use crate::data::{DataError, VoxelSize};
use crate::volume::{Extent, Tensor};

pub(in super::super) struct Reader {
    array: Array,
    info: VolumeInfo,
    /// The table of the shard that was read last.
    table: Option<(PathBuf, Vec<u64>)>,
}

/// The numbers of a chunk, and its axes: at the border of an array they may be fewer than those of a chunk.
struct Chunk {
    axes: Axes,
    values: Vec<f32>,
}

impl Reader {
    pub fn new(array: Array, voxel: Option<VoxelSize>) -> Self {
        let [_, z, y, x] = array.chunk;
        let info = VolumeInfo {
            channels: array.size[0],
            extent: array.extent(),
            numbers: array.numbers,
            voxel,
            chunk: Some(Extent::new(z, y, x)),
        };
        Self { array, info, table: None }
    }

    /// A chunk; `None` where there is none on the disk.
    fn chunk(&mut self, at: Axes) -> Result<Option<Chunk>, DataError> {
        let (path, bytes, left_out) = match self.array.shards {
            None if self.array.key == Key::OneFile => {
                let Some(place) = self.array.table.get(&at) else { return Ok(None) };
                let path = self.array.folder.clone();
                (path, Some(self.part_of_file(place.offset, place.bytes)?), place.left_out)
            }
            None => {
                let path = self.array.path(at);
                let bytes = self.whole_file(&path)?;
                (path, bytes, 0)
            }
            Some(shards) => {
                let shard = [0, 1, 2, 3].map(|axis| at[axis] / shards.counts[axis]);
                let path = self.array.path(shard);
                let bytes = self.part_of_shard(&path, at, shards)?;
                (path, bytes, 0)
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let chunk = self.decode(bytes, left_out);
        chunk.map(Some).map_err(|reason| DataError::format(&path, &format!("the chunk {at:?}"), reason))
    }

    fn part_of_file(&self, offset: u64, length: u64) -> Result<Vec<u8>, DataError> {
        let path = &self.array.folder;
        if length > self.most_stored() {
            let reason = format!("{length} bytes, which no chunk of this dataset has");
            return Err(DataError::format(path, "a chunk", reason));
        }
        let mut file = File::open(path).map_err(DataError::io("read", path))?;
        let mut bytes = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset)).map_err(DataError::io("read", path))?;
        file.read_exact(&mut bytes).map_err(DataError::io("read", path))?;
        Ok(bytes)
    }

    fn whole_file(&self, path: &Path) -> Result<Option<Vec<u8>>, DataError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::io("read", path)(error)),
        };
        let mut bytes = Vec::new();
        let most = self.most_stored();
        file.take(most + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
        if bytes.len() as u64 > most {
            let reason = format!("more than {most} bytes, which no chunk of this array has");
            return Err(DataError::format(path, "the chunk", reason));
        }
        Ok(Some(bytes))
    }

    /// No compression in use makes data longer than that.
    fn most_stored(&self) -> u64 {
        2 * self.array.chunk_bytes() as u64 + 4096
    }

    fn part_of_shard(&mut self, path: &Path, at: Axes, shards: Shards) -> Result<Option<Vec<u8>>, DataError> {
        let fail = |reason: String| DataError::format(path, "the table of chunks", reason);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::io("read", path)(error)),
        };
        if self.table.as_ref().is_none_or(|(known, _)| known != path) {
            let count: usize = shards.counts.iter().product();
            let length = 16 * count + if shards.has_checksum { 4 } else { 0 };
            let bytes = file.metadata().map_err(DataError::io("read", path))?.len();
            if bytes < length as u64 {
                return Err(fail(format!("the file has {bytes} bytes, expected at least {length}")));
            }
            let start = if shards.is_index_first { 0 } else { bytes - length as u64 };
            let mut table = vec![0; length];
            file.seek(SeekFrom::Start(start)).map_err(DataError::io("read", path))?;
            file.read_exact(&mut table).map_err(DataError::io("read", path))?;
            if shards.has_checksum {
                table = Codec::Crc32c.decode(&table, 16 * count).map_err(fail)?;
            }
            let words = table.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
            self.table = Some((path.to_owned(), words));
        }
        let Some((_, table)) = &self.table else { return Ok(None) };
        let number =
            (0..4).fold(0, |index, axis| index * shards.counts[axis] + at[axis] % shards.counts[axis]);
        let (offset, length) = (table[2 * number], table[2 * number + 1]);
        if (offset, length) == (u64::MAX, u64::MAX) {
            return Ok(None);
        }
        if length > self.most_stored() {
            return Err(fail(format!("a chunk of {length} bytes, which none of this array has")));
        }
        let mut bytes = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset)).map_err(DataError::io("read", path))?;
        file.read_exact(&mut bytes).map_err(|_| fail("a chunk behind the end of the file".to_owned()))?;
        Ok(Some(bytes))
    }

    fn decode(&self, mut bytes: Vec<u8>, left_out: u32) -> Result<Chunk, String> {
        let array = &self.array;
        let mut axes = array.chunk;
        if array.key == Key::N5 {
            let (found, data) = n5::block(&bytes, array.rank, array.chunk)?;
            (axes, bytes) = (found, data.to_vec());
        }
        let count: usize = axes.iter().product();
        let expected = count * array.numbers.bytes();
        for (step, codec) in array.codecs.iter().enumerate().rev() {
            if left_out >> step & 1 == 1 {
                continue;
            }
            // What lies between two steps is not known as exactly.
            bytes = codec.decode(&bytes, if step == 0 { expected } else { 2 * expected + 4096 })?;
        }
        if bytes.len() != expected {
            return Err(format!("{} bytes, expected {expected}", bytes.len()));
        }
        let mut values = Vec::new();
        array.numbers.decode(&bytes, array.order, &mut values)?;
        if array.is_fortran {
            values = from_fortran(&values, axes);
        }
        Ok(Chunk { axes, values })
    }
}

fn from_fortran(values: &[f32], [nc, nz, ny, nx]: Axes) -> Vec<f32> {
    let mut found = Vec::with_capacity(values.len());
    for c in 0..nc {
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    found.push(values[((x * ny + y) * nz + z) * nc + c]);
                }
            }
        }
    }
    found
}

impl VolumeReader for Reader {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        check_box(origin, extent, self.info.extent);
        let fill = self.array.fill;
        let mut volume = Tensor::from_fn(self.info.channels, extent, |_| fill);
        let (grid, first) = (self.array.chunk, [0, origin.z, origin.y, origin.x]);
        let part = [self.info.channels, extent.z, extent.y, extent.x];
        for at in chunks_of(grid, first, part) {
            let Some(chunk) = self.chunk(at)? else { continue };
            let corner = [0, 1, 2, 3].map(|axis| at[axis] * grid[axis]);
            let low = [0, 1, 2, 3].map(|axis| corner[axis].max(first[axis]));
            let high =
                [0, 1, 2, 3].map(|axis| (corner[axis] + chunk.axes[axis]).min(first[axis] + part[axis]));
            if (0..4).any(|axis| high[axis] <= low[axis]) {
                continue;
            }
            let meet = [0, 1, 2, 3].map(|axis| high[axis] - low[axis]);
            let from_at = [0, 1, 2, 3].map(|axis| low[axis] - corner[axis]);
            let to_at = [0, 1, 2, 3].map(|axis| low[axis] - first[axis]);
            copy_box(meet, (&chunk.values, chunk.axes, from_at), (volume.data_mut(), part, to_at));
        }
        Ok(volume)
    }
}
