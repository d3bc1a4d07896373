//! The vector of f32 lanes over which every kernel is generic.
//!
//! All methods are `#[inline(always)]` and none carries `#[target_feature]`: they take the features of the
//! function that they are inlined into, which is one of the instantiations in [`crate::dispatch`].
//! Holding a value is the proof that its tier exists, hence only the ways to obtain the first one are unsafe.

use crate::words::Words;

/// A vector of `LANES` f32 lanes.
pub trait Vector: Copy {
    /// The number of lanes.
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
    /// `self * factor + addend`, in one rounding on the SIMD tiers.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
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

/// The vector of the portable tier.
#[derive(Clone, Copy, Debug)]
pub struct F32x4([f32; 4]);

impl F32x4 {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        let mut lanes = self.0;
        for (a, b) in lanes.iter_mut().zip(other.0) {
            *a = op(*a, b);
        }
        Self(lanes)
    }
}

impl Vector for F32x4 {
    const LANES: usize = 4;
    type Mask = [bool; 4];
    type Words = crate::words::U32x4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn first(n: usize) -> Self::Mask {
        [0 < n, 1 < n, 2 < n, 3 < n]
    }
    #[inline(always)]
    unsafe fn between(start: usize, end: usize) -> Self::Mask {
        core::array::from_fn(|i| start <= i && i < end)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract; an array has the alignment of its elements.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                *lane = unsafe { from.add(i).read() };
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: usize, mask: Self::Mask) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                *lane = unsafe { from.add(i * stride).read() };
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract; an array has the alignment of its elements.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        for (i, lane) in self.0.into_iter().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                unsafe { to.add(i).write(lane) }
            }
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn greater(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] > other.0[i])
    }
    #[inline(always)]
    fn exceeds(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] > other.0[i] || self.0[i].is_nan())
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        Self(core::array::from_fn(|i| if mask[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    fn add_masked(self, mask: Self::Mask, addend: Self) -> Self {
        self.add(addend).select(mask, self)
    }
    #[inline(always)]
    fn even_twice(self) -> Self {
        let [a, _, c, _] = self.0;
        Self([a, a, c, c])
    }
    #[inline(always)]
    fn odd_twice(self) -> Self {
        let [_, b, _, d] = self.0;
        Self([b, b, d, d])
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        (Self([a, c, e, g]), Self([b, d, f, h]))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([b, a, d, c])
    }
    #[inline(always)]
    fn sub_add(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a - e, b + f, c - g, d + h])
    }
    #[inline(always)]
    fn add_sub(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a + e, b - f, c + g, d - h])
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self) -> Self {
        // From 2^23 on every float is an integer; below it the sum has no bits left for a fraction.
        const INTEGERS: f32 = 8_388_608.0;
        Self(self.0.map(|x| {
            let shift = INTEGERS.copysign(x);
            if x.abs() < INTEGERS { ((x + shift) - shift).copysign(x) } else { x }
        }))
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        self.zip(n, |x, n| {
            // Two factors, because 2^n itself may lie outside the normal floats.
            let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
            let n = n as i32;
            x * power(n >> 1) * power(n - (n >> 1))
        })
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        let exponents = self.0.map(|x| (x.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS) >> 23);
        let mantissa =
            |i: usize| f32::from_bits(self.0[i].to_bits().wrapping_sub((exponents[i] << 23) as u32));
        (Self(core::array::from_fn(mantissa)), Self(exponents.map(|e| e as f32)))
    }
    #[inline(always)]
    fn reduce_add(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn then(self, index: usize) -> usize {
        index
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{F32x8, F32x16};

#[cfg(target_arch = "x86_64")]
mod x86 {
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
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
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
                let in_order =
                    |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)));
                let even = _mm256_shuffle_ps::<0b10_00_10_00>(self.0, other.0);
                let odd = _mm256_shuffle_ps::<0b11_01_11_01>(self.0, other.0);
                (Self(in_order(even)), Self(in_order(odd)))
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
                let exponent =
                    _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF_BITS)));
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

    /// The vector of the AVX-512F tier.
    #[derive(Clone, Copy, Debug)]
    pub struct F32x16(__m512);

    // SAFETY of this impl's blocks: as for `F32x8`, with AVX-512F. Only foundation instructions are used, so
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
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
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
            unsafe {
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0)
                    | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0)
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
                let exponent =
                    _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF_BITS)));
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
}
