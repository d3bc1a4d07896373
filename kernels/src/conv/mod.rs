//! Direct convolution on plain `[channel][z][y][x]` images: forward, backward-data and backward-weights.
//!
//! Forward and backward-data run the lanes of a vector along x over exact runs of positions, which they find in
//! private copies of a part of their source (`panel`, `fill`): strides, padding and dilations are matters of the copy,
//! and for the micro-kernel a table of taps.
//!
//! * `tile` is the micro-kernel of forward and backward-data, `reduction` that of backward-weights, `product` the same
//!   for tiny images (`columns`); all exist for every register tile of a small `family`.
//! * `sweep` leads the first over the runs of a panel, `lines` the second; `forward`, `backward_data` and
//!   `backward_weights` are the passes. `blocking` decides what a panel holds, `combine` ends backward-data, and
//!   `table` keeps tables in scratch memory.
//!
//! `kernels/README.md` tells the contracts, layouts and register budgets.

pub(crate) mod backward_data;
pub(crate) mod backward_weights;
pub(crate) mod blocking;
pub(crate) mod columns;
pub(crate) mod combine;
pub(crate) mod family;
pub(crate) mod fill;
pub(crate) mod forward;
pub(crate) mod geometry;
pub(crate) mod lines;
pub(crate) mod panel;
pub(crate) mod product;
pub(crate) mod reduction;
pub(crate) mod sweep;
pub(crate) mod table;
pub(crate) mod tile;

pub use backward_data::BackwardData;
pub use backward_weights::BackwardWeights;
pub use forward::{Epilogue, Forward};
pub use geometry::Geometry;
