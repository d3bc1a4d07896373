//! The maximum of non-overlapping blocks: `y[p] = max_m x[p * size + m]`.

use crate::Kernels;
use crate::pool::Window;
use crate::vector::Vector;
use crate::words::Words;

/// A max pool of one feature map.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    size: [usize; 3],
    input: [usize; 3],
    output: [usize; 3],
}

impl Shape {
    fn new(size: [usize; 3], input: [usize; 3]) -> Self {
        let output = core::array::from_fn(|axis| {
            let (size, input) = (size[axis], input[axis]);
            assert!(size > 0 && input.is_multiple_of(size), "{input} voxels are no multiple of {size}");
            input / size
        });
        Self { size, input, output }
    }
}

impl Kernels {
    /// The maxima of the blocks of `size` voxels of one feature map, or of any of its planes that make whole
    /// blocks: `x` has `input` voxels, a multiple of `size`; `y` and `winners` have `input / size`.
    ///
    /// With winners the block has at most [`Window::MAX_VOLUME`] voxels. Ties and NaN: see [`crate::pool`].
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
            assert!(
                size.iter().product::<usize>() <= Window::MAX_VOLUME,
                "{size:?} has offsets beyond a byte"
            );
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
        let Shape { output: [planes, rows, cols], .. } = Shape::new(size, input);
        let volume = size.iter().product::<usize>();
        assert!(volume <= Window::MAX_VOLUME, "{size:?} has offsets beyond a byte");
        assert_eq!(dx.len(), input.iter().product());
        assert_eq!(dy.len(), planes * rows * cols);
        assert_eq!(winners.len(), dy.len());
        if !accumulate {
            dx.fill(0.0);
        }
        let mut distance = [0; Window::MAX_VOLUME];
        for (m, distance) in distance.iter_mut().enumerate().take(volume) {
            let (mz, my, mx) = (m / (size[1] * size[2]), m / size[2] % size[1], m % size[2]);
            *distance = (mz * input[1] + my) * input[2] + mx;
        }
        // One scalar addition per block, which is a fraction of the voxels of `dx`: the fill above takes longer.
        for row in 0..planes * rows {
            let (z, y) = (row / rows, row % rows);
            let block = (z * size[0] * input[1] + y * size[1]) * input[2];
            let part = row * cols..(row + 1) * cols;
            for (col, (&g, &winner)) in dy[part.clone()].iter().zip(&winners[part]).enumerate() {
                dx[block + col * size[2] + distance[usize::from(winner)]] += g;
            }
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for the input, `y` and (unless null) `winners` for
/// the output; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn forward<V: Vector>(shape: Shape, x: *const f32, y: *mut f32, winners: *mut u8) {
    let Shape { size, input, output: [planes, rows, cols] } = shape;
    for row in 0..planes * rows {
        let block = (row / rows * size[0] * input[1] + row % rows * size[1]) * input[2];
        for col in (0..cols).step_by(V::LANES) {
            // SAFETY: blocks of existing columns lie within the input; lanes beyond the row are not touched.
            unsafe {
                let x = x.add(block + col * size[2]);
                let n = cols - col;
                let mut maximum = Running::<V>::new();
                for mz in 0..size[0] {
                    for my in 0..size[1] {
                        let x = x.add((mz * input[1] + my) * input[2]);
                        if size[2] == 2 {
                            // whole vectors taken apart are much faster than strided loads
                            let second = x.wrapping_add(V::LANES);
                            let (low, high) = (
                                V::load_first(x, 2 * n),
                                V::load_first(second, (2 * n).saturating_sub(V::LANES)),
                            );
                            let (even, odd) = low.unzip(high);
                            maximum.consider(even);
                            maximum.consider(odd);
                        } else {
                            for mx in 0..size[2] {
                                maximum.consider(V::load_strided(x.add(mx), size[2], V::first(n)));
                            }
                        }
                    }
                }
                maximum.best.store_first(y.add(row * cols + col), n);
                if !winners.is_null() {
                    maximum.winner.store_bytes(winners.add(row * cols + col), n);
                }
            }
        }
    }
}

/// The maxima of `LANES` blocks so far.
struct Running<V: Vector> {
    best: V,
    winner: V::Words,
    /// The offset of the next candidate in its block.
    offset: V::Words,
}

impl<V: Vector> Running<V> {
    /// # Safety
    /// As [`Vector::zero`].
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's contract.
        unsafe {
            let zero = V::Words::splat(0);
            Self { best: V::splat(f32::NEG_INFINITY), winner: zero, offset: zero }
        }
    }

