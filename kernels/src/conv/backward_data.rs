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
//! Where planes are so small that vectors would not be filled, the products of all taps are kept apart, at the
//! voxels of `dy` (*scattered*), which leaves of the convolution a product of matrices.

use super::Geometry;
use super::blocking::{Largest, Part, equal_parts, largest};
use super::combine::{Combine, Term};
use super::family::{MAX_ROWS, MAX_VECTORS, best_rows, cost_of_rows};
use super::panel::{Panel, TapRows, odd_lines};
use super::sweep::{Runs, sweep};
use super::table;
use super::tile::{NO_BIAS, Tap, Tile, TileVector};
use crate::{Kernels, Rows, RowsMut};
use core::ops::Range;

/// Floats of the gradient of the output in a panel: a part of an L2 cache.
const PANEL_FLOATS: usize = 128 * 1024;
/// Floats of a band of the slab of products: a small part of an L2 cache.
const BAND_FLOATS: usize = 32 * 1024;
/// Floats of a slab of all products with all taps.
const SLAB_FLOATS: usize = 32 * 1024;
/// Positions of a plane in a panel, at least: enough for the widest tiles.
const LEAST_POSITIONS: usize = 96;
/// Rows of a slab of which the tiles are of full height.
const FULL_ROWS: usize = 24;

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

    /// Whether the panel and the slab of one channel stay in a cache.
    fn fits(&self) -> bool {
        self.panel_len() <= PANEL_FLOATS && self.taps_apart() * self.slab_step() <= SLAB_FLOATS
    }

    fn divided(kernels: Kernels, geometry: Geometry, apart: Apart) -> Self {
        let [_, _, width] = geometry.output();
        let [depth, height, columns] = geometry.input;
        let all = Largest { planes: depth, distance: 1, rows: height };
        let plain = geometry.kernel[2] == 1 && geometry.padding[0][2] == 0 && width == columns;
        let in_place = apart == Apart::Columns && plain && geometry.stride[1..] == [1, 1];
        let mut pass = Self { kernels, geometry, apart, in_place, largest: all, band: height, group: 1 };
        if apart != Apart::All {
            let distance = Panel::distance(&geometry);
            let least_rows = |positions: usize| positions.div_ceil(width).min(height);
            let row = if apart == Apart::Planes { height } else { least_rows(LEAST_POSITIONS) };
            pass.largest = Largest { planes: 1, distance, rows: row };
            let mut best = f32::INFINITY;
            for rows in equal_parts(height).take_while(|&rows| rows >= row) {
                let fits = |planes| pass.panel_bound(planes, rows) <= PANEL_FLOATS;
                let planes = largest(depth.div_ceil(distance), fits);
                if planes == 0 {
                    continue;
                }
                let candidate = Self { largest: Largest { planes, distance, rows }, ..pass };
                let cost = candidate.cost(0..depth * height, geometry.c_in);
                if cost < best {
                    (best, pass.largest) = (cost, candidate.largest);
                }
            }
            // a band of the slab
            let high = (pass.taps_apart() * geometry.c_in).min(FULL_ROWS.next_multiple_of(pass.taps_apart()));
            pass.band = if in_place { height } else { (BAND_FLOATS / high / width).clamp(row, height) };
        }
        let family = kernels.micro().convolve;
        let cost = |group: usize| {
            let rest = geometry.c_in % group;
            (geometry.c_in / group) as f32 * cost_of_rows(family, group * pass.taps_apart())
                + cost_of_rows(family, rest * pass.taps_apart())
        };
        let full = FULL_ROWS.div_ceil(pass.taps_apart());
        let most = match (in_place, apart) {
            (true, _) => geometry.c_in,
            (_, Apart::All) => SLAB_FLOATS / (pass.taps_apart() * pass.slab_step()),
            _ => BAND_FLOATS / (pass.taps_apart() * pass.slab_step()),
        };
        let most = most.max(full).min(geometry.c_in);
        let mut best = (f32::INFINITY, 1);
        for group in 1..=most {
            let cost = cost(group);
            if cost <= best.0 {
                best = (cost, group);
            }
        }
        pass.group = best.1;
        pass
    }

    /// The output planes that the given input rows take their gradient from, or some more.
    pub fn reads(&self, rows: &Range<usize>) -> Range<usize> {
        if self.apart == Apart::All {
            return 0..self.geometry.output()[0];
        }
        let height = self.geometry.input[1];
        self.geometry.output_planes(&(rows.start / height..rows.end.div_ceil(height)))
    }

    /// The modelled time of a call for some input rows and a number of input channels, in vector operations.
    pub fn cost(&self, rows: Range<usize>, in_channels: usize) -> f32 {
        /// Operations for each vector that is copied and for each row.
        const COPY: usize = 10;
        const COPY_ROW: usize = 3;
        /// Operations for each call of a micro-kernel, and for each weight: a run reads a quarter of a cache line in one.
        const CALL: usize = 60;
        const WEIGHT: f32 = 0.25;
        // Operations for each vector of products that is combined: more where this is done row by row.
        let combine = match self.apart {
            Apart::Columns => 5,
            Apart::Planes => 6,
            Apart::All => 16,
        };
        let Self { kernels, geometry, .. } = self;
        let lanes = kernels.lanes();
        let [_, height, columns] = geometry.input;
        let [out_depth, out_height, width] = geometry.output();
        let family = kernels.micro().convolve;
        let rows_of_tile = best_rows(family, in_channels * self.taps_apart());
        let widest = family[rows_of_tile - 1].len();
        let (mut vectors, mut terms, mut copied, mut tiles, mut weights) = (0.0, 0, 0, 0, 0);
        // alone, a vector waits for the broadcasts of weights
        let paid =
            |taps: usize, vectors: usize| taps as f32 * if vectors == 1 { 1.3 } else { vectors as f32 };
        for part in self.largest.parts(height, rows) {
            let taps_z: usize = part.planes().map(|plane| geometry.taps_of(0, plane).count()).sum();
            let of_rows: usize = part.rows.clone().map(|row| geometry.taps_of(1, row).count()).sum();
            if self.apart == Apart::All {
                let all = geometry.output_len().div_ceil(lanes);
                vectors += paid(1, all);
                tiles += all.div_ceil(widest);
                weights += 1;
                terms += taps_z * of_rows;
                copied += out_depth * out_height;
                continue;
            }
            let readers = geometry.readers(1, &part.rows).len();
            copied += self.readers(&part).1 * readers;
            if self.apart == Apart::Planes {
                let of_plane = (readers * width).div_ceil(lanes);
                vectors += paid(taps_z, of_plane);
                tiles += part.planes * of_plane.div_ceil(widest);
                weights += taps_z;
                terms += part.planes * of_rows;
                continue;
            }
            terms += if self.in_place { 0 } else { part.planes * part.rows.len() };
            for segment in segments(geometry, part.rows, self.band) {
                let taps = taps_z * geometry.taps_of(1, segment.first).count();
                let of_segment = (segment.count * width).div_ceil(lanes);
                vectors += paid(taps, of_segment);
                tiles += part.planes * of_segment.div_ceil(widest);
                weights += taps;
            }
        }
        let multiply_adds = cost_of_rows(family, in_channels * self.taps_apart());
        let calling = tiles * (in_channels * self.taps_apart()).div_ceil(rows_of_tile) * CALL;
        let weights = (weights * geometry.c_out * in_channels * self.taps_apart()) as f32 * WEIGHT;
        let copying = geometry.c_out * copied * (COPY_ROW + COPY * width.div_ceil(lanes));
        let combining = in_channels * terms * geometry.kernel[2] * columns.div_ceil(lanes) * combine;
        geometry.c_out as f32 * vectors * multiply_adds + (copying + combining + calling) as f32 + weights
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

    /// The gradient of the output as the input of panels.
    fn image(&self) -> Geometry {
        let distance = if self.apart == Apart::All { 1 } else { Panel::distance(&self.geometry) };
        Geometry::valid(self.geometry.c_out, 1, self.geometry.output(), [1; 3], [distance, 1, 1])
    }

    /// The output planes that a part of the input meets: the first one, and how many at the part's distance.
    fn readers(&self, part: &Part) -> (usize, usize) {
        let planes = part.first_plane..part.first_plane + (part.planes - 1) * part.distance + 1;
        let found = self.geometry.readers(0, &planes);
        if self.geometry.stride[0] > 1 {
            return (found.start, found.len());
        }
        // those of the same phase
        let phase = (part.first_plane + self.geometry.padding[0][0]) % part.distance;
        let first = found.start + (phase + part.distance - found.start % part.distance) % part.distance;
        (first, found.end.saturating_sub(first).div_ceil(part.distance))
    }

    /// Floats of a panel for so many input planes and rows, at most.
    fn panel_bound(&self, planes: usize, rows: usize) -> usize {
        let geometry = &self.geometry;
        let output = geometry.output();
        let distance = self.image().dilation[0];
        let most_planes = (planes + geometry.reach(0) / distance).div_ceil(geometry.stride[0]);
        let most_rows = (rows + geometry.reach(1)).div_ceil(geometry.stride[1]);
        let (planes, rows) = if self.apart == Apart::All {
            (output[0].div_ceil(distance), output[1])
        } else {
            (most_planes.min(output[0].div_ceil(distance)), most_rows.min(output[1]))
        };
        geometry.c_out * Panel::bound(&self.image(), planes, rows, TapRows::Shared)
    }

    fn panel_len(&self) -> usize {
        self.panel_bound(self.largest.planes, self.largest.rows)
    }

    /// Computes the rows of a target `(start, distance)` for a group, at the positions of `runs`.
    ///
    /// # Safety
    /// The taps of `table` read the source within the panel at all positions of `runs`; the target is writable there
    /// for each (channel of `weights`, tap kept apart), and initialised if `accumulate`.
    unsafe fn sweep(
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
    fn products(&self, source: &Source<'_>, weights: Rows<'_>, slab: &mut [f32], table: &mut [f32]) {
        let taps = table::write(table, core::iter::once(Tap { source: 0, weight: 0 }));
        let runs = Runs::one(self.geometry.output_len());
        let target = (slab.as_mut_ptr(), self.slab_step());
        // SAFETY: the panel is the whole gradient; the slab has a row of as many floats for each channel and tap.
        unsafe { self.sweep(source, weights, taps, &runs, target, false) }
    }

    /// The products of a group with all taps along y and x, at all voxels of the panel's rows, for one plane.
    fn products_of_plane(
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
    fn terms_of_rows<'a>(&self, part: &Part, first: usize, memory: &'a mut [f32]) -> &'a [Term] {
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
    fn combine_rows(
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
    fn combine<'a>(
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
    fn segments(
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

/// The part of the gradient of the output that some rows of the input meet, in a panel.
struct Source<'a> {
    floats: &'a [f32],
    /// The first plane and row.
    first: [usize; 2],
    rows: usize,
    /// Distance between its planes.
    distance: usize,
    plane_step: usize,
    channel_step: usize,
}

impl<'a> Source<'a> {
    fn new(
        pass: &BackwardData,
        dy: Rows<'_>,
        first_plane: usize,
        part: &Part,
        memory: &'a mut [f32],
    ) -> Self {
        let image = pass.image();
        let [depth, height, _] = image.input;
        let ((first_z, planes), rows) = if pass.apart == Apart::All {
            ((0, depth), 0..height)
        } else {
            (pass.readers(part), pass.geometry.readers(1, &part.rows))
        };
        let distance = part.distance;
        if planes == 0 || rows.is_empty() {
            // no tap reads anything
            let first = [first_z, rows.start];
            return Self { floats: &[], first, rows: rows.len(), distance, plane_step: 0, channel_step: 0 };
        }
        let first = [first_z, rows.start];
        let count = rows.len();
        let panel = Panel::of_phase(&image, first_z, planes, rows, TapRows::Shared);
        let floats = &mut memory[..image.c_in * panel.channel_step()];
        panel.fill(&pass.kernels, dy, first_plane, 0..image.c_in, floats);
        let (plane_step, channel_step) = (panel.run_step(), panel.channel_step());
        Self { floats, first, rows: count, distance, plane_step, channel_step }
    }

    /// Where a row of the gradient starts.
    fn position(&self, plane: usize, row: usize, width: usize) -> usize {
        (plane - self.first[0]) / self.distance * self.plane_step + (row - self.first[1]) * width
    }
}

/// Rows of a plane, `stride` apart, that are read by the same taps along y: each by those of the first one, from
/// as many output rows further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    first: usize,
    count: usize,
}

/// Cuts rows into segments of at most `most` rows.
fn segments(geometry: &Geometry, rows: Range<usize>, most: usize) -> impl Iterator<Item = Segment> {
    let geometry = *geometry;
    let stride = geometry.stride[1];
    (rows.start..rows.end.min(rows.start + stride)).flat_map(move |first| {
        let end = rows.end;
        let taps = move |row| {
            let mut taps = geometry.taps_of(1, row).map(|(tap, _)| tap);
            let first = taps.next();
            (first, taps.last())
        };
        let mut next = first;
        core::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let (first, same) = (next, taps(next));
            while next < end && (next - first) / stride < most && taps(next) == same {
                next += stride;
            }
            Some(Segment { first, count: (next - first) / stride })
        })
    })
}
