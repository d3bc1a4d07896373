//! The libraries of Fourier transforms.

use std::sync::Arc;

use super::{Effort, FftError, RealTransform, size};
use crate::volume::Extent;

/// A library of Fourier transforms that is compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// FFTW 3, single precision (features `fftw-source` and `fftw-system`).
    #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
    Fftw,
    /// realfft along x and rustfft along y and z (also the oracle of the tests).
    Rust,
}

impl Backend {
    /// FFTW where it is compiled in.
    #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
    pub const DEFAULT: Self = Self::Fftw;
    /// FFTW where it is compiled in.
    #[cfg(not(any(feature = "fftw-source", feature = "fftw-system")))]
    pub const DEFAULT: Self = Self::Rust;

    /// All that are compiled in, the default first.
    pub const COMPILED: &[Self] = &[
        #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
        Self::Fftw,
        Self::Rust,
    ];

    /// The library's name.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
            Self::Fftw => "FFTW",
            Self::Rust => "rustfft",
        }
    }

    /// Name, version and instruction sets, on one line.
    pub fn description(self) -> String {
        match self {
            #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
            Self::Fftw => super::fftw::description(),
            Self::Rust => super::rust::description(),
        }
    }

    /// The smallest fast size of an axis that has at least `n` voxels.
    pub fn good_size(self, n: usize) -> usize {
        match self {
            #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
            Self::Fftw => size::good_size(n, size::FFTW),
            Self::Rust => size::good_size(n, size::RUST),
        }
    }

    /// The transform of a non-empty extent.
    pub(super) fn plan(self, extent: Extent, effort: Effort) -> Result<Arc<dyn RealTransform>, FftError> {
        match self {
            #[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
            Self::Fftw => Ok(Arc::new(super::fftw::FftwTransform::new(extent, effort)?)),
            Self::Rust => {
                let _ = effort;
                Ok(Arc::new(super::rust::RustTransform::new(extent)))
            }
        }
    }
}
