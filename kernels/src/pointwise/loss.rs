//! Losses that judge each voxel by itself: the error and the gradient in one pass.

use super::elementary::ln_of_normal;
use crate::Kernels;
use crate::vector::Vector;

/// A loss of predictions `p` and targets `t`, summed over all voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `(p - t)^2`; gradient `2 (p - t)`.
    Square,
    /// As `Square` where `|p - t| > margin`; nothing where it is not.
    SquareSquare {
        /// The difference that is no error yet.
        margin: f32,
    },
    /// `-t ln p - (1 - t) ln(1 - p)`; gradient `p - t`, which is that by the argument of the logistic function
    /// whose value is `p`, so its backward pass must hand gradients on unchanged
    /// ([`Transfer::ForwardLogistic`](crate::Transfer::ForwardLogistic)).
    ///
    /// The logarithms see `p` within 1e-7 and 1 - 1e-7, so that the error of a voxel is at most 16.2; the
    /// gradient sees `p` itself.
    BinomialCrossEntropy,
    /// `-t ln p`, of probabilities that a softmax has made; gradient `-t / p`. Both see `p` of at least 1e-36, so that the
    /// gradient is finite; times `p` again, as the backward pass of the softmax takes it, it is `-t`.
    CrossEntropy,
}

impl Kernels {
    /// Overwrites `g` with `weight` times the gradient and returns the sum of `weight` times the error.
    ///
    /// Without `weight` all weights are 1. All slices have one length.
    pub fn loss(&self, loss: Loss, p: &[f32], t: &[f32], weight: Option<&[f32]>, g: &mut [f32]) -> f64 {
        assert_eq!(p.len(), g.len());
        assert_eq!(t.len(), g.len());
        let weight = weight.map_or(core::ptr::null(), |weight| {
            assert_eq!(weight.len(), g.len());
            weight.as_ptr()
        });
        // SAFETY: the tier exists, as `self` proves; the pointers are valid for `len` floats, or null.
        unsafe { (self.table().loss)(loss, p.as_ptr(), t.as_ptr(), weight, g.as_mut_ptr(), g.len()) }
    }
}