    #[inline(always)]
    fn consider(&mut self, candidate: V) {
        let wins = candidate.exceeds(self.best);
        self.best = candidate.select(wins, self.best);
        self.winner = self.offset.select(wins, self.winner);
        // SAFETY: a value of the type exists, and this is inlined where it does.
        self.offset = self.offset.add(unsafe { V::Words::splat(1) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, tiers};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn blocks_give_their_first_largest_voxel_and_take_its_gradient_back() {
        let mut random = Random::new(6);
        for case in 0..150 {
            let size: [usize; 3] = core::array::from_fn(|_| random.within(1, 4));
            let blocks = [random.within(1, 3), random.within(1, 4), random.within(1, 40)];
            let input: [usize; 3] = core::array::from_fn(|axis| size[axis] * blocks[axis]);
            let len: usize = input.iter().product();
            let out: usize = blocks.iter().product();
            let mut x = if case % 2 == 0 { random.ties(len) } else { random.floats(len) };
            if case % 8 == 0 {
                x[len / 2] = f32::NAN;
            }
            let dy = random.floats(out);
            let before = random.floats(len);
            let (mut y, mut winners, mut dx) = (Vec::new(), Vec::new(), vec![0.0; len]);
            for (block, &g) in dy.iter().enumerate() {
                let at = [block / (blocks[1] * blocks[2]), block / blocks[2] % blocks[1], block % blocks[2]];
                let (mut best, mut winner, mut place) = (f32::NEG_INFINITY, 0, 0);
                for m in 0..size.iter().product() {
                    let offset = [m / (size[1] * size[2]), m / size[2] % size[1], m % size[2]];
                    let [pz, py, px]: [usize; 3] =
                        core::array::from_fn(|axis| at[axis] * size[axis] + offset[axis]);
                    let voxel = (pz * input[1] + py) * input[2] + px;
                    if x[voxel] > best || x[voxel].is_nan() {
                        (best, winner, place) = (x[voxel], m as u8, voxel);
                    }
                }
                y.push(best);
                winners.push(winner);
                dx[place] = g;
            }
            let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            for kernels in tiers() {
                let (mut actual, mut values) = (vec![9.0; out], vec![9.0; out]);
                let mut actual_winners = vec![255; out];
                kernels.max_pool_forward(size, input, &x, &mut actual, Some(&mut actual_winners));
                kernels.max_pool_forward(size, input, &x, &mut values, None);
                assert_eq!(bits(&actual), bits(&y), "{kernels:?} {size:?} {input:?}");
                assert_eq!(bits(&values), bits(&y), "{kernels:?} {size:?} {input:?}");
                assert_eq!(actual_winners, winners, "{kernels:?} {size:?} {input:?}");

                let (mut written, mut added) = (vec![9.0; len], before.clone());
                kernels.max_pool_backward(size, input, &dy, &winners, false, &mut written);
                kernels.max_pool_backward(size, input, &dy, &winners, true, &mut added);
                assert_eq!(written, dx);
                assert!(added.iter().zip(before.iter().zip(&dx)).all(|(a, (b, d))| *a == b + d));
            }
        }
    }

    #[test]
    #[should_panic(expected = "no multiple")]
    fn the_input_is_a_multiple_of_the_block() {
        Kernels::best().max_pool_forward([1, 1, 2], [1, 1, 3], &[0.0; 3], &mut [0.0], None);
    }
}
