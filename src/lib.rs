//! `znn` trains and runs 3D convolutional networks on many-core CPUs. This is its library; the program `znn` is
//! one user of it.
//!
//! | to do | see |
//! |---|---|
//! | to have threads, kernels and measurements | [`Engine`]; several may live in one process |
//! | convolve arrays of one's own: forward and both backward passes | [`Conv3d`]; `examples/conv3d.rs`, `train_by_hand.rs` |
//! | apply and train a network on arrays of one's own | [`Session`] |
//! | describe a network | [`network::spec`], the text format and TOML; [`network::Network`] |
//! | train step by step, on images of one's own | [`train::TrainingStep`]; `examples/custom_source.rs` |
//! | train as the program does, with files, validation and checkpoints | [`train::job::Job`], [`train::Trainer`] |
//! | run a network over a volume | [`infer::dense`]; `examples/hello.rs` |
//! | run it over a volume larger than memory | [`infer::DensePlan`] |
//! | keep parameters | [`network::weights_file`] |
//! | read, write and sample volumes | [`data`] |
//! | choose how convolutions are computed, and how exactly | [`conv`] |
//! | see what the threads do | [`trace`] |
//!
//! Images are [`Tensor`]s, row-major `[map][z][y][x]`; sizes are [`Extent`]s in the order z, y, x. All numbers are `f32`.
//! Errors are values, and those that several modules share are in [`error`]; panics are for programming errors, which the
//! documentation of an item names. What is documented here is what [versions](https://semver.org) are counted by;
//! `ARCHITECTURE.md` explains how it works inside.
//!
//! A network that learns to blur:
//!
//! ```
//! use std::sync::Arc;
//!
//! use znn::conv::Choice;
//! use znn::network::{Parameters, spec};
//! use znn::train::{Loss, Settings, StepOptions, TrainingStep, Wanted};
//! use znn::{Engine, EngineOptions, Extent, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "
//!     nodes image
//!     type input
//!     size 1
//!
//!     edges filter
//!     type conv
//!     size 1,3,3
//!     init zero
//!     input image
//!     output blurred
//!
//!     nodes blurred
//!     type transfer
//!     function linear
//!     size 1
//! ";
//! let network = Arc::new(spec::parse(text, "blur.znn")?.network);
//! let engine = Engine::new(&EngineOptions { threads: Some(2), ..Default::default() })?;
//!
//! // One iteration on output patches of 1 x 16 x 16 voxels, as a plan that runs again and again.
//! let options = StepOptions {
//!     loss: Loss::SQUARE,
//!     momentum: 0.9,
//!     algorithm: Choice::Estimate,
//!     ..StepOptions::default()
//! };
//! let output = Extent::new(1, 16, 16);
//! let mut step = TrainingStep::new(&engine, &network, output, &options)?;
//! let mut parameters = Parameters::init(&network, 1);
//! step.load(&parameters)?;
//!
//! // The field of view is 1 x 3 x 3, so that the input has a margin of one voxel.
//! let input = Tensor::from_fn(1, Extent::new(1, 18, 18), |i| ((i * 31 + i / 7) % 11) as f32 / 10.0 - 0.5);
//! let mean_of_nine = |at: usize| {
//!     let (y, x) = (at / output.x, at % output.x);
//!     let corner = y * 18 + x;
//!     (0..9).map(|k| input.data()[corner + k / 3 * 18 + k % 3]).sum::<f32>() / 9.0
//! };
//! let target = Tensor::from_fn(1, output, mean_of_nine);
//!
//! let mut losses = Vec::new();
//! for _ in 0..100 {
//!     let settings = Settings { eta: 0.2, factor: 1.0, key: 0 };
//!     let outcome = step.run(&[&input], &[Wanted { target: &target, weight: None }], settings)?;
//!     losses.push(outcome.mean_loss());
//! }
//! assert!(losses[99] < losses[0] / 100.0, "from {} to {}", losses[0], losses[99]);
//!
//! // What it has learned: nine weights near one ninth.
//! step.store(&mut parameters)?;
//! let filter = network.edge_ids().next().expect("one edge");
//! let weights = parameters.edge(filter).expect("a convolution").values();
//! assert!(weights.iter().all(|weight| (weight - 1.0 / 9.0).abs() < 0.03), "{weights:?}");
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

pub mod conv;
pub mod data;
mod embed;
mod engine;
pub mod error;
pub mod infer;
pub mod network;
mod session;
pub mod trace;
pub mod train;
mod volume;

mod atomic_file;

// Public because the program `znn`, the tests, the benchmarks and the fuzz targets are crates of their own. What is hidden,
// here and in the modules above, is no part of the interface whose versions are counted (docs/versions.md).
#[doc(hidden)]
pub mod fft;
#[doc(hidden)]
pub mod hdf5;
#[doc(hidden)]
pub mod machine;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod pool;
#[doc(hidden)]
pub mod segment;
#[doc(hidden)]
pub mod stats;

pub use conv::problem::{Problem, ProblemError};
pub use embed::{Conv3d, Conv3dError, Conv3dOptions, Strides};
pub use engine::{Engine, EngineError, EngineOptions};
pub use session::{Session, SessionError, Training};
pub use volume::{Extent, ParseExtentError, Tensor};
/// ```
/// use znn::Isa;
///
/// // The tiers of this machine, the most portable first.
/// let tiers: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect();
/// assert_eq!((tiers[0], *tiers.last().unwrap()), (Isa::Scalar, Isa::best()));
/// assert_eq!("avx2".parse(), Ok(Isa::Avx2));
/// assert_eq!(Isa::Avx2.name(), "avx2");
/// ```
#[doc(inline)]
pub use znn_kernels::Isa;
/// ```
/// use znn::Transfer;
///
/// assert_eq!(Transfer::IDENTITY, Transfer::Linear { scale: 1.0, shift: 0.0 });
/// let scaled = Transfer::Tanh { amplitude: 1.7159, slope: 2.0 / 3.0 };
/// assert_ne!(scaled, Transfer::RectifyLinear);
/// ```
#[doc(inline)]
pub use znn_kernels::Transfer;
/// ```
/// use znn::{Isa, UnknownIsa};
///
/// assert_eq!("sse2".parse::<Isa>(), Err(UnknownIsa));
/// ```
#[doc(inline)]
pub use znn_kernels::UnknownIsa;
