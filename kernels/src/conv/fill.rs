//! Copies a part of a channel into a panel: the taps' shifts, strides and zeros.

use super::Geometry;
use super::panel::{Panel, TapRows};
use crate::vector::{Vector, prefetch};
use core::ops::Range;

/// Fills one channel.
///
/// # Safety
/// The tier of `V` is enabled in the caller. `x` is where plane 0 of the channel lies or would lie; the planes of the
/// image that `panel` needs are readable. `to` has `panel.channel_step` writable floats. What lies `ahead` floats further
/// on is asked for.
#[inline(always)]
pub(crate) unsafe fn fill<V: Vector>(panel: &Panel, x: *const f32, ahead: usize, to: *mut f32) {
    let Geometry { input, kernel, dilation, stride, padding: [before, _], .. } = panel.geometry;
    let [copies_y, copies_x] = match panel.tap_rows {
        TapRows::Shared => [1, kernel[2]],
        TapRows::Copied => [kernel[1], kernel[2]],
        TapRows::Whole => [1, 1],
    };
    let first = panel.first[0] * stride[0];
    for plane in 0..panel.planes {
        // wrapping: what lies in the padding is beyond `input` then
        let z = (first + plane * panel.plane_distance).wrapping_sub(before[0]);
        for tap_x in 0..copies_x {
            let columns = Found::new(input[2], panel.pitch, stride[2], tap_x * dilation[2], before[2]);
            for tap_y in 0..copies_y {
                let tap = panel.first[1] * stride[1] + tap_y * dilation[1];
                let rows = match z < input[0] {
                    true => Found::new(input[1], panel.rows, stride[1], tap, before[1]),
                    false => Found::NOTHING,
                };
                let start = (tap_x * copies_y + tap_y) * panel.copy_step + plane * panel.plane_step;
                let Range { start: top, end: bottom } = rows.range;
                let from =
                    x.wrapping_add((z.wrapping_mul(input[1]).wrapping_add(rows.from)).wrapping_mul(input[2]));
                let copy = Copy {
                    from: from.wrapping_add(columns.from),
                    from_step: stride[1] * input[2],
                    stride: stride[2],
                    rows: bottom - top,
                    columns: columns.range.len(),
                    to_step: panel.pitch,
                    ahead: if tap_x == 0 && tap_y == 0 { ahead } else { 0 },
                };
                // SAFETY: the rows and columns found exist in the input. All is written in the order of memory, so
                // that what goes beyond an end is overwritten, or lies in the slack of the copy; but for the columns
                // of zeros, which follow and keep within their rows.
                unsafe {
                    let to = to.add(start);
                    zeros::<V>(top * panel.pitch, to);
                    let filled = to.add(top * panel.pitch);
                    copy.run::<V>(filled.add(columns.range.start));
                    zeros::<V>((panel.rows - bottom) * panel.pitch, to.add(bottom * panel.pitch));
                    for row in 0..bottom - top {
                        let row = filled.add(row * panel.pitch);
                        for column in (0..columns.range.start).chain(columns.range.end..panel.pitch) {
                            row.add(column).write(0.0);
                        }
                    }
                }
            }
        }
    }
}

/// What a tap finds of an input along one axis.
struct Found {
    /// The positions of the panel at which it finds something; the others are padding.
    range: Range<usize>,
    /// The input position of the first of them.
    from: usize,
}

impl Found {
    const NOTHING: Self = Self { range: 0..0, from: 0 };

    /// Position `p` of `count` reads input position `p * stride + tap - before`.
    #[inline(always)]
    fn new(input: usize, count: usize, stride: usize, tap: usize, before: usize) -> Self {
        let start = before.saturating_sub(tap).div_ceil(stride).min(count);
        let end = (input + before).saturating_sub(tap).div_ceil(stride).clamp(start, count);
        Self { range: start..end, from: (start * stride + tap).wrapping_sub(before) }
    }
}

/// A copy of some rows.
struct Copy {
    from: *const f32,
    from_step: usize,
    /// Distance of the columns that are taken.
    stride: usize,
    rows: usize,
    columns: usize,
    to_step: usize,
    /// Where in the source the next copy begins; the pieces of one plane are too short for the hardware to see.
    ahead: usize,
}

impl Copy {
    /// # Safety
    /// The tier of `V` is enabled in the caller. The rows and columns are readable. The rows of `to` are written from
    /// the first to the last, each up to a vector beyond its end.
    #[inline(always)]
    unsafe fn run<V: Vector>(&self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe {
            match (self.stride, self.columns.div_ceil(V::LANES)) {
                (1, 1) => self.narrow::<V, 1>(to),
                (1, 2) => self.narrow::<V, 2>(to),
                (1, 3) => self.narrow::<V, 3>(to),
                (1, 4) => self.narrow::<V, 4>(to),
                _ => self.any::<V>(to),
            }
        }
    }

    /// Rows of `N` vectors.
    ///
    /// # Safety
    /// As [`Copy::run`].
    #[inline(always)]
    unsafe fn narrow<V: Vector, const N: usize>(&self, to: *mut f32) {
        let last = (N - 1) * V::LANES;
        // SAFETY: the caller's contract; only the last vector may be partial.
        unsafe {
            let tail = V::first(self.columns - last);
            let (mut from, mut to) = (self.from, to);
            for _ in 0..self.rows {
                for i in (0..N).take_while(|_| self.ahead > 0) {
                    prefetch(from.wrapping_add(self.ahead + i * V::LANES));
                }
                for i in 0..N - 1 {
                    V::load(from.add(i * V::LANES)).store(to.add(i * V::LANES));
                }
                V::load_masked(from.add(last), tail).store(to.add(last));
                from = from.wrapping_add(self.from_step);
                to = to.wrapping_add(self.to_step);
            }
        }
    }

    /// Any rows.
    ///
    /// # Safety
    /// As [`Copy::run`].
    #[inline(always)]
    unsafe fn any<V: Vector>(&self, to: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe {
            for row in 0..self.rows {
                let (from, to) = (self.from.add(row * self.from_step), to.add(row * self.to_step));
                for i in (0..self.columns).step_by(V::LANES) {
                    let left = self.columns - i;
                    let from = from.add(i * self.stride);
                    let value = match self.stride {
                        1 => V::load_first(from, left),
                        2 => {
                            // of two vectors the even lanes
                            let floats = 2 * left - 1;
                            let low = V::load_first(from, floats);
                            let rest = floats.saturating_sub(V::LANES);
                            let high =
                                if rest > 0 { V::load_first(from.add(V::LANES), rest) } else { V::zero() };
                            low.unzip(high).0
                        }
                        _ => V::load_strided(from, self.stride, V::first(left)),
                    };
                    value.store(to.add(i));
                }
            }
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `to` has `len` writable floats and room for a vector behind them.
#[inline(always)]
unsafe fn zeros<V: Vector>(len: usize, to: *mut f32) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller's contract.
        unsafe { V::zero().store(to.add(i)) }
    }
}
