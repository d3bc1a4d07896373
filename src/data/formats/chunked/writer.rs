//! Writing boxes of an array.

use std::path::Path;

use super::super::codec::gzip;
use super::super::{VolumeInfo, VolumeWriter, check_box};
use super::array::{Array, Axes, Key, chunks_of, copy_box};
use super::{ChunkedFormat, n5, zarr2, zarr3};
use crate::atomic_file;
use crate::data::{ByteOrder, DataError};
use crate::volume::{Extent, Tensor};

/// The voxels of a chunk, where nobody wishes for others: a megabyte of floats.
const CHUNK_VOXELS: usize = 1 << 18;

/// Writes chunks, each at once or not at all, so that many processes can write an array.
pub struct ChunkedWriter {
    array: Array,
    info: VolumeInfo,
}

/// Begins an array in the folder `path`, compressed by gzip: `[z, y, x]`, of several channels `[channel, z, y, x]`, each
/// with chunks of its own. An array of the same description that is there already is gone on with.
///
/// # Errors
/// Where the folder holds something else, or the file system fails.
pub fn create(path: &Path, format: ChunkedFormat, info: &VolumeInfo) -> Result<ChunkedWriter, DataError> {
    let info = VolumeInfo { chunk: Some(chunk_of(info)), ..info.clone() };
    let (array, files) = match format {
        ChunkedFormat::Zarr2 => zarr2::describe(path, &info),
        ChunkedFormat::Zarr3 => zarr3::describe(path, &info),
        ChunkedFormat::N5 => n5::describe(path, &info),
    };
    let array = array.map_err(|reason| DataError::format(path, "the new array", reason))?;
    let is_there = files.iter().any(|(name, _)| path.join(name).exists());
    if is_there {
        for (name, value) in &files {
            let there = super::read(&path.join(name))?;
            if there.as_ref() != Some(value) {
                let reason = "another array is there; remove it, or give another name";
                return Err(DataError::format(path, name, reason));
            }
        }
    } else {
        let is_empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            let reason = "it is not empty; remove it, or give another name";
            return Err(DataError::format(path, "the folder", reason));
        }
        std::fs::create_dir_all(path).map_err(DataError::io("create", path))?;
        for (name, value) in &files {
            let file = path.join(name);
            let text = serde_json::to_string_pretty(value).expect("a description is text");
            atomic_file::write_bytes(&file, text.as_bytes()).map_err(DataError::io("write", &file))?;
        }
    }
    Ok(ChunkedWriter { array, info })
}

/// The chunk that was asked for, within the volume, or one of about [`CHUNK_VOXELS`].
fn chunk_of(info: &VolumeInfo) -> Extent {
    if let Some(chunk) = info.chunk {
        return chunk.min(info.extent).max(Extent::ONE);
    }
    let z = info.extent.z.clamp(1, 64);
    let side = (CHUNK_VOXELS / z).isqrt();
    Extent::new(z, side, side).min(info.extent).max(Extent::ONE)
}

impl ChunkedWriter {
    /// The extent of its chunks: boxes that are written have to begin and end at their borders.
    pub fn chunk(&self) -> Extent {
        let [_, z, y, x] = self.array.chunk;
        Extent::new(z, y, x)
    }

    fn write_chunk(&self, at: Axes, axes: Axes, values: &[f32]) -> Result<(), DataError> {
        let mut bytes = self.array.numbers.encode(values);
        if self.array.order == ByteOrder::Big {
            bytes.chunks_exact_mut(self.array.numbers.bytes()).for_each(<[u8]>::reverse);
        }
        let mut file = match self.array.key {
            Key::N5 => n5::header(axes, self.array.rank),
            _ => Vec::new(),
        };
        file.extend(gzip(&bytes));
        let path = self.array.path(at);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
        }
        atomic_file::write_bytes(&path, &file).map_err(DataError::io("write", &path))
    }
}

impl VolumeWriter for ChunkedWriter {
    fn write(&mut self, origin: Extent, part: &Tensor) -> Result<(), DataError> {
        let extent = part.extent();
        check_box(origin, extent, self.info.extent);
        assert_eq!(part.channels(), self.info.channels, "channels of a part");
        let chunk = self.chunk();
        let is_border = |at: usize, chunk: usize, size: usize| at.is_multiple_of(chunk) || at == size;
        let ends = (origin + extent).zip(self.info.extent, |end, size| if end == size { 0 } else { end });
        assert!(
            origin.all(chunk, |at, chunk| is_border(at, chunk, usize::MAX))
                && ends.all(chunk, |at, chunk| is_border(at, chunk, usize::MAX)),
            "the box {extent} at {origin} cuts a chunk of {chunk}"
        );
        let (grid, first) = (self.array.chunk, [0, origin.z, origin.y, origin.x]);
        let whole = [part.channels(), extent.z, extent.y, extent.x];
        for at in chunks_of(grid, first, whole) {
            let corner = [0, 1, 2, 3].map(|axis| at[axis] * grid[axis]);
            let inside = [0, 1, 2, 3].map(|axis| grid[axis].min(self.array.size[axis] - corner[axis]));
            // Zarr has whole chunks also at the border.
            let axes = if self.array.key == Key::N5 { inside } else { grid };
            let mut values = vec![self.array.fill; axes.iter().product()];
            let from_at = [0, 1, 2, 3].map(|axis| corner[axis] - first[axis]);
            copy_box(inside, (part.data(), whole, from_at), (&mut values, axes, [0; 4]));
            self.write_chunk(at, axes, &values)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), DataError> {
        Ok(())
    }
}
