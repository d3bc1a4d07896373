//! Convolutions for other programs: plans that run on the caller's arrays.
//!
//! A [`Conv3d`] is made once for a [`Problem`](crate::conv::Problem) and a batch size, and then called as often as one
//! likes, with plain slices. All arrays are 32-bit floats. A batch of images is `[image][map][z][y][x]`, the weights are
//! `[c_out][c_in][kz][ky][kx]` and are applied as a cross-correlation: the conventions of PyTorch. Images of a part of a
//! larger array are described by [`Strides`]. A 2D convolution has extents of one voxel along z.
//!
//! ```
//! use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(&EngineOptions { threads: Some(2), ..Default::default() })?;
//! let valid = Problem::valid(3, 8, Extent::new(10, 12, 14), Extent::new(3, 3, 3), Extent::ONE);
//! let problem = Problem { padding: [Extent::ONE; 2], ..valid };
//! let mut conv = Conv3d::new(&engine, problem, &Conv3dOptions { batch: 2, ..Default::default() })?;
//!
//! let x = vec![1.0; conv.input_len()];
//! let (weights, bias) = (vec![0.5; conv.weights_len()], vec![2.0; 8]);
//! let mut y = vec![0.0; conv.output_len()];
//! conv.forward(&x, &weights, Some(&bias), &mut y)?;
//! // In the middle of an image, all of 3 x 27 taps are inside.
//! assert_eq!(y[problem.output().index(5, 5, 5)], 3.0 * 27.0 * 0.5 + 2.0);
//!
//! let dy = vec![1.0; conv.output_len()];
//! let (mut dx, mut dw) = (vec![0.0; conv.input_len()], vec![0.0; conv.weights_len()]);
//! conv.backward_data(&dy, &weights, &mut dx)?;
//! conv.backward_weights(&x, &dy, &mut dw)?;
//! # assert_eq!(dx[problem.input.index(5, 5, 5)], 8.0 * 27.0 * 0.5);
//! # assert_eq!(dw[13], 2.0 * 10.0 * 12.0 * 14.0);
//! # Ok(())
//! # }
//! ```

mod conv3d;
mod error;
mod passes;
mod strides;
mod transfer;

pub use conv3d::{Conv3d, Conv3dOptions};
pub use error::Conv3dError;
pub use strides::Strides;
