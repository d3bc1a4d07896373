//! The AVX-512F tier: the foundation subset only.

use super::{SQRT_HALF_BITS, Vector};
use core::arch::asm;
use core::arch::x86_64::*;

/// The vector of the AVX-512F tier.
#[derive(Clone, Copy, Debug)]
pub struct F32x16(__m512);

// SAFETY of this impl's blocks: a value of the type, or the caller's contract, proves that AVX-512F exists;
// pointers are covered by the caller's contract. Only foundation instructions are used, so
// that the tier covers the many-core chips that have no BW, DQ or VL.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Vector for F32x16 {
    const LANES: usize = 16;
    type Mask = __mmask16;
    type Words = crate::words::U32x16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn first(n: usize) -> Self::Mask {
        ((1u32 << if n < 16 { n } else { 16 }) - 1) as __mmask16
    }
    #[inline(always)]
    unsafe fn between(start: usize, end: usize) -> Self::Mask {
        unsafe { Self::first(end) & !Self::first(start) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(mask, from) })
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: usize, mask: Self::Mask) -> Self {
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let index = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(stride as i32));
            Self(_mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), mask, index, from))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn negative_mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm512_fnmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn greater(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn exceeds(self, other: Self) -> Self::Mask {
        // The second comparison takes the first one as its mask; what uses the complement exchanges its operands.
        unsafe {
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0);
            !_mm512_mask_cmp_ps_mask::<_CMP_NGT_UQ>(number, self.0, other.0)
        }
    }
    #[inline(always)]
    fn add_masked(self, mask: Self::Mask, addend: Self) -> Self {
        Self(unsafe { _mm512_mask_add_ps(self.0, mask, self.0, addend.0) })
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_ps(mask, other.0, self.0) })
    }
    #[inline(always)]
    fn even_twice(self) -> Self {
        Self(unsafe { _mm512_moveldup_ps(self.0) })
    }
    #[inline(always)]
    fn odd_twice(self) -> Self {
        Self(unsafe { _mm512_movehdup_ps(self.0) })
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            let pick = |lanes| Self(_mm512_permutex2var_ps(self.0, lanes, other.0));
            (pick(even), pick(odd))
        }
    }
    #[inline(always)]
    fn bits(self) -> Self::Words {
        crate::words::U32x16(unsafe { _mm512_castps_si512(self.0) })
    }
    #[inline(always)]
    fn zip(self, other: Self) -> (Self, Self) {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            let pick = |lanes| Self(_mm512_permutex2var_ps(self.0, lanes, other.0));
            (pick(low), pick(high))
        }
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        Self(unsafe { _mm512_permute_ps::<0b10_11_00_01>(self.0) })
    }
    #[inline(always)]
    fn sub_add(self, other: Self) -> Self {
        Self(unsafe { _mm512_fmaddsub_ps(self.0, _mm512_set1_ps(1.0), other.0) })
    }
    #[inline(always)]
    fn add_sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_fmsubadd_ps(self.0, _mm512_set1_ps(1.0), other.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        // one ternary operation on the bits: the sign bit of `sign`, all others of `self`
        unsafe {
            let sign_bit = _mm512_set1_epi32(i32::MIN);
            let (own, sign) = (_mm512_castps_si512(self.0), _mm512_castps_si512(sign.0));
            Self(_mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xCA>(sign_bit, sign, own)))
        }
    }
    #[inline(always)]
    fn round(self) -> Self {
        // scale 0, to nearest even, no exceptions
        Self(unsafe { _mm512_roundscale_ps::<8>(self.0) })
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let exponent = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF_BITS)));
            let mantissa = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(exponent));
            (Self(_mm512_castsi512_ps(mantissa)), Self(_mm512_cvtepi32_ps(exponent)))
        }
    }
    #[inline(always)]
    fn reduce_add(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    fn then(self, index: usize) -> usize {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn depend(vector: __m512, mut index: usize) -> usize {
            // SAFETY: no instruction.
            unsafe {
                asm!("/* {0} {1} */", in(zmm_reg) vector, inlateout(reg) index,
                    options(pure, nomem, nostack, preserves_flags));
            }
            index
        }
        unsafe { depend(self.0, index) }
    }
}
