//! A private copy of a part of an image, laid out as the taps of a kernel read it.
//!
//! For each tap `kx` (and each `ky` where rows are *copied*, see below) a panel holds the input rows shifted to that
//! tap, taken at the stride and padded with zeros, at the *output's* pitch. So every tap reads the output positions of
//! a plane in one exact run, without columns that belong to no output, whatever the stride, padding and dilation:
//!
//! ```text
//! input row, padding 1    . a b c d e f .
//! tap kx = 0                . a b c d e
//! tap kx = 1                a b c d e f
//! tap kx = 2                b c d e f .
//! ```
//!
//! The taps of y are an offset of rows within a copy (*shared* rows). Where the rows have a stride they cannot be;
//! and where planes are small, copies for each `ky` make all planes one run. The taps of z are an offset of planes.
//!
//! Copies and channels lie an odd number of cache lines apart, so that they fill the sets of a cache evenly, which the
//! images themselves do not where their sizes are powers of two.

use super::Geometry;
use super::sweep::Runs;
use crate::{Kernels, Rows};
use core::ops::Range;

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats behind each copy that exist: vectors may read and write beyond the last position.
const SLACK: usize = 16;

/// How the taps of y find their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TapRows {
    /// As an offset in the rows of one copy. Only for a stride of 1 along y.
    Shared,
    /// In a copy for each.
    Copied,
    /// As an offset, and those of x too: there is one copy, with all columns that the taps read, in which each row is
    /// a run of its own. That wastes nothing where a row is made of whole vectors. Only for strides of 1 along y and x.
    Whole,
}

/// The layout of the copy of one channel: which output positions it serves, and where each tap finds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    pub(super) geometry: Geometry,
    /// The first output plane and row.
    pub(super) first: [usize; 2],
    /// Planes and rows of the output.
    count: [usize; 2],
    /// Columns of the output.
    width: usize,
    /// Columns of the panel.
    pub(super) pitch: usize,
    pub(super) tap_rows: TapRows,
    /// Distance in the input between planes of a copy.
    pub(super) plane_distance: usize,
    /// Planes of a copy.
    pub(super) planes: usize,
    /// Rows of a plane of a copy.
    pub(super) rows: usize,
    pub(super) plane_step: usize,
    pub(super) copy_step: usize,
    pub(super) channel_step: usize,
}

impl TapRows {
    /// Whether the strides of a layer allow it.
    pub fn admits(self, geometry: &Geometry) -> bool {
        match self {
            TapRows::Shared => geometry.stride[1] == 1,
            TapRows::Copied => true,
            TapRows::Whole => geometry.stride[1..] == [1, 1],
        }
    }
}

impl Panel {
    /// A panel for the given output planes and, of each, the given rows.
    ///
    /// # Panics
    /// As [`Panel::of_phase`].
    pub fn new(geometry: &Geometry, planes: Range<usize>, rows: Range<usize>, tap_rows: TapRows) -> Self {
        Self::with_distance(geometry, 1, planes.start, planes.len(), rows, tap_rows)
    }

    /// A panel for `planes` output planes from `first` on that lie [`Panel::distance`] apart and, of each, the given
    /// rows.
    ///
    /// # Panics
    /// Where there are none, or they lie outside of the output, or the strides do not allow the layout.
    pub fn of_phase(
        geometry: &Geometry,
        first: usize,
        planes: usize,
        rows: Range<usize>,
        tap_rows: TapRows,
    ) -> Self {
        Self::with_distance(geometry, Self::distance(geometry), first, planes, rows, tap_rows)
    }

    /// The dilation along z, unless there is a stride: output planes at this distance share all their input planes
    /// but the first and last ones, as neighbours do where there is no dilation.
    pub fn distance(geometry: &Geometry) -> usize {
        if geometry.stride[0] == 1 { geometry.dilation[0] } else { 1 }
    }

    fn with_distance(
        geometry: &Geometry,
        distance: usize,
        first: usize,
        planes: usize,
        rows: Range<usize>,
        tap_rows: TapRows,
    ) -> Self {
        let [depth, height, width] = geometry.output();
        assert!(
            planes > 0 && first + (planes - 1) * distance < depth,
            "{planes} planes from {first} of {depth}"
        );
        assert!(rows.start < rows.end && rows.end <= height, "rows {rows:?} of {height}");
        let [stride_z, stride_y, _] = geometry.stride;
        let [_, ky, kx] = geometry.kernel;
        let (copy_rows, copies) = match tap_rows {
            TapRows::Shared => {
                assert_eq!(stride_y, 1, "rows with a stride cannot be shared");
                (rows.len() + geometry.reach(1), kx)
            }
            TapRows::Copied => (rows.len(), ky * kx),
            TapRows::Whole => {
                assert_eq!(geometry.stride[1..], [1, 1], "rows with a stride cannot be shared");
                (rows.len() + geometry.reach(1), 1)
            }
        };
        let pitch = width + if tap_rows == TapRows::Whole { geometry.reach(2) } else { 0 };
        let copy_planes = (planes - 1) * stride_z + 1 + geometry.reach(0) / distance;
        let plane = copy_rows * pitch;
        let merged = stride_z == 1 && copy_rows == height && rows.len() == height;
        let plane_step = if merged { plane } else { odd_lines(plane) };
        let copy_step = odd_lines(copy_planes * plane_step + SLACK);
        Self {
            geometry: *geometry,
            first: [first, rows.start],
            count: [planes, rows.len()],
            width,
            pitch,
            tap_rows,
            plane_distance: distance,
            planes: copy_planes,
            rows: copy_rows,
            plane_step,
            copy_step,
            channel_step: odd_lines(copies * copy_step),
        }
    }

