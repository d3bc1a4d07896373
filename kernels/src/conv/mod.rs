//! Direct convolution on plain `[channel][z][y][x]` images: forward, backward-data and backward-weights.
//!
//! All three passes run the lanes of a vector along x over *flattened rows*: the rows of a z-plane are taken as
//! one long row at the input's pitch, so that a tap of the kernel is a constant offset. The few garbage columns
//! between two rows of the output are computed and left out when a tile is stored; where they would be many
//! (large kernels, large dilations) the rows are walked one by one instead (`lines`).
//!
//! * `tile` is the micro-kernel of forward and backward-data, `reduction` that of backward-weights, `product` the same
//!   for tiny images (`columns`); all exist for every register tile of a small `family`.
//! * `sweep` leads the former over an image, `lines` the second; `forward`, `backward_data` and `backward_weights` are
//!   the passes; `panel` defines the private layout of the input.
//!
//! `kernels/README.md` tells the contracts, layouts and register budgets.

pub(crate) mod backward_data;
pub(crate) mod backward_weights;
pub(crate) mod blocking;
pub(crate) mod columns;
pub(crate) mod combine;
pub(crate) mod family;
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
