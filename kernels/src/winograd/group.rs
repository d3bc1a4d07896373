//! Groups of tiles that are transformed and multiplied together.

use core::ops::Range;

use super::shape::Shape;

/// A box of tiles of some phases. A tile's place among the lanes is `((phase * z + tz) * y + ty) * x + tx`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// The first tile along each axis.
    pub first: [usize; 3],
    /// Tiles along each axis.
    pub tiles: [usize; 3],
    /// The first phase, flattened.
    pub first_phase: usize,
    /// Phases.
    pub phases: usize,
}

impl Group {
    /// All tiles.
    pub fn len(&self) -> usize {
        self.phases * self.tiles.iter().product::<usize>()
    }

    /// Phase number `index` of the group along each axis.
    pub fn phase(&self, shape: &Shape, index: usize) -> [usize; 3] {
        let [_, y, x] = shape.phases_along();
        let phase = self.first_phase + index;
        [phase / (y * x), phase / x % y, phase % x]
    }
}

/// The tiles of some slabs, cut into groups: boxes of one size, smaller ones at the ends.
#[derive(Clone, Debug)]
pub struct Groups {
    slabs: Range<usize>,
    tiles: [Range<usize>; 3],
    phases: usize,
    /// Tiles of a group along each axis.
    size: [usize; 3],
    /// Phases of a group.
    together: usize,
}

impl Groups {
    /// The cut of `slabs` into groups of at most `vectors` vectors of `lanes` that makes the least work.
    pub(crate) fn best(shape: &Shape, slabs: Range<usize>, lanes: usize, vectors: usize) -> Self {
        let tiles = shape.tiles_of(&slabs);
        let all = tiles.clone().map(|range| range.len());
        let phases: usize = shape.phases_along().iter().product();
        let limit = lanes * vectors;
        let mut best = (usize::MAX, [1; 3], 1);
        for x in 1..=all[2].min(limit) {
            for y in 1..=all[1].min(limit / x) {
                for z in 1..=all[0].min(limit / (x * y)) {
                    let size = [z, y, x];
                    let together = if size == all { phases.min(limit / (x * y * z)) } else { 1 };
                    let cost = cost(shape, all, phases, size, together, lanes);
                    if cost < best.0 {
                        best = (cost, size, together);
                    }
                }
            }
        }
        let (_, size, together) = best;
        Self { slabs, tiles, phases, size, together }
    }

    /// The slabs that the groups consist of.
    pub fn slabs(&self) -> &Range<usize> {
        &self.slabs
    }

    fn counts(&self) -> [usize; 4] {
        let [z, y, x] = [0, 1, 2].map(|axis| self.tiles[axis].len().div_ceil(self.size[axis]));
        [self.phases.div_ceil(self.together), z, y, x]
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.counts().iter().product()
    }

    /// The most tiles of a group.
    pub(crate) fn largest(&self) -> usize {
        self.together * self.size.iter().product::<usize>()
    }

    /// The largest box of tiles.
    pub(crate) fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Group number `index`.
    pub(crate) fn get(&self, index: usize) -> Group {
        let [_, z, y, x] = self.counts();
        let place = [index / (y * x) % z, index / x % y, index % x];
        let first = [0, 1, 2].map(|axis| self.tiles[axis].start + place[axis] * self.size[axis]);
        let first_phase = index / (z * y * x) * self.together;
        Group {
            first,
            tiles: [0, 1, 2].map(|axis| self.size[axis].min(self.tiles[axis].end - first[axis])),
            first_phase,
            phases: self.together.min(self.phases - first_phase),
        }
    }
}

/// The work of a cut, in vector operations.
fn cost(
    shape: &Shape,
    all: [usize; 3],
    phases: usize,
    size: [usize; 3],
    together: usize,
    lanes: usize,
) -> usize {
    // Whole parts and their number, the rest and its number.
    let pieces =
        |len: usize, part: usize| [(part, len / part), (len % part, usize::from(!len.is_multiple_of(part)))];
    let mut cost = 0;
    for (z, z_count) in pieces(all[0], size[0]) {
        for (y, y_count) in pieces(all[1], size[1]) {
            for (x, x_count) in pieces(all[2], size[2]) {
                for (phases, phase_count) in pieces(phases, together) {
                    let vectors = (phases * z * y * x).div_ceil(lanes);
                    let products = vectors * shape.points() * shape.c_in * shape.c_out;
                    let inputs = shape.c_in * phases * input_cost(shape, [z, y, x], lanes);
                    let rows = shape.c_out * phases * z * y * shape.tile[0] * shape.tile[1] * ROW;
                    cost += z_count * y_count * x_count * phase_count * (products + inputs + rows);
                }
            }
        }
    }
    cost
}

/// What looking up a row of an image costs.
const ROW: usize = 12;

/// The work of transforming a box of tiles of one map.
fn input_cost(shape: &Shape, tiles: [usize; 3], lanes: usize) -> usize {
    let [z, y, x] = tiles;
    if z * y * x == 0 {
        return 0;
    }
    let [pz, py, px] = [0, 1, 2].map(|axis| shape.points_along(axis));
    let [planes, rows] = [0, 1].map(|axis| shape.elements_along(axis, tiles[axis]));
    let width = shape.tile[2];
    let along_x = if (x * width).is_multiple_of(lanes) {
        (rows * x).div_ceil(lanes) + shape.tile[1]
    } else {
        rows * x.div_ceil(lanes)
    };
    let vectors = (y * x).div_ceil(lanes);
    // A store takes as long as two other operations; taking rows apart takes a shuffle for each of their elements.
    let rows = planes * (rows * ROW + along_x * (2 * px + 3 * width));
    rows + planes * vectors * px * 2 * py + z * vectors * py * px * 2 * pz
}
