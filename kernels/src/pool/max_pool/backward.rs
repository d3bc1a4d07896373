//! Backward: a row of gradients spread over the voxels of their blocks, into each row where it has won.

use super::{BEYOND, SECTION, Shape};
use crate::vector::{Vector, prefetch_write};
use crate::words::{Words, load_bytes_within};

/// # Safety
/// The tier of `V` is enabled in the caller; `dy` and `winners` are valid for the output, `dx` for the input; nothing
/// overlaps.
#[inline(always)]
pub(crate) unsafe fn backward<V: Vector>(
    shape: Shape,
    dy: *const f32,
    winners: *const u8,
    accumulate: bool,
    dx: *mut f32,
) {
    let Shape { size: [kz, ky, kx], output: [planes, rows, cols], .. } = shape;
    let (at_once, next) = (SECTION / kx, ky * shape.input[2]);
    let mut section = Section { gradients: [0.0; SECTION + BEYOND], winners: [0; SECTION + BEYOND] };
    for row in 0..planes * rows {
        for col in (0..cols).step_by(at_once) {
            let blocks = at_once.min(cols - col);
            let at = row * cols + col;
            // SAFETY: the blocks lie within the row; they fill at most the section.
            unsafe {
                let (dy, winners) = (dy.add(at), winners.add(at));
                if kx == 2 {
                    section.spread_twice::<V>(dy, winners, blocks);
                } else {
                    section.spread::<V>(kx, dy, winners, blocks);
                }
                for m in 0..kz * ky {
                    let dx = dx.add(shape.block(row) + col * kx + shape.row_of_block(m));
                    section.put::<V>(m * kx, accumulate, dx, blocks * kx, next);
                }
            }
        }
    }
}

/// A row of voxels: the gradient of the block of each, and the winner of the block less the voxel's place in its row of
/// the block, modulo 256. So a voxel has won if that is the offset of its row.
struct Section {
    gradients: [f32; SECTION + BEYOND],
    winners: [u8; SECTION + BEYOND],
}

impl Section {
    /// Takes the gradients and winners of `blocks` blocks of `kx` voxels in a row.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller; `dy` and `winners` are valid for `blocks`, which make at most
    /// `SECTION` voxels.
    #[inline(always)]
    unsafe fn spread<V: Vector>(&mut self, kx: usize, dy: *const f32, winners: *const u8, blocks: usize) {
        for block in 0..blocks {
            // SAFETY: the caller's contract. Vectors may go over the voxels of the next block, which follows, and
            // reach at most `BEYOND` behind the section.
            unsafe {
                let gradient = V::splat(*dy.add(block));
                for m in (0..kx).step_by(V::LANES) {
                    gradient.store(self.gradients.as_mut_ptr().add(block * kx + m));
                }
                let winner = *winners.add(block);
                for m in 0..kx {
                    self.winners[block * kx + m] = winner.wrapping_sub(m as u8);
                }
            }
        }
    }

    /// [`Section::spread`] for two voxels.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn spread_twice<V: Vector>(&mut self, dy: *const f32, winners: *const u8, blocks: usize) {
        let (to, bytes) = (self.gradients.as_mut_ptr(), self.winners.as_mut_ptr());
        for block in (0..blocks).step_by(V::LANES) {
            // SAFETY: the caller's contract. Of blocks that do not exist nothing is read; two vectors end at most
            // `BEYOND` behind the section.
            unsafe {
                let gradient = V::load_first(dy.add(block), blocks - block);
                let (low, high) = gradient.zip(gradient);
                let places = V::Words::load_bytes([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1].as_ptr());
                let winner: V::Words = load_bytes_within(winners, blocks, block);
                let (first, second) = winner.twice();
                let second_at = 2 * block + V::LANES;
                low.store(to.add(2 * block));
                high.store(to.add(second_at));
                first.sub(places).store_bytes(bytes.add(2 * block), V::LANES);
                second.sub(places).store_bytes(bytes.add(second_at), V::LANES);
            }
        }
    }

    /// One row of the blocks, whose first voxel has the offset `first`: `len` voxels of `dx`. The same row of the next
    /// blocks lies `next` voxels after it.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller; `dx` is valid for `len`, which the section holds.
    #[inline(always)]
    unsafe fn put<V: Vector>(&self, first: usize, accumulate: bool, dx: *mut f32, len: usize, next: usize) {
        for p in (0..len).step_by(V::LANES) {
            prefetch_write(dx.wrapping_add(p + next));
            // SAFETY: the caller's contract, the tail by its count; a vector ends at most `BEYOND` behind the section.
            unsafe {
                let won =
                    V::Words::load_bytes(self.winners.as_ptr().add(p)).equal(V::Words::splat(first as u32));
                let start = if accumulate { V::load_first(dx.add(p), len - p) } else { V::zero() };
                start
                    .add_masked(won, V::load(self.gradients.as_ptr().add(p)))
                    .store_first(dx.add(p), len - p);
            }
        }
    }
}
