//! The products of one slab and their combination.

use super::gradient::Source;
use super::segments::segments;
use super::{Apart, BackwardData};
use crate::conv::Geometry;
use crate::conv::blocking::Part;
use crate::conv::combine::{Combine, Term};
use crate::conv::family::{MAX_ROWS, MAX_VECTORS, best_rows};
use crate::conv::sweep::{Runs, sweep};
use crate::conv::table;
use crate::conv::tile::{NO_BIAS, Tap, Tile, TileVector};
use crate::{Rows, RowsMut};
use core::ops::Range;

impl BackwardData {
    /// Computes the rows of a target `(start, distance)` for a group, at the positions of `runs`.
    ///
    /// # Safety
    /// The taps of `table` read the source within the panel at all positions of `runs`; the target is writable there
    /// for each (channel of `weights`, tap kept apart), and initialised if `accumulate`.
    pub(super) unsafe fn sweep(
        &self,
        source: &Source<'_>,
        weights: Rows<'_>,
        taps: &[Tap],
        runs: &Runs,
        target: (*mut f32, usize),
        accumulate: bool,
    ) {
        let (apart, all) = (self.taps_apart(), self.geometry.taps());
        let family = self.kernels.micro().convolve;
        let rows = weights.cols() / all * apart;
        let block = best_rows(family, rows);
        for first in (0..rows).step_by(block) {
            let weight = |row: usize| row / apart * all + row % apart;
            let mut tile = Tile {
                source: source.floats.as_ptr(),
                channels: self.geometry.c_out,
                channel_step: source.channel_step,
                taps,
                weights: weights.as_ptr(),
                weight_step: weights.stride(),
                weight_rows: core::array::from_fn::<_, MAX_ROWS, _>(|row| weight(first + row)),
                vectors: [TileVector::default(); MAX_VECTORS],
                target: target.0.wrapping_add(first * target.1),
                target_step: target.1,
                bias: NO_BIAS.as_ptr(),
                accumulate,
                floor: f32::NEG_INFINITY,
            };
            // SAFETY: `kernels` proves the tier; the caller's contract; a vector beyond the last position reads the
            // slack of the panel; `weights` holds a row for each channel of the source.
            unsafe { sweep(family, self.kernels.lanes(), block.min(rows - first), runs, &mut tile) }
        }
    }

    /// The products of a group with all taps, at all voxels of the gradient.
    pub(super) fn products(
        &self,
        source: &Source<'_>,
        weights: Rows<'_>,
        slab: &mut [f32],
        table: &mut [f32],
    ) {
        let taps = table::write(table, core::iter::once(Tap { source: 0, weight: 0 }));
        let runs = Runs::one(self.geometry.output_len());
        let target = (slab.as_mut_ptr(), self.slab_step());
        // SAFETY: the panel is the whole gradient; the slab has a row of as many floats for each channel and tap.
        unsafe { self.sweep(source, weights, taps, &runs, target, false) }
    }

    /// The products of a group with all taps along y and x, at all voxels of the panel's rows, for one plane.
    pub(super) fn products_of_plane(
        &self,
        source: &Source<'_>,
        weights: Rows<'_>,
        plane: usize,
        slab: &mut [f32],
        table: &mut [f32],
    ) {
        let width = self.geometry.output()[2];
        let taps = self.geometry.taps_of(0, plane).map(|(z, from_z)| Tap {
            source: source.position(from_z, source.first[1], width) as u32,
            weight: (z * self.taps_apart()) as u32,
        });
        let taps = table::write(table, taps);
        let runs = Runs::one(source.rows * width);
        let target = (slab.as_mut_ptr(), self.slab_step());
        // SAFETY: the panel holds so many rows of every plane that a tap reads; the slab has a row of as many floats for
        // each channel and tap kept apart.
        unsafe { self.sweep(source, weights, taps, &runs, target, false) }
    }

