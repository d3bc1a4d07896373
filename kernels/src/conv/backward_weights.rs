//! The backward pass to the weights: scalar products of gradient rows with shifted input rows.

use super::Geometry;
use super::family::{MAX_VECTORS, best_rows};
use super::gradient::PaddedGradient;
use super::lines::{Lines, balanced};
use super::reduction::Reduction;
use crate::{Kernels, Rows};
use core::ops::Range;

/// Floats of the gradient that one run over the lines may touch: they stay in an L1 cache while all input channels
/// and taps pass over them.
const RUN_FLOATS: usize = 8 * 1024;

/// Additions to one lane of an accumulator in a run, whose rounding errors grow with the length of the sum.
const LONGEST_SUM: usize = 256;

impl Kernels {
    /// Computes the gradient of some weights of a convolution, summed over some output planes:
    /// `dw[o][i][k] = sum over p of dy[o][p] * x[i][p + k * dilation]`.
    ///
    /// * `x`: `c_in` rows, each a whole input image.
    /// * `padded`: `c_out` rows, each from [`Kernels::pad_gradient`].
    /// * `out_channels`, `in_channels`: any ranges.
    /// * `planes`: output planes.
    /// * `accumulate`: whether to add to the former value of `dw`.
    /// * `dw`: `[out_channels][in_channels][kz][ky][kx]`.
    ///
    /// The result does not depend, in any bit, on how the channels are split into calls.
    #[allow(clippy::too_many_arguments, reason = "three operands, three ranges and how to combine them")]
    pub fn conv_backward_weights(
        &self,
        geometry: &Geometry,
        x: Rows<'_>,
        padded: Rows<'_>,
        out_channels: Range<usize>,
        in_channels: Range<usize>,
        planes: Range<usize>,
        accumulate: bool,
        dw: &mut [f32],
    ) {
        let depth = geometry.output()[0];
        let layout = PaddedGradient::new(geometry);
        assert!(
            out_channels.start <= out_channels.end && out_channels.end <= geometry.c_out,
            "{out_channels:?}"
        );
        assert!(in_channels.start <= in_channels.end && in_channels.end <= geometry.c_in, "{in_channels:?}");
        assert!(planes.start <= planes.end && planes.end <= depth, "planes {planes:?} of {depth}");
        assert_eq!((x.rows(), x.cols()), (geometry.c_in, geometry.input_len()), "input");
        assert_eq!((padded.rows(), padded.cols()), (geometry.c_out, layout.len), "padded gradient");
        let terms = in_channels.len() * geometry.taps();
        assert_eq!(dw.len(), out_channels.len() * terms, "gradient of the weights");
        if !accumulate {
            dw.fill(0.0);
        }
        let family = self.micro().reduce;
        // of the layer, not of the range: the runs, hence the rounding, must be those of the whole
        let block = best_rows(family, geometry.c_out);
        let floats = (RUN_FLOATS / block).min(LONGEST_SUM * self.lanes());
        for run in runs(&Lines::of_output(geometry, self.lanes()), planes, floats) {
            for out_channel in out_channels.clone().step_by(block) {
                let rows = block.min(out_channels.end - out_channel);
                let mut reduction = Reduction {
                    gradient: padded.as_ptr().wrapping_add(
                        out_channel * padded.stride()
                            + layout.lead
                            + run.first_plane * layout.plane
                            + run.offset,
                    ),
                    gradient_stride: padded.stride(),
                    source: x.as_ptr().wrapping_add(run.first_plane * geometry.plane() + run.offset),
                    sources: [0; MAX_VECTORS],
                    planes: run.planes,
                    plane_steps: [layout.plane, geometry.plane()],
                    lines: run.lines,
                    line_step: geometry.pitch(),
                    length: run.length,
                    target: dw.as_mut_ptr(),
                    target_stride: terms,
                };
                let mut tap = Tap::first(geometry, x.stride(), in_channels.start);
                for (start, count) in balanced(terms, family[rows - 1].len()) {
                    for source in &mut reduction.sources[..count] {
                        *source = tap.offset();
                        tap.advance();
                    }
                    reduction.target = dw[(out_channel - out_channels.start) * terms + start..].as_mut_ptr();
                    // SAFETY: `self` proves the tier. The lines of a run lie in the flattened output planes, whose
                    // floats exist in the padded gradient and, shifted by any tap, in the input, as the shapes of
                    // both were checked; rows `out_channel..out_channel + rows` and terms `start..start + count` are
                    // within `dw`.
                    unsafe { family[rows - 1][count - 1](&reduction) }
                }
            }
        }
    }
}

