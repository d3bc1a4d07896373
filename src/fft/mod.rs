//! Fourier transforms of real images: plans, their cache, and the sizes that are fast.
//!
//! [`RealTransform`] is what the rest of the engine sees; a [`Planner`] makes and remembers one per extent. Behind it
//! is one of two libraries ([`Backend`]): realfft on rustfft (permissive, always there) or, by a Cargo feature, FFTW
//! (`fftw-source` or `fftw-system`, GPL), which is used where it is compiled in. `docs/fftw.md` tells how to choose and gives
//! figures.

mod backend;
#[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
mod fftw;
mod planner;
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
