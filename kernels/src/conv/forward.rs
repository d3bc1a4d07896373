//! The forward pass.

use super::Geometry;
use super::family::MAX_VECTORS;
use super::lines::Lines;
use super::pack::check_blocks;
use super::sweep::Sweep;
use super::tile::{NO_BIAS, Tile, TileVector};
use crate::{Kernels, Rows, RowsMut, Transfer};
use core::ops::Range;

/// Planes are computed in slabs of at least this many vectors, after which the transfer function is applied.
const SLAB_VECTORS: usize = 64;

/// What happens to a sum before it is stored: `y = transfer(sum + bias (+ y))`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Whether the sum is added to the former value of `y`, before the transfer function.
    pub accumulate: bool,
    /// One value for each output channel of the whole layer.
    pub bias: Option<&'a [f32]>,
    /// The transfer function.
    pub transfer: Transfer,
}

impl Epilogue<'_> {
    /// `y = sum`.
    pub const STORE: Epilogue<'static> =
        Epilogue { accumulate: false, bias: None, transfer: Transfer::IDENTITY };
    /// `y += sum`.
    pub const ACCUMULATE: Epilogue<'static> =
        Epilogue { accumulate: true, bias: None, transfer: Transfer::IDENTITY };
}

impl Kernels {
    /// Computes some output channels and planes of a convolution.
    ///
    /// * `x`: `c_in` rows, each a whole input image.
    /// * `packed`: all weights, from [`Kernels::pack_forward`].
    /// * `out_channels`: starts at a multiple of [`Kernels::forward_block`] and ends at one or at `c_out`.
    /// * `planes`: output planes.
    /// * `y`: one row for each of `out_channels`, each the `planes` of an output image.
    ///
    /// The result does not depend, in any bit, on how the work is split into calls.
    #[allow(clippy::too_many_arguments, reason = "three operands, two ranges and how to combine them")]
    pub fn conv_forward(
        &self,
        geometry: &Geometry,
        x: Rows<'_>,
        packed: &[f32],
        epilogue: &Epilogue<'_>,
        out_channels: Range<usize>,
        planes: Range<usize>,
        mut y: RowsMut<'_>,
    ) {
        let [depth, height, width] = geometry.output();
        let block = self.forward_block(geometry);
        check_blocks(&out_channels, block, geometry.c_out);
        assert!(planes.start <= planes.end && planes.end <= depth, "planes {planes:?} of {depth}");
        assert_eq!((x.rows(), x.cols()), (geometry.c_in, geometry.input_len()), "input");
        assert_eq!(packed.len(), self.packed_forward_len(geometry), "packed weights");
        assert_eq!((y.rows(), y.cols()), (out_channels.len(), planes.len() * height * width), "output");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), geometry.c_out, "bias");
        }
        let (floor, later) = match epilogue.transfer {
            Transfer::IDENTITY => (f32::NEG_INFINITY, None),
            Transfer::RectifyLinear => (0.0, None),
            other => (f32::NEG_INFINITY, Some(other)),
        };
        let lines = Lines::of_output(geometry, self.lanes());
        let sweep = Sweep {
            micro: self.micro(),
            block,
            channels: out_channels,
            source_channels: geometry.c_in,
            kernel: geometry.kernel,
            packed,
            bias: epilogue.bias,
            lines,
            rows: height,
            source_len: x.cols(),
        };
        let strip = sweep.strip(geometry.reach(1) * geometry.pitch());
        let mut tile = Tile {
            source: x.as_ptr(),
            channels: geometry.c_in,
            channel_stride: x.stride(),
            taps: geometry.kernel,
            steps: geometry.tap_steps(),
            weights: packed.as_ptr(),
            weight_steps: [0; 3],
            vectors: [TileVector::default(); MAX_VECTORS],
            target: y.as_mut_ptr(),
            target_stride: y.stride(),
            width,
            pitch: lines.pitch,
            bias: NO_BIAS.as_ptr(),
            accumulate: epilogue.accumulate,
            floor,
        };
        let slab = SLAB_VECTORS.div_ceil(lines.vectors());
        for first in planes.clone().step_by(slab) {
            let count = slab.min(planes.end - first);
            // SAFETY: `self` proves the tier. A lane that exists lies at a position p of an output plane, flattened
            // at the input's pitch, with p <= (height - 1) * pitch + width - 1; the last tap reads it at p +
            // reach_y * pitch + reach_x, which is in the same input plane, and plane z + reach_z exists. `x` was
            // checked to hold all channels whole, `packed` all weights, `y` all rows.
            unsafe {
                sweep.run(&mut tile, strip, first - planes.start, count, |tile, cursors| {
                    for (vector, cursor) in tile.vectors.iter_mut().zip(cursors) {
                        vector.source = (first + cursor.plane) * geometry.plane() + cursor.offset(&lines);
                    }
                    0
                });
            }
            if let Some(transfer) = later {
                let start = (first - planes.start) * height * width;
                for channel in 0..y.rows() {
                    self.bias_transfer(
                        transfer,
                        0.0,
                        &mut y.row_mut(channel)[start..start + count * height * width],
                    );
                }
            }
        }
    }
}
