//! The maximum of non-overlapping blocks: `y[p] = max_m x[p * size + m]`.
//!
//! Lanes run along the rows of the input, whatever the size of a block. Forward first reduces the rows of a row of
//! blocks to one, voxel by voxel, and then the voxels of each block. Backward spreads a row of gradients over the
//! voxels of their blocks once, and stores it into each of the rows where it has won, zeros elsewhere.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use crate::Kernels;
use crate::pool::Window;

/// A max pool of one feature map.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    size: [usize; 3],
    input: [usize; 3],
    output: [usize; 3],
}

/// Voxels of an input row that are worked on at once: enough for the widest block.
const SECTION: usize = Window::MAX_VOLUME;
/// Floats that a vector may reach beyond a section: the lanes of the widest tier.
const BEYOND: usize = 16;

impl Shape {
    fn new(size: [usize; 3], input: [usize; 3]) -> Self {
        assert!(size.iter().product::<usize>() <= Window::MAX_VOLUME, "{size:?} has offsets beyond a byte");
        let output = core::array::from_fn(|axis| {
            let (size, input) = (size[axis], input[axis]);
            assert!(size > 0 && input.is_multiple_of(size), "{input} voxels are no multiple of {size}");
            input / size
        });
        Self { size, input, output }
    }

    /// The first voxel of the block at the start of row `row` of the output, all planes counted on.
    fn block(&self, row: usize) -> usize {
        let rows = self.output[1];
        (row / rows * self.size[0] * self.input[1] + row % rows * self.size[1]) * self.input[2]
    }

    /// The first voxel of row `m` of a block, all planes counted on, from the first voxel of the block on.
    fn row_of_block(&self, m: usize) -> usize {
        (m / self.size[1] * self.input[1] + m % self.size[1]) * self.input[2]
    }
}

impl Kernels {
    /// The maxima of the blocks of `size` voxels, at most [`Window::MAX_VOLUME`], of one feature map, or of any of its
    /// planes that make whole blocks: `x` has `input` voxels, a multiple of `size`; `y` and `winners` have
    /// `input / size`. Ties and NaN: see [`crate::pool`].
    pub fn max_pool_forward(
        &self,
        size: [usize; 3],
        input: [usize; 3],
        x: &[f32],
        y: &mut [f32],
        winners: Option<&mut [u8]>,
    ) {
        let shape = Shape::new(size, input);
        assert_eq!(x.len(), input.iter().product());
        assert_eq!(y.len(), shape.output.iter().product());
        let winners = winners.map_or(core::ptr::null_mut(), |winners| {
            assert_eq!(winners.len(), y.len());
            winners.as_mut_ptr()
        });
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe { (self.table().max_pool_forward)(shape, x.as_ptr(), y.as_mut_ptr(), winners) }
    }

    /// The gradient by the input of [`Kernels::max_pool_forward`], whose arguments it shares: each gradient of
    /// `dy` goes to its winner. `dx` is overwritten, or added to with `accumulate`.
    pub fn max_pool_backward(
        &self,
        size: [usize; 3],
        input: [usize; 3],
        dy: &[f32],
        winners: &[u8],
        accumulate: bool,
        dx: &mut [f32],
    ) {
        let shape = Shape::new(size, input);
        assert_eq!(dx.len(), input.iter().product());
        assert_eq!(dy.len(), shape.output.iter().product());
        assert_eq!(winners.len(), dy.len());
        let (dy, winners, dx) = (dy.as_ptr(), winners.as_ptr(), dx.as_mut_ptr());
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe { (self.table().max_pool_backward)(shape, dy, winners, accumulate, dx) }
    }
}
