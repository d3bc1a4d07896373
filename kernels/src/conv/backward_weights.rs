//! The backward pass to the weights: scalar products of gradient rows with shifted input rows.

use super::Geometry;
use super::columns;
use super::family::{Family, MAX_VECTORS};
use super::lines::{Lines, balanced};
use super::panel::{Panel, TapRows};
use super::reduction::Reduction;
use crate::{Kernels, Rows};
use core::ops::Range;

/// Floats of the gradient that one run over positions touches: about an L1 cache, because they are read again for
/// each input channel and tap. Shorter runs pay more horizontal sums.
const RUN_FLOATS: usize = 8 * 1024;

/// Additions to one lane of an accumulator in a run, whose rounding errors grow with the length of the sum.
pub(super) const LONGEST_SUM: usize = 256;

/// Floats of the input that a block of input channels may read in a run or hold in panels: they stay in a part of an
/// L2 cache while all output channels pass over them.
const BLOCK_FLOATS: usize = 96 * 1024;

/// Taps of input channels that a panel should serve at least: for each panel, all of the gradient is read.
const LEAST_TERMS: usize = 96;

/// The backward pass to the weights of a layer.
#[derive(Clone, Copy, Debug)]
pub struct BackwardWeights {
    kernels: Kernels,
    geometry: Geometry,
    reading: Reading,
}

impl BackwardWeights {
    /// The pass of a layer with the given sizes.
    pub fn new(kernels: Kernels, geometry: Geometry) -> Self {
        Self { kernels, geometry, reading: Reading::new(&geometry, kernels.lanes()) }
    }

    /// Floats of scratch memory that [`BackwardWeights::run`] needs.
    pub fn scratch_len(&self) -> usize {
        match self.reading {
            Reading::InPlace => 0,
            Reading::Panels(slab) => slab.scratch_len(&self.geometry),
            Reading::Columns => columns::scratch_len(&self.geometry),
        }
    }

    /// Computes the gradient of some weights, summed over some output planes:
    /// `dw[o][i][k] = sum over p of dy[o][p] * x[i][p * stride + k * dilation - padding before]`.
    ///
    /// * `x`: `c_in` rows, each a whole input image.
    /// * `dy`: `c_out` rows, each a whole output image.
    /// * `out_channels`, `in_channels`: any ranges.
    /// * `planes`: output planes.
    /// * `accumulate`: whether to add to the former value of `dw`.
    /// * `dw`: `[out_channels][in_channels][kz][ky][kx]`.
    /// * `scratch`: [`BackwardWeights::scratch_len`] floats, of any content; better aligned to 64 bytes.
    ///
    /// The result does not depend, in any bit, on how the channels are split into calls.
    #[allow(clippy::too_many_arguments, reason = "three operands, three ranges and how to combine them")]
    pub fn run(
        &self,
        x: Rows<'_>,
        dy: Rows<'_>,
        out_channels: Range<usize>,
        in_channels: Range<usize>,
        planes: Range<usize>,
        accumulate: bool,
        dw: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Self { kernels, geometry, reading } = self;
        let [depth, ..] = geometry.output();
        assert!(
            out_channels.start <= out_channels.end && out_channels.end <= geometry.c_out,
            "{out_channels:?}"
        );
        assert!(in_channels.start <= in_channels.end && in_channels.end <= geometry.c_in, "{in_channels:?}");
        assert!(planes.start <= planes.end && planes.end <= depth, "planes {planes:?} of {depth}");
        assert_eq!((x.rows(), x.cols()), (geometry.c_in, geometry.input_len()), "input");
        assert_eq!((dy.rows(), dy.cols()), (geometry.c_out, geometry.output_len()), "gradient");
        assert!(scratch.len() >= self.scratch_len(), "scratch memory");
        let terms = in_channels.len() * geometry.taps();
        assert_eq!(dw.len(), out_channels.len() * terms, "gradient of the weights");
        if !accumulate && (planes.is_empty() || *reading != Reading::Columns) {
            dw.fill(0.0);
        }
        let pass = Pass { kernels, geometry, dy, out_channels, in_channels, target_stride: terms };
        match reading {
            Reading::InPlace => pass.in_place(x, planes, dw),
            Reading::Panels(slab) => pass.panels(slab, x, planes, dw, scratch),
            Reading::Columns => columns::run(&pass, x, planes, accumulate, dw, scratch),
        }
    }
}

/// One call.
pub(super) struct Pass<'a> {
    pub kernels: &'a Kernels,
    pub geometry: &'a Geometry,
    pub dy: Rows<'a>,
    pub out_channels: Range<usize>,
    pub in_channels: Range<usize>,
    /// Distance between the weights of two output channels.
    pub target_stride: usize,
}

