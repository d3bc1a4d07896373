//! Leads the micro-kernel of forward and backward-data over runs of positions.

use super::family::Family;
use super::lines::balanced;
use super::tile::{Tile, TileVector};

/// Runs of positions that are neighbours both in the source and in the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub count: usize,
    /// Positions of a run.
    pub length: usize,
    /// Distance between the starts of two runs in the source.
    pub source_step: usize,
    /// The same in the target.
    pub target_step: usize,
}

impl Runs {
    /// Vectors of `lanes` floats.
    pub fn vectors(&self, lanes: usize) -> usize {
        self.count * self.length.div_ceil(lanes)
    }

    /// The vector `index`.
    fn vector(&self, index: usize, lanes: usize) -> TileVector {
        let each = self.length.div_ceil(lanes);
        let (run, position) = (index / each, index % each * lanes);
        TileVector {
            source: run * self.source_step + position,
            target: run * self.target_step + position,
            lanes: lanes.min(self.length - position),
        }
    }
}

/// Computes `rows` rows of the target at all positions of `runs`. `tile` holds everything but the vectors.
///
/// # Safety
/// The tier of `family` exists, and the contract of [`super::tile::convolve`] holds for `rows` rows and every vector.
pub(crate) unsafe fn sweep(
    family: Family<unsafe fn(&Tile<'_>)>,
    lanes: usize,
    rows: usize,
    runs: &Runs,
    tile: &mut Tile<'_>,
) {
    let kernels = family[rows - 1];
    for (start, count) in balanced(runs.vectors(lanes), kernels.len()) {
        for (index, vector) in tile.vectors[..count].iter_mut().enumerate() {
            *vector = runs.vector(start + index, lanes);
        }
        // SAFETY: the caller's contract.
        unsafe { kernels[count - 1](tile) }
    }
}
