//! From lanes along tiles to lanes along points.

use crate::vector::{self, MAX_LANES, Vector};

/// A matrix of rows (points) of floats (tiles), to be taken to `[row / LANES][column][LANES]`.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub rows: usize,
    pub columns: usize,
    pub from: *const f32,
    /// Distance between rows.
    pub from_row: usize,
    pub to: *mut f32,
    /// Distance between blocks of LANES rows.
    pub to_block: usize,
}

/// The last block has as many lanes as the others; those beyond the last row repeat it.
///
/// # Safety
/// The tier of `V` is enabled in the caller; each row is readable, and each block writable, for `columns` rounded up to whole
/// vectors.
#[inline(always)]
pub(crate) unsafe fn transpose<V: Vector>(blocks: &Blocks) {
    // SAFETY: the caller's contract.
    unsafe {
        for block in 0..blocks.rows.div_ceil(V::LANES) {
            for column in (0..blocks.columns).step_by(V::LANES) {
                let mut square = [V::zero(); MAX_LANES];
                for (r, vector) in square.iter_mut().enumerate().take(V::LANES) {
                    let row = (block * V::LANES + r).min(blocks.rows - 1);
                    *vector = V::load(blocks.from.add(row * blocks.from_row + column));
                }
                vector::transpose(&mut square);
                let to = blocks.to.add(block * blocks.to_block + column * V::LANES);
                for (c, vector) in square.iter().enumerate().take(V::LANES) {
                    vector.store(to.add(c * V::LANES));
                }
            }
        }
    }
}
