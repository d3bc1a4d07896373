//! Convolutions for other programs: plans that run on the caller's arrays.
//!
//! A [`Conv3d`] is made once for a [`Problem`](crate::conv::Problem) and a batch size, and then called as often as one
//! likes, with plain slices. All arrays are 32-bit floats. A batch of images is `[image][map][z][y][x]`, the weights are
//! `[c_out][c_in][kz][ky][kx]` and are applied as a cross-correlation: the conventions of PyTorch. Images of a part of a
//! larger array are described by [`Strides`]. A 2D convolution has extents of one voxel along z.

mod conv3d;
mod error;
mod passes;
mod strides;
mod transfer;

pub use conv3d::{Conv3d, Conv3dOptions};
pub use error::Conv3dError;
pub use strides::Strides;
