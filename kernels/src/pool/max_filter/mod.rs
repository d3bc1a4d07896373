//! The sliding-window maximum: `y[p] = max_m x[p + m * step]`, "valid".
//!
//! The window is taken axis by axis, so that a voxel costs `kx + ky + kz` comparisons and not their product: forward
//! x, y, z; backward z, y, x. In between, values and offsets (a byte each) wait in a strip of planes that fits in a
//! core's private cache, at the row pitch of the input, so that a whole plane is one row of vectors without tails.
//!
//! Forward, the first of equal voxels wins in every stage, and x within y within z is the order of the offsets:
//! the result is the first one of the whole window. Backward, voxels that sent their gradient to one place in a
//! stage share the rest of their offset, because forward found there one winner for all of them.
//!
//! Nothing is scattered, planes are independent, and every tier and every split adds in the same order.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use core::ops::Range;

use super::Window;
use crate::Kernels;
use crate::vector::{Vector, prefetch};
use crate::words::Words;

/// A max filter of one feature map.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    window: Window,
    input: [usize; 3],
    output: [usize; 3],
}

/// Voxels and a byte for each, its winner so far; written and read by vectors.
#[derive(Clone, Copy)]
struct Strip {
    values: *mut f32,
    winners: *mut u8,
}

/// Floats that a vector may reach beyond the end of a strip: the lanes of the widest tier.
const BEYOND: usize = 16;
/// Voxels that the strips of a task should hold together at most: five bytes each, they share the first cache with what
/// is read and written.
const NEAR_VOXELS: usize = 4096;

/// What the next plane will read and write: voxels, voxels and winners. Three stages ask for a third of it each, because
/// a stage that waited for all of it would leave memory idle in the others.
struct Ahead([*const f32; 3]);

impl Ahead {
    /// To be called for each vector of each stage: the three take turns.
    #[inline(always)]
    fn step<V: Vector>(&mut self) {
        let Self([first, second, third]) = *self;
        prefetch(first);
        *self = Self([second, third, first.wrapping_add(V::LANES)]);
    }
}

impl Strip {
    /// Floats that a strip of `voxels` takes, with a rest that keeps neighbouring strips off the same places of two
    /// pages, which the caches of some cores confuse.
    fn len(voxels: usize) -> usize {
        const PAGE: usize = 1024;
        let values = (voxels + BEYOND).next_multiple_of(BEYOND);
        let len = values + values.div_ceil(size_of::<f32>()).next_multiple_of(BEYOND);
        len.next_multiple_of(PAGE) + PAGE / 4 + BEYOND
    }

    /// A strip of `voxels` at the front of `scratch`, which moves on.
    ///
    /// # Safety
    /// `scratch` is valid for [`Strip::len`] floats.
    unsafe fn take(scratch: &mut *mut f32, voxels: usize) -> Self {
        let values = *scratch;
        // SAFETY: the caller's contract.
        unsafe {
            *scratch = values.add(Self::len(voxels));
            Self { values, winners: values.add((voxels + BEYOND).next_multiple_of(BEYOND)).cast() }
        }
    }

    /// The strip without its first `voxels`.
    ///
    /// # Safety
    /// It has as many.
    #[inline(always)]
    unsafe fn after(self, voxels: usize) -> Self {
        // SAFETY: the caller's contract.
        unsafe { Self { values: self.values.add(voxels), winners: self.winners.add(voxels) } }
    }

    /// The vectors at voxel `at`.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller; `at` is a voxel of the strip.
    #[inline(always)]
    unsafe fn load<V: Vector>(self, at: usize) -> (V, V::Words) {
        // SAFETY: the caller's contract; a vector ends at most `BEYOND` voxels behind the strip's.
        unsafe { (V::load(self.values.add(at)), V::Words::load_bytes(self.winners.add(at))) }
    }

    /// Stores the vectors of voxel `at`.
    ///
    /// # Safety
    /// As [`Strip::load`].
    #[inline(always)]
    unsafe fn store<V: Vector>(self, at: usize, (values, winners): (V, V::Words)) {
        // SAFETY: as there.
        unsafe {
            values.store(self.values.add(at));
            winners.store_bytes(self.winners.add(at), V::LANES);
        }
    }
}

/// Calls `$stage::<V, K, ..>`, where `K` is `$k` for the common sizes, so that the loop over them is unrolled, and 0
/// for all others.
macro_rules! unrolled {
    ($stage:ident::<$v:ty $(, $keep:ident)?>($k:expr, $($arg:expr),* $(,)?)) => {
        match $k {
            1 => $stage::<$v, 1 $(, $keep)?>(1, $($arg),*),
            2 => $stage::<$v, 2 $(, $keep)?>(2, $($arg),*),
            3 => $stage::<$v, 3 $(, $keep)?>(3, $($arg),*),
            k => $stage::<$v, 0 $(, $keep)?>(k, $($arg),*),
        }
    };
}
use unrolled;