    /// Distance between channels, a multiple of 16: a panel of `n` channels has `n * channel_step()` floats, the
    /// slack that vectors may read behind the last position included.
    pub fn channel_step(&self) -> usize {
        self.channel_step
    }

    /// At least the [`Panel::channel_step`] of every panel of at most so many output planes and rows.
    pub fn bound(geometry: &Geometry, planes: usize, rows: usize, tap_rows: TapRows) -> usize {
        let Self { planes, rows, pitch, copy_step, channel_step, .. } =
            Self::of_phase(geometry, 0, planes, 0..rows, tap_rows);
        let copies = channel_step / copy_step;
        // panels of a part of the rows are never merged, so that their planes may take more
        odd_lines(copies * odd_lines(planes * odd_lines(rows * pitch) + SLACK))
    }

    /// Runs of output positions `(count, length)`: within one, positions are neighbours both in the panel and in the
    /// output. The whole panel is one, or each plane, or each row ([`TapRows::Whole`]).
    pub fn runs(&self) -> (usize, usize) {
        let Runs { counts: [planes, rows], length, .. } = self.runs_to(0);
        (planes * rows, length)
    }

    /// Distance between the starts of the runs of two planes.
    pub fn run_step(&self) -> usize {
        self.geometry.stride[0] * self.plane_step
    }

    /// The runs, in the panel and in an image whose planes lie `target_plane` floats apart.
    pub fn runs_to(&self, target_plane: usize) -> Runs {
        let [planes, rows] = self.count;
        let run = rows * self.width;
        let by_rows = self.tap_rows == TapRows::Whole && self.pitch > self.width;
        let merged = self.geometry.stride[0] == 1 && self.plane_distance == 1 && self.plane_step == run;
        let (counts, length) = if by_rows {
            ([planes, rows], self.width)
        } else if merged {
            ([1, 1], planes * run)
        } else {
            ([planes, 1], run)
        };
        Runs {
            counts,
            length,
            source_steps: [self.run_step(), self.pitch],
            target_steps: [self.plane_distance * target_plane, self.width],
        }
    }

    /// Where tap `k` reads the first output position, from the start of the channel.
    pub fn tap(&self, k: [usize; 3]) -> usize {
        let [dilation_z, dilation_y, dilation_x] = self.geometry.dilation;
        let [_, ky, _] = self.geometry.kernel;
        let plane = k[0] * dilation_z / self.plane_distance * self.plane_step;
        match self.tap_rows {
            TapRows::Shared => k[2] * self.copy_step + plane + k[1] * dilation_y * self.width,
            TapRows::Copied => (k[2] * ky + k[1]) * self.copy_step + plane,
            TapRows::Whole => plane + k[1] * dilation_y * self.pitch + k[2] * dilation_x,
        }
    }

    /// Fills `panel` with the given channels of an image.
    ///
    /// `x` has a row for each channel of the image; a row begins with plane `first_plane` of the input and has all
    /// planes that the panel needs. `panel` has `channels.len() * channel_step()` floats; alignment to 64 bytes makes
    /// it faster to read.
    pub fn fill(
        &self,
        kernels: &Kernels,
        x: Rows<'_>,
        first_plane: usize,
        channels: Range<usize>,
        panel: &mut [f32],
    ) {
        let (needed, plane) = (self.input_planes(), self.geometry.plane());
        assert!(
            needed.is_empty()
                || first_plane <= needed.start && needed.end <= first_plane + x.cols() / plane.max(1),
            "planes {needed:?} of the input"
        );
        assert_eq!(panel.len(), channels.len() * self.channel_step, "panel");
        let ahead = x.stride();
        for (channel, panel) in channels.zip(panel.chunks_exact_mut(self.channel_step)) {
            let x = x.row(channel).as_ptr().wrapping_sub(first_plane * plane);
            // SAFETY: `kernels` proves the tier; all input planes that the panel needs were found to be in the row of
            // `x`, whose plane 0 would lie at the pointer; `panel` is one channel.
            unsafe { (kernels.table().fill_panel)(self, x, ahead, panel.as_mut_ptr()) }
        }
    }

    /// The input planes that the panel reads.
    fn input_planes(&self) -> Range<usize> {
        let planes = (self.count[0] - 1) * self.plane_distance + 1;
        self.geometry.input_planes(&(self.first[0]..self.first[0] + planes))
    }
}

