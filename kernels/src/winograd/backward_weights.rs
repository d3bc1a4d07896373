//! Backward-weights: `dw = G'[sum over tiles (A dy) . (B' x)]`.
//!
//! Both operands are transformed with lanes along tiles, as in the forward pass, and then transposed: with lanes along
//! points the sum over tiles needs no addition of lanes, and any number of maps fills the vectors.

use core::ops::Range;

use super::gradient::{KernelSums, Outer};
use super::group::Groups;
use super::input::{self, Input};
use super::shape::Shape;
use super::transpose::Blocks;
use crate::conv::lines::balanced;
use crate::{Kernels, Rows};

/// Vectors of tiles of a group. So many tiles are summed in registers, and these sums one after the other.
const GROUP: usize = 2;
/// Sums of groups are added up in chains of so many, and then the chains, so that rounding errors grow slowly.
const CHAIN: usize = 8;
/// Scratch floats between two arrays, so that the last vector of one may end behind it.
const SLACK: usize = 16;

impl Kernels {
    /// Cuts `slabs` into groups for [`Kernels::winograd_backward_weights`].
    pub fn winograd_backward_weights_groups(&self, shape: &Shape, slabs: Range<usize>) -> Groups {
        Groups::best(shape, slabs, self.lanes(), GROUP)
    }

    /// Floats of scratch memory that [`Kernels::winograd_backward_weights`] needs for `groups`.
    pub fn winograd_backward_weights_scratch_len(&self, shape: &Shape, groups: &Groups) -> usize {
        Places::new(self, shape, groups).len
    }

    /// Computes the gradient of the weights from some slabs.
    ///
    /// * `shape`: that of the forward pass.
    /// * `groups`: the slabs, from [`Kernels::winograd_backward_weights_groups`].
    /// * `x`: `c_in` rows, each a whole input map.
    /// * `dy`: `c_out` rows, each the gradient of a whole output map.
    /// * `dw`: `[c_out][c_in][kz][ky][kx]`, overwritten.
    /// * `scratch`: [`Kernels::winograd_backward_weights_scratch_len`] floats of any content.
    ///
    /// # Panics
    /// Where the sizes do not agree.
    pub fn winograd_backward_weights(
        &self,
        shape: &Shape,
        groups: &Groups,
        x: Rows<'_>,
        dy: Rows<'_>,
        dw: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (c_in, c_out, lanes) = (shape.c_in, shape.c_out, self.lanes());
        let taps: usize = shape.kernel.iter().product();
        assert_eq!((x.rows(), x.cols()), (c_in, shape.input.iter().product()), "input");
        assert_eq!((dy.rows(), dy.cols()), (c_out, shape.output.iter().product()), "gradient");
        assert_eq!(dw.len(), c_out * c_in * taps, "weights");
        let places = Places::new(self, shape, groups);
        assert!(scratch.len() >= places.len, "scratch memory");
        let (inputs, rest) = scratch.split_at_mut(places.inputs);
        let (gradients, rest) = rest.split_at_mut(places.gradients);
        let (sums, rest) = rest.split_at_mut(places.sums);
        let (totals, rest) = rest.split_at_mut(places.totals);
        totals.fill(0.0);
        let (points, steps) = rest.split_at_mut(places.points);
        let blocks = shape.points().div_ceil(lanes);
        let family = self.micro().winograd_outers;
        for index in 0..groups.count() {
            let group = groups.get(index);
            let tiles = group.len();
            let map = tiles.next_multiple_of(lanes) * lanes;
            for (shape, images, to) in [(*shape, x, &mut *inputs), (shape.gradient(), dy, &mut *gradients)] {
                for i in 0..images.rows() {
                    let point = tiles.next_multiple_of(lanes) + SLACK;
                    let input = Input {
                        shape,
                        group,
                        image: images.row(i).as_ptr(),
                        next: images.row((i + 1).min(images.rows() - 1)).as_ptr(),
                        to: points.as_mut_ptr(),
                        point,
                        scratch: steps.as_mut_ptr(),
                    };
                    let transposed = Blocks {
                        rows: shape.points(),
                        columns: tiles,
                        from: points.as_ptr(),
                        from_row: point,
                        to: to[i * map..].as_mut_ptr(),
                        to_block: images.rows() * map,
                    };
                    // SAFETY: `self` proves the tier; `Places` has room for the points of a map, a vector behind the
                    // last, the steps, and the transposed points of all maps.
                    unsafe {
                        (self.table().winograd_input)(&input);
                        (self.table().winograd_transpose)(&transposed);
                    }
                }
            }
            for block in 0..blocks {
                for (first_input, inputs_of) in balanced(c_in, family[0].len()) {
                    for (first_output, outputs_of) in balanced(c_out, family.len()) {
                        let outer = Outer {
                            tiles,
                            gradients: gradients[(block * c_out + first_output) * map..].as_ptr(),
                            inputs: inputs[(block * c_in + first_input) * map..].as_ptr(),
                            map,
                            sums: sums[((block * c_out + first_output) * c_in + first_input) * lanes..]
                                .as_mut_ptr(),
                            sum_row: c_in * lanes,
                            accumulate: index % CHAIN > 0,
                        };
                        // SAFETY: as above; the parts lie within the maps.
                        unsafe { family[outputs_of - 1][inputs_of - 1](&outer) };
                    }
                }
            }
            if !totals.is_empty() && ((index + 1) % CHAIN == 0 || index + 1 == groups.count()) {
                self.add(totals, sums);
            }
        }
        let sums = if totals.is_empty() { sums } else { totals };
        for o in 0..c_out {
            for i in (0..c_in).step_by(lanes) {
                let sums = KernelSums {
                    shape: *shape,
                    from: sums[(o * c_in + i) * lanes..].as_ptr(),
                    block: c_out * c_in * lanes,
                    maps: (c_in - i).min(lanes),
                    to: dw[(o * c_in + i) * taps..].as_mut_ptr(),
                };
                // SAFETY: as above; the kernels of the maps lie within `dw`.
                unsafe { (self.table().winograd_kernel_gradient)(&sums) };
            }
        }
    }
}

/// How the scratch memory is divided.
struct Places {
    inputs: usize,
    gradients: usize,
    sums: usize,
    /// None where there is but one chain.
    totals: usize,
    points: usize,
    len: usize,
}

impl Places {
    fn new(kernels: &Kernels, shape: &Shape, groups: &Groups) -> Self {
        let lanes = kernels.lanes();
        let tiles = groups.largest().next_multiple_of(lanes);
        let part = |len: usize| (len + 2 * SLACK).next_multiple_of(SLACK);
        let points = shape.points().next_multiple_of(lanes);
        let inputs = part(points * shape.c_in * tiles);
        let gradients = part(points * shape.c_out * tiles);
        let sums = part(points * shape.c_in * shape.c_out);
        let totals = if groups.count() > CHAIN { sums } else { 0 };
        let steps = [*shape, shape.gradient()].map(|s| input::scratch_len(&s, groups.size(), lanes));
        let steps = part(steps[0].max(steps[1]));
        let points = part(shape.points() * (tiles + SLACK));
        let len = inputs + gradients + sums + totals + points + steps;
        Self { inputs, gradients, sums, totals, points, len }
    }
}
