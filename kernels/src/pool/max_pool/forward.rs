//! Forward: the rows of a row of blocks are reduced to one, then the voxels of each block.

use super::{BEYOND, SECTION, Shape};
use crate::vector::{Vector, prefetch};
use crate::words::Words;

/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for the input, `y` and (unless null) `winners` for
/// the output; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn forward<V: Vector>(shape: Shape, x: *const f32, y: *mut f32, winners: *mut u8) {
    let Shape { size: [kz, ky, kx], output: [planes, rows, cols], .. } = shape;
    let at_once = SECTION / kx;
    let mut section = Section { values: [0.0; SECTION + BEYOND], offsets: [0.0; SECTION + BEYOND] };
    for row in 0..planes * rows {
        for col in (0..cols).step_by(at_once) {
            let blocks = at_once.min(cols - col);
            // SAFETY: the blocks lie within the row; they fill at most the section.
            unsafe {
                let x = x.add(shape.block(row) + col * kx);
                match kz * ky {
                    1 => section.reduce_rows::<V, 1>(shape, x, blocks * kx),
                    2 => section.reduce_rows::<V, 2>(shape, x, blocks * kx),
                    3 => section.reduce_rows::<V, 3>(shape, x, blocks * kx),
                    4 => section.reduce_rows::<V, 4>(shape, x, blocks * kx),
                    9 => section.reduce_rows::<V, 9>(shape, x, blocks * kx),
                    _ => section.reduce_rows::<V, 0>(shape, x, blocks * kx),
                }
                let at = row * cols + col;
                let winners = if winners.is_null() { winners } else { winners.add(at) };
                section.reduce_blocks::<V>(kx, y.add(at), winners, blocks);
            }
        }
    }
}

/// One row of voxels, each the largest of the rows of its blocks, and the offset of its row's first voxel in the block.
struct Section {
    values: [f32; SECTION + BEYOND],
    /// Whole numbers on top of [`BASE`].
    offsets: [f32; SECTION + BEYOND],
}

/// A float whose bits are a whole number's if that is added: the low byte of the sum is the number's.
const BASE: f32 = (1 << 23) as f32;

impl Section {
    /// Reduces the rows of the blocks at `x`, `len` voxels each. `ROWS` is their number, or 0 if it is not known here.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller; `x` is valid for the rows, `len` is at most `SECTION`.
    #[inline(always)]
    unsafe fn reduce_rows<V: Vector, const ROWS: usize>(&mut self, shape: Shape, x: *const f32, len: usize) {
        let rows = if ROWS > 0 { ROWS } else { shape.size[0] * shape.size[1] };
        let (values, offsets) = (self.values.as_mut_ptr(), self.offsets.as_mut_ptr());
        let next = shape.size[1] * shape.input[2];
        for p in (0..len).step_by(V::LANES) {
            // SAFETY: the caller's contract; a vector ends at most `BEYOND` behind the section.
            unsafe {
                let load = |m: usize| {
                    let x = x.add(shape.row_of_block(m) + p);
                    prefetch(x.wrapping_add(next));
                    V::load_first(x, len - p)
                };
                let (mut best, mut offset) = (load(0), V::splat(BASE));
                for m in 1..rows {
                    let candidate = load(m);
                    let wins = candidate.exceeds(best);
                    best = candidate.select(wins, best);
                    offset = V::splat(BASE + (m * shape.size[2]) as f32).select(wins, offset);
                }
                best.store(values.add(p));
                offset.store(offsets.add(p));
            }
        }
    }

    /// The largest of each `kx` neighbouring voxels.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller; `y` and (unless null) `winners` are valid for `blocks`, whose voxels
    /// the section holds.
    #[inline(always)]
    unsafe fn reduce_blocks<V: Vector>(&self, kx: usize, y: *mut f32, winners: *mut u8, blocks: usize) {
        let (values, offsets) = (self.values.as_ptr(), self.offsets.as_ptr());
        for block in (0..blocks).step_by(V::LANES) {
            let n = blocks - block;
            // SAFETY: vectors of blocks that do not exist are masked, or lie within the section.
            unsafe {
                let at = block * kx;
                let (best, offset) = match kx {
                    1 => (V::load(values.add(at)), V::load(offsets.add(at))),
                    // Whole vectors taken apart are much faster than strided loads.
                    2 => {
                        let halves =
                            |from: *const f32| V::load(from.add(at)).unzip(V::load(from.add(at + V::LANES)));
                        let ((even, odd), (of_even, of_odd)) = (halves(values), halves(offsets));
                        larger((even, of_even), (odd, of_odd.add(V::splat(1.0))))
                    }
                    _ => {
                        let load =
                            |from: *const f32, m: usize| V::load_strided(from.add(at + m), kx, V::first(n));
                        let mut best = (load(values, 0), load(offsets, 0));
                        for m in 1..kx {
                            let offset = load(offsets, m).add(V::splat(m as f32));
                            best = larger(best, (load(values, m), offset));
                        }
                        best
                    }
                };
                best.store_first(y.add(block), n);
                if !winners.is_null() {
                    offset.bits().store_bytes(winners.add(block), n);
                }
            }
        }
    }
}

/// The larger of two values with their offsets: of equal ones that of the lower offset, of two NaN the other.
#[inline(always)]
fn larger<V: Vector>(a: (V, V), b: (V, V)) -> (V, V) {
    let swapped = a.1.greater(b.1);
    let (first, second) = (
        (b.0.select(swapped, a.0), b.1.select(swapped, a.1)),
        (a.0.select(swapped, b.0), a.1.select(swapped, b.1)),
    );
    let wins = second.0.exceeds(first.0);
    (second.0.select(wins, first.0), second.1.select(wins, first.1))
}
