//! The vector of f32 lanes over which every kernel is generic.
//!
//! All methods are `#[inline(always)]` and none carries `#[target_feature]`: they take the features of the
//! function that they are inlined into, which is one of the instantiations in [`crate::dispatch`].
//! Holding a value is the proof that its tier exists, hence only the ways to obtain the first one are unsafe.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512f;
mod portable;
mod transpose;

#[cfg(target_arch = "x86_64")]
pub use avx2::F32x8;
#[cfg(target_arch = "x86_64")]
pub use avx512f::F32x16;
pub use portable::F32x4;
pub(crate) use transpose::transpose;

use crate::words::Words;

/// Lanes of the widest tier.
pub(crate) const MAX_LANES: usize = 16;

/// A vector of `LANES` f32 lanes.
pub trait Vector: Copy {
    /// The number of lanes, a power of 2, at most `MAX_LANES`.
    const LANES: usize;
    /// A choice of lanes.
    type Mask: Copy;
    /// The vector of as many u32 lanes.
    type Words: Words<Mask = Self::Mask>;

    /// All lanes zero.
    ///
    /// # Safety
    /// The tier of this type must be available, and the call must be inlined into a function that enables it.
    unsafe fn zero() -> Self;

    /// All lanes `value`.
    ///
    /// # Safety
    /// As [`Vector::zero`].
    unsafe fn splat(value: f32) -> Self;

    /// The mask of the first `n` lanes; all of them where `n >= LANES`.
    ///
    /// # Safety
    /// As [`Vector::zero`].
    unsafe fn first(n: usize) -> Self::Mask;

    /// The mask of the lanes from `start` to before `end`; lanes beyond the last are ignored.
    ///
    /// # Safety
    /// As [`Vector::zero`].
    unsafe fn between(start: usize, end: usize) -> Self::Mask;

    /// `LANES` floats from `from`, of any alignment.
    ///
    /// # Safety
    /// As [`Vector::zero`]; the floats must be readable.
    unsafe fn load(from: *const f32) -> Self;

    /// The floats of the chosen lanes, zero in the others, whose memory is not touched.
    ///
    /// # Safety
    /// As [`Vector::zero`]; the floats of the chosen lanes must be readable.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self;

    /// The first `n` floats from `from`, zero in the other lanes; all lanes where `n >= LANES`.
    ///
    /// In loops this is to be preferred to a mask that is mostly full: masked stores are slow on many AVX2
    /// chips, the branch is always predicted but for the tail.
    ///
    /// # Safety
    /// As [`Vector::zero`]; those floats must be readable.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller's contract.
        unsafe { if n >= Self::LANES { Self::load(from) } else { Self::load_masked(from, Self::first(n)) } }
    }

    /// Stores the first `n` lanes; all of them where `n >= LANES`.
    ///
    /// # Safety
    /// Those floats must be writable.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's contract.
        unsafe { if n >= Self::LANES { self.store(to) } else { self.store_masked(to, Self::first(n)) } }
    }

    /// Lane `i` from `from + i * stride` for the chosen lanes, zero in the others, whose memory is not
    /// touched. `stride * LANES` must be below 2^31.
    ///
    /// # Safety
    /// As [`Vector::zero`]; the floats of the chosen lanes must be readable.
    unsafe fn load_strided(from: *const f32, stride: usize, mask: Self::Mask) -> Self;

    /// Stores all lanes, at any alignment.
    ///
    /// # Safety
    /// The floats must be writable.
    unsafe fn store(self, to: *mut f32);

    /// Stores the chosen lanes; the memory of the others is not touched.
    ///
    /// # Safety
    /// The floats of the chosen lanes must be writable.
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask);

    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// The square root, correctly rounded; NaN of negative lanes.
    fn sqrt(self) -> Self;
    /// `self * factor + addend`, in one rounding on the SIMD tiers.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `addend - self * factor`, in one rounding on the SIMD tiers.
    fn negative_mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger of each pair; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller of each pair; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The lanes in which `self > other`.
    fn greater(self, other: Self) -> Self::Mask;
    /// The lanes in which `self > other` or `self` is NaN: a running maximum by it never loses a NaN.
    fn exceeds(self, other: Self) -> Self::Mask;
    /// `self` in the chosen lanes, `other` in the rest.
    fn select(self, mask: Self::Mask, other: Self) -> Self;
    /// `self + addend` in the chosen lanes, `self` in the rest.
    fn add_masked(self, mask: Self::Mask, addend: Self) -> Self;
    /// Each even lane in its own place and in the odd lane after it: the real parts of complex pairs.
    fn even_twice(self) -> Self;
    /// Each odd lane in its own place and in the even lane before it: the imaginary parts.
    fn odd_twice(self) -> Self;
    /// Of `self` followed by `other`: the even lanes, and the odd lanes.
    fn unzip(self, other: Self) -> (Self, Self);
    /// The bits of the lanes.
    fn bits(self) -> Self::Words;
    /// The lanes of `self` and `other` in turn: the inverse of [`Vector::unzip`].
    fn zip(self, other: Self) -> (Self, Self);
    /// The lanes of each pair exchanged.
    fn swap_pairs(self) -> Self;
    /// `self - other` in the even lanes, `self + other` in the odd ones.
    fn sub_add(self, other: Self) -> Self;
    /// `self + other` in the even lanes, `self - other` in the odd ones.
    fn add_sub(self, other: Self) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copy_sign(self, sign: Self) -> Self;
    /// The nearest integer, ties to even.
    fn round(self) -> Self;
    /// `self * 2^n` for integral `n` in -250..=250; subnormal results are rounded, not flushed.
    fn scale_by_power(self, n: Self) -> Self;
    /// `m` and `e` with `self = m * 2^e`, `e` integral and `sqrt(1/2) <= m < sqrt(2)`, for positive, normal,
    /// finite floats; two numbers without a meaning for others.
    fn split_power(self) -> (Self, Self);
    /// The sum of all lanes.
    fn reduce_add(self) -> f32;

    /// `index`, which the compiler takes to depend on `self`: a load at it is not scheduled before `self` is
    /// computed. Costs no instruction. Micro-kernels that fill the register file need it, because the compiler
    /// would rather load all operands first and spill accumulators.
    fn then(self, index: usize) -> usize;
}

/// The bits of `sqrt(1/2)`: what a float has above them counts, in its exponent's place, the powers of 2.
const SQRT_HALF_BITS: i32 = core::f32::consts::FRAC_1_SQRT_2.to_bits() as i32;

/// Asks for the cache line of `to`, which may be any address, because it will be written soon.
#[inline(always)]
pub(crate) fn prefetch_write(to: *mut f32) {
    // _MM_HINT_ET0
    ask::<7>(to)
}

/// Asks for the cache line at `at`, which may be any address, because it will be read soon.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    // _MM_HINT_T0
    ask::<3>(at)
}

/// Asks for the cache line at `at`, which may be any address, in the second cache, because it will be read later.
#[inline(always)]
pub(crate) fn prefetch_far(at: *const f32) {
    // _MM_HINT_T1
    ask::<2>(at)
}

#[inline(always)]
fn ask<const HINT: i32>(at: *const f32) {
    // SAFETY: a hint has no effect on what the program computes, and faults nowhere.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_prefetch::<HINT>(at.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
