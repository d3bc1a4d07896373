//! Backward: each gradient goes to its winner's plane, from there to its row, from there to its place.

use core::ops::Range;

use super::{Ahead, Shape, Strip, unrolled};
use crate::vector::Vector;
use crate::words::{Words, load_bytes_within};

/// # Safety
/// The tier of `V` is enabled in the caller; `dy` and `winners` are valid for the output, `dx` for `planes` of the
/// input, `scratch` for `backward_scratch` floats; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn backward<V: Vector>(
    shape: Shape,
    dy: *const f32,
    winners: *const u8,
    planes: Range<usize>,
    accumulate: bool,
    dx: *mut f32,
    mut scratch: *mut f32,
) {
    let Shape { window, input: [_, all_rows, pitch], output } = shape;
    let ([kz, ky, kx], [_, reach_y, reach_x]) = (window.size, window.reach());
    let at_once = shape.backward_rows();
    // SAFETY: the strips are as long as `backward_scratch` counts them.
    unsafe {
        let of_planes = Strip::take(&mut scratch, shape.reached(at_once));
        let of_rows = Strip::take(&mut scratch, reach_x + at_once * pitch);
        // Nothing comes from the left of the first row.
        for p in (0..reach_x).step_by(V::LANES) {
            of_rows.store(p, (V::zero(), V::Words::splat(0)));
        }
        for z in planes.clone() {
            // The output planes whose windows reach this one: z - m * step for these m.
            let step = window.step[0];
            let reaching = (z + 1).saturating_sub(output[0]).div_ceil(step)..(z / step + 1).min(kz);
            for row in (0..all_rows).step_by(at_once) {
                let rows = at_once.min(all_rows - row);
                let source =
                    Source { dy, winners, z, reaching: reaching.clone(), first: row.wrapping_sub(reach_y) };
                let dx = dx.add((z - planes.start) * shape.input_plane() + row * pitch);
                let read = ((z + 1) * output[1] + row) * output[2];
                let mut ahead = Ahead([
                    dy.wrapping_add(read),
                    dx.wrapping_add(shape.input_plane()),
                    winners.wrapping_add(read).cast(),
                ]);
                let ahead = &mut ahead;
                unrolled!(to_planes::<V>(
                    source.reaching.len(),
                    shape,
                    &source,
                    of_planes,
                    rows + reach_y,
                    ahead
                ));
                let (step, len) = (window.step[1] * pitch, rows * pitch);
                unrolled!(to_rows::<V>(ky, step, kx, of_planes, of_rows.after(reach_x), len, ahead));
                unrolled!(to_places::<V>(kx, window.step[2], of_rows, accumulate, dx, len, ahead));
            }
        }
    }
}

/// What reaches the rows of one plane.
struct Source {
    dy: *const f32,
    winners: *const u8,
    /// The plane.
    z: usize,
    /// The offsets along z of the windows that reach it.
    reaching: Range<usize>,
    /// The first row, which may have wrapped below 0.
    first: usize,
}

