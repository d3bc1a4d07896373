//! What is asked of a gradient before an update: whether it is finite, its length, and that it keeps within bounds.

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// Whether no value is infinite or NaN.
    pub fn is_finite(&self, values: &[f32]) -> bool {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().is_finite)(values.as_ptr(), values.len()) }
    }

    /// The sum of the squares of `scale * values[i]`.
    pub fn sum_of_squares(&self, values: &[f32], scale: f32) -> f64 {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().sum_of_squares)(values.as_ptr(), scale, values.len()) }
    }

    /// Brings every value within `-bound` and `bound`; NaN stays.
    pub fn clamp(&self, values: &mut [f32], bound: f32) {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().clamp)(values.as_mut_ptr(), bound, values.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `values` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn is_finite<V: Vector>(values: *const f32, len: usize) -> bool {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let zero = V::zero();
        let mut sum = zero;
        for i in (0..len).step_by(V::LANES) {
            // Zero times anything finite is zero, times anything else no number.
            sum = V::load_first(values.add(i), len - i).mul_add(zero, sum);
        }
        sum.reduce_add() == 0.0
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `values` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn sum_of_squares<V: Vector>(values: *const f32, scale: f32, len: usize) -> f64 {
    /// Vectors summed in f32 before the sum goes into the f64 total.
    const BLOCK: usize = 16;
    let mut total = 0.0;
    for block in (0..len).step_by(BLOCK * V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let mut sum = V::zero();
            for i in (block..len.min(block + BLOCK * V::LANES)).step_by(V::LANES) {
                let value = V::load_first(values.add(i), len - i).mul(V::splat(scale));
                sum = value.mul_add(value, sum);
            }
            total += f64::from(sum.reduce_add());
        }
    }
    total
}

/// # Safety
/// The tier of `V` is enabled in the caller; `values` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn clamp<V: Vector>(values: *mut f32, bound: f32, len: usize) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let [low, high] = [V::splat(-bound), V::splat(bound)];
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            // the order of the operands keeps a NaN
            high.min(low.max(V::load_first(values.add(i), n))).store_first(values.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length_and_place() {
        let mut random = Random::new(16);
        for kernels in tiers() {
            for len in (0..=70).chain([1000]) {
                let values = random.floats(len + 1);
                let sum: f64 = values[..len].iter().map(|&v| (0.25 * f64::from(v)).powi(2)).sum();
                let found = kernels.sum_of_squares(&values[..len], 0.25);
                assert!((found - sum).abs() <= 1e-6 * sum, "{kernels:?} {len}: {found}, expected {sum}");

                let mut clamped = values.clone();
                kernels.clamp(&mut clamped[..len], 0.5);
                assert_eq!(clamped[len], values[len]);
                assert!(clamped[..len].iter().zip(&values).all(|(a, b)| *a == b.clamp(-0.5, 0.5)));

                assert!(kernels.is_finite(&values[..len]), "{kernels:?} {len}");
                for place in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|&place| place < len) {
                    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let mut values = values.clone();
                        values[place] = bad;
                        assert!(!kernels.is_finite(&values[..len]), "{kernels:?} {len} {place} {bad}");
                        assert!(!kernels.sum_of_squares(&values[..len], 0.5).is_finite());
                        kernels.clamp(&mut values[..len], 0.5);
                        assert_eq!(values[place].is_nan(), bad.is_nan());
                    }
                }
                assert!(
                    kernels.is_finite(&std::vec![f32::MAX; len]) && kernels.is_finite(&std::vec![-0.0; len])
                );
            }
        }
    }
}
