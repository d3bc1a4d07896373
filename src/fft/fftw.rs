//! FFTW's side of [`RealTransform`].
//!
//! The plans of the crate `fftw` take `&mut self`, although FFTW's *new-array execute* functions are the part of its
//! interface that may run in any number of threads at once. Everything else in FFTW (planning, destroying, wisdom) works
//! on global state and happens here under that crate's public mutex, so that other users of the crate in the same
//! process are safe from us and we from them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr::NonNull;
use std::sync::{MutexGuard, PoisonError};

use aligned_vec::AVec;
use fftw_sys::{
    FFTW_DESTROY_INPUT, FFTW_ESTIMATE, FFTW_MEASURE, FFTW_PRESERVE_INPUT, fftwf_destroy_plan,
    fftwf_execute_dft_c2r, fftwf_execute_dft_r2c, fftwf_export_wisdom_to_string, fftwf_forget_wisdom,
    fftwf_import_wisdom_from_string, fftwf_plan, fftwf_plan_dft_c2r_3d, fftwf_plan_dft_r2c_3d,
};
use num_complex::Complex32;

use super::transform::{ALIGNMENT, check_buffers, spectrum_extent};
use super::{Effort, FftError, RealTransform};
use crate::volume::Extent;

/// Both directions for one extent.
pub(super) struct FftwTransform {
    extent: Extent,
    forward: Plan,
    inverse: Plan,
}

impl FftwTransform {
    /// Plans for a non-empty `extent` whose axes fit a C integer.
    pub(super) fn new(extent: Extent, effort: Effort) -> Result<Self, FftError> {
        let mut image = AVec::<f32>::from_iter(ALIGNMENT, (0..extent.len()).map(|_| 0.0));
        let spectrum = (0..spectrum_extent(extent).len()).map(|_| Complex32::ZERO);
        let mut spectrum = AVec::<Complex32>::from_iter(ALIGNMENT, spectrum);
        let plans = {
            let lock = lock();
            match effort {
                Effort::Estimate => {
                    without_wisdom(&lock, || plan(&lock, extent, FFTW_ESTIMATE, &mut image, &mut spectrum))
                }
                Effort::Measure => plan(&lock, extent, FFTW_MEASURE, &mut image, &mut spectrum),
            }
        };
        match plans {
            (Some(forward), Some(inverse)) => Ok(Self { extent, forward, inverse }),
            _ => Err(FftError::Refused { extent, library: "FFTW" }),
        }
    }
}

/// Plans for both directions, for buffers aligned like these, which are overwritten where `effort` says to measure.
fn plan(
    _lock: &Lock,
    extent: Extent,
    effort: c_uint,
    image: &mut [f32],
    spectrum: &mut [Complex32],
) -> (Option<Plan>, Option<Plan>) {
    check_buffers(extent, image, spectrum);
    let [z, y, x] = extent.to_array().map(|axis| axis as c_int);
    let (image, spectrum) = (image.as_mut_ptr(), spectrum.as_mut_ptr());
    // SAFETY: the lock is held, and the buffers have the lengths that FFTW documents for these axes.
    unsafe {
        (
            Plan::new(fftwf_plan_dft_r2c_3d(z, y, x, image, spectrum, effort | FFTW_PRESERVE_INPUT)),
            Plan::new(fftwf_plan_dft_c2r_3d(z, y, x, spectrum, image, effort | FFTW_DESTROY_INPUT)),
        )
    }
}

/// Runs `plan` while FFTW has forgotten all plans measured before in this process, by whomever.
///
/// FFTW prefers what it once measured to an estimate, so that otherwise the result of [`Effort::Estimate`] would depend
/// on what else the process has planned.
fn without_wisdom<T>(_lock: &Lock, plan: impl FnOnce() -> T) -> T {
    // SAFETY: the lock is held. The string is null or a C string that we own; FFTW copies what it imports and has the
    // caller free the string with the C library's `free`.
    unsafe {
        let wisdom = fftwf_export_wisdom_to_string();
        fftwf_forget_wisdom();
        let planned = plan();
        fftwf_forget_wisdom();
        if !wisdom.is_null() {
            fftwf_import_wisdom_from_string(wisdom);
            libc::free(wisdom.cast());
        }
        planned
    }
}

impl RealTransform for FftwTransform {
    fn extent(&self) -> Extent {
        self.extent
    }