impl Pass<'_> {
    /// The height of the register tiles and the floats of a run.
    ///
    /// They depend on the layer, not on the ranges: the runs, hence the rounding, must be those of the whole.
    fn tile(&self) -> (usize, usize) {
        let rows = best_rows(self.kernels.micro().reduce, self.geometry.c_out);
        (rows, (RUN_FLOATS / rows).min(LONGEST_SUM * self.kernels.lanes()))
    }

    fn in_place(&self, x: Rows<'_>, planes: Range<usize>, dw: &mut [f32]) {
        let Self { geometry, in_channels, .. } = self;
        let lines = Lines::of_image(geometry);
        let (_, floats) = self.tile();
        let region =
            floats + geometry.reach(0) * floats.min(geometry.plane()) + geometry.reach(1) * geometry.pitch();
        for (first, count) in balanced(in_channels.len(), (BLOCK_FLOATS / region).max(1)) {
            let channel = in_channels.start + first;
            let source = Source {
                base: x.as_ptr().wrapping_add(channel * x.stride()),
                channel_step: x.stride(),
                tap_steps: geometry.tap_steps(),
            };
            let start = lines.plane_steps.map(|step| planes.start * step);
            // SAFETY: without padding, the taps of an output position are input voxels; the lines are made of such
            // positions, and the shapes of `x`, `dy` and `dw` were checked.
            unsafe { self.reduce(&source, first..first + count, &lines, planes.len(), start, dw) }
        }
    }

    fn panels(&self, slab: &Slab, x: Rows<'_>, planes: Range<usize>, dw: &mut [f32], scratch: &mut [f32]) {
        let Self { geometry, in_channels, .. } = self;
        let [_, height, width] = geometry.output();
        // Planes a dilation apart share their input planes, so they go into one panel.
        let distance = Panel::distance(geometry);
        let phases = (0..distance.min(planes.len())).flat_map(|phase| {
            let count = (planes.len() - phase).div_ceil(distance);
            let first = planes.start + phase;
            balanced(count, slab.planes).map(move |(plane, count)| (first + plane * distance, count))
        });
        for (first_plane, planes_here) in phases {
            for (row, rows_here) in balanced(height, slab.rows) {
                let rows = row..row + rows_here;
                let panel = Panel::of_phase(geometry, first_plane, planes_here, rows, slab.tap_rows);
                let (count, length) = panel.runs();
                let lines = Lines {
                    lines: 1,
                    length,
                    line_steps: [0; 2],
                    plane_steps: [distance * height * width, panel.run_step()],
                    joined: false,
                };
                let start = [(first_plane * height + row) * width, 0];
                for (first, channels) in balanced(in_channels.len(), slab.channels) {
                    let channel = in_channels.start + first;
                    let memory = &mut scratch[..channels * panel.channel_step()];
                    panel.fill(self.kernels, x, 0, channel..channel + channels, memory);
                    let source = Source::of_panel(&panel, memory);
                    // SAFETY: every tap reads the panel's runs in its memory, and the gradient has their positions;
                    // the shapes of `dy` and `dw` were checked.
                    unsafe { self.reduce(&source, first..first + channels, &lines, count, start, dw) }
                }
            }
        }
    }

    /// Adds the scalar products over some planes, of which the first begins at `start` of gradient and source.
    ///
    /// # Safety
    /// For each of `channels` (counted from the first of the pass, at `source.base`), each tap reads the lines in
    /// readable memory, as do the rows of the gradient.
    unsafe fn reduce(
        &self,
        source: &Source,
        channels: Range<usize>,
        lines: &Lines,
        planes: usize,
        start: [usize; 2],
        dw: &mut [f32],
    ) {
        let family = self.kernels.micro().reduce;
        let taps = self.geometry.taps();
        let (block, floats) = self.tile();
        for run in lines.runs(planes, self.kernels.lanes(), floats) {
            for out_channel in self.out_channels.clone().step_by(block) {
                let rows = block.min(self.out_channels.end - out_channel);
                let gradient = out_channel * self.dy.stride() + start[0] + run.start[0];
                let mut reduction = Reduction {
                    gradient: self.dy.as_ptr().wrapping_add(gradient),
                    gradient_stride: self.dy.stride(),
                    source: source.base.wrapping_add(start[1] + run.start[1]),
                    sources: [0; MAX_VECTORS],
                    extent: run.extent,
                    target: dw.as_mut_ptr(),
                    target_stride: self.target_stride,
                };
                let first =
                    (out_channel - self.out_channels.start) * self.target_stride + channels.start * taps;
                let mut tap = Tap::first(self.geometry.kernel, source);
                for (start, count) in balanced(channels.len() * taps, family[rows - 1].len()) {
                    for source in &mut reduction.sources[..count] {
                        *source = tap.offset;
                        tap.advance();
                    }
                    reduction.target = dw[first + start..].as_mut_ptr();
                    // SAFETY: `self.kernels` proves the tier; gradient and source by the caller's contract; rows
                    // `out_channel..out_channel + rows` and terms `start..start + count` are within `dw`.
                    unsafe { family[rows - 1][count - 1](&reduction) }
                }
            }
        }
    }
}

