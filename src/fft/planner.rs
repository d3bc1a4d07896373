//! Plans remembered by extent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::transform::spectrum_extent;
use super::{Backend, RealTransform};
use crate::volume::Extent;

/// How the algorithm of a plan is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// By a cost model: planning takes milliseconds, and the same extent always gets the same algorithm on the same
    /// processor, so that results are reproducible bit for bit from one run to the next.
    Estimate,
    /// By timing candidates for some tenths of a second per extent. Up to twice as fast to execute, but two runs may choose
    /// differently and then differ in the last bits. rustfft has no such choice: there this is the same as `Estimate`.
    #[default]
    Measure,
}

/// There is no plan for an extent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FftError {
    /// An axis has no voxel.
    #[error("a Fourier transform of extent {0} was asked for: each axis needs at least one voxel")]
    Empty(Extent),
    /// Voxels cannot be counted, or an axis is longer than the library's integers.
    #[error("a Fourier transform of extent {0} was asked for: that is more voxels than memory can hold")]
    TooLarge(Extent),
    /// The library gave no plan and no reason.
    #[error("{library} made no plan for a Fourier transform of extent {extent}: is there memory left?")]
    Refused {
        /// The extent asked for.
        extent: Extent,
        /// The library's name.
        library: &'static str,
    },
}

/// Makes the transform of an extent once and hands it out again when asked for the same extent.
///
/// An engine owns one; threads share it by reference.
pub struct Planner {
    backend: Backend,
    effort: Effort,
    plans: Mutex<HashMap<Extent, Arc<dyn RealTransform>>>,
}

impl Planner {
    /// A planner for the default backend.
    pub fn new(effort: Effort) -> Self {
        Self::with_backend(Backend::DEFAULT, effort)
    }

    /// A planner for a backend of one's choice.
    pub fn with_backend(backend: Backend, effort: Effort) -> Self {
        Self { backend, effort, plans: Mutex::default() }
    }

    /// The library behind the plans.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The transform of images of `extent`.
    ///
    /// # Errors
    /// An empty extent, one that memory cannot hold, or no plan from the library.
    pub fn plan(&self, extent: Extent) -> Result<Arc<dyn RealTransform>, FftError> {
        if let Some(plan) = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&extent) {
            return Ok(Arc::clone(plan));
        }
        check_extent(extent)?;
        // Planned outside the lock, so that a thread which needs a plan that exists does not wait for one that is being
        // measured. Of two threads that plan the same extent at once, the first one's plan is kept.
        let plan = self.backend.plan(extent, self.effort)?;
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(plans.entry(extent).or_insert(plan)))
    }

    /// The smallest fast size of an axis that has at least `n` voxels.
    pub fn good_size(&self, n: usize) -> usize {
        self.backend.good_size(n)
    }

    /// [`good_size`](Self::good_size) of each axis.
    pub fn good_extent(&self, extent: Extent) -> Extent {
        Extent::new(self.good_size(extent.z), self.good_size(extent.y), self.good_size(extent.x))
    }
}

/// Whether images and spectra of `extent` can exist: slices are at most `isize::MAX` bytes, FFTW's axes are C integers.
fn check_extent(extent: Extent) -> Result<(), FftError> {
    let axes = extent.to_array();
    if axes.contains(&0) {
        return Err(FftError::Empty(extent));
    }
    let bytes = spectrum_extent(extent)
        .to_array()
        .iter()
        .try_fold(size_of::<[f32; 2]>(), |n, &axis| n.checked_mul(axis));
    let countable = bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok());
    let c_integers = axes.iter().all(|&axis| i32::try_from(axis).is_ok());
    if countable && c_integers { Ok(()) } else { Err(FftError::TooLarge(extent)) }
}
