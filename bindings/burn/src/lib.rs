//! burn's convolutions on CPUs, forward and backward, computed by [`znn`].
//!
//! One line of a program changes: where its layers come from.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! // was: use burn::nn;
//! use znn_burn::nn;
//!
//! let device = Device::flex().autodiff();
//! let conv = nn::conv::Conv3dConfig::new([1, 8], [3, 3, 3]).init(&device);
//! let image = Tensor::<5>::zeros([1, 1, 16, 16, 16], &device);
//! let gradients = conv.forward(image).sum().backward();
//! assert_eq!(conv.weight.val().grad(&gradients).expect("a gradient").dims(), [8, 1, 3, 3, 3]);
//! ```
//!
//! [`nn`] is [`burn::nn`] with other [`Conv2d`](nn::conv::Conv2d), [`Conv3d`](nn::conv::Conv3d),
//! [`ConvTranspose2d`](nn::conv::ConvTranspose2d) and [`ConvTranspose3d`](nn::conv::ConvTranspose3d): the same fields,
//! configurations and records. [`conv2d`], [`conv3d`], [`conv_transpose2d`] and [`conv_transpose3d`] take the places of
//! the functions of [`burn::tensor::module`].
//!
//! # What is computed by the engine
//!
//! Convolutions of 32-bit floats in one group, on the device [`Device::flex`](burn::tensor::Device::flex), with
//! autodiff and gradient checkpointing or without. Everything else, and convolutions on other devices, goes to burn as
//! if this crate were not there; [`plans`] tells what did not go there. Tensors that are not contiguous are copied.
//!
//! # What the first call costs
//!
//! The first call with given sizes, batch and passes measures which algorithm (direct, Winograd or Fourier, of which
//! tiles) is the fastest for them, which takes a fraction of a second, and plans it. Sizes that vary from call to call
//! are therefore better few. The process forgets what it measured, unless [`init`] names a file:
//!
//! ```no_run
//! use znn_burn::{EngineOptions, init};
//!
//! init(&EngineOptions { threads: Some(8), tuning: Some("tuning.txt".into()), ..Default::default() })?;
//! # Ok::<(), znn_burn::InitError>(())
//! ```
//!
//! The plans that were used last, at most 128, keep their memory until [`forget_plans`].
//!
//! # Threads
//!
//! The process has one engine, with a worker for each core that it may use; its convolutions take turns. The other
//! operations run on the threads of burn, which wait meanwhile, and the workers sleep while those run.
//!
//! # Why it is not a backend
//!
//! A tensor of burn 0.22 has no type parameter for its backend: it is an `enum` over the backends that burn knows, and
//! so is a device. A backend type of another crate cannot become one of them. What burn offers instead is an extension,
//! operations beside its own for backends of its own: here two, for its CPU backend `Flex` and its autodiff. They
//! cannot take the place of burn's operations, hence the layers and functions that call them.
#![deny(unsafe_code)]

mod case;
mod engine;
mod functions;
mod layers;
pub mod nn;
mod operation;

pub use engine::{InitError, Planned, forget_plans, init, plans};
pub use functions::{conv_transpose2d, conv_transpose3d, conv2d, conv3d};
pub use znn::conv::{Decision, Passes};
pub use znn::{EngineOptions, Extent, Problem};
