//! Fourier transforms of real images: plans, their cache, and the sizes that are fast.
//!
//! [`RealTransform`] is what the rest of the engine sees; a [`Planner`] makes and remembers one per extent. Behind it
//! is one of two libraries ([`Backend`]), chosen by Cargo features: realfft on rustfft (`rustfft`, the default,
//! permissive) or FFTW (`fftw-source` or `fftw-system`, GPL). Where both are compiled in, FFTW is used. `docs/fftw.md`
//! tells how to choose and gives figures.

#[cfg(not(any(feature = "fftw-source", feature = "fftw-system", feature = "rustfft")))]
compile_error!(
    "znn needs a library of Fourier transforms: enable one of the features `rustfft` (the default: pure Rust, permissive \
     licence), `fftw-source` (FFTW built from source, GPL) or `fftw-system` (an installed FFTW, GPL)"
);

mod backend;
#[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
mod fftw;
mod planner;
#[cfg(any(feature = "rustfft", test))]
mod rust;
mod size;
mod transform;

#[cfg(test)]
mod tests;

pub use backend::Backend;
pub use planner::{Effort, FftError, Planner};
pub use transform::{ALIGNMENT, RealTransform};

/// What `znn info` prints of the default backend: see [`Backend::description`].
pub fn backend_description() -> String {
    Backend::DEFAULT.description()
}
