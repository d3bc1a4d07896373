//! The SIMD kernels of the `znn` engine.
//!
//! Every algorithm is written once, generic over [`vector::Vector`], and instantiated for three tiers by
//! [`dispatch`]: `avx512f` (the foundation subset only), `avx2` (AVX2 + FMA) and portable `scalar`.
//! A [`Kernels`] value is the proof that its tier exists on this machine; its methods are safe: they check
//! the shapes of the views that they are given.
//!
//! The crate knows nothing of threads, networks, files or allocation.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod conv;
pub mod dispatch;
pub mod isa;
mod peak;
pub mod pointwise;
pub mod pool;
pub mod spectral;
mod stream;
#[cfg(test)]
mod testing;
pub mod tile_fft;
pub mod vector;
pub mod view;
pub mod winograd;
pub mod words;

pub use dispatch::Kernels;
pub use isa::{Isa, UnknownIsa};
pub use pointwise::adam::Adam;
pub use pointwise::loss::Loss;
pub use pointwise::normalise::Affine;
pub use pointwise::sgd::Sgd;
pub use pointwise::transfer::Transfer;
pub use pool::Window;
pub use spectral::Conjugate;
pub use view::{Rows, RowsMut};