/// At least `floats`, in an odd number of cache lines.
pub(crate) fn odd_lines(floats: usize) -> usize {
    (floats.div_ceil(LINE) | 1) * LINE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, tiers};
    use std::vec;
    use std::vec::Vec;

    fn geometries(random: &mut Random) -> Vec<Geometry> {
        let mut found = Vec::new();
        while found.len() < 300 {
            let axes = |random: &mut Random, low, high: [usize; 3]| high.map(|high| random.within(low, high));
            let mut geometry = Geometry::valid(2, 1, axes(random, 1, [5, 8, 40]), [1; 3], [1; 3]);
            geometry.kernel = axes(random, 1, [3, 3, 4]);
            geometry.dilation = axes(random, 1, [2, 3, 3]);
            if random.within(0, 1) == 1 {
                geometry.stride = axes(random, 1, [2, 3, 3]);
            }
            if random.within(0, 1) == 1 {
                geometry.padding = [axes(random, 0, [2, 3, 4]), axes(random, 0, [2, 3, 20])];
            }
            let fits = |axis| {
                let [before, after] = geometry.padding;
                geometry.reach(axis) < before[axis] + geometry.input[axis] + after[axis]
            };
            if (0..3).all(fits) {
                found.push(geometry);
            }
        }
        found
    }

    fn range(random: &mut Random, len: usize) -> Range<usize> {
        let start = random.within(0, len - 1);
        start..random.within(start + 1, len)
    }

    #[test]
    fn every_tap_reads_what_the_definition_says() {
        let mut random = Random::new(3);
        for geometry in geometries(&mut random) {
            let [depth, height, width] = geometry.output();
            let whole = random.within(0, 2) == 0;
            let planes = if whole { 0..depth } else { range(&mut random, depth) };
            let rows = if whole { 0..height } else { range(&mut random, height) };
            let x = random.floats(2 * geometry.input_len());
            let needed = geometry.input_planes(&planes);
            let x = Rows::new(&x, geometry.input_len());
            let slab = x.part(0..2, needed.start * geometry.plane()..needed.end * geometry.plane());
            let value = |channel: usize, at: [usize; 3]| {
                let inside = (0..3).all(|axis| at[axis] < geometry.input[axis]);
                let [z, y, column] = at;
                if inside {
                    x.row(channel)[(z * geometry.input[1] + y) * geometry.input[2] + column]
                } else {
                    0.0
                }
            };
            for tap_rows in [TapRows::Shared, TapRows::Copied, TapRows::Whole] {
                if !tap_rows.admits(&geometry) {
                    continue;
                }
                let distance = if random.within(0, 1) == 0 { 1 } else { Panel::distance(&geometry) };
                let (first, count) = (planes.start, planes.len().div_ceil(distance));
                let panel = Panel::with_distance(&geometry, distance, first, count, rows.clone(), tap_rows);
                let runs = panel.runs_to(rows.len() * width);
                let (count, length) = panel.runs();
                assert_eq!(count * length, planes.len().div_ceil(distance) * rows.len() * width);
                for kernels in tiers() {
                    for channel in 0..2 {
                        let mut filled = vec![f32::NAN; panel.channel_step()];
                        panel.fill(&kernels, slab, needed.start, channel..channel + 1, &mut filled);
                        for tap in 0..geometry.taps() {
                            let [_, ky, kx] = geometry.kernel;
                            let k = [tap / kx / ky, tap / kx % ky, tap % kx];
                            for position in 0..count * length {
                                let (run, offset) = (position / length, position % length);
                                let [_, each] = runs.counts;
                                let start =
                                    run / each * runs.source_steps[0] + run % each * runs.source_steps[1];
                                assert!(panel.tap(k) + start + offset + SLACK <= filled.len());
                                let found = filled[panel.tap(k) + start + offset];
                                let row = position / width;
                                let p = [
                                    planes.start + row / rows.len() * distance,
                                    rows.start + row % rows.len(),
                                    position % width,
                                ];
                                let at = core::array::from_fn(|axis| {
                                    (p[axis] * geometry.stride[axis] + k[axis] * geometry.dilation[axis])
                                        .wrapping_sub(geometry.padding[0][axis])
                                });
                                assert_eq!(found, value(channel, at), "{panel:?} {k:?} {p:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn small_planes_are_one_run_where_their_rows_are_copied() {
        let geometry = Geometry::valid(1, 1, [8, 8, 8], [3; 3], [1; 3]);
        let runs = |tap_rows| Panel::of_phase(&geometry, 1, 4, 0..6, tap_rows).runs();
        assert_eq!(runs(TapRows::Copied), (1, 4 * 36));
        assert_eq!(runs(TapRows::Shared), (4, 36));
    }

    #[test]
    fn channels_and_copies_spread_over_the_sets_of_a_cache() {
        let geometry = Geometry::valid(1, 1, [34, 34, 34], [3; 3], [1; 3]);
        let panel = Panel::of_phase(&geometry, 0, 32, 0..32, TapRows::Shared);
        for step in [panel.channel_step, panel.copy_step, panel.plane_step] {
            assert_eq!(step / LINE % 2, 1);
            assert_eq!(step % LINE, 0);
        }
    }
}