/// Error and gradient of every lane.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
unsafe fn judge<V: Vector>(loss: Loss, p: V, t: V) -> (V, V) {
    // SAFETY: the caller's contract.
    unsafe {
        let difference = p.sub(t);
        match loss {
            Loss::Square => (difference.mul(difference), difference.add(difference)),
            Loss::SquareSquare { margin } => {
                // chosen by what is within the margin, so that a NaN is not
                let within = V::splat(margin.next_up()).greater(difference.abs());
                let d = V::zero().select(within, difference);
                (d.mul(d), d.add(d))
            }
            Loss::BinomialCrossEntropy => {
                let one = V::splat(1.0);
                // the order of the operands keeps a NaN
                let p = V::splat(1.0 - 1e-7).min(V::splat(1e-7).max(p));
                let gain = t.mul(ln_of_normal(p)).add(one.sub(t).mul(ln_of_normal(one.sub(p))));
                (V::zero().sub(gain), difference)
            }
            Loss::CrossEntropy => {
                // the order of the operands keeps a NaN
                let p = V::splat(1e-36).max(p);
                (V::zero().sub(t.mul(ln_of_normal(p))), V::zero().sub(t.div(p)))
            }
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, `weight` may be null;
/// `g` overlaps nothing.
#[inline(always)]
pub(crate) unsafe fn loss<V: Vector>(
    loss: Loss,
    p: *const f32,
    t: *const f32,
    weight: *const f32,
    g: *mut f32,
    len: usize,
) -> f64 {
    /// Vectors summed in f32 before the sum goes into the f64 total.
    const BLOCK: usize = 16;
    let mut total = 0.0;
    for block in (0..len).step_by(BLOCK * V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let mut sum = V::zero();
            for i in (block..len.min(block + BLOCK * V::LANES)).step_by(V::LANES) {
                let n = len - i;
                // lanes beyond the end weigh nothing
                let weight = if weight.is_null() {
                    V::splat(1.0).select(V::first(n), V::zero())
                } else {
                    V::load_first(weight.add(i), n)
                };
                let (error, gradient) = judge(loss, V::load_first(p.add(i), n), V::load_first(t.add(i), n));
                gradient.mul(weight).store_first(g.add(i), n);
                sum = error.mul_add(weight, sum);
            }
            total += f64::from(sum.reduce_add());
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

    const ALL: [Loss; 4] =
        [Loss::Square, Loss::SquareSquare { margin: 0.2 }, Loss::BinomialCrossEntropy, Loss::CrossEntropy];

    fn reference(loss: Loss, p: f32, t: f32) -> (f64, f64) {
        let (p, t, d) = (f64::from(p), f64::from(t), f64::from(p) - f64::from(t));
        match loss {
            Loss::SquareSquare { margin } if d.abs() <= f64::from(margin) => (0.0, 0.0),
            Loss::Square | Loss::SquareSquare { .. } => (d * d, 2.0 * d),
            Loss::BinomialCrossEntropy => {
                let p = p.clamp(f64::from(1e-7f32), f64::from(1.0 - 1e-7f32));
                (-t * p.ln() - (1.0 - t) * (1.0 - p).ln(), d)
            }
            Loss::CrossEntropy => (-t * p.max(1e-36).ln(), -t / p.max(1e-36)),
        }
    }

    #[test]
    fn errors_and_gradients_agree_with_their_formulas() {
        let mut random = Random::new(13);
        for kernels in tiers() {
            for loss in ALL {
                for len in (0..=70).chain([1000, 30_000]) {
                    let p: Vec<f32> = (0..len).map(|_| random.float(0.0, 1.0)).collect();
                    let hard = random.within(0, 1) == 1;
                    let target =
                        |r: &mut Random| if hard { r.within(0, 1) as f32 } else { r.float(0.0, 1.0) };
                    let t: Vec<f32> = (0..len).map(|_| target(&mut random)).collect();
                    let weight: Vec<f32> = (0..len).map(|i| random.float(0.0, (i % 3) as f32)).collect();
                    for weight in [None, Some(&weight[..])] {
                        let mut g = vec![9.0; len + 1];
                        let error = kernels.loss(loss, &p, &t, weight, &mut g[..len]);
                        assert_eq!(g.pop(), Some(9.0));
                        let (mut expected_error, mut expected) = (0.0, Vec::new());
                        for i in 0..len {
                            let weight = weight.map_or(1.0, |w| f64::from(w[i]));
                            let (e, d) = reference(loss, p[i], t[i]);
                            expected_error += weight * e;
                            expected.push(weight * d);
                        }
                        assert!(
                            (error - expected_error).abs() <= 1e-6 * expected_error,
                            "{kernels:?} {loss:?}"
                        );
                        assert_close(&g, &expected, 3e-7, &(kernels, loss, len));
                    }
                }
            }
        }
    }

    #[test]
    fn certain_predictions_have_a_finite_error_and_nan_has_none() {
        for kernels in tiers() {
            let mut g = [0.0; 2];
            for (p, t, bound) in [([0.0, 1.0], [1.0, 0.0], 16.0..16.2), ([0.0, 1.0], [0.0, 1.0], 0.0..2e-7)] {
                let error = kernels.loss(Loss::BinomialCrossEntropy, &p, &t, None, &mut g);
                assert!(bound.contains(&(error / 2.0)), "{kernels:?} {error}");
                assert_eq!(g, [p[0] - t[0], p[1] - t[1]]);
            }
            for loss in ALL {
                assert!(kernels.loss(loss, &[0.5, f32::NAN], &[0.0; 2], None, &mut g).is_nan(), "{loss:?}");
                assert!(g[1].is_nan() && !g[0].is_nan(), "{kernels:?} {loss:?}");
            }
        }
    }

    #[test]
    fn the_margin_itself_is_no_error() {
        for kernels in tiers() {
            let mut g = [9.0; 2];
            let p = [0.25, 0.25f32.next_up()];
            let error = kernels.loss(Loss::SquareSquare { margin: 0.25 }, &p, &[0.0; 2], None, &mut g);
            assert_eq!(g, [0.0, 2.0 * p[1]]);
            assert!(error > 0.06);
        }
    }
}
