//! The backward pass to the input.
//!
//! `dx[i][q] = sum over o, k of w[o][i][k] * dy[o][p]` over all `p` with `p * stride + k * dilation - padding = q`.
//!
//! The products of each tap `kx` are summed apart, at the columns of `dy`: rows `(i, kx)` of a *slab*, for which the
//! micro-kernel sees an ordinary convolution without taps along x. Afterwards the rows of the slab are added, shifted
//! by their taps ([`super::combine`]). So no product is computed that falls outside of the input, and `dy` is read
//! at aligned vectors without copies. Along y and z each row of `dx` sums over the taps that meet `dy`: rows with the
//! same taps, [`Segment`]s, are one run of the micro-kernel.
//!
//! Where images are small, runs of a few rows would not fill vectors, and edges with fewer taps weigh much. There the
//! products with the taps along y are kept apart too, at the voxels of a plane of `dy`, or with all taps, at all voxels,
//! which leaves of the convolution a product of matrices ([`Apart`]). The combination then has more to add.
//!
//! `division` decides on it, `gradient` holds `dy`, `segments` finds the rows, and `products` computes a slab and
//! combines it.

mod division;
mod gradient;
mod products;
mod segments;

use super::Geometry;
use super::blocking::Largest;
use super::combine::Term;
use super::panel::odd_lines;
use super::table;
use super::tile::Tap;
use crate::{Kernels, Rows, RowsMut};
use core::ops::Range;
use gradient::Source;

/// The taps whose products are kept apart, for the combination to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    /// Those along x.
    Columns,
    /// Those along x and y: a plane of the gradient is one run.
    Planes,
    /// All: the gradient is one run.
    All,
}

/// The backward pass to the input of a layer, with what is decided once for all calls.
#[derive(Clone, Copy, Debug)]
pub struct BackwardData {
    kernels: Kernels,
    geometry: Geometry,
    apart: Apart,
    /// Whether the products are the gradient: there is nothing to combine.
    in_place: bool,
    /// Input planes and rows that are computed at a time.
    largest: Largest,
    /// Rows of a slab at most, where not all taps are kept apart.
    band: usize,
    /// Input channels of a slab.
    group: usize,
}

impl BackwardData {
    /// Decides how the pass is divided.
    pub fn new(kernels: Kernels, geometry: Geometry) -> Self {
        let cost = |pass: &Self| pass.cost(0..geometry.input[0] * geometry.input[1], geometry.c_in);
        let mut best = Self::divided(kernels, geometry, Apart::Columns);
        for apart in [Apart::Planes, Apart::All] {
            let pass = Self::divided(kernels, geometry, apart);
            if pass.fits() && cost(&pass) < cost(&best) {
                best = pass;
            }
        }
        best
    }

    /// The output planes that the given input rows take their gradient from, or some more.
    pub fn reads(&self, rows: &Range<usize>) -> Range<usize> {
        if self.apart == Apart::All {
            return 0..self.geometry.output()[0];
        }
        let height = self.geometry.input[1];
        self.geometry.output_planes(&(rows.start / height..rows.end.div_ceil(height)))
    }

    /// Whether the work may be split by rows; if not, a call with a part of the rows costs as much as one with all.
    pub fn splits_rows(&self) -> bool {
        self.apart != Apart::All
    }