/// `rows` rows of `to`, at the pitch of the input: the gradients of the `k` planes that reach this one and whose winners
/// lie in it, with zeros where there are none, and the rest of the winners' offsets.
///
/// # Safety
/// The tier of `V` is enabled in the caller; the source is valid for the output, `to` for the rows.
#[inline(always)]
unsafe fn to_planes<V: Vector, const K: usize>(
    k: usize,
    shape: Shape,
    source: &Source,
    to: Strip,
    rows: usize,
    ahead: &mut Ahead,
) {
    let k = if K > 0 { K } else { k };
    let Shape { window, input: [_, _, pitch], output: [planes, all_rows, cols] } = shape;
    let in_plane = window.size[1] * window.size[2];
    let len = planes * all_rows * cols;
    let start = source.reaching.start;
    for r in 0..rows {
        let row = source.first.wrapping_add(r);
        let mut col = 0;
        if k > 0 && row < all_rows {
            let first = ((source.z - start * window.step[0]) * all_rows + row) * cols;
            let apart = window.step[0] * all_rows * cols;
            // SAFETY: the caller's contract: the rows of the planes from `first` on, each `apart` before the last one,
            // exist; the tail of a row is read by its count, or by that of all bytes.
            unsafe {
                while col + V::LANES <= cols {
                    ahead.step::<V>();
                    let (mut sum, mut rest) = (V::zero(), V::Words::splat(0));
                    for m in 0..k {
                        let at = first + col - m * apart;
                        let gradient = V::load(source.dy.add(at));
                        let winner = V::Words::load_bytes(source.winners.add(at));
                        (sum, rest) = won::<V>(sum, rest, gradient, winner, (start + m) * in_plane, in_plane);
                    }
                    to.store(r * pitch + col, (sum, rest));
                    col += V::LANES;
                }
                if col < cols {
                    let (mut sum, mut rest) = (V::zero(), V::Words::splat(0));
                    let tail = V::first(cols - col);
                    for m in 0..k {
                        let at = first + col - m * apart;
                        let gradient = V::load_masked(source.dy.add(at), tail);
                        let winner: V::Words = load_bytes_within(source.winners, len, at);
                        (sum, rest) = won::<V>(sum, rest, gradient, winner, (start + m) * in_plane, in_plane);
                    }
                    to.store(r * pitch + col, (sum, rest));
                    col += V::LANES;
                }
            }
        }
        while col < pitch {
            // SAFETY: the strip has these rows.
            unsafe { to.store(r * pitch + col, (V::zero(), V::Words::splat(0))) };
            col += V::LANES;
        }
    }
}

/// `len` voxels of `to`: the gradients of the `k` rows of `from` that reach each and whose winners lie in
/// it, and the rest of the winners' offsets. The rows of `from` lie `step` apart, the last one being the voxel's own.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for `len + (k - 1) * step` voxels, `to` for `len`.
#[inline(always)]
unsafe fn to_rows<V: Vector, const K: usize>(
    k: usize,
    step: usize,
    in_row: usize,
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
            let (mut sum, mut rest) = (V::zero(), V::Words::splat(0));
            for m in 0..k {
                let (gradient, winner) = from.load::<V>(p + (k - 1 - m) * step);
                (sum, rest) = won::<V>(sum, rest, gradient, winner, m * in_row, in_row);
            }
            to.store(p, (sum, rest));
        }
    }
}

/// `len` voxels of `dx`: the gradients of the `k` voxels of `from` that reach each and whose winner it is. They lie
/// `step` apart, the last one being the voxel itself.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for `len + (k - 1) * step` voxels, `dx`
/// is valid for `len`.
#[inline(always)]
unsafe fn to_places<V: Vector, const K: usize>(
    k: usize,
    step: usize,
    from: Strip,
    accumulate: bool,
    dx: *mut f32,
    len: usize,
    ahead: &mut Ahead,
) {
    let k = if K > 0 { K } else { k };
    let lead = (k - 1) * step;
    for p in (0..len).step_by(V::LANES) {
        ahead.step::<V>();
        // SAFETY: the caller's contract, the tail by its count.
        unsafe {
            let mut sum = if accumulate { V::load_first(dx.add(p), len - p) } else { V::zero() };
            for m in 0..k {
                let (gradient, winner) = from.load::<V>(lead + p - m * step);
                sum = sum.add_masked(winner.equal(V::Words::splat(m as u32)), gradient);
            }
            sum.store_first(dx.add(p), len - p);
        }
    }
}

/// Adds the gradients whose winners are among the `count` offsets from `first` on, and notes their offsets within these.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
unsafe fn won<V: Vector>(
    sum: V,
    rest: V::Words,
    gradient: V,
    winner: V::Words,
    first: usize,
    count: usize,
) -> (V, V::Words) {
    // SAFETY: the caller's contract.
    unsafe {
        let offset = winner.sub(V::Words::splat(first as u32));
        let within = offset.at_most(V::Words::splat(count as u32 - 1));
        (sum.add_masked(within, gradient), offset.select(within, rest))
    }
}
