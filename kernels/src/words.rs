//! The vector of u32 lanes that goes with each [`Vector`](crate::vector::Vector): lane numbers, window
//! offsets stored as bytes, hashes.
//!
//! As there, every method is inlined into a function that enables the tier.

/// A vector of u32 lanes, as many as its [`Vector`](crate::vector::Vector) has. Arithmetic wraps.
pub trait Words: Copy {
    /// The number of lanes.
    const LANES: usize;
    /// A choice of lanes, the one of the vector.
    type Mask: Copy;

    /// All lanes `value`.
    ///
    /// # Safety
    /// The tier of this type must be available, and the call must be inlined into a function that enables it.
    unsafe fn splat(value: u32) -> Self;

    /// Lane `i` is `start + i`.
    ///
    /// # Safety
    /// As [`Words::splat`].
    unsafe fn counting(start: u32) -> Self;

    /// As many bytes as there are lanes, each widened.
    ///
    /// # Safety
    /// As [`Words::splat`]; the bytes must be readable.
    unsafe fn load_bytes(from: *const u8) -> Self;

    /// Stores the low byte of each of the first `n` lanes (of all where `n` is larger).
    ///
    /// # Safety
    /// The bytes must be writable.
    unsafe fn store_bytes(self, to: *mut u8, n: usize);

    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// The low half of `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self ^ other`.
    fn xor(self, other: Self) -> Self;
    /// `self >> N`, zeros moving in.
    fn shift_right<const N: u32>(self) -> Self;
    /// Each lane twice: of the lower half of the lanes, and of the upper half.
    fn twice(self) -> (Self, Self);
    /// The lanes in which `self == other`.
    fn equal(self, other: Self) -> Self::Mask;
    /// The lanes in which `self < other`, where both are below 2^31.
    fn less(self, other: Self) -> Self::Mask;
    /// The lanes in which `self <= other`.
    fn at_most(self, other: Self) -> Self::Mask;
    /// `self` in the chosen lanes, `other` in the rest.
    fn select(self, mask: Self::Mask, other: Self) -> Self;
}

/// As many of the `len` bytes as there are lanes, from index `from` on, which may have wrapped below 0; zero
/// for those that do not exist.
///
/// # Safety
/// As [`Words::splat`]; `bytes` is valid for `len`.
#[inline(always)]
pub(crate) unsafe fn load_bytes_within<W: Words>(bytes: *const u8, len: usize, from: usize) -> W {
    // SAFETY: only bytes below `len` are read.
    unsafe {
        if from < len && len - from >= W::LANES {
            return W::load_bytes(bytes.add(from));
        }
        let mut copy = [0u8; 16];
        for (i, byte) in copy.iter_mut().enumerate().take(W::LANES) {
            let from = from.wrapping_add(i);
            if from < len {
                *byte = *bytes.add(from);
            }
        }
        W::load_bytes(copy.as_ptr())
    }
}

/// The u32 lanes of the portable tier.
#[derive(Clone, Copy, Debug)]
pub struct U32x4(pub(crate) [u32; 4]);

impl U32x4 {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(u32, u32) -> u32) -> Self {
        Self(core::array::from_fn(|i| op(self.0[i], other.0[i])))
    }
}

