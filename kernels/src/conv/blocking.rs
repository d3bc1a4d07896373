//! How a forward pass is cut into panels.

use super::Geometry;
use super::panel::{Panel, TapRows};
use core::ops::Range;

/// Floats of a panel: a part of an L2 cache, beside the weights and the target.
const PANEL_FLOATS: usize = 96 * 1024;

/// The panels of a layer: blocks of input channels, and of output planes or of rows of one plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Blocking {
    /// Channels of the input that are summed from one panel.
    pub channels: usize,
    /// Output planes and rows of a panel.
    pub largest: Largest,
    pub tap_rows: TapRows,
}

impl Blocking {
    /// The blocking of least modelled time. It depends on the layer alone, so that all tasks sum in the same order.
    pub fn new(geometry: &Geometry, lanes: usize) -> Self {
        let [depth, height, _] = geometry.output();
        let (c_in, c_out) = (geometry.c_in, geometry.c_out);
        let mut best: Option<(f32, Self)> = None;
        for tap_rows in [TapRows::Whole, TapRows::Shared, TapRows::Copied] {
            if !tap_rows.admits(geometry) {
                continue;
            }
            let mut previous = 0;
            for blocks in 1..=c_in {
                let channels = c_in.div_ceil(blocks);
                if channels == previous {
                    continue;
                }
                previous = channels;
                let Some(blocking) = Self::largest(geometry, channels, tap_rows) else { continue };
                let cost = blocking.cost(geometry, lanes, 0..depth * height, c_out, c_out as f32);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, blocking));
                }
                if blocking.largest.planes * blocking.largest.distance >= depth {
                    break;
                }
            }
        }
        let least = Largest { planes: 1, distance: 1, rows: 1 };
        let least = Self { channels: 1, largest: least, tap_rows: TapRows::Copied };
        best.map_or(least, |(_, blocking)| blocking)
    }

    /// The largest panels of so many channels: whole planes, or else rows of one plane. (Bands of several planes
    /// would copy less, but few channels of whole planes leave more of the L1 cache to the weights.)
    fn largest(geometry: &Geometry, channels: usize, tap_rows: TapRows) -> Option<Self> {
        let [depth, height, _] = geometry.output();
        let fits = |planes, rows| channels * Panel::bound(geometry, planes, rows, tap_rows) <= PANEL_FLOATS;
        let distance = Panel::distance(geometry);
        let planes = largest(depth.div_ceil(distance), |planes| fits(planes, height));
        let most = if planes > 0 { height } else { largest(height, |rows| fits(1, rows)) };
        if most == 0 {
            return None;
        }
        // bands as equal as can be
        let rows = height.div_ceil(height.div_ceil(most));
        Some(Self { channels, largest: Largest { planes: planes.max(1), distance, rows }, tap_rows })
    }

    /// The panel of a part of the output.
    pub fn panel(&self, geometry: &Geometry, part: &Part) -> Panel {
        Panel::of_phase(geometry, part.first_plane, part.planes, part.rows.clone(), self.tap_rows)
    }

    /// Floats of the largest panel, at least.
    pub fn panel_len(&self, geometry: &Geometry) -> usize {
        self.channels * Panel::bound(geometry, self.largest.planes, self.largest.rows, self.tap_rows)
    }

    /// Vector operations for some output rows and channels: multiply-adds, `multiply_adds` of them for each vector of
    /// positions and each term of the sums; copies into panels; and loads and stores of sums between two blocks of
    /// input channels.
    pub fn cost(
        &self,
        geometry: &Geometry,
        lanes: usize,
        rows: Range<usize>,
        out_channels: usize,
        multiply_adds: f32,
    ) -> f32 {
        /// Operations for each vector that is copied and for each row, and for each sum that is interrupted.
        const COPY: usize = 3;
        const COPY_ROW: usize = 3;
        const RESUME: usize = 4;
        let [_, height, width] = geometry.output();
        let [_, ky, kx] = geometry.kernel;
        let (copies, reach_y, columns) = match self.tap_rows {
            TapRows::Shared => (kx, geometry.reach(1), width),
            TapRows::Copied => (kx * ky, 0, width),
            TapRows::Whole => (1, geometry.reach(1), width + geometry.reach(2)),
        };
        let (mut vectors, mut rows_copied) = (0, 0);
        for part in self.largest.parts(height, rows) {
            let copied_planes =
                (part.planes - 1) * geometry.stride[0] + 1 + geometry.reach(0) / part.distance;
            rows_copied += copies * copied_planes * (part.rows.len() + reach_y);
            vectors += self.panel(geometry, &part).runs_to(0).vectors(lanes);
        }
        let copying = geometry.c_in * rows_copied * (COPY_ROW + COPY * columns.div_ceil(lanes));
        let resumed = (geometry.c_in.div_ceil(self.channels) - 1) * out_channels * vectors * RESUME;
        (geometry.c_in * geometry.taps() * vectors) as f32 * multiply_adds + (copying + resumed) as f32
    }
}