impl Shape {
    fn new(window: Window, input: [usize; 3]) -> Self {
        Self { window, input, output: window.output(input) }
    }

    fn input_plane(&self) -> usize {
        self.input[1] * self.input[2]
    }

    fn output_plane(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// Planes of the strips that forward keeps between its second and its third axis.
    fn ring(&self) -> usize {
        self.window.reach()[0] + 1
    }

    /// Rows of `all` that are computed at once: as many as let `strips` stay near, but enough that the rows around
    /// them, which are computed again, do not prevail.
    fn rows_at_once(&self, all: usize, strips: usize) -> usize {
        let most = (NEAR_VOXELS / (strips * self.input[2])).max(6 * self.window.reach()[1]).max(1);
        all.div_ceil(all.div_ceil(most))
    }

    fn forward_rows(&self) -> usize {
        self.rows_at_once(self.output[1], self.ring() + 1)
    }

    fn backward_rows(&self) -> usize {
        self.rows_at_once(self.input[1], 2)
    }

    /// Voxels of `rows` rows, and of those that the window reaches beyond them.
    fn reached(&self, rows: usize) -> usize {
        (rows + self.window.reach()[1]) * self.input[2]
    }

    fn forward_scratch(&self) -> usize {
        let rows = self.forward_rows();
        Strip::len(self.reached(rows)) + self.ring() * Strip::len(rows * self.input[2])
    }

    fn backward_scratch(&self) -> usize {
        let rows = self.backward_rows();
        Strip::len(self.reached(rows)) + Strip::len(self.window.reach()[2] + rows * self.input[2])
    }
}

impl Kernels {
    /// Floats of private memory that both passes need.
    pub fn max_filter_scratch(&self, w: Window, input: [usize; 3]) -> usize {
        let shape = Shape::new(w, input);
        shape.forward_scratch().max(shape.backward_scratch())
    }

    /// Planes `planes` of the sliding-window maximum of one feature map.
    ///
    /// `x` is the whole map of `input` voxels; `y` and `winners` hold the planes of the range alone, each
    /// `w.output(input)` voxels in y and x. With winners the window has at most [`Window::MAX_VOLUME`] voxels.
    /// `scratch` has the length of [`Kernels::max_filter_scratch`] and any content. Ties and NaN: see [`crate::pool`].
    #[expect(
        clippy::too_many_arguments,
        reason = "the shape, the part to compute, its operands and scratch memory"
    )]
    pub fn max_filter_forward(
        &self,
        w: Window,
        input: [usize; 3],
        x: &[f32],
        planes: Range<usize>,
        y: &mut [f32],
        winners: Option<&mut [u8]>,
        scratch: &mut [f32],
    ) {
        let shape = Shape::new(w, input);
        assert!(planes.start <= planes.end && planes.end <= shape.output[0]);
        assert_eq!(x.len(), input.iter().product());
        assert_eq!(y.len(), planes.len() * shape.output_plane());
        assert!(scratch.len() >= shape.forward_scratch(), "too little scratch memory");
        let winners = winners.map_or(core::ptr::null_mut(), |winners| {
            assert!(w.volume() <= Window::MAX_VOLUME, "{w:?} has offsets beyond a byte");
            assert_eq!(winners.len(), y.len());
            winners.as_mut_ptr()
        });
        let (x, y, scratch) = (x.as_ptr(), y.as_mut_ptr(), scratch.as_mut_ptr());
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe { (self.table().max_filter_forward)(shape, x, planes, y, winners, scratch) }
    }

    /// Planes `planes` of the gradient by the *input* of [`Kernels::max_filter_forward`].
    ///
    /// `dy` and `winners`, which forward wrote, are whole maps of `w.output(input)` voxels; `dx` holds the planes of
    /// the range alone and is overwritten, or added to with `accumulate`. Ranges of one map can run in any order and at
    /// once. `scratch` as for forward.
    #[expect(
        clippy::too_many_arguments,
        reason = "the shape, two maps, the part to compute and scratch memory"
    )]
    pub fn max_filter_backward(
        &self,
        w: Window,
        input: [usize; 3],
        dy: &[f32],
        winners: &[u8],
        planes: Range<usize>,
        accumulate: bool,
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let shape = Shape::new(w, input);
        assert!(w.volume() <= Window::MAX_VOLUME, "{w:?} has offsets beyond a byte");
        assert_eq!(dy.len(), shape.output.iter().product());
        assert_eq!(winners.len(), dy.len());
        assert!(planes.start <= planes.end && planes.end <= input[0]);
        assert_eq!(dx.len(), planes.len() * shape.input_plane());
        assert!(scratch.len() >= shape.backward_scratch(), "too little scratch memory");
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe {
            (self.table().max_filter_backward)(
                shape,
                dy.as_ptr(),
                winners.as_ptr(),
                planes,
                accumulate,
                dx.as_mut_ptr(),
                scratch.as_mut_ptr(),
            )
        }
    }
}
