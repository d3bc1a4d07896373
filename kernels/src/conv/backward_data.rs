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

/// The backward pass to the input of a layer, with what is decided once for all calls.
#[derive(Clone, Copy, Debug)]
pub struct BackwardData {
    kernels: Kernels,
    geometry: Geometry,
    /// Whether the products of all taps are kept apart, not only those along x.
    scattered: bool,
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
        let apart_along_x = Self::divided(kernels, geometry, false);
        let voxels = geometry.output_len();
        if voxels * geometry.c_out > PANEL_FLOATS || voxels * geometry.taps() > SLAB_FLOATS {
            return apart_along_x;
        }
        let all_apart = Self::divided(kernels, geometry, true);
        let cost = |pass: &Self| pass.cost(0..geometry.input[0] * geometry.input[1], geometry.c_in);
        if cost(&all_apart) < cost(&apart_along_x) { all_apart } else { apart_along_x }
    }

    fn divided(kernels: Kernels, geometry: Geometry, scattered: bool) -> Self {
        let [_, _, width] = geometry.output();
        let [depth, height, columns] = geometry.input;
        let all = Largest { planes: depth, distance: 1, rows: height };
        let plain = geometry.kernel[2] == 1 && geometry.padding[0][2] == 0 && width == columns;
        let in_place = !scattered && plain && geometry.stride[1..] == [1, 1];
        let mut pass = Self { kernels, geometry, scattered, in_place, largest: all, band: height, group: 1 };
        if !scattered {
            let distance = Panel::distance(&geometry);
            let least_rows = |positions: usize| positions.div_ceil(width).min(height);
            let row = least_rows(LEAST_POSITIONS);
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
            let high = (pass.apart() * geometry.c_in).min(FULL_ROWS.next_multiple_of(pass.apart()));
            pass.band = if in_place { height } else { (BAND_FLOATS / high / width).clamp(row, height) };
        }
        let family = kernels.micro().convolve;
        let cost = |group: usize| {
            let rest = geometry.c_in % group;
            (geometry.c_in / group) as f32 * cost_of_rows(family, group * pass.apart())
                + cost_of_rows(family, rest * pass.apart())
        };
        let full = FULL_ROWS.div_ceil(pass.apart());
        let most = match (in_place, scattered) {
            (true, _) => geometry.c_in,
            (_, true) => SLAB_FLOATS / (pass.apart() * pass.slab_step()),
            _ => BAND_FLOATS / (pass.apart() * pass.slab_step()),
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
        if self.scattered {
            return 0..self.geometry.output()[0];
        }
        let height = self.geometry.input[1];
        self.geometry.output_planes(&(rows.start / height..rows.end.div_ceil(height)))
    }

    /// The modelled time of a call for some input rows and a number of input channels, in vector operations.
    pub fn cost(&self, rows: Range<usize>, in_channels: usize) -> f32 {
        /// Operations for each vector that is copied and for each row, and for each vector of products.
        const COPY: usize = 10;
        const COPY_ROW: usize = 3;
        const COMBINE: usize = 5;
        /// The same where rows are taken one by one.
        const COMBINE_ROW: usize = 16;
        /// Operations for each call of a micro-kernel, and for each weight: a run reads a quarter of a cache line in one.
        const CALL: usize = 60;
        const WEIGHT: f32 = 0.25;
        let Self { kernels, geometry, .. } = self;
        let lanes = kernels.lanes();
        let [_, height, columns] = geometry.input;
        let [out_depth, out_height, width] = geometry.output();
        let family = kernels.micro().convolve;
        let rows_of_tile = best_rows(family, in_channels * self.apart());
        let widest = family[rows_of_tile - 1].len();
        let (mut vectors, mut terms, mut copied, mut tiles, mut taps) = (0, 0, 0, 0, 0);
        for part in self.largest.parts(height, rows) {
            let taps_z: usize = part.planes().map(|plane| geometry.taps_of(0, plane).count()).sum();
            if self.scattered {
                let taps_y: usize = part.rows.map(|row| geometry.taps_of(1, row).count()).sum();
                let all = geometry.output_len().div_ceil(lanes);
                vectors += all;
                tiles += all.div_ceil(widest);
                taps += 1;
                terms += taps_z * taps_y;
                copied += out_depth * out_height;
            } else {
                terms += if self.in_place { 0 } else { part.planes * part.rows.len() };
                copied += self.readers(&part).1 * geometry.readers(1, &part.rows).len();
                for segment in segments(geometry, part.rows, self.band) {
                    let taps_y = geometry.taps_of(1, segment.first).count();
                    let of_segment = (segment.count * width).div_ceil(lanes);
                    vectors += taps_z * taps_y * of_segment;
                    tiles += part.planes * of_segment.div_ceil(widest);
                    taps += taps_z * taps_y;
                }
            }
        }
        let multiply_adds = cost_of_rows(family, in_channels * self.apart());
        let calling = tiles * (in_channels * self.apart()).div_ceil(rows_of_tile) * CALL;
        let weights = (taps * geometry.c_out * in_channels * self.apart()) as f32 * WEIGHT;
        let copying = geometry.c_out * copied * (COPY_ROW + COPY * width.div_ceil(lanes));
        let combining = in_channels * terms * geometry.kernel[2] * columns.div_ceil(lanes) * if self.scattered { COMBINE_ROW } else { COMBINE };
        (geometry.c_out * vectors) as f32 * multiply_adds + (copying + combining + calling) as f32 + weights
    }

    /// Whether the work may be split by rows; if not, a call with a part of the rows costs as much as one with all.
    pub fn splits_rows(&self) -> bool {
        !self.scattered
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
            let all_terms = if self.scattered { self.all_terms(&part, terms) } else { &[] };
            for first in (0..channels).step_by(self.group) {
                let group = first..(first + self.group).min(channels);
                let taps = group.start * geometry.taps()..group.end * geometry.taps();
                let weights = weights.part(0..geometry.c_out, taps);
                if self.scattered {
                    self.products(&source, weights, slab, table);
                }
                let mut next = 0;
                for plane in part.planes() {
                    let start = (plane * height + part.rows.start - rows.start) * columns;
                    let dx = dx.part(group.clone(), start..start + part.rows.len() * columns);
                    if self.scattered {
                        let terms = &all_terms[next..];
                        next += self.scattered_plane(terms, accumulate, plane, &part.rows, dx, slab.as_ptr());
                    } else {
                        self.plane(&source, weights, accumulate, plane, &part.rows, dx, slab, table);
                    }
                }
            }
        }
    }

    /// Rows of the slab for each input channel: the taps whose products are kept apart.
    fn apart(&self) -> usize {
        if self.scattered { self.geometry.taps() } else { self.geometry.kernel[2] }
    }

    /// Distance between rows of the slab.
    fn slab_step(&self) -> usize {
        let width = self.geometry.output()[2];
        odd_lines(if self.scattered {
            self.geometry.output_len()
        } else {
            self.band.min(self.largest.rows) * width
        })
    }

    fn slab_len(&self) -> usize {
        if self.in_place { 0 } else { self.group * self.apart() * self.slab_step() }
    }

    fn table_len(&self) -> usize {
        let taps = table::floats::<Tap>(self.geometry.taps() / self.apart());
        if self.scattered { taps } else { taps.max(table::floats::<Term>(self.apart())) }
    }

    fn terms_len(&self) -> usize {
        let [depth, height, _] = self.geometry.output();
        if self.scattered { table::floats::<Term>(self.apart() * depth * height) } else { 0 }
    }

    /// The gradient of the output as the input of panels.
    fn image(&self) -> Geometry {
        let distance = if self.scattered { 1 } else { Panel::distance(&self.geometry) };
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
        let (planes, rows) = if self.scattered {
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
        let (apart, all) = (self.apart(), self.geometry.taps());
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

    /// Scattered: the products of a group with all taps, at all voxels of the gradient.
    fn products(&self, source: &Source<'_>, weights: Rows<'_>, slab: &mut [f32], table: &mut [f32]) {
        let taps = table::write(table, core::iter::once(Tap { source: 0, weight: 0 }));
        let runs = Runs::one(self.geometry.output_len());
        let target = (slab.as_mut_ptr(), self.slab_step());
        // SAFETY: the panel is the whole gradient; the slab has a row of as many floats for each channel and tap.
        unsafe { self.sweep(source, weights, taps, &runs, target, false) }
    }

    /// Scattered: what each row of a part is the sum of, for the first row and all that follow.
    fn all_terms<'a>(&self, part: &Part, memory: &'a mut [f32]) -> &'a [Term] {
        let geometry = self.geometry;
        let [_, ky, kx] = geometry.kernel;
        let [_, height, width] = geometry.output();
        let (dilation, slab_step) = (geometry.dilation[2], self.slab_step());
        let terms = part.planes().flat_map(|plane| part.rows.clone().map(move |row| (plane, row))).flat_map(
            |(plane, row)| {
                geometry.taps_of(0, plane).flat_map(move |(z, from_z)| {
                    geometry.taps_of(1, row).flat_map(move |(y, from_y)| {
                        (0..kx).map(move |x| Term {
                            source: (((z * ky + y) * kx + x) * slab_step + (from_z * height + from_y) * width)
                                as u32,
                            shift: (x * dilation) as u32,
                        })
                    })
                })
            },
        );
        table::write(memory, terms)
    }

    /// Scattered: combines the products of a group for some rows of one plane, and returns how many `terms` that took.
    fn scattered_plane(
        &self,
        terms: &[Term],
        accumulate: bool,
        plane: usize,
        rows: &Range<usize>,
        mut dx: RowsMut<'_>,
        slab: *const f32,
    ) -> usize {
        let geometry = &self.geometry;
        let of_plane = geometry.taps_of(0, plane).count() * geometry.kernel[2];
        let mut next = 0;
        for row in rows.clone() {
            let count = of_plane * geometry.taps_of(1, row).count();
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
            source_steps: [self.apart() * self.slab_step(), width],
            target_steps: [dx.stride(), columns * stride[1]],
            columns: [width, columns],
            stride: stride[2],
            before: before[2],
            accumulate,
        }
    }

    /// Computes some rows of one plane of the gradient for a group.
    #[allow(clippy::too_many_arguments, reason = "three operands, where, how and memory")]
    fn plane(
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
        let ((first_z, planes), rows) = if pass.scattered {
            ((0, depth), 0..height)
        } else {
            (pass.readers(part), pass.geometry.readers(1, &part.rows))
        };
        let distance = part.distance;
        if planes == 0 || rows.is_empty() {
            // no tap reads anything
            return Self { floats: &[], first: [0; 2], distance, plane_step: 0, channel_step: 0 };
        }
        let first = [first_z, rows.start];
        let panel = Panel::of_phase(&image, first_z, planes, rows, TapRows::Shared);
        let floats = &mut memory[..image.c_in * panel.channel_step()];
        panel.fill(&pass.kernels, dy, first_plane, 0..image.c_in, floats);
        Self { floats, first, distance, plane_step: panel.run_step(), channel_step: panel.channel_step() }
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
