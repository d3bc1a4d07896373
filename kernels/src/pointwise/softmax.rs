//! The softmax over channels and its loss.

use super::elementary::{exp_of_negative, ln_of_normal};
use crate::vector::Vector;
use crate::{Kernels, Rows, RowsMut};

impl Kernels {
    /// Replaces the channels (rows) of every voxel (column) by their softmax, `exp(x_c) / sum_d exp(x_d)`.
    ///
    /// The largest channel is subtracted first, so no finite input overflows. A NaN spoils its voxel only.
    pub fn softmax(&self, maps: &mut RowsMut<'_>) {
        let (channels, stride, len) = (maps.rows(), maps.stride(), maps.cols());
        // SAFETY: the tier exists, as `self` proves; the shape is that of the view.
        unsafe { (self.table().softmax)(channels, stride, len, maps.as_mut_ptr()) }
    }

    /// The gradient by what [`softmax`](Self::softmax) was applied to, in place of that by its result `y`:
    /// `g_c = y_c (g_c - sum_d g_d y_d)`. The views have one shape.
    pub fn softmax_backward(&self, y: Rows<'_>, g: &mut RowsMut<'_>) {
        assert_eq!((y.rows(), y.cols()), (g.rows(), g.cols()));
        let stride = g.stride();
        // SAFETY: the tier exists, as `self` proves; the shapes agree.
        unsafe { (self.table().softmax_backward)(&y, stride, g.as_mut_ptr()) }
    }

    /// The cross entropy `-sum_c t_c ln q_c` of `q`, the softmax of `x`, over channels (rows) and voxels
    /// (columns): overwrites `g` with `weight (q - t)` and returns the sum of `weight` times the error.
    ///
    /// The gradient is that by `x` where the targets of a voxel sum to 1 and share one weight. The logarithm of
    /// `q` is taken as `x_c - max - ln sum exp(x_d - max)`, which has no zero to meet. `weight` has the shape
    /// of `t`, or one row that all channels share; without it all weights are 1.
    pub fn softmax_loss(
        &self,
        x: Rows<'_>,
        t: Rows<'_>,
        weight: Option<Rows<'_>>,
        g: &mut RowsMut<'_>,
    ) -> f64 {
        assert_eq!((x.rows(), x.cols()), (g.rows(), g.cols()));
        assert_eq!((t.rows(), t.cols()), (g.rows(), g.cols()));
        if let Some(weight) = weight {
            assert!(
                weight.rows() == 1 || weight.rows() == g.rows(),
                "one weight a voxel, or one a channel too"
            );
            assert_eq!(weight.cols(), g.cols());
        }
        let problem = Problem { x, t, weight, stride: g.stride() };
        // SAFETY: the tier exists, as `self` proves; the shapes agree.
        unsafe { (self.table().softmax_loss)(&problem, g.as_mut_ptr()) }
    }
}

/// The operands of [`Kernels::softmax_loss`] and the stride of `g`.
pub(crate) struct Problem<'a> {
    x: Rows<'a>,
    t: Rows<'a>,
    weight: Option<Rows<'a>>,
    stride: usize,
}