impl Words for U32x4 {
    const LANES: usize = 4;
    type Mask = [bool; 4];

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn counting(start: u32) -> Self {
        Self(core::array::from_fn(|i| start.wrapping_add(i as u32)))
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: the caller's contract; an array has the alignment of its elements.
        Self(unsafe { from.cast::<[u8; 4]>().read() }.map(u32::from))
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, n: usize) {
        for (i, word) in self.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller's contract for the first `n`.
            unsafe { to.add(i).write(word as u8) }
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_sub)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_mul)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
    #[inline(always)]
    fn shift_right<const N: u32>(self) -> Self {
        Self(self.0.map(|a| a >> N))
    }
    #[inline(always)]
    fn twice(self) -> (Self, Self) {
        let [a, b, c, d] = self.0;
        (Self([a, a, b, b]), Self([c, c, d, d]))
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] == other.0[i])
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] < other.0[i])
    }
    #[inline(always)]
    fn at_most(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] <= other.0[i])
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        Self(core::array::from_fn(|i| if mask[i] { self.0[i] } else { other.0[i] }))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{U32x8, U32x16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Words;
    use core::arch::x86_64::*;

    /// The u32 lanes of the AVX2 + FMA tier.
    #[derive(Clone, Copy, Debug)]
    pub struct U32x8(pub(crate) __m256i);

    // SAFETY of this impl's blocks without a reason of their own: a value of the type, or the caller's
    // contract, proves that AVX2 exists; pointers are covered by the caller's contract.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
    impl Words for U32x8 {
        const LANES: usize = 8;
        type Mask = __m256i;

        #[inline(always)]
        unsafe fn splat(value: u32) -> Self {
            Self(unsafe { _mm256_set1_epi32(value as i32) })
        }
        #[inline(always)]
        unsafe fn counting(start: u32) -> Self {
            let lanes = unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) };
            Self(unsafe { _mm256_add_epi32(_mm256_set1_epi32(start as i32), lanes) })
        }
        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> Self {
            Self(unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) })
        }
        #[inline(always)]
        unsafe fn store_bytes(self, to: *mut u8, n: usize) {
            let bytes = unsafe {
                // the low bytes of each half gathered into its first word, then the two words side by side
                let order = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
                let halves = _mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order));
                let (low, high) = (_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
                _mm_cvtsi128_si64(_mm_unpacklo_epi32(low, high)) as u64
            };
            if n >= 8 {
                return unsafe { to.cast::<u64>().write_unaligned(bytes) };
            }
            // four bytes, two and one, as the bits of `n` say
            let (mut bytes, mut to) = (bytes, to);
            unsafe {
                if n & 4 != 0 {
                    to.cast::<u32>().write_unaligned(bytes as u32);
                    (bytes, to) = (bytes >> 32, to.add(4));
                }
                if n & 2 != 0 {
                    to.cast::<u16>().write_unaligned(bytes as u16);
                    (bytes, to) = (bytes >> 16, to.add(2));
                }
                if n & 1 != 0 {
                    to.write(bytes as u8);
                }
            }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm256_sub_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mullo_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            Self(unsafe { _mm256_xor_si256(self.0, other.0) })
        }
        #[inline(always)]
        fn shift_right<const N: u32>(self) -> Self {
            Self(unsafe { _mm256_srl_epi32(self.0, _mm_cvtsi32_si128(N as i32)) })
        }
        #[inline(always)]
        fn twice(self) -> (Self, Self) {
            let low = unsafe { _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3) };
            let high = unsafe { _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7) };
            let pick = |lanes| Self(unsafe { _mm256_permutevar8x32_epi32(self.0, lanes) });
            (pick(low), pick(high))
        }
        #[inline(always)]
        fn equal(self, other: Self) -> Self::Mask {
            unsafe { _mm256_cmpeq_epi32(self.0, other.0) }
        }
        #[inline(always)]
        fn less(self, other: Self) -> Self::Mask {
            unsafe { _mm256_cmpgt_epi32(other.0, self.0) }
        }
        #[inline(always)]
        fn at_most(self, other: Self) -> Self::Mask {
            unsafe { _mm256_cmpeq_epi32(_mm256_min_epu32(self.0, other.0), self.0) }
        }
        #[inline(always)]
        fn select(self, mask: Self::Mask, other: Self) -> Self {
            Self(unsafe { _mm256_blendv_epi8(other.0, self.0, mask) })
        }
    }

    /// The u32 lanes of the AVX-512F tier.
    #[derive(Clone, Copy, Debug)]
    pub struct U32x16(pub(crate) __m512i);

    // SAFETY of this impl's blocks: as for `U32x8`, with AVX-512F and nothing beyond it.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
    impl Words for U32x16 {
        const LANES: usize = 16;
        type Mask = __mmask16;

        #[inline(always)]
        unsafe fn splat(value: u32) -> Self {
            Self(unsafe { _mm512_set1_epi32(value as i32) })
        }
        #[inline(always)]
        unsafe fn counting(start: u32) -> Self {
            let lanes = unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) };
            Self(unsafe { _mm512_add_epi32(_mm512_set1_epi32(start as i32), lanes) })
        }
        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> Self {
            Self(unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) })
        }
        #[inline(always)]
        unsafe fn store_bytes(self, to: *mut u8, n: usize) {
            if n >= 16 {
                // The masked form, because the plain one lets the compiler choose between bytes, for which this
                // tier has no instruction.
                unsafe { _mm_storeu_si128(to.cast(), _mm512_maskz_cvtepi32_epi8(u16::MAX, self.0)) }
            } else {
                unsafe { _mm512_mask_cvtepi32_storeu_epi8(to.cast(), ((1u32 << n) - 1) as __mmask16, self.0) }
            }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mullo_epi32(self.0, other.0) })
        }
        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            Self(unsafe { _mm512_xor_si512(self.0, other.0) })
        }
        #[inline(always)]
        fn shift_right<const N: u32>(self) -> Self {
            Self(unsafe { _mm512_srli_epi32::<N>(self.0) })
        }
        #[inline(always)]
        fn twice(self) -> (Self, Self) {
            let low = unsafe { _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7) };
            let high = unsafe { _mm512_add_epi32(low, _mm512_set1_epi32(8)) };
            let pick = |lanes| Self(unsafe { _mm512_permutexvar_epi32(lanes, self.0) });
            (pick(low), pick(high))
        }
        #[inline(always)]
        fn equal(self, other: Self) -> Self::Mask {
            unsafe { _mm512_cmpeq_epi32_mask(self.0, other.0) }
        }
        #[inline(always)]
        fn less(self, other: Self) -> Self::Mask {
            unsafe { _mm512_cmplt_epi32_mask(self.0, other.0) }
        }
        #[inline(always)]
        fn at_most(self, other: Self) -> Self::Mask {
            unsafe { _mm512_cmple_epu32_mask(self.0, other.0) }
        }
        #[inline(always)]
        fn select(self, mask: Self::Mask, other: Self) -> Self {
            Self(unsafe { _mm512_mask_blend_epi32(mask, other.0, self.0) })
        }
    }
}
