//! Dropout by a counter-based mask, which backward makes again instead of remembering it.

use crate::Kernels;
use crate::vector::Vector;
use crate::words::Words;

impl Kernels {
    /// `out[i] = row[i] / keep` for the voxels that are kept, 0 for the others.
    ///
    /// `keep`, in `0 < keep <= 1`, is the probability of being kept. Whether voxel `offset + i` is kept depends
    /// on nothing but `key`, that number and `keep`: it is the same for every tier and every split of a map, so
    /// that the gradient goes through the same call. The slices have one length.
    pub fn dropout(&self, key: u64, offset: usize, keep: f32, row: &[f32], out: &mut [f32]) {
        assert_eq!(row.len(), out.len());
        assert!(keep > 0.0 && keep <= 1.0, "{keep} is no probability of keeping");
        // Lanes count in 32 bits; the high half of the number becomes a part of the key.
        let (mut done, mut voxel) = (0, offset as u64);
        while done < row.len() {
            let until_carry = (1u64 << 32) - (voxel & u64::from(u32::MAX));
            let len = (row.len() - done).min(usize::try_from(until_carry).unwrap_or(usize::MAX));
            let mask = Mask::new(key, voxel, keep);
            let (from, to) = (row[done..].as_ptr(), out[done..].as_mut_ptr());
            // SAFETY: the tier exists, as `self` proves; `len` floats are left in both slices.
            unsafe { (self.table().dropout)(mask, from, to, len) }
            done += len;
            voxel += len as u64;
        }
    }
}

/// The mask of the voxels from `first` on, as long as the high half of their numbers stays.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    keys: [u32; 2],
    first: u32,
    /// A voxel is kept where the upper 24 bits of its hash are below this; 24 bits because a probability
    /// times 2^24 is exact in f32, and so that the comparison may be signed.
    threshold: u32,
    keep: f32,
}

impl Mask {
    fn new(key: u64, voxel: u64, keep: f32) -> Self {
        // The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) spreads the key and the high half.
        let mut mixed = key.wrapping_add((voxel >> 32).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let threshold = (keep * (1u32 << 24) as f32) as u32;
        Self { keys: [mixed as u32, (mixed >> 32) as u32], first: voxel as u32, threshold, keep }
    }
}

/// A bijection of 32 bits in which every input bit flips every output bit about half of the time: Wellons'
/// `lowbias32` ("Prospecting for Hash Functions", 2018).
#[inline(always)]
unsafe fn mix<W: Words>(word: W) -> W {
    // SAFETY: a value of `W` exists.
    let (a, b) = unsafe { (W::splat(0x7FEB_352D), W::splat(0x846C_A68B)) };
    let word = word.xor(word.shift_right::<16>()).mul(a);
    let word = word.xor(word.shift_right::<15>()).mul(b);
    word.xor(word.shift_right::<16>())
}

/// # Safety
/// The tier of `V` is enabled in the caller; both pointers are valid for `len` floats and do not overlap.
#[inline(always)]
pub(crate) unsafe fn dropout<V: Vector>(mask: Mask, from: *const f32, to: *mut f32, len: usize) {
    // SAFETY: every access is below `len` by the count of lanes.
    unsafe {
        let [first_key, second_key] = mask.keys.map(|key| V::Words::splat(key));
        let threshold = V::Words::splat(mask.threshold);
        let factor = V::splat(1.0 / mask.keep);
        for i in (0..len).step_by(V::LANES) {
            let voxels = V::Words::counting(mask.first.wrapping_add(i as u32));
            let hash = mix(mix(voxels.xor(first_key)).add(second_key));
            let kept = hash.shift_right::<8>().less(threshold);
            let n = len - i;
            let scaled = V::load_first(from.add(i), n).mul(factor);
            scaled.select(kept, V::zero()).store_first(to.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiers;
    use std::vec;
    use std::vec::Vec;

    fn mask(kernels: Kernels, key: u64, offset: usize, keep: f32, len: usize) -> Vec<f32> {
        let mut out = vec![9.0; len];
        kernels.dropout(key, offset, keep, &vec![1.0; len], &mut out);
        out
    }

    #[test]
    fn all_tiers_and_all_splits_keep_the_same_voxels() {
        let expected = mask(tiers()[0], 42, 1000, 0.5, 300);
        for kernels in tiers() {
            assert_eq!(mask(kernels, 42, 1000, 0.5, 300), expected, "{kernels:?}");
            for len in 0..=70 {
                let parts =
                    [mask(kernels, 42, 1000, 0.5, len), mask(kernels, 42, 1000 + len, 0.5, 300 - len)];
                assert_eq!(parts.concat(), expected, "{kernels:?} {len}");
            }
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn numbers_beyond_32_bits_are_other_voxels() {
        let start = (1usize << 32) - 100;
        let expected = mask(tiers()[0], 7, start, 0.5, 300);
        for kernels in tiers() {
            let parts = [mask(kernels, 7, start, 0.5, 37), mask(kernels, 7, start + 37, 0.5, 263)];
            assert_eq!(parts.concat(), expected, "{kernels:?}");
        }
        assert_ne!(expected[100..], mask(tiers()[0], 7, 0, 0.5, 200));
    }

    #[test]
    fn kept_voxels_are_scaled_and_as_many_as_asked_for() {
        let len = 1 << 20;
        for keep in [0.1f32, 0.5, 0.8] {
            let out = mask(Kernels::best(), 3, 0, keep, len);
            assert!(out.iter().all(|&v| v == 0.0 || v == 1.0 / keep));
            let kept = out.iter().filter(|&&v| v != 0.0).count() as f64;
            let deviation = (len as f64 * f64::from(keep) * (1.0 - f64::from(keep))).sqrt();
            assert!((kept - len as f64 * f64::from(keep)).abs() < 4.0 * deviation, "{keep}: {kept}");
        }
        assert!(mask(Kernels::best(), 3, 0, 1.0, len).iter().all(|&v| v == 1.0));
    }

    #[test]
    fn neighbours_rows_and_keys_are_not_correlated() {
        let len = 1 << 20;
        let sign = |v: &f32| if *v != 0.0 { 1.0 } else { -1.0 };
        let bound = 4.5 * (len as f64).sqrt();
        for key in [0, 1, u64::MAX] {
            let a = mask(Kernels::best(), key, 0, 0.5, len);
            for lag in [1, 2, 3, 4, 8, 16, 47, 48, 64, 1024, 48 * 48, 1 << 16] {
                let product: f64 = a[lag..].iter().zip(&a).map(|(x, y)| sign(x) * sign(y)).sum();
                assert!(product.abs() < bound, "lag {lag}: {product}");
            }
            for other in [key ^ 1, key.wrapping_add(1), key ^ 1 << 40, !key] {
                let b = mask(Kernels::best(), other, 0, 0.5, len);
                let product: f64 = a.iter().zip(&b).map(|(x, y)| sign(x) * sign(y)).sum();
                assert!(product.abs() < bound, "keys {key} and {other}: {product}");
            }
        }
    }
}
