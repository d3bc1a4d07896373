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
    FFTW_DESTROY_INPUT, FFTW_ESTIMATE, FFTW_MEASURE, FFTW_PRESERVE_INPUT, FFTW_UNALIGNED, fftwf_destroy_plan,
    fftwf_execute_dft_c2r, fftwf_execute_dft_r2c, fftwf_plan, fftwf_plan_dft_c2r_3d, fftwf_plan_dft_r2c_3d,
};
use num_complex::Complex32;

use super::transform::{check_lengths, spectrum_extent};
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
        let refused = || FftError::Refused { extent, library: "FFTW" };
        let [nz, ny, nx] = extent.to_array().map(|axis| axis as c_int);
        let mut image = AVec::<f32>::from_iter(64, (0..extent.len()).map(|_| 0.0));
        let mut spectrum =
            AVec::<Complex32>::from_iter(64, (0..spectrum_extent(extent).len()).map(|_| Complex32::ZERO));
        let effort = match effort {
            Effort::Estimate => FFTW_ESTIMATE,
            Effort::Measure => FFTW_MEASURE,
        };
        let effort = if std::env::var_os("AL").is_some() { effort } else { effort | FFTW_UNALIGNED };
        let _lock = lock();
        // SAFETY: the lock is held; the buffers, which FFTW may overwrite to time candidates, have the sizes that it
        // documents for a half-spectrum transform of these axes, and outlive the calls.
        let (forward, inverse) = unsafe {
            (
                fftwf_plan_dft_r2c_3d(
                    nz,
                    ny,
                    nx,
                    image.as_mut_ptr(),
                    spectrum.as_mut_ptr(),
                    effort | FFTW_PRESERVE_INPUT,
                ),
                fftwf_plan_dft_c2r_3d(
                    nz,
                    ny,
                    nx,
                    spectrum.as_mut_ptr(),
                    image.as_mut_ptr(),
                    effort | FFTW_DESTROY_INPUT,
                ),
            )
        };
        drop(_lock);
        let (forward, inverse) = (Plan::new(forward), Plan::new(inverse));
        Ok(Self { extent, forward: forward.ok_or_else(refused)?, inverse: inverse.ok_or_else(refused)? })
    }
}

impl RealTransform for FftwTransform {
    fn extent(&self) -> Extent {
        self.extent
    }

    fn forward(&self, image: &[f32], spectrum: &mut [Complex32]) {
        check_lengths(self.extent, image, spectrum);
        // SAFETY: the lengths are those of the plan, which was made with FFTW_UNALIGNED (any address will do) and
        // FFTW_PRESERVE_INPUT (the image is only read, although the parameter is not const). Executing a plan does not
        // change it: FFTW documents this function as thread-safe.
        unsafe { fftwf_execute_dft_r2c(self.forward.as_ptr(), image.as_ptr().cast_mut(), spectrum.as_mut_ptr()) }
    }

    fn inverse(&self, spectrum: &mut [Complex32], image: &mut [f32]) {
        check_lengths(self.extent, image, spectrum);
        // SAFETY: as in `forward`; this plan destroys its input, which is borrowed mutably.
        unsafe { fftwf_execute_dft_c2r(self.inverse.as_ptr(), spectrum.as_mut_ptr(), image.as_mut_ptr()) }
    }
}

/// An owned plan.
struct Plan(NonNull<fftw_sys::fftwf_plan_s>);

// SAFETY: a plan is bound to no thread, and what may be done with a shared one, to execute it, is thread-safe.
unsafe impl Send for Plan {}
// SAFETY: as above.
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
        // SAFETY: the lock is held, and the plan is owned, so that nobody executes it now or later.
        unsafe { fftwf_destroy_plan(self.as_ptr()) }
    }
}

/// Everything in FFTW but the execution of plans.
fn lock() -> MutexGuard<'static, ()> {
    // A panic elsewhere while the lock was held does not concern FFTW, which does not unwind.
    ::fftw::FFTW_MUTEX.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" {
    /// FFTW's name, version and the sets of SIMD codelets compiled in, such as `fftw-3.3.8-sse2-avx`; `fftw-sys` does not
    /// declare it.
    static fftwf_version: [c_char; 1];
}

/// Name, version and codelets.
pub(super) fn description() -> String {
    // SAFETY: FFTW defines this constant as a C string.
    let version = unsafe { CStr::from_ptr((&raw const fftwf_version).cast()) };
    version.to_string_lossy().into_owned()
}
const _: c_uint = FFTW_MEASURE;