/// A tap of an input channel, in the order of the weights.
struct Tap<'a> {
    geometry: &'a Geometry,
    channel_stride: usize,
    channel: usize,
    at: [usize; 3],
}

impl<'a> Tap<'a> {
    fn first(geometry: &'a Geometry, channel_stride: usize, channel: usize) -> Self {
        Self { geometry, channel_stride, channel, at: [0; 3] }
    }

    /// Where it reads the first output voxel, from the first channel.
    fn offset(&self) -> usize {
        let steps = self.geometry.tap_steps();
        let taps: usize = self.at.iter().zip(steps).map(|(at, step)| at * step).sum();
        self.channel * self.channel_stride + taps
    }

    fn advance(&mut self) {
        for axis in (0..3).rev() {
            self.at[axis] += 1;
            if self.at[axis] < self.geometry.kernel[axis] {
                return;
            }
            self.at[axis] = 0;
        }
        self.channel += 1;
    }
}

/// A part of the output planes: some lines of some planes, or a part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first_plane: usize,
    planes: usize,
    /// The first float, from the start of a plane.
    offset: usize,
    lines: usize,
    length: usize,
}

/// Cuts planes into runs of about `floats` floats.
fn runs(lines: &Lines, planes: Range<usize>, floats: usize) -> impl Iterator<Item = Run> {
    let lines = *lines;
    let plane_floats = lines.count * lines.length;
    // whole planes, else whole lines, else parts of a line that start at whole vectors
    let planes_each = (floats / plane_floats).max(1);
    let lines_each = (floats / lines.length).clamp(1, lines.count);
    let vectors_each = (floats / lines.lanes).max(1);
    balanced(planes.len(), planes_each).flat_map(move |(plane, planes_here)| {
        balanced(lines.count, lines_each).flat_map(move |(line, lines_here)| {
            balanced(lines.vectors_of_line(), vectors_each).map(move |(vector, vectors_here)| {
                let start = vector * lines.lanes;
                Run {
                    first_plane: planes.start + plane,
                    planes: planes_here,
                    offset: line * lines.pitch + start,
                    lines: lines_here,
                    length: (vectors_here * lines.lanes).min(lines.length - start),
                }
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn runs_cover_every_float_once() {
        let geometry = |input, kernel| Geometry::valid(1, 1, input, kernel, [1; 3]);
        for (input, kernel) in [
            ([3, 9, 9], [1, 3, 3]),
            ([9, 3, 4], [3, 1, 2]),
            ([2, 50, 70], [1, 3, 3]),
            ([1, 40, 64], [1, 20, 40]),
            ([4, 2, 300], [1, 1, 1]),
        ] {
            let geometry = geometry(input, kernel);
            for lanes in [4, 8, 16] {
                for floats in [1, 64, 640, 5120] {
                    let lines = Lines::of_output(&geometry, lanes);
                    let [depth, ..] = geometry.output();
                    let mut seen = vec![0; geometry.input_len()];
                    for run in runs(&lines, 0..depth, floats) {
                        assert!(run.planes * run.lines * run.length <= floats.max(lines.length.max(lanes)));
                        for (plane, line) in (0..run.planes).flat_map(|p| (0..run.lines).map(move |l| (p, l)))
                        {
                            let start = (run.first_plane + plane) * geometry.plane()
                                + run.offset
                                + line * geometry.pitch();
                            seen[start..start + run.length].iter_mut().for_each(|count| *count += 1);
                        }
                    }
                    let [_, height, width] = geometry.output();
                    for z in 0..depth {
                        for y in 0..height {
                            let start = z * geometry.plane() + y * geometry.pitch();
                            assert!(seen[start..start + width].iter().all(|&count| count == 1));
                        }
                    }
                }
            }
        }
    }
}
