//! Winograd convolution for kernels of three taps, with F(2,3) and F(4,3) in any mix along z, y and x.
//!
//! An output tile of m voxels along an axis takes m + 2 multiplications instead of 3 m. Tiles are transformed (B' along
//! each axis), multiplied by transformed kernels (G), summed over the input maps as one product of matrices for each
//! *point*, and transformed back (A'); `axis` has the transforms. A *group* of a few vectors of tiles goes through all of this
//! at once, so that transformed tiles stay in L2 (`forward`); `input`, `product` and `output` are the stages, with lanes along
//! the tiles, `weights` transforms kernels with lanes along output maps.
//!
//! `kernels/README.md` tells the layouts, the accuracy of the tiles and the costs.

pub(crate) mod axis;
mod backward_weights;
mod forward;
pub(crate) mod gradient;
pub(crate) mod group;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod product;
pub(crate) mod shape;
pub(crate) mod transpose;
pub(crate) mod weights;

pub use group::Groups;
pub use shape::Shape;
