//! Leads the micro-kernel of forward and backward-data over runs of positions.

use super::family::Family;
use super::lines::balanced;
use super::tile::{Tile, TileVector};

/// Runs of positions that are neighbours both in the source and in the target: a grid of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub counts: [usize; 2],
    /// Positions of a run.
    pub length: usize,
    /// Distance between the starts of two runs in the source, along the two axes of the grid.
    pub source_steps: [usize; 2],
    /// The same in the target.
    pub target_steps: [usize; 2],
}

impl Runs {
    /// One run.
    pub fn one(length: usize) -> Self {
        Self { counts: [1, 1], length, source_steps: [0; 2], target_steps: [0; 2] }
    }

    /// Vectors of `lanes` floats.
    pub fn vectors(&self, lanes: usize) -> usize {
        self.counts[0] * self.counts[1] * self.length.div_ceil(lanes)
    }

    /// All vectors of `lanes` floats.
    fn each_vector(&self, lanes: usize) -> impl Iterator<Item = TileVector> + use<> {
        let runs = *self;
        let (mut at, mut position) = ([0, 0], 0);
        let (mut source, mut target) = (0, 0);
        core::iter::from_fn(move || {
            let vector = TileVector {
                source: source + position,
                target: target + position,
                lanes: lanes.min(runs.length - position),
            };
            position += lanes;
            if position >= runs.length {
                position = 0;
                at[1] += 1;
                if at[1] == runs.counts[1] {
                    at = [at[0] + 1, 0];
                }
                source = at[0] * runs.source_steps[0] + at[1] * runs.source_steps[1];
                target = at[0] * runs.target_steps[0] + at[1] * runs.target_steps[1];
            }
            Some(vector)
        })
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
    let mut vectors = runs.each_vector(lanes);
    for (_, count) in balanced(runs.vectors(lanes), kernels.len()) {
        for (to, vector) in tile.vectors[..count].iter_mut().zip(&mut vectors) {
            *to = vector;
        }
        // SAFETY: the caller's contract.
        unsafe { kernels[count - 1](tile) }
    }
}
