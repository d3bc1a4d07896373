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
    /// Output planes of a panel.
    pub planes: usize,
    /// Output rows of a panel; all of them if it has several planes.
    pub rows: usize,
    pub tap_rows: TapRows,
}

impl Blocking {
    /// The blocking of least modelled time. It depends on the layer alone, so that all tasks sum in the same order.
    pub fn new(geometry: &Geometry, lanes: usize) -> Self {
        let [depth, height, _] = geometry.output();
        let (c_in, c_out) = (geometry.c_in, geometry.c_out);
        let mut best: Option<(f32, Self)> = None;
        for tap_rows in [TapRows::Shared, TapRows::Copied] {
            if tap_rows == TapRows::Shared && geometry.stride[1] > 1 {
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
                if blocking.planes == depth {
                    break;
                }
            }
        }
        let tap_rows = if geometry.stride[1] > 1 { TapRows::Copied } else { TapRows::Shared };
        best.map_or(Self { channels: 1, planes: 1, rows: 1, tap_rows }, |(_, blocking)| blocking)
    }

    /// The largest panels of so many channels.
    fn largest(geometry: &Geometry, channels: usize, tap_rows: TapRows) -> Option<Self> {
        let [depth, height, _] = geometry.output();
        let fits = |planes, rows| channels * Panel::bound(geometry, planes, rows, tap_rows) <= PANEL_FLOATS;
        let planes = largest(depth, |planes| fits(planes, height));
        let rows = if planes > 0 { height } else { largest(height, |rows| fits(1, rows)) };
        (rows > 0).then(|| Self {
            channels,
            planes: equal(depth, planes),
            rows: equal(height, rows),
            tap_rows,
        })
    }

    /// The panel of the given output planes and rows.
    pub fn panel(&self, geometry: &Geometry, planes: Range<usize>, rows: Range<usize>) -> Panel {
        Panel::new(geometry, planes, rows, self.tap_rows)
    }

    /// Floats of the largest panel, at least.
    pub fn panel_len(&self, geometry: &Geometry) -> usize {
        self.channels * Panel::bound(geometry, self.planes, self.rows, self.tap_rows)
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
        let (copies, reach_y) = match self.tap_rows {
            TapRows::Shared => (kx, geometry.reach(1)),
            TapRows::Copied => (kx * ky, 0),
        };
        let (mut vectors, mut rows_copied) = (0, 0);
        for (planes, rows) in panels(height, rows, self.planes, self.rows) {
            let copied_planes = (planes.len() - 1) * geometry.stride[0] + 1 + geometry.reach(0);
            rows_copied += copies * copied_planes * (rows.len() + reach_y);
            let (runs, length) = self.panel(geometry, planes, rows).runs();
            vectors += runs * length.div_ceil(lanes);
        }
        let copying = geometry.c_in * rows_copied * (COPY_ROW + COPY * width.div_ceil(lanes));
        let resumed = (geometry.c_in.div_ceil(self.channels) - 1) * out_channels * vectors * RESUME;
        (geometry.c_in * geometry.taps() * vectors) as f32 * multiply_adds + (copying + resumed) as f32
    }
}

/// Cuts the rows `rows` of an image, all its planes taken as one sequence of rows, into parts of at most `most_planes`
/// whole planes or, of one plane, `most_rows` rows: planes, and rows of each.
pub(crate) fn panels(
    height: usize,
    rows: Range<usize>,
    most_planes: usize,
    most_rows: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut next = rows.start;
    core::iter::from_fn(move || {
        if next >= rows.end {
            return None;
        }
        let (plane, row, left) = (next / height, next % height, rows.end - next);
        let planes = (left / height).min(most_planes);
        if row == 0 && planes > 0 && most_rows == height {
            next += planes * height;
            return Some((plane..plane + planes, 0..height));
        }
        let count = left.min(height - row).min(most_rows);
        next += count;
        Some((plane..plane + 1, row..row + count))
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

/// The length of parts of `all` that are at most `most` and as equal as can be.
pub(crate) fn equal(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most.max(1)).max(1))
}
