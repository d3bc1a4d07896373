//! An array as it is stored: what the three formats have in common.

use std::collections::HashMap;
use std::path::PathBuf;

use super::super::codec::Codec;
use super::super::shape_of;
use crate::data::{ByteOrder, NumberType};
use crate::volume::Extent;

/// The most bytes of a chunk, in memory: a thousand times what is in use.
const MAX_CHUNK: usize = 1 << 30;

/// Channels, z, y and x.
pub(in super::super) type Axes = [usize; 4];

/// How the files of chunks are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Key {
    /// `0.0.0` with that separator.
    Zarr2(char),
    /// `c/0/0/0` with that separator.
    Zarr3(char),
    /// `0/0/0`, the contiguous axis first.
    N5,
    /// All in one file, which is the path of the array; see [`Array::table`].
    OneFile,
}

/// Where a chunk lies in a file of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub offset: u64,
    pub bytes: u64,
    /// Steps that were left out for this chunk, by bits.
    pub left_out: u32,
}

/// Files that hold many chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Shards {
    /// Chunks in a file.
    pub counts: Axes,
    /// Whether the table of chunks is at the begin of the file.
    pub is_index_first: bool,
    /// Whether the table has a checksum.
    pub has_checksum: bool,
}

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Array {
    pub folder: PathBuf,
    /// Axes of the array on the disk, of which [`Axes`] are the last ones.
    pub rank: usize,
    pub size: Axes,
    pub chunk: Axes,
    pub numbers: NumberType,
    pub order: ByteOrder,
    /// The first axis of a chunk is the contiguous one.
    pub is_fortran: bool,
    /// What chunks without a file hold.
    pub fill: f32,
    /// The steps from numbers to bytes on the disk.
    pub codecs: Vec<Codec>,
    pub key: Key,
    pub shards: Option<Shards>,
    /// The chunks of [`Key::OneFile`].
    pub table: HashMap<Axes, Place>,
}

impl Array {
    /// Four axes of `shape` and of `chunk`, slowest first; further ones before these have one voxel.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn axes(shape: &[usize], chunk: &[usize], numbers: NumberType) -> Result<(Axes, Axes), String> {
        let (channels, extent) = shape_of(shape)?;
        if chunk.len() != shape.len() || chunk.contains(&0) {
            return Err(format!("chunks of {chunk:?} for an array of {shape:?}"));
        }
        let bytes = chunk.iter().try_fold(numbers.bytes(), |product, &axis| product.checked_mul(axis));
        if bytes.is_none_or(|bytes| bytes > MAX_CHUNK) {
            return Err(format!("chunks of {chunk:?} {numbers} each, expected at most {MAX_CHUNK} bytes"));
        }
        let four = |axes: &[usize]| {
            let mut four = [1; 4];
            let kept = axes.len().min(4);
            four[4 - kept..].copy_from_slice(&axes[axes.len() - kept..]);
            four
        };
        let [z, y, x] = extent.to_array();
        Ok(([channels, z, y, x], four(chunk)))
    }

    /// Bytes of the numbers of a chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.numbers.bytes()
    }

    /// The file of a chunk, or of the shard of that number.
    pub fn path(&self, at: Axes) -> PathBuf {
        let kept = self.rank.min(4);
        let mut numbers: Vec<usize> = vec![0; self.rank - kept];
        numbers.extend(&at[4 - kept..]);
        let join = |separator: char, numbers: &[usize]| {
            let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            texts.join(&separator.to_string())
        };
        match self.key {
            Key::Zarr2(separator) => self.folder.join(join(separator, &numbers)),
            Key::Zarr3(separator) => self.folder.join(format!("c{separator}{}", join(separator, &numbers))),
            Key::N5 => {
                numbers.reverse();
                self.folder.join(join('/', &numbers))
            }
            Key::OneFile => self.folder.clone(),
        }
    }

    /// The extent of the volume.
    pub fn extent(&self) -> Extent {
        let [_, z, y, x] = self.size;
        Extent::new(z, y, x)
    }
}

/// The numbers of all chunks that a box meets.
pub(super) fn chunks_of(chunk: Axes, first: Axes, part: Axes) -> impl Iterator<Item = Axes> {
    let range =
        move |axis: usize| first[axis] / chunk[axis]..(first[axis] + part[axis]).div_ceil(chunk[axis]);
    range(0).flat_map(move |c| {
        range(1).flat_map(move |z| range(2).flat_map(move |y| range(3).map(move |x| [c, z, y, x])))
    })
}

/// Copies the rows of a box; the first voxel is at `from_at` in `from`, of axes `from_size`, and at `to_at` in `to`.
pub(super) fn copy_box(
    part: Axes,
    (from, from_size, from_at): (&[f32], Axes, Axes),
    (to, to_size, to_at): (&mut [f32], Axes, Axes),
) {
    let index = |size: Axes, at: Axes| (0..4).fold(0, |index, axis| index * size[axis] + at[axis]);
    for c in 0..part[0] {
        for z in 0..part[1] {
            for y in 0..part[2] {
                let row = |at: Axes| [at[0] + c, at[1] + z, at[2] + y, at[3]];
                let (source, target) = (index(from_size, row(from_at)), index(to_size, row(to_at)));
                to[target..target + part[3]].copy_from_slice(&from[source..source + part[3]]);
            }
        }
    }
}
