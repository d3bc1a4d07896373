//! The backward pass to the input: a correlation of the padded gradient with the reversed kernels.

use super::Geometry;
use super::family::MAX_VECTORS;
use super::gradient::PaddedGradient;
use super::lines::Lines;
use super::pack::check_blocks;
use super::sweep::Sweep;
use super::tile::{NO_BIAS, Tile, TileVector};
use crate::{Kernels, Rows, RowsMut};
use core::ops::Range;

impl Kernels {
    /// Computes some channels and planes of the gradient of a convolution's input:
    /// `dx[i][q] = sum over o, k of w[o][i][k] * dy[o][q - k * dilation]`.
    ///
    /// * `padded`: `c_out` rows, each from [`Kernels::pad_gradient`].
    /// * `packed`: all weights, from [`Kernels::pack_backward_data`].
    /// * `accumulate`: whether to add to the former value of `dx`.
    /// * `in_channels`: starts at a multiple of [`Kernels::backward_data_block`] and ends at one or at `c_in`.
    /// * `planes`: input planes.
    /// * `dx`: one row for each of `in_channels`, each the `planes` of an input image.
    ///
    /// The result for finite operands does not depend, in any bit, on how the work is split into calls.
    #[allow(clippy::too_many_arguments, reason = "three operands, two ranges and how to combine them")]
    pub fn conv_backward_data(
        &self,
        geometry: &Geometry,
        padded: Rows<'_>,
        packed: &[f32],
        accumulate: bool,
        in_channels: Range<usize>,
        planes: Range<usize>,
        mut dx: RowsMut<'_>,
    ) {
        let [depth, height, _] = geometry.output();
        let block = self.backward_data_block(geometry);
        let layout = PaddedGradient::new(geometry);
        check_blocks(&in_channels, block, geometry.c_in);
        assert!(planes.start <= planes.end && planes.end <= geometry.input[0], "planes {planes:?}");
        assert_eq!((padded.rows(), padded.cols()), (geometry.c_out, layout.len), "padded gradient");
        assert_eq!(packed.len(), self.packed_backward_data_len(geometry), "packed weights");
        assert_eq!((dx.rows(), dx.cols()), (in_channels.len(), planes.len() * geometry.plane()), "gradient");

        let pitch = geometry.pitch();
        let lines = Lines::of_plane(geometry.plane(), self.lanes());
        let [kz, ky, kx] = geometry.kernel;
        let [dilation_z, dilation_y, _] = geometry.dilation;
        let sweep = Sweep {
            micro: self.micro(),
            block,
            channels: in_channels,
            source_channels: geometry.c_out,
            kernel: geometry.kernel,
            packed,
            bias: None,
            lines,
            rows: 1,
            source_len: padded.cols(),
        };
        let strip = sweep.strip(geometry.reach(1) * pitch);
        let mut tile = Tile {
            source: padded.as_ptr(),
            channels: geometry.c_out,
            channel_stride: padded.stride(),
            taps: geometry.kernel,
            steps: [dilation_z * layout.plane, dilation_y * pitch, geometry.dilation[2]],
            weights: packed.as_ptr(),
            weight_steps: [0; 3],
            vectors: [TileVector::default(); MAX_VECTORS],
            target: dx.as_mut_ptr(),
            target_stride: dx.stride(),
            width: lines.width,
            pitch: lines.pitch,
            bias: NO_BIAS.as_ptr(),
            accumulate,
            floor: f32::NEG_INFINITY,
        };
        for z in planes.clone() {
            let taps_z = meeting(z..z + 1, depth, kz, dilation_z);
            // SAFETY: `self` proves the tier. Of the taps that meet the output in z, the last (in the kernel's order)
            // reads plane z - (end - 1) * dilation >= 0 and the first a plane below `depth`. In y and x a lane at
            // position p of the plane is read from p - reach_y * pitch - reach_x, which the lead allows, up to p. The
            // shapes of `padded`, `packed` and `dx` were checked.
            unsafe {
                sweep.run(&mut tile, strip, z - planes.start, 1, |tile, cursors| {
                    let (start, end) =
                        (cursors[0].position, cursors[cursors.len() - 1].position + lines.lanes);
                    let rows = start / pitch..(end.min(lines.length) - 1) / pitch + 1;
                    let taps_y = meeting(rows, height, ky, dilation_y);
                    if taps_z.is_empty() || taps_y.is_empty() {
                        tile.taps = [0; 3];
                        return 0;
                    }
                    tile.taps = [taps_z.len(), taps_y.len(), kx];
                    let plane = layout.lead + (z - (taps_z.end - 1) * dilation_z) * layout.plane;
                    let first_tap = plane - (taps_y.end - 1) * dilation_y * pitch - geometry.reach(2);
                    for (vector, cursor) in tile.vectors.iter_mut().zip(cursors) {
                        vector.source = first_tap + cursor.position;
                    }
                    ((kz - taps_z.end) * ky + (ky - taps_y.end)) * kx
                });
            }
        }
    }
}

/// The taps `k` of `taps` for which `p - k * dilation` lies within `0..size` for a position of the range.
fn meeting(positions: Range<usize>, size: usize, taps: usize, dilation: usize) -> Range<usize> {
    let start = (positions.start + 1).saturating_sub(size).div_ceil(dilation);
    let end = taps.min((positions.end - 1) / dilation + 1);
    start.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::meeting;

    #[test]
    fn taps_that_meet_the_output() {
        for (size, taps, dilation) in [(1, 1, 1), (4, 3, 1), (2, 3, 4), (5, 2, 2), (1, 4, 3)] {
            for start in 0..size + (taps - 1) * dilation {
                for end in start + 1..=size + (taps - 1) * dilation {
                    let range = meeting(start..end, size, taps, dilation);
                    for k in 0..taps {
                        let meets = (start..end).any(|p| p >= k * dilation && p - k * dilation < size);
                        // a range of rows may name a tap that falls between two of them, never miss one
                        assert!(!meets || range.contains(&k));
                        if end == start + 1 {
                            assert_eq!(meets, range.contains(&k), "{start} {size} {taps} {dilation}");
                        }
                    }
                }
            }
        }
    }
}
