//! Forward and backward-data, fused: a group of tiles is transformed, multiplied, transformed back and stored by one call,
//! and its tiles never leave the caches.

use core::ops::Range;

use super::group::Groups;
use super::input::{self, Input};
use super::output::{self, Store, Sums};
use super::product::{self, Products};
use super::shape::Shape;
use super::weights;
use crate::conv::Epilogue;
use crate::{Kernels, Rows, RowsMut, Transfer};

/// Bytes of transformed inputs of a group: they are read from L2 once for each block of output maps.
const GROUP_BYTES: usize = 1280 * 1024;
/// The most vectors of tiles of a group.
const MAX_GROUP: usize = 4;
/// Scratch floats between two arrays, so that the last vector of one may end behind it.
const SLACK: usize = 16;

impl Kernels {
    /// Output maps of a block: how many of them are multiplied at a time. Ranges of maps begin at multiples.
    pub fn winograd_block(&self, shape: &Shape) -> usize {
        let tallest = self.micro().winograd_products.len();
        shape.c_out.div_ceil(shape.c_out.div_ceil(tallest))
    }

    /// Floats of all transformed weights.
    pub fn winograd_weights_len(&self, shape: &Shape) -> usize {
        shape.points() * shape.c_in * shape.c_out
    }

    /// Transforms the kernels of some output maps.
    ///
    /// * `weights`: all weights of the layer, `[c_out][c_in][kz][ky][kx]`.
    /// * `maps`: output maps of the pass; starts at a multiple of [`Kernels::winograd_block`] and ends at one or at the
    ///   last map.
    /// * `to`: their part of `[block][point][c_in][map of the block]`, which begins at `points * c_in * maps.start`.
    ///
    /// # Panics
    /// Where the lengths do not agree.
    pub fn winograd_weights(&self, shape: &Shape, weights: &[f32], maps: Range<usize>, to: &mut [f32]) {
        let block = self.winograd_block(shape);
        let taps: usize = shape.kernel.iter().product();
        let terms = shape.points() * shape.c_in;
        assert_eq!(weights.len(), shape.c_in * shape.c_out * taps, "weights");
        assert!(maps.end <= shape.c_out && maps.start.is_multiple_of(block), "maps {maps:?}");
        assert_eq!(to.len(), terms * maps.len(), "transformed weights");
        // The layer's output maps are the pass's input maps where it goes backwards.
        let (map_step, input_step) =
            if shape.is_reversed() { (taps, shape.c_out * taps) } else { (shape.c_in * taps, taps) };
        for start in maps.clone().step_by(block) {
            let rows = block.min(maps.end - start);
            for i in 0..shape.c_in {
                for r in (0..rows).step_by(self.lanes()) {
                    let kernels = weights::Kernels {
                        shape: *shape,
                        from: weights[(start + r) * map_step + i * input_step..].as_ptr(),
                        stride: map_step,
                        maps: (rows - r).min(self.lanes()),
                        to: to[(start - maps.start) * terms + i * rows + r..].as_mut_ptr(),
                        point: shape.c_in * rows,
                    };
                    // SAFETY: `self` proves the tier. The taps of maps start + r .. end at the last of the weights, the
                    // points of the block's maps within its part of `to`.
                    unsafe { (self.table().winograd_weights)(&kernels) };
                }
            }
        }
    }

    /// Cuts `slabs` into groups for [`Kernels::winograd`].
    pub fn winograd_groups(&self, shape: &Shape, slabs: Range<usize>) -> Groups {
        let vector = shape.points() * shape.c_in * self.lanes() * size_of::<f32>();
        let vectors = (GROUP_BYTES / vector).clamp(1, MAX_GROUP);
        Groups::best(shape, slabs, self.lanes(), vectors)
    }

    /// Floats of scratch memory that [`Kernels::winograd`] needs for `groups`.
    pub fn winograd_scratch_len(&self, shape: &Shape, groups: &Groups) -> usize {
        Places::new(self, shape, groups).len
    }