/// A part of an image: some rows of planes that lie some distance apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub first_plane: usize,
    pub planes: usize,
    pub distance: usize,
    pub rows: Range<usize>,
}

impl Part {
    /// Its planes.
    pub fn planes(&self) -> impl Iterator<Item = usize> + use<> {
        (self.first_plane..).step_by(self.distance).take(self.planes)
    }
}

/// The largest parts into which an image is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Largest {
    /// Planes of a part.
    pub planes: usize,
    /// Distance between the planes of a part.
    pub distance: usize,
    /// Rows of each.
    pub rows: usize,
}

impl Largest {
    /// Cuts the rows `rows` of an image, those of all its planes counted on.
    pub fn parts(&self, height: usize, rows: Range<usize>) -> impl Iterator<Item = Part> + use<> {
        let Self { planes: most_planes, distance, rows: most_rows } = *self;
        let (mut next, mut phase, mut done, mut band) = (rows.start, 0, 0, 0);
        core::iter::from_fn(move || {
            if next >= rows.end {
                return None;
            }
            let (plane, row, left) = (next / height, next % height, rows.end - next);
            let whole = left / height;
            if row > 0 || whole == 0 {
                let count = left.min(height - row).min(most_rows);
                next += count;
                return Some(Part { first_plane: plane, planes: 1, distance, rows: row..row + count });
            }
            // of the whole planes, those of one phase after the other, in nearly equal parts; and so for each band
            let of_phase = (whole - phase).div_ceil(distance);
            let parts = of_phase.div_ceil(most_planes);
            let start = done * of_phase / parts;
            let part = Part {
                first_plane: plane + phase + start * distance,
                planes: (done + 1) * of_phase / parts - start,
                distance,
                rows: band..(band + most_rows).min(height),
            };
            done += 1;
            if done == parts {
                (phase, done) = (phase + 1, 0);
            }
            if phase == distance.min(whole) {
                (phase, band) = (0, part.rows.end);
            }
            if band == height {
                band = 0;
                next += whole * height;
            }
            Some(part)
        })
    }
}

/// The lengths of the largest of 1, 2, 3 ... equal parts of `total`, each length once, falling.
pub(crate) fn equal_parts(total: usize) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(total), move |&length| {
        // the fewest parts that are shorter
        (length > 1).then(|| total.div_ceil(total.div_ceil(length - 1)))
    })
}

/// The largest number up to `most` that fits, where all below it do; 0 if none does.
pub(crate) fn largest(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn parts_cover_every_row_once() {
        for (depth, height, distance) in [(1, 1, 1), (5, 4, 1), (7, 3, 2), (9, 6, 4), (2, 9, 3)] {
            for (planes, rows) in [(1, 1), (2, 3), (3, 2), (9, 9)] {
                let largest = Largest { planes, distance, rows };
                for start in 0..depth * height {
                    for end in start..=depth * height {
                        let mut seen = vec![0; depth * height];
                        for part in largest.parts(height, start..end) {
                            assert!(part.planes <= planes && part.rows.len() <= rows && part.planes > 0);
                            for plane in part.planes() {
                                part.rows.clone().for_each(|row| seen[plane * height + row] += 1);
                            }
                        }
                        let within = |row: &usize| (start..end).contains(row);
                        for (row, count) in seen.into_iter().enumerate() {
                            assert_eq!(count, usize::from(within(&row)), "{largest:?} {start}..{end}");
                        }
                    }
                }
            }
        }
    }
}
