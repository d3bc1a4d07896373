//! Backward-weights for small images with many channels: lanes along input channels and taps.
//!
//! Lanes along positions end in a horizontal sum for each weight, which few positions do not pay for. The input is
//! therefore transposed: for each output position a *column* holds what all taps of a block of input channels read there
//! (im2col), in the order of the weights. Then `dw[o][..] = sum over p of dy[o][p] * column[p][..]` is a matrix product
//! with broadcasts of the gradient, whose results are stored as they are.
//!
//! Columns are cut into groups of a register tile's vectors: `[group][position][vectors of the group][lanes]`.

use super::Geometry;
use super::backward_weights::{LONGEST_SUM, Pass, Source, Tap};
use super::family::best_rows;
use super::lines::balanced;
use super::panel::{Panel, TapRows};
use super::product::{Product, Transposition};
use crate::Rows;
use crate::vector::MAX_LANES;
use core::ops::Range;

/// Floats of the columns of a block of input channels: they stay in a part of an L2 cache while all output channels
/// pass over them.
const BLOCK_FLOATS: usize = 96 * 1024;

/// Whether columns are worth their transposition, which all output channels share, for saving horizontal sums, of which
/// each is shared by all positions.
pub(super) fn suits(geometry: &Geometry) -> bool {
    /// Positions whose products take as long as a transposition for one output channel and horizontal sum.
    const POSITIONS: usize = 10;
    geometry.output_len() <= POSITIONS * geometry.c_out
}

/// The output planes and input channels of a block.
fn block(geometry: &Geometry) -> (usize, usize) {
    let [depth, height, width] = geometry.output();
    let planes = (LONGEST_SUM / (height * width)).clamp(1, depth);
    let column = planes * height * width * geometry.taps();
    (planes, (BLOCK_FLOATS / column).clamp(1, geometry.c_in.max(1)))
}

/// Positions for which a group has room: the last transposition writes whole vectors.
fn room(positions: usize) -> usize {
    positions + MAX_LANES
}

/// Floats of scratch memory.
pub(super) fn scratch_len(geometry: &Geometry) -> usize {
    let [_, height, width] = geometry.output();
    let (planes, channels) = block(geometry);
    let panel = Panel::new(geometry, 0..planes, 0..height, TapRows::Copied);
    let terms = (channels * geometry.taps()).next_multiple_of(MAX_LANES);
    channels * panel.channel_step() + terms * room(planes * height * width)
}

/// Computes a pass.
pub(super) fn run(
    pass: &Pass<'_>,
    x: Rows<'_>,
    planes: Range<usize>,
    accumulate: bool,
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let Pass { kernels, geometry, in_channels, .. } = pass;
    let [_, height, width] = geometry.output();
    let (planes_each, channels_each) = block(geometry);
    for (plane, planes_here) in balanced(planes.len(), planes_each) {
        let first_plane = planes.start + plane;
        let panel = Panel::new(geometry, first_plane..first_plane + planes_here, 0..height, TapRows::Copied);
        let positions = planes_here * height * width;
        for (first, channels) in balanced(in_channels.len(), channels_each) {
            let (memory, columns) = scratch.split_at_mut(channels * panel.channel_step());
            let channel = in_channels.start + first;
            panel.fill(kernels, x, 0, channel..channel + channels, memory);
            let block = Block {
                pass,
                terms: channels * geometry.taps(),
                positions,
                vectors: kernels.micro().product[best_rows(kernels.micro().product, geometry.c_out) - 1]
                    .len(),
            };
            block.transpose(&panel, memory, columns);
            let gradient = first_plane * height * width;
            block.multiply(columns, gradient, accumulate || plane > 0, &mut dw[first * geometry.taps()..]);
        }
    }
}

/// The columns of some input channels and positions.
struct Block<'a> {
    pass: &'a Pass<'a>,
    /// Input channels times taps.
    terms: usize,
    positions: usize,
    /// Vectors of a group, at most.
    vectors: usize,
}

impl Block<'_> {
    /// The groups: their first vectors, and how many they have.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        balanced(self.terms.div_ceil(self.pass.kernels.lanes()), self.vectors)
    }

    fn transpose(&self, panel: &Panel, memory: &[f32], columns: &mut [f32]) {
        let Pass { kernels, geometry, .. } = self.pass;
        let lanes = kernels.lanes();
        let (runs, length) = panel.runs();
        let source = Source::of_panel(panel, memory);
        let mut tap = Tap::first(geometry.kernel, &source);
        let mut left = self.terms;
        for (first, vectors) in self.groups() {
            let group = &mut columns[first * lanes * room(self.positions)..];
            let group = &mut group[..vectors * lanes * room(self.positions)];
            for vector in 0..vectors {
                let mut sources = [0; MAX_LANES];
                for source in &mut sources[..lanes] {
                    *source = tap.offset;
                    // lanes beyond the last term repeat it; they are never stored
                    left -= 1;
                    if left > 0 {
                        tap.advance();
                    } else {
                        left = 1;
                    }
                }
                for run in 0..runs {
                    let to = &mut group[run * length * vectors * lanes + vector * lanes..];
                    let transposition = Transposition {
                        source: source.base.wrapping_add(run * panel.run_step()),
                        sources,
                        length,
                        target: to.as_mut_ptr(),
                        step: vectors * lanes,
                    };
                    // SAFETY: `kernels` proves the tier. The taps read runs of the panel, behind which there is slack
                    // for a vector; the rows written are those of the run's positions in the group, which has
                    // room for a vector's more.
                    unsafe { (kernels.table().transpose)(&transposition) }
                }
            }
        }
    }

    fn multiply(&self, columns: &[f32], gradient: usize, accumulate: bool, dw: &mut [f32]) {
        let Pass { kernels, dy, out_channels, target_stride, .. } = self.pass;
        let lanes = kernels.lanes();
        let family = kernels.micro().product;
        let block = best_rows(family, self.pass.geometry.c_out);
        for (first, vectors) in self.groups() {
            for out_channel in out_channels.clone().step_by(block) {
                let rows = block.min(out_channels.end - out_channel);
                let target = (out_channel - out_channels.start) * target_stride + first * lanes;
                let product = Product {
                    gradient: dy.as_ptr().wrapping_add(out_channel * dy.stride() + gradient),
                    gradient_stride: dy.stride(),
                    columns: columns[first * lanes * room(self.positions)..].as_ptr(),
                    positions: self.positions,
                    last: (self.terms - (first + vectors - 1) * lanes).min(lanes),
                    accumulate,
                    target: dw[target..].as_mut_ptr(),
                    target_stride: *target_stride,
                };
                // SAFETY: `kernels` proves the tier. The gradient has the positions of the block in each of its rows;
                // the group has `vectors` for each position; the terms of a group, `last` lanes of its last vector,
                // are within `dw` for each output channel.
                unsafe { family[rows - 1][vectors - 1](&product) }
            }
        }
    }
}