    /// Computes some output maps and slabs.
    ///
    /// * `x`: `c_in` rows, each a whole input map.
    /// * `transformed`: all weights, from [`Kernels::winograd_weights`].
    /// * `maps`: output maps, as there.
    /// * `groups`: the slabs, from [`Kernels::winograd_groups`].
    /// * `y`: one row for each of `maps`, each the [voxels](Shape::voxels_of) of the slabs.
    /// * `scratch`: [`Kernels::winograd_scratch_len`] floats of any content.
    ///
    /// The result does not depend, in any bit, on how the work is split into calls.
    ///
    /// # Panics
    /// Where the sizes do not agree.
    #[allow(clippy::too_many_arguments, reason = "three operands, two ranges and how to combine them")]
    pub fn winograd(
        &self,
        shape: &Shape,
        groups: &Groups,
        x: Rows<'_>,
        transformed: &[f32],
        epilogue: &Epilogue<'_>,
        maps: Range<usize>,
        mut y: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let block = self.winograd_block(shape);
        let voxels = shape.voxels_of(groups.slabs());
        let points = shape.points();
        assert_eq!((x.rows(), x.cols()), (shape.c_in, shape.input.iter().product()), "input");
        assert_eq!(transformed.len(), self.winograd_weights_len(shape), "transformed weights");
        assert!(maps.end <= shape.c_out && maps.start.is_multiple_of(block), "maps {maps:?}");
        assert_eq!((y.rows(), y.cols()), (maps.len(), voxels.len()), "output");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), shape.c_out, "bias");
        }
        let (floor, later) = match epilogue.transfer {
            Transfer::IDENTITY => (f32::NEG_INFINITY, None),
            Transfer::RectifyLinear => (0.0, None),
            other => (f32::NEG_INFINITY, Some(other)),
        };
        // Voxels of a dilated sub-lattice are stored one by one.
        let (now, later) = if shape.dilation[2] == 1 { (later, None) } else { (None, later) };
        let places = Places::new(self, shape, groups);
        assert!(scratch.len() >= places.len, "scratch memory");
        let (inputs, rest) = scratch.split_at_mut(places.inputs);
        let (sums, rest) = rest.split_at_mut(places.sums);
        let (outputs, steps) = rest.split_at_mut(places.outputs);
        for index in 0..groups.count() {
            let group = groups.get(index);
            let tiles = group.len().next_multiple_of(self.lanes());
            let input_point = shape.c_in * tiles + SLACK;
            for map in 0..shape.c_in {
                let input = Input {
                    shape: *shape,
                    group,
                    image: x.row(map).as_ptr(),
                    next: x.row((map + 1).min(shape.c_in - 1)).as_ptr(),
                    to: inputs[map * tiles..].as_mut_ptr(),
                    point: input_point,
                    scratch: steps.as_mut_ptr(),
                };
                // SAFETY: `self` proves the tier; `Places` has room for the points of all maps, a vector behind the last
                // map's tiles, and the steps.
                unsafe { (self.table().winograd_input)(&input) };
            }
            for start in maps.clone().step_by(block) {
                let rows = block.min(maps.end - start);
                let family = &self.micro().winograd_products[rows - 1];
                for first in (0..tiles).step_by(family.len() * self.lanes()) {
                    let count = (tiles - first).min(family.len() * self.lanes());
                    let sum_point = rows * count + SLACK;
                    let product = Products {
                        points,
                        maps: shape.c_in,
                        weights: transformed[start * points * shape.c_in..].as_ptr(),
                        inputs: inputs[first..].as_ptr(),
                        input_map: tiles,
                        input_point,
                        sums: sums.as_mut_ptr(),
                        sum_row: count,
                        sum_point,
                    };
                    // SAFETY: as above; the block's weights are `points * c_in * rows` floats.
                    unsafe { family[count / self.lanes() - 1](&product) };
                    for r in 0..rows {
                        let sums = Sums {
                            shape: *shape,
                            tiles: count,
                            from: sums[r * count..].as_ptr(),
                            point: sum_point,
                            to: outputs.as_mut_ptr(),
                            scratch: steps.as_mut_ptr(),
                        };
                        // SAFETY: as above.
                        unsafe { (self.table().winograd_output)(&sums) };
                        let outputs = &mut outputs[..output::outputs_len(shape, count)];
                        let y = y.row_mut(start + r - maps.start);
                        let store = Store {
                            shape: *shape,
                            group,
                            tiles: (first, count),
                            from: outputs.as_ptr(),
                            row: count * shape.tile[2],
                            to: y.as_mut_ptr().wrapping_sub(voxels.start),
                            bias: epilogue.bias.map_or(0.0, |bias| bias[start + r]),
                            floor,
                            transfer: now,
                            accumulate: epilogue.accumulate,
                        };
                        // SAFETY: as above; the voxels of the groups' tiles are those of `y`.
                        unsafe { (self.table().winograd_store)(&store) };
                    }
                }
            }
        }
        if let Some(transfer) = later {
            for map in 0..y.rows() {
                self.bias_transfer(transfer, 0.0, y.row_mut(map));
            }
        }
    }
}

/// How the scratch memory is divided.
struct Places {
    inputs: usize,
    sums: usize,
    outputs: usize,
    len: usize,
}

impl Places {
    fn new(kernels: &Kernels, shape: &Shape, groups: &Groups) -> Self {
        let lanes = kernels.lanes();
        let tiles = groups.largest().next_multiple_of(lanes);
        let part = |len: usize| (len + 2 * SLACK).next_multiple_of(SLACK);
        let inputs = part(shape.points() * (shape.c_in * tiles + SLACK));
        let together = product::MAX_VECTORS * lanes;
        let sums = part(shape.points() * (kernels.winograd_block(shape) * together + SLACK));
        let outputs = part(output::outputs_len(shape, together));
        let steps = input::scratch_len(shape, groups.size(), lanes).max(output::scratch_len(shape, lanes));
        Self { inputs, sums, outputs, len: inputs + sums + outputs + part(steps) }
    }
}
