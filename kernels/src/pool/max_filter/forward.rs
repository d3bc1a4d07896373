//! Forward: the largest along x, of these along y, of these along z.

use core::ops::Range;

use super::{Ahead, Shape, Strip, unrolled};
use crate::vector::Vector;
use crate::words::Words;

/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for the input, `y` for `planes` of the output, and so is
/// `winners` unless it is null; `scratch` is valid for `forward_scratch` floats; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn forward<V: Vector>(
    shape: Shape,
    x: *const f32,
    planes: Range<usize>,
    y: *mut f32,
    winners: *mut u8,
    scratch: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        if winners.is_null() {
            sweep::<V, false>(shape, x, planes, y, winners, scratch)
        } else {
            sweep::<V, true>(shape, x, planes, y, winners, scratch)
        }
    }
}

/// [`forward`], which keeps the winners or has none.
///
/// # Safety
/// As [`forward`].
#[inline(always)]
unsafe fn sweep<V: Vector, const KEEP: bool>(
    shape: Shape,
    x: *const f32,
    planes: Range<usize>,
    y: *mut f32,
    winners: *mut u8,
    mut scratch: *mut f32,
) {
    let Shape { window, input: [_, _, pitch], output: [_, all_rows, cols] } = shape;
    let ([kz, ky, kx], [reach_z, reach_y, reach_x]) = (window.size, window.reach());
    let at_once = shape.forward_rows();
    // SAFETY: the strips are as long as `forward_scratch` counts them; the rows of `x` up to the reach of an output row
    // exist, and so do the planes.
    unsafe {
        let along_x = Strip::take(&mut scratch, shape.reached(at_once));
        let ring = Ring { first: scratch, planes: shape.ring(), voxels: at_once * pitch };
        for row in (0..all_rows).step_by(at_once) {
            let rows = at_once.min(all_rows - row);
            for z in planes.start..planes.end + reach_z {
                let x = x.add(z * shape.input_plane() + row * pitch);
                let reached = (rows + reach_y) * pitch - reach_x;
                let written =
                    (z + 1 - planes.start).saturating_sub(reach_z) * shape.output_plane() + row * cols;
                let mut ahead = Ahead([
                    x.wrapping_add(shape.input_plane()),
                    y.wrapping_add(written),
                    winners.wrapping_add(written).cast(),
                ]);
                let ahead = &mut ahead;
                unrolled!(largest_along_x::<V, KEEP>(kx, window.step[2], x, along_x, reached, ahead));
                let (to, step) = (ring.plane(z), window.step[1] * pitch);
                unrolled!(largest_along_y::<V, KEEP>(ky, step, kx, along_x, to, rows * pitch, ahead));
                if z >= planes.start + reach_z {
                    let z = z - reach_z;
                    let first = (z - planes.start) * shape.output_plane() + row * cols;
                    let winners = if KEEP { winners.add(first) } else { winners };
                    let to = Rows { rows, cols, pitch, y: y.add(first), winners };
                    unrolled!(largest_along_z::<V, KEEP>(kz, window.step[0], ky * kx, ring, z, to, ahead));
                }
            }
        }
    }
}

/// The planes of the largest voxels along x and y that the windows at one plane reach.
#[derive(Clone, Copy)]
struct Ring {
    first: *mut f32,
    planes: usize,
    voxels: usize,
}

impl Ring {
    /// The strip of plane `z`, any multiple of `planes` apart from others of the same place.
    ///
    /// # Safety
    /// The memory of the ring is valid.
    #[inline(always)]
    unsafe fn plane(self, z: usize) -> Strip {
        // SAFETY: the caller's contract; the place is within the ring.
        unsafe { self.place(z % self.planes) }
    }

    /// # Safety
    /// As [`Ring::plane`]; `place` is below `2 * planes`.
    #[inline(always)]
    unsafe fn place(self, place: usize) -> Strip {
        let place = if place < self.planes { place } else { place - self.planes };
        // SAFETY: the caller's contract.
        unsafe { Strip::take(&mut self.first.add(place * Strip::len(self.voxels)), self.voxels) }
    }
}

/// Where the rows of a strip's plane go.
struct Rows {
    rows: usize,
    cols: usize,
    /// The distance of two rows of the strip.
    pitch: usize,
    y: *mut f32,
    winners: *mut u8,
}

/// The larger of both, which is the earlier one where they are equal; a NaN is larger than everything.
#[inline(always)]
fn larger<V: Vector, const KEEP: bool>(best: (V, V::Words), later: (V, V::Words)) -> (V, V::Words) {
    let wins = later.0.exceeds(best.0);
    (later.0.select(wins, best.0), if KEEP { later.1.select(wins, best.1) } else { best.1 })
}