    /// What each row of a part is the sum of, one row after the other, of each plane if all taps are kept apart;
    /// `first` is the first row in the slab.
    pub(super) fn terms_of_rows<'a>(&self, part: &Part, first: usize, memory: &'a mut [f32]) -> &'a [Term] {
        let geometry = self.geometry;
        let [_, ky, kx] = geometry.kernel;
        let [_, height, width] = geometry.output();
        let (dilation, slab_step) = (geometry.dilation[2], self.slab_step());
        let of_row = move |row: usize, z: usize, from_z: usize| {
            geometry.taps_of(1, row).flat_map(move |(y, from_y)| {
                (0..kx).map(move |x| Term {
                    source: (((z * ky + y) * kx + x) * slab_step + (from_z * height + from_y - first) * width)
                        as u32,
                    shift: (x * dilation) as u32,
                })
            })
        };
        let rows = part.rows.clone();
        match self.apart {
            Apart::Columns => &[],
            Apart::Planes => table::write(memory, rows.flat_map(|row| of_row(row, 0, 0))),
            Apart::All => {
                let all = part.planes().flat_map(|plane| rows.clone().map(move |row| (plane, row)));
                let terms = all.flat_map(|(plane, row)| {
                    geometry.taps_of(0, plane).flat_map(move |(z, from_z)| of_row(row, z, from_z))
                });
                table::write(memory, terms)
            }
        }
    }

    /// Combines the products of a group for some rows of one plane, with `taps_z` taps along z kept apart, and returns how
    /// many `terms` that took.
    pub(super) fn combine_rows(
        &self,
        terms: &[Term],
        accumulate: bool,
        taps_z: usize,
        rows: &Range<usize>,
        mut dx: RowsMut<'_>,
        slab: *const f32,
    ) -> usize {
        let geometry = &self.geometry;
        let mut next = 0;
        for row in rows.clone() {
            let count = taps_z * geometry.taps_of(1, row).count() * geometry.kernel[2];
            let combine =
                self.combine(&terms[next..next + count], slab, accumulate, row - rows.start, 1, &mut dx);
            // SAFETY: `kernels` proves the tier. A term's row of products lies in the slab, which was filled for the
            // group; the target is a row of each channel of `dx`.
            unsafe { (self.kernels.table().combine)(&combine) }
            next += count;
        }
        next
    }

    /// What adds terms of the slab to `count` rows of each channel of `dx`, from row `first` on.
    pub(super) fn combine<'a>(
        &self,
        terms: &'a [Term],
        slab: *const f32,
        accumulate: bool,
        first: usize,
        count: usize,
        dx: &mut RowsMut<'_>,
    ) -> Combine<'a> {
        let Geometry { input: [_, _, columns], stride, padding: [before, _], .. } = self.geometry;
        let width = self.geometry.output()[2];
        Combine {
            terms,
            source: slab,
            target: dx.as_mut_ptr().wrapping_add(first * columns),
            counts: [dx.rows(), count],
            source_steps: [self.taps_apart() * self.slab_step(), width],
            target_steps: [dx.stride(), columns * stride[1]],
            columns: [width, columns],
            stride: stride[2],
            before: before[2],
            accumulate,
        }
    }

    /// Computes some rows of one plane of the gradient for a group.
    #[allow(clippy::too_many_arguments, reason = "three operands, where, how and memory")]
    pub(super) fn segments(
        &self,
        source: &Source<'_>,
        weights: Rows<'_>,
        accumulate: bool,
        plane: usize,
        part: &Range<usize>,
        mut dx: RowsMut<'_>,
        slab: &mut [f32],
        table: &mut [f32],
    ) {
        let geometry = &self.geometry;
        let columns = geometry.input[2];
        let width = geometry.output()[2];
        let [_, ky, kx] = geometry.kernel;
        let dilation_x = geometry.dilation[2];
        let slab_step = self.slab_step();
        let slab = slab.as_mut_ptr();
        for segment in segments(geometry, part.clone(), self.band) {
            let taps = geometry.taps_of(0, plane).flat_map(|(z, from_z)| {
                geometry.taps_of(1, segment.first).map(move |(y, from_y)| Tap {
                    source: source.position(from_z, from_y, width) as u32,
                    weight: ((z * ky + y) * kx) as u32,
                })
            });
            let taps = table::write(table, taps);
            let to = dx.as_mut_ptr().wrapping_add((segment.first - part.start) * columns);
            let runs = Runs::one(segment.count * width);
            let target = if self.in_place { (to, dx.stride()) } else { (slab, slab_step) };
            let adds = accumulate && self.in_place;
            // SAFETY: the panel holds the planes and rows of the gradient that meet this segment; its rows are read
            // by the taps of the first one, each from the next row. The target is the rows of the segment, in place
            // or in the slab, which has room for all rows of the part.
            unsafe {
                self.sweep(source, weights, taps, &runs, target, adds);
            }
            if !self.in_place {
                let terms =
                    (0..kx).map(|x| Term { source: (x * slab_step) as u32, shift: (x * dilation_x) as u32 });
                let terms = table::write(table, terms);
                let first = segment.first - part.start;
                let combine = self.combine(terms, slab, accumulate, first, segment.count, &mut dx);
                // SAFETY: `kernels` proves the tier. The rows of the segment lie in the slab, just computed; the
                // target are its rows in each channel of `dx`.
                unsafe { (self.kernels.table().combine)(&combine) }
            }
        }
    }
}