/// The largest of `n` voxels' channels.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `n` floats of every row must be readable.
#[inline(always)]
unsafe fn largest<V: Vector>(channels: usize, stride: usize, x: *const f32, n: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let mut largest = V::splat(f32::NEG_INFINITY);
        for c in 0..channels {
            largest = largest.max(V::load_first(x.add(c * stride), n));
        }
        largest
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `maps` is valid for `channels` rows of `len` floats.
#[inline(always)]
pub(crate) unsafe fn softmax<V: Vector>(channels: usize, stride: usize, len: usize, maps: *mut f32) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is within a row by the count.
        unsafe {
            let (n, x) = (len - i, maps.add(i));
            let largest: V = largest(channels, stride, x, n);
            let mut sum = V::zero();
            for c in 0..channels {
                let e = exp_of_negative(V::load_first(x.add(c * stride), n).sub(largest));
                e.store_first(x.add(c * stride), n);
                sum = sum.add(e);
            }
            let factor = V::splat(1.0).div(sum);
            for c in 0..channels {
                V::load_first(x.add(c * stride), n).mul(factor).store_first(x.add(c * stride), n);
            }
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `g` is valid for the shape of `y`, with rows `stride` apart, and overlaps
/// nothing.
#[inline(always)]
pub(crate) unsafe fn softmax_backward<V: Vector>(y: &Rows<'_>, stride: usize, g: *mut f32) {
    let (channels, len) = (y.rows(), y.cols());
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is within a row by the count.
        unsafe {
            let (n, from, g) = (len - i, y.as_ptr().add(i), g.add(i));
            let mut mean = V::zero();
            for c in 0..channels {
                let y = V::load_first(from.add(c * y.stride()), n);
                mean = V::load_first(g.add(c * stride), n).mul_add(y, mean);
            }
            for c in 0..channels {
                let y = V::load_first(from.add(c * y.stride()), n);
                let g = g.add(c * stride);
                V::load_first(g, n).sub(mean).mul(y).store_first(g, n);
            }
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the views have one shape, `g` is valid for it and overlaps nothing.
#[inline(always)]
pub(crate) unsafe fn softmax_loss<V: Vector>(problem: &Problem<'_>, g: *mut f32) -> f64 {
    let &Problem { x, t, weight, stride } = problem;
    let (channels, len) = (x.rows(), x.cols());
    let mut total = 0.0;
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is within a row by the count.
        unsafe {
            let (n, g) = (len - i, g.add(i));
            let from = x.as_ptr().add(i);
            let largest: V = largest(channels, x.stride(), from, n);
            let mut sum = V::zero();
            for c in 0..channels {
                let e = exp_of_negative(V::load_first(from.add(c * x.stride()), n).sub(largest));
                e.store_first(g.add(c * stride), n);
                sum = sum.add(e);
            }
            let (factor, ln_sum) = (V::splat(1.0).div(sum), ln_of_normal(sum));
            let mut error = V::zero();
            for c in 0..channels {
                let weight = match weight {
                    None => V::splat(1.0),
                    Some(weight) => {
                        let row = if weight.rows() == 1 { 0 } else { c };
                        V::load_first(weight.as_ptr().add(row * weight.stride() + i), n)
                    }
                };
                let target = V::load_first(t.as_ptr().add(c * t.stride() + i), n);
                let below = V::load_first(from.add(c * x.stride()), n).sub(largest);
                // Bounded, because 0 times the infinity of an impossible channel is no number. The order of
                // the operands keeps a NaN. Lanes beyond the end have a target of 0, so no error.
                let surprise = ln_sum.sub(V::splat(f32::MIN).max(below));
                error = weight.mul(target).mul_add(surprise, error);
                let q = V::load_first(g.add(c * stride), n).mul(factor);
                q.sub(target).mul(weight).store_first(g.add(c * stride), n);
            }
            total += f64::from(error.reduce_add());
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, tiers};
    use std::vec;
    use std::vec::Vec;

    fn probabilities(x: &[f32], channels: usize, len: usize) -> Vec<f64> {
        let mut q = vec![0.0; channels * len];
        for i in 0..len {
            let voxel = || (0..channels).map(|c| f64::from(x[c * len + i]));
            let largest = voxel().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = voxel().map(|x| (x - largest).exp()).sum();
            voxel().enumerate().for_each(|(c, x)| q[c * len + i] = (x - largest).exp() / sum);
        }
        q
    }

    #[test]
    fn errors_gradients_and_probabilities_agree_with_their_formulas() {
        let mut random = Random::new(14);
        for channels in [1, 2, 3, 5] {
            for len in 1..=70 {
                let size = channels * len;
                let x: Vec<f32> = (0..size).map(|_| random.float(-30.0, 30.0)).collect();
                let t: Vec<f32> = (0..size).map(|_| random.float(0.0, 1.0)).collect();
                let weights: Vec<f32> = (0..size).map(|_| random.float(0.0, 2.0)).collect();
                let q = probabilities(&x, channels, len);
                for kernels in tiers() {
                    let mut actual = x.clone();
                    kernels.softmax(&mut RowsMut::new(&mut actual, len));
                    assert_close(&actual, &q, 3e-7, &(kernels, channels, len));
                    for rows in [0, 1, channels] {
                        let weight = (rows > 0).then(|| Rows::new(&weights[..rows * len], len));
                        let weight_at = |i: usize| match rows {
                            0 => 1.0,
                            1 => f64::from(weights[i % len]),
                            _ => f64::from(weights[i]),
                        };
                        let mut g = vec![9.0; size];
                        let (x, t_rows) = (Rows::new(&x, len), Rows::new(&t, len));
                        let error = kernels.softmax_loss(x, t_rows, weight, &mut RowsMut::new(&mut g, len));
                        let expected: Vec<f64> =
                            (0..size).map(|i| weight_at(i) * (q[i] - f64::from(t[i]))).collect();
                        let expected_error: f64 =
                            (0..size).map(|i| -weight_at(i) * f64::from(t[i]) * q[i].ln()).sum();
                        assert_close(&g, &expected, 5e-7, &(kernels, channels, len));
                        let bound = 1e-6 * (expected_error + 1e-3);
                        assert!(
                            (error - expected_error).abs() <= bound,
                            "{kernels:?} {error} {expected_error}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        let mut random = Random::new(15);
        for (channels, len) in [1, 2, 3, 5].into_iter().flat_map(|c| (1..=40).map(move |len| (c, len))) {
            let size = channels * len;
            let x: Vec<f32> = (0..size).map(|_| random.float(-3.0, 3.0)).collect();
            let q = probabilities(&x, channels, len);
            let y: Vec<f32> = q.iter().map(|&q| q as f32).collect();
            let before = random.floats(size);
            let mean = |i: usize| {
                (0..channels).map(|c| f64::from(before[c * len + i]) * q[c * len + i]).sum::<f64>()
            };
            let expected: Vec<f64> =
                (0..size).map(|i| q[i] * (f64::from(before[i]) - mean(i % len))).collect();
            for kernels in tiers() {
                let mut g = before.clone();
                kernels.softmax_backward(Rows::new(&y, len), &mut RowsMut::new(&mut g, len));
                assert_close(&g, &expected, 5e-7, &(kernels, channels, len));
            }
        }
    }

    #[test]
    fn extremes_stay_finite_and_a_nan_spoils_its_voxel_only() {
        let x = [1e38, -1e38, f32::NEG_INFINITY, f32::NAN, -1e38, 1e38, 0.0, 0.0];
        let t = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        for kernels in tiers() {
            let mut g = [9.0; 8];
            let (x, t) = (Rows::new(&x, 4), Rows::new(&t, 4));
            let loss = |cols: core::ops::Range<usize>, g: &mut [f32; 8]| {
                let g = &mut RowsMut::new(g, 4);
                kernels.softmax_loss(
                    x.part(0..2, cols.clone()),
                    t.part(0..2, cols.clone()),
                    None,
                    &mut g.part(0..2, cols),
                )
            };
            assert_eq!(loss(0..1, &mut g), 0.0, "{kernels:?}");
            assert_eq!(loss(1..2, &mut g), f64::from(2e38f32), "{kernels:?}");
            assert_eq!(loss(2..3, &mut g), 0.0, "{kernels:?}");
            assert!(loss(0..4, &mut g).is_nan(), "{kernels:?}");
            assert_eq!((g[0], g[1], g[2]), (0.0, -1.0, 0.0));
            assert_eq!((g[4], g[5], g[6]), (0.0, 1.0, 0.0));
            assert!(g[3].is_nan() && g[7].is_nan());
        }
    }
}