    /// Floats of scratch memory that [`BackwardData::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.panel_len() + self.slab_len() + self.table_len() + self.terms_len()
    }

    /// Computes some channels and rows of the gradient of a convolution's input.
    ///
    /// * `dy`: `c_out` rows, each the output planes [`BackwardData::reads`] of `rows`.
    /// * `weights`: `c_out` rows, each `[in_channels][kz][ky][kx]`.
    /// * `accumulate`: whether to add to the former value of `dx`.
    /// * `rows`: input rows, those of all planes counted on.
    /// * `dx`: one row for each input channel of `weights`, each the `rows` of an input image.
    /// * `scratch`: [`BackwardData::scratch_len`] floats of any content, best aligned to 64 bytes.
    ///
    /// The result for finite operands does not depend, in any bit, on how the work is split into calls.
    pub fn run(
        &self,
        dy: Rows<'_>,
        weights: Rows<'_>,
        accumulate: bool,
        rows: Range<usize>,
        mut dx: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let geometry = &self.geometry;
        let [depth, height, columns] = geometry.input;
        let [_, out_height, width] = geometry.output();
        let channels = dx.rows();
        assert!(rows.start <= rows.end && rows.end <= depth * height, "rows {rows:?} of {depth} x {height}");
        let dy_planes = self.reads(&rows);
        assert_eq!(
            (dy.rows(), dy.cols()),
            (geometry.c_out, dy_planes.len() * out_height * width),
            "gradient"
        );
        assert_eq!((weights.rows(), weights.cols()), (geometry.c_out, channels * geometry.taps()), "weights");
        assert_eq!(dx.cols(), rows.len() * columns, "gradient of the input");
        let (panel, scratch) = scratch.split_at_mut(self.panel_len());
        let (slab, scratch) = scratch.split_at_mut(self.slab_len());
        let (table, terms) = scratch.split_at_mut(self.table_len());
        for part in self.largest.parts(height, rows.clone()) {
            let source = Source::new(self, dy, dy_planes.start, &part, panel);
            let all_terms = self.terms_of_rows(&part, source.first[1], terms);
            for first in (0..channels).step_by(self.group) {
                let group = first..(first + self.group).min(channels);
                let taps = group.start * geometry.taps()..group.end * geometry.taps();
                let weights = weights.part(0..geometry.c_out, taps);
                if self.apart == Apart::All {
                    self.products(&source, weights, slab, table);
                }
                let mut next = 0;
                for plane in part.planes() {
                    let start = (plane * height + part.rows.start - rows.start) * columns;
                    let dx = dx.part(group.clone(), start..start + part.rows.len() * columns);
                    match self.apart {
                        Apart::Columns => {
                            self.segments(&source, weights, accumulate, plane, &part.rows, dx, slab, table);
                        }
                        Apart::Planes => {
                            self.products_of_plane(&source, weights, plane, slab, table);
                            self.combine_rows(all_terms, accumulate, 1, &part.rows, dx, slab.as_ptr());
                        }
                        Apart::All => {
                            let terms = &all_terms[next..];
                            let taps_z = geometry.taps_of(0, plane).count();
                            next +=
                                self.combine_rows(terms, accumulate, taps_z, &part.rows, dx, slab.as_ptr());
                        }
                    }
                }
            }
        }
    }

    /// Rows of the slab for each input channel: the taps whose products are kept apart.
    fn taps_apart(&self) -> usize {
        let [kz, ky, kx] = self.geometry.kernel;
        match self.apart {
            Apart::Columns => kx,
            Apart::Planes => ky * kx,
            Apart::All => kz * ky * kx,
        }
    }

    /// Distance between rows of the slab.
    fn slab_step(&self) -> usize {
        let [depth, height, width] = self.geometry.output();
        odd_lines(match self.apart {
            Apart::Columns => self.band.min(self.largest.rows) * width,
            Apart::Planes => height * width,
            Apart::All => depth * height * width,
        })
    }

    fn slab_len(&self) -> usize {
        if self.in_place { 0 } else { self.group * self.taps_apart() * self.slab_step() }
    }

    fn table_len(&self) -> usize {
        let taps = table::floats::<Tap>(self.geometry.taps() / self.taps_apart());
        if self.apart == Apart::Columns { taps.max(table::floats::<Term>(self.taps_apart())) } else { taps }
    }

    fn terms_len(&self) -> usize {
        let [depth, height, _] = self.geometry.output();
        let rows = match self.apart {
            Apart::Columns => 0,
            Apart::Planes => height,
            Apart::All => depth * height,
        };
        table::floats::<Term>(self.taps_apart() * rows)
    }
}
