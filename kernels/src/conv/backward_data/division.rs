//! How a pass is divided: which taps are kept apart, and what panels and slabs hold.

use super::segments::segments;
use super::{Apart, BackwardData};
use crate::Kernels;
use crate::conv::Geometry;
use crate::conv::blocking::{Largest, equal_parts, largest};
use crate::conv::family::{best_rows, cost_of_rows};
use crate::conv::panel::Panel;
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

impl BackwardData {
    /// Whether the panel and the slab of one channel stay in a cache.
    pub(super) fn fits(&self) -> bool {
        self.panel_len() <= PANEL_FLOATS && self.taps_apart() * self.slab_step() <= SLAB_FLOATS
    }

    pub(super) fn divided(kernels: Kernels, geometry: Geometry, apart: Apart) -> Self {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiers;

    #[test]
    fn smaller_images_keep_more_taps_apart() {
        for kernels in tiers() {
            let apart = |channels: usize, size: usize| {
                let geometry = Geometry::valid(channels, channels, [size + 2; 3], [3; 3], [1; 3]);
                BackwardData::new(kernels, geometry).apart
            };
            assert_eq!(apart(40, 32), Apart::Columns, "{kernels:?}");
            if kernels.lanes() == 16 {
                assert_eq!(apart(40, 8), Apart::Planes);
                assert_eq!(apart(256, 4), Apart::All);
            }
        }
    }
}
