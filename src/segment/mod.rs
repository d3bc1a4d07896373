//! From affinities to segments, and how good they are.
//!
//! An *affinity* says how likely a voxel belongs to the same object as the one before it, along x (channel 0), y (1) and
//! z (2). A *segmentation* gives each voxel the id of its segment, from 1; 0 is no segment. [`components()`] and
//! [`watershed()`] make one, [`Scores`] and [`BoundaryScores`] compare it with the truth, [`malis()`] says how much each affinity matters for it.

mod boundary;
mod components;
mod graph;
mod malis;
mod regions;
mod scores;
mod watershed;

pub use boundary::BoundaryScores;
pub use components::components;
pub use graph::{of_boundary, sections};
pub use malis::{Counts, Malis, MalisWeights, Mode, Norm, Window, malis, weights};
pub use scores::{Scores, fill};
pub use watershed::{WatershedOptions, watershed};