/// The height of the register tiles into which `channels` are cut, the last one taking the rest.
fn best_rows<F>(family: Family<F>, channels: usize) -> usize {
    // Cycles of a term and position: the multiply-adds of a tile; a tenth of its accesses to the L1 cache, which
    // hide behind them but for that; and its horizontal sums, the more of them the shorter the run of a tall tile.
    let cost = |rows: usize| match rows {
        0 => 0.0,
        _ => {
            let columns = family[rows - 1].len() as f32;
            let rows = rows as f32;
            rows + (0.1 * (rows + 2.0 * columns) + 0.25 * rows) / columns
        }
    };
    let total = |rows: usize| (channels / rows) as f32 * cost(rows) + cost(channels % rows);
    (1..=family.len().min(channels)).min_by(|&a, &b| total(a).total_cmp(&total(b))).unwrap_or(1)
}

/// How the input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As it is: lines of whole vectors, or planes in one line.
    InPlace,
    /// In panels.
    Panels(Slab),
    /// In columns.
    Columns,
}

/// The part of the output that panels are made for at once, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slab {
    tap_rows: TapRows,
    planes: usize,
    rows: usize,
    channels: usize,
}

impl Reading {
    fn new(geometry: &Geometry, lanes: usize) -> Self {
        /// Vectors of a run that hide the cost of its end.
        const LONG: usize = 40;
        let [depth, height, width] = geometry.output();
        if columns::suits(geometry) {
            return Reading::Columns;
        }
        let plane = height * width;
        let lines = Lines::of_image(geometry);
        // how far a run can go
        let longest = match (lines.lines, lines.length.is_multiple_of(lanes)) {
            _ if lines.joined => depth * plane,
            (1, true) => depth * plane,
            (_, true) => plane,
            (_, false) => lines.length,
        };
        let contiguous = geometry.stride[2] == 1 && geometry.padding == [[0; 3]; 2];
        if contiguous && (lines.joined || longest >= LONG * lanes) {
            return Reading::InPlace;
        }
        let short = plane % lanes != 0 && plane < LONG * lanes;
        let tap_rows = if geometry.stride[1] > 1 || short { TapRows::Copied } else { TapRows::Shared };
        Reading::Panels(Slab::new(geometry, tap_rows))
    }
}

impl Slab {
    fn new(geometry: &Geometry, tap_rows: TapRows) -> Self {
        let [depth, height, _] = geometry.output();
        let least = LEAST_TERMS.div_ceil(geometry.taps()).min(geometry.c_in.max(1));
        let channel = |planes, rows| Panel::of_phase(geometry, 0, planes, 0..rows, tap_rows).channel_step();
        let fits = |planes, rows| least * channel(planes, rows) <= BLOCK_FLOATS;
        let halved = |n: &usize| (*n > 1).then(|| n.div_ceil(2));
        let all = depth.div_ceil(Panel::distance(geometry));
        let planes = core::iter::successors(Some(all), halved).find(|&n| fits(n, height)).unwrap_or(1);
        let rows = core::iter::successors(Some(height), halved).find(|&n| fits(planes, n)).unwrap_or(1);
        let channels = (BLOCK_FLOATS / channel(planes, rows)).clamp(1, geometry.c_in.max(1));
        Self { tap_rows, planes, rows, channels }
    }

    fn scratch_len(&self, geometry: &Geometry) -> usize {
        let panel = Panel::of_phase(geometry, 0, self.planes, 0..self.rows, self.tap_rows);
        self.channels * panel.channel_step()
    }
}

/// How the taps of some input channels find the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// Where tap 0 of the first channel reads the first output position.
    pub base: *const f32,
    pub channel_step: usize,
    /// Distance between neighbouring taps along z, y and x.
    pub tap_steps: [usize; 3],
}

impl Source {
    pub fn of_panel(panel: &Panel, memory: &[f32]) -> Self {
        Self {
            base: memory.as_ptr(),
            channel_step: panel.channel_step(),
            tap_steps: [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(|k| panel.tap(k)),
        }
    }
}

/// A tap of a channel, in the order of the weights.
pub(super) struct Tap<'a> {
    kernel: [usize; 3],
    source: &'a Source,
    left: [usize; 3],
    /// Where it reads the first output position, from the base of the source.
    pub offset: usize,
}

impl<'a> Tap<'a> {
    pub fn first(kernel: [usize; 3], source: &'a Source) -> Self {
        Self { kernel, source, left: kernel, offset: 0 }
    }

    pub fn advance(&mut self) {
        for axis in (0..3).rev() {
            self.left[axis] -= 1;
            if self.left[axis] > 0 {
                self.offset += self.source.tap_steps[axis];
                return;
            }
            self.left[axis] = self.kernel[axis];
            self.offset -= (self.kernel[axis] - 1) * self.source.tap_steps[axis];
        }
        self.offset += self.source.channel_step;
    }
}