/// `len` voxels of `to`: the largest of `k` voxels of `x` that lie `step` apart.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for `len + (k - 1) * step` floats, the strip for `len`.
#[inline(always)]
unsafe fn largest_along_x<V: Vector, const K: usize, const KEEP: bool>(
    k: usize,
    step: usize,
    x: *const f32,
    to: Strip,
    len: usize,
    ahead: &mut Ahead,
) {
    let k = if K > 0 { K } else { k };
    let whole = len - len % V::LANES;
    // SAFETY: the caller's contract, the tail by its count.
    unsafe {
        let mut p = 0;
        while p < whole {
            ahead.step::<V>();
            let mut best = (V::load(x.add(p)), V::Words::splat(0));
            for m in 1..k {
                let candidate = (V::load(x.add(m * step + p)), V::Words::splat(m as u32));
                best = larger::<V, KEEP>(best, candidate);
            }
            to.put::<V, KEEP>(p, best);
            p += V::LANES;
        }
        if p < len {
            let mut best = (V::load_first(x.add(p), len - p), V::Words::splat(0));
            for m in 1..k {
                let candidate = (V::load_first(x.add(m * step + p), len - p), V::Words::splat(m as u32));
                best = larger::<V, KEEP>(best, candidate);
            }
            to.put::<V, KEEP>(p, best);
        }
    }
}

/// `len` voxels of `to`: the largest of `k` voxels of `from` that lie `step` apart; `scale` are the offsets between
/// their winners.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for `len + (k - 1) * step` voxels, `to` for `len`.
#[inline(always)]
unsafe fn largest_along_y<V: Vector, const K: usize, const KEEP: bool>(
    k: usize,
    step: usize,
    scale: usize,
    from: Strip,
    to: Strip,
    len: usize,
    ahead: &mut Ahead,
) {
    let k = if K > 0 { K } else { k };
    for p in (0..len).step_by(V::LANES) {
        ahead.step::<V>();
        // SAFETY: the caller's contract.
        unsafe {
            let mut best = from.get::<V, KEEP>(p, 0);
            for m in 1..k {
                best = larger::<V, KEEP>(best, from.get::<V, KEEP>(m * step + p, m * scale));
            }
            to.put::<V, KEEP>(p, best);
        }
    }
}

/// The rows of `to`: the largest of the voxels of the `k` planes of the ring that lie `step` apart from `z` on; `scale`
/// are the offsets between their winners.
///
/// # Safety
/// The tier of `V` is enabled in the caller; the ring is valid, and holds these planes and rows; `to` is valid for the
/// rows.
#[inline(always)]
unsafe fn largest_along_z<V: Vector, const K: usize, const KEEP: bool>(
    k: usize,
    step: usize,
    scale: usize,
    ring: Ring,
    z: usize,
    to: Rows,
    ahead: &mut Ahead,
) {
    let k = if K > 0 { K } else { k };
    let (place, len) = (z % ring.planes, to.rows * to.cols);
    for row in 0..to.rows {
        for col in (0..to.cols).step_by(V::LANES) {
            ahead.step::<V>();
            // SAFETY: the caller's contract. The last vector of a row may go over the start of the next one, which
            // follows, but not beyond the last one.
            unsafe {
                let (p, at) = (row * to.pitch + col, row * to.cols + col);
                let mut best = ring.place(place).get::<V, KEEP>(p, 0);
                for m in 1..k {
                    best = larger::<V, KEEP>(best, ring.place(place + m * step).get::<V, KEEP>(p, m * scale));
                }
                best.0.store_first(to.y.add(at), len - at);
                if KEEP {
                    best.1.store_bytes(to.winners.add(at), len - at);
                }
            }
        }
    }
}

impl Strip {
    /// The vectors at voxel `at`, `offset` being added to the winners.
    ///
    /// # Safety
    /// As [`Strip::load`].
    #[inline(always)]
    unsafe fn get<V: Vector, const KEEP: bool>(self, at: usize, offset: usize) -> (V, V::Words) {
        // SAFETY: the caller's contract.
        unsafe {
            if KEEP {
                let (values, winners) = self.load::<V>(at);
                (values, winners.add(V::Words::splat(offset as u32)))
            } else {
                (V::load(self.values.add(at)), V::Words::splat(0))
            }
        }
    }

    /// Stores the vectors of voxel `at`, without winners if none are kept.
    ///
    /// # Safety
    /// As [`Strip::store`].
    #[inline(always)]
    unsafe fn put<V: Vector, const KEEP: bool>(self, at: usize, best: (V, V::Words)) {
        // SAFETY: the caller's contract.
        unsafe { if KEEP { self.store(at, best) } else { best.0.store(self.values.add(at)) } }
    }
}
