//! Rectification with a slope that is learned (He et al. 2015).

use super::sums::sums;
use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// `y[i] = x` where `x = x[i] + bias > 0`, else `slope * x`; without `x`, `y` is its own. A NaN stays a NaN.
    pub fn rectify(&self, slope: f32, bias: f32, x: Option<&[f32]>, y: &mut [f32]) {
        let to = y.as_mut_ptr();
        let from = x.map_or(to.cast_const(), |x| {
            assert_eq!(x.len(), y.len());
            x.as_ptr()
        });
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().rectify)(slope, bias, from, to, y.len()) }
    }

    /// The gradient by `x[i] + bias` in place of that by `y[i]`; returns the gradients of the bias, its sum, and of the
    /// slope. The slices have one length.
    pub fn rectify_backward(&self, slope: f32, bias: f32, x: &[f32], g: &mut [f32]) -> [f64; 2] {
        assert_eq!(x.len(), g.len());
        // SAFETY: as above.
        unsafe { (self.table().rectify_backward)(slope, bias, x.as_ptr(), g.as_mut_ptr(), g.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, and are the same or do not overlap.
#[inline(always)]
pub(crate) unsafe fn rectify<V: Vector>(slope: f32, bias: f32, x: *const f32, y: *mut f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let n = len - i;
            let x = V::load_first(x.add(i), n).add(V::splat(bias));
            x.select(x.greater(V::zero()), x.mul(V::splat(slope))).store_first(y.add(i), n);
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn rectify_backward<V: Vector>(
    slope: f32,
    bias: f32,
    x: *const f32,
    g: *mut f32,
    len: usize,
) -> [f64; 2] {
    // SAFETY: every access is below `len` by the count; lanes beyond it have a gradient of 0.
    unsafe {
        sums::<V, 2>(len, |i, n| {
            let x = V::load_first(x.add(i), n).add(V::splat(bias));
            let before = V::load_first(g.add(i), n);
            let is_positive = x.greater(V::zero());
            let after = before.select(is_positive, before.mul(V::splat(slope)));
            after.store_first(g.add(i), n);
            [after, V::zero().select(is_positive, before.mul(x))]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length_and_slope() {
        let mut random = Random::new(20);
        for kernels in tiers() {
            for (len, slope) in (0..=70).chain([1025, 5000]).flat_map(|len| [(len, 0.25f32), (len, -0.5)]) {
                let (x, before) = (random.floats(len), random.floats(len + 1));
                let (bias, wide) = (0.125f32, f64::from(slope));
                let sum = |i: usize| f64::from(x[i] + bias);
                for in_place in [false, true] {
                    let mut y = before.clone();
                    if in_place {
                        y[..len].copy_from_slice(&x);
                    }
                    kernels.rectify(slope, bias, (!in_place).then_some(&x[..]), &mut y[..len]);
                    assert_eq!(y[len], before[len]);
                    for (i, &value) in y[..len].iter().enumerate() {
                        let expected = sum(i).max(0.0) + wide * sum(i).min(0.0);
                        assert!((f64::from(value) - expected).abs() < 2e-7, "{kernels:?}");
                    }
                }
                let mut g = before.clone();
                let [of_bias, of_slope] = kernels.rectify_backward(slope, bias, &x, &mut g[..len]);
                assert_eq!(g[len], before[len]);
                let (mut expected_bias, mut expected_slope) = (0.0, 0.0);
                for i in 0..len {
                    let g_before = f64::from(before[i]);
                    let expected = if sum(i) > 0.0 { g_before } else { wide * g_before };
                    assert!((f64::from(g[i]) - expected).abs() < 2e-7, "{kernels:?}");
                    expected_bias += expected;
                    expected_slope += g_before * sum(i).min(0.0);
                }
                let bound = 2e-7 * (1.0 + len as f64);
                assert!((of_bias - expected_bias).abs() <= bound, "{kernels:?}");
                assert!((of_slope - expected_slope).abs() <= bound, "{kernels:?}");
            }
        }
    }
}