    fn forward(&self, image: &[f32], spectrum: &mut [Complex32]) {
        check_buffers(self.extent, image, spectrum);
        // SAFETY: lengths and alignment, checked above, are those of the buffers that the plan was made with, and the
        // buffers are distinct like those. The plan was made with FFTW_PRESERVE_INPUT: the image is only read, although
        // the parameter is not const. FFTW documents execution as thread-safe: it does not change the plan.
        unsafe {
            fftwf_execute_dft_r2c(self.forward.as_ptr(), image.as_ptr().cast_mut(), spectrum.as_mut_ptr())
        }
    }

    fn inverse(&self, spectrum: &mut [Complex32], image: &mut [f32]) {
        check_buffers(self.extent, image, spectrum);
        // SAFETY: as in `forward`; this plan destroys its input, which is borrowed mutably.
        unsafe { fftwf_execute_dft_c2r(self.inverse.as_ptr(), spectrum.as_mut_ptr(), image.as_mut_ptr()) }
    }
}

/// An owned plan. It is not dropped while the lock is held: that would deadlock.
struct Plan(NonNull<fftw_sys::fftwf_plan_s>);

// SAFETY: a plan is bound to no thread.
unsafe impl Send for Plan {}
// SAFETY: all that is done with a shared plan is to execute it, which any number of threads may do at once.
unsafe impl Sync for Plan {}

impl Plan {
    /// Takes ownership of what a planning function returned.
    fn new(plan: fftwf_plan) -> Option<Self> {
        NonNull::new(plan).map(Self)
    }

    fn as_ptr(&self) -> fftwf_plan {
        self.0.as_ptr()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let _lock = lock();
        // SAFETY: the lock is held, and the plan is owned: nobody executes it now or later.
        unsafe { fftwf_destroy_plan(self.as_ptr()) }
    }
}

/// The right to use FFTW's global state.
type Lock = MutexGuard<'static, ()>;

/// Waits for the right to use FFTW's global state.
fn lock() -> Lock {
    // Whoever panicked while holding it did so outside FFTW, which does not unwind: its state is sound.
    ::fftw::FFTW_MUTEX.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" {
    /// FFTW's name, version and the sets of SIMD codelets it was built with, such as `fftw-3.3.10-sse2-avx`; `fftw-sys`
    /// does not declare it.
    static fftwf_version: [c_char; 0];
}

/// Name, version and codelets.
pub(super) fn description() -> String {
    // SAFETY: FFTW defines this constant, a C string.
    let version = unsafe { CStr::from_ptr((&raw const fftwf_version).cast()) };
    version.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    /// FFTW's own text of the algorithms of a transform.
    fn text(transform: &FftwTransform) -> [CString; 2] {
        [&transform.forward, &transform.inverse].map(|plan| {
            // SAFETY: the plan is alive and unchanged by printing; the string is ours, to be freed by C's `free`.
            unsafe {
                let text = fftw_sys::fftwf_sprint_plan(plan.as_ptr());
                let owned = CStr::from_ptr(text).to_owned();
                libc::free(text.cast());
                owned
            }
        })
    }

    #[test]
    fn estimates_do_not_depend_on_measured_plans() {
        let mut chosen_otherwise = false;
        for extent in [[8, 8, 8], [6, 10, 12], [16, 16, 16], [1, 48, 48], [12, 20, 30]].map(Extent::from) {
            let plan = |effort| text(&FftwTransform::new(extent, effort).unwrap());
            let before = plan(Effort::Estimate);
            chosen_otherwise |= plan(Effort::Measure) != before;
            assert_eq!(plan(Effort::Estimate), before, "{extent}");
        }
        assert!(
            chosen_otherwise,
            "measuring chose the estimated plan everywhere, so that nothing was tested"
        );
    }

    #[test]
    fn estimates_keep_measured_plans() {
        let wisdom = |_lock: &Lock| {
            // SAFETY: the lock is held; the string is ours.
            unsafe {
                let text = fftwf_export_wisdom_to_string();
                let owned = CStr::from_ptr(text).to_owned();
                libc::free(text.cast());
                owned
            }
        };
        FftwTransform::new(Extent::new(4, 6, 10), Effort::Measure).unwrap();
        let lock = lock();
        let before = wisdom(&lock);
        without_wisdom(&lock, || assert_ne!(wisdom(&lock), before));
        let (mut before, mut after) = (before.into_bytes(), wisdom(&lock).into_bytes());
        // The order of a hash table.
        before.sort_unstable();
        after.sort_unstable();
        assert_eq!(after, before);
    }
}
