//! The update of the parameters by stochastic gradient descent with momentum and weight decay.

use crate::Kernels;
use crate::vector::Vector;

/// The parameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate (eta).
    pub rate: f32,
    /// Factor of the gradient: 1 / (voxels of the output patch) turns the sum over the patch into a mean.
    pub scale: f32,
    /// The part of the velocity that stays.
    pub momentum: f32,
    /// Weight decay.
    pub decay: f32,
    /// Look ahead (Nesterov): the weights go where the velocity would take them next.
    pub nesterov: bool,
}

impl Kernels {
    /// One update of `weights` by the raw `gradient`. All slices have one length.
    ///
    /// - With `velocity`: `V <- momentum V - c` with `c = rate scale g + rate decay W`, then `W <- W + V`, or looking
    ///   ahead `W <- W + momentum V - c`. Biases always take this form.
    /// - Without: `W <- W (1 - rate decay) - rate scale g`; the momentum must be 0.
    pub fn sgd(&self, step: Sgd, weights: &mut [f32], velocity: Option<&mut [f32]>, gradient: &[f32]) {
        assert_eq!(weights.len(), gradient.len());
        let velocity = match velocity {
            Some(velocity) => {
                assert_eq!(weights.len(), velocity.len());
                velocity.as_mut_ptr()
            }
            None => {
                assert_eq!(step.momentum, 0.0, "momentum needs a velocity");
                core::ptr::null_mut()
            }
        };
        // SAFETY: the tier exists, as `self` proves; the pointers are valid for `len` floats, or null.
        unsafe { (self.table().sgd)(step, weights.as_mut_ptr(), velocity, gradient.as_ptr(), weights.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, `velocity` may be null;
/// nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn sgd<V: Vector>(
    step: Sgd,
    weights: *mut f32,
    velocity: *mut f32,
    gradient: *const f32,
    len: usize,
) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let rate = V::splat(-step.rate * step.scale);
        let decay = V::splat(-step.rate * step.decay);
        let momentum = V::splat(step.momentum);
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            let w = V::load_first(weights.add(i), n);
            let change = V::load_first(gradient.add(i), n).mul_add(rate, w.mul(decay));
            let change = if velocity.is_null() {
                change
            } else {
                let v = V::load_first(velocity.add(i), n).mul_add(momentum, change);
                v.store_first(velocity.add(i), n);
                if step.nesterov { v.mul_add(momentum, change) } else { v }
            };
            w.add(change).store_first(weights.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, tiers};
    use std::vec::Vec;

    #[test]
    fn both_forms_agree_with_their_formulas() {
        let mut random = Random::new(9);
        let step = Sgd { rate: 0.1, scale: 1.0 / 27.0, momentum: 0.9, decay: 0.05, nesterov: false };
        let [rate, scale, momentum, decay] =
            [step.rate, step.scale, step.momentum, step.decay].map(f64::from);
        for kernels in tiers() {
            for len in 0..=70 {
                let [w, v, g] = core::array::from_fn(|_| random.floats(len));
                let formula = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
                    (0..len).map(|i| f(f64::from(w[i]), f64::from(v[i]), f64::from(g[i]))).collect()
                };

                let mut actual = w.clone();
                kernels.sgd(Sgd { momentum: 0.0, ..step }, &mut actual, None, &g);
                let expected = formula(&|w, _, g| w * (1.0 - rate * decay) - rate * scale * g);
                assert_close(&actual, &expected, 2e-7, &(kernels, len));

                let (mut actual, mut velocity) = (w.clone(), v.clone());
                kernels.sgd(step, &mut actual, Some(&mut velocity), &g);
                let expected = formula(&|w, v, g| momentum * v - rate * scale * g - rate * decay * w);
                assert_close(&velocity, &expected, 2e-7, &(kernels, len));
                let expected = formula(&|w, v, g| w + momentum * v - rate * scale * g - rate * decay * w);
                assert_close(&actual, &expected, 3e-7, &(kernels, len));

                let (mut actual, mut velocity) = (w.clone(), v.clone());
                kernels.sgd(Sgd { nesterov: true, ..step }, &mut actual, Some(&mut velocity), &g);
                let expected = formula(&|w, v, g| {
                    let change = -rate * scale * g - rate * decay * w;
                    w + momentum * (momentum * v + change) + change
                });
                assert_close(&actual, &expected, 3e-7, &(kernels, len));
            }
        }
    }

    #[test]
    #[should_panic(expected = "needs a velocity")]
    fn momentum_without_a_velocity_is_an_error() {
        let step = Sgd { rate: 0.1, scale: 1.0, momentum: 0.9, decay: 0.0, nesterov: false };
        Kernels::best().sgd(step, &mut [1.0], None, &[1.0]);
    }
}
