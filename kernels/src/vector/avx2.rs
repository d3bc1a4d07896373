//! The AVX2 + FMA tier.

use super::{SQRT_HALF_BITS, Vector};
use core::arch::asm;
use core::arch::x86_64::*;

/// The vector of the AVX2 + FMA tier.
#[derive(Clone, Copy, Debug)]
pub struct F32x8(__m256);

/// Eight words of ones, then eight of zeros: a mask of the first `n` lanes starts at `8 - n`.
static FIRST_LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

// SAFETY of this impl's blocks without a reason of their own: a value of the type, or the caller's
// contract, proves that AVX2 and FMA exist; pointers are covered by the caller's contract.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Vector for F32x8 {
    const LANES: usize = 8;
    type Mask = __m256i;
    type Words = crate::words::U32x8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(unsafe { _mm256_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn first(n: usize) -> Self::Mask {
        let start = 8 - if n < 8 { n } else { 8 };
        // eight words from `start <= 8` lie within the table's sixteen
        unsafe { _mm256_loadu_si256(FIRST_LANES.as_ptr().add(start).cast()) }
    }
    #[inline(always)]
    unsafe fn between(start: usize, end: usize) -> Self::Mask {
        unsafe { _mm256_andnot_si256(Self::first(start), Self::first(end)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        Self(unsafe { _mm256_maskload_ps(from, mask) })
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: usize, mask: Self::Mask) -> Self {
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let index = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(stride as i32));
            let zero = _mm256_setzero_ps();
            Self(_mm256_mask_i32gather_ps::<4>(zero, from, index, _mm256_castsi256_ps(mask)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        unsafe { _mm256_maskstore_ps(to, mask, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn negative_mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm256_fnmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn greater(self, other: Self) -> Self::Mask {
        unsafe { _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)) }
    }
    #[inline(always)]
    fn exceeds(self, other: Self) -> Self::Mask {
        unsafe {
            let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0);
            _mm256_castps_si256(_mm256_or_ps(greater, _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0)))
        }
    }
    #[inline(always)]
    fn add_masked(self, mask: Self::Mask, addend: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, _mm256_and_ps(_mm256_castsi256_ps(mask), addend.0)) })
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        Self(unsafe { _mm256_blendv_ps(other.0, self.0, _mm256_castsi256_ps(mask)) })
    }
    #[inline(always)]
    fn even_twice(self) -> Self {
        Self(unsafe { _mm256_moveldup_ps(self.0) })
    }
    #[inline(always)]
    fn odd_twice(self) -> Self {
        Self(unsafe { _mm256_movehdup_ps(self.0) })
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        // within halves first, then the middle two quarters change places
        unsafe {
            let in_order = |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)));
            let even = _mm256_shuffle_ps::<0b10_00_10_00>(self.0, other.0);
            let odd = _mm256_shuffle_ps::<0b11_01_11_01>(self.0, other.0);
            (Self(in_order(even)), Self(in_order(odd)))
        }
    }
    #[inline(always)]
    fn bits(self) -> Self::Words {
        crate::words::U32x8(unsafe { _mm256_castps_si256(self.0) })
    }
    #[inline(always)]
    fn zip(self, other: Self) -> (Self, Self) {
        // within halves first, then these change places
        unsafe {
            let low = _mm256_unpacklo_ps(self.0, other.0);
            let high = _mm256_unpackhi_ps(self.0, other.0);
            (Self(_mm256_permute2f128_ps::<0x20>(low, high)), Self(_mm256_permute2f128_ps::<0x31>(low, high)))
        }
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        Self(unsafe { _mm256_permute_ps::<0b10_11_00_01>(self.0) })
    }
    #[inline(always)]
    fn sub_add(self, other: Self) -> Self {
        Self(unsafe { _mm256_addsub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn add_sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_fmsubadd_ps(self.0, _mm256_set1_ps(1.0), other.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        let of = unsafe { _mm256_and_ps(_mm256_set1_ps(-0.0), sign.0) };
        Self(unsafe { _mm256_or_ps(self.abs().0, of) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // Two factors, because 2^n itself may lie outside the normal floats.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let n = _mm256_cvtps_epi32(n.0);
            let half = _mm256_srai_epi32::<1>(n);
            let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias));
            let scaled = _mm256_mul_ps(self.0, _mm256_castsi256_ps(first));
            Self(_mm256_mul_ps(scaled, _mm256_castsi256_ps(second)))
        }
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF_BITS)));
            let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
            (Self(_mm256_castsi256_ps(mantissa)), Self(_mm256_cvtepi32_ps(exponent)))
        }
    }
    #[inline(always)]
    fn reduce_add(self) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn then(self, index: usize) -> usize {
        #[inline]
        #[target_feature(enable = "avx")]
        fn depend(vector: __m256, mut index: usize) -> usize {
            // SAFETY: no instruction.
            unsafe {
                asm!("/* {0} {1} */", in(ymm_reg) vector, inlateout(reg) index,
                    options(pure, nomem, nostack, preserves_flags));
            }
            index
        }
        unsafe { depend(self.0, index) }
    }
}
