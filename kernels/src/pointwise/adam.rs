//! The update of the parameters by Adam (Kingma and Ba, arXiv 1412.6980) and by AdamW, its form with the weight decay apart
//! from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

use crate::Kernels;
use crate::vector::Vector;

/// The parameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate (eta) divided by `1 - beta1^t`, which corrects the bias of the first moment at update `t`, from 1.
    pub rate: f32,
    /// Factor of the gradient.
    pub scale: f32,
    /// The part of the mean of gradients that stays.
    pub beta1: f32,
    /// The part of the mean of squared gradients that stays.
    pub beta2: f32,
    /// `1 / sqrt(1 - beta2^t)`, which corrects the bias of the root of the second moment.
    pub correction: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The weights that are added to the gradient: the weight decay of Adam.
    pub decay: f32,
    /// The part of the weights that is taken away beside the step: learning rate times the weight decay of AdamW.
    pub shrink: f32,
}

impl Kernels {
    /// One update of `weights` by the raw `gradient`, with its running `mean` and the `variance`, the running mean of its
    /// squares. All slices have one length.
    ///
    /// With `g = scale gradient + decay W`: `M <- beta1 M + (1 - beta1) g`, `V <- beta2 V + (1 - beta2) g^2`, and
    /// `W <- (1 - shrink) W - rate M / (correction sqrt(V) + epsilon)`.
    pub fn adam(
        &self,
        step: Adam,
        weights: &mut [f32],
        mean: &mut [f32],
        variance: &mut [f32],
        gradient: &[f32],
    ) {
        let len = weights.len();
        assert_eq!([mean.len(), variance.len(), gradient.len()], [len; 3]);
        let state = [mean.as_mut_ptr(), variance.as_mut_ptr()];
        // SAFETY: the tier exists, as `self` proves; the pointers are valid for `len` floats and do not overlap.
        unsafe { (self.table().adam)(step, weights.as_mut_ptr(), state, gradient.as_ptr(), len) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers (`state` is mean and variance) are valid for `len` floats;
/// nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn adam<V: Vector>(
    step: Adam,
    weights: *mut f32,
    [mean, variance]: [*mut f32; 2],
    gradient: *const f32,
    len: usize,
) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let [scale, decay, rate] = [step.scale, step.decay, -step.rate].map(|value| V::splat(value));
        let [keep_mean, keep_variance] = [step.beta1, step.beta2].map(|beta| V::splat(beta));
        let [new_mean, new_variance] = [step.beta1, step.beta2].map(|beta| V::splat(1.0 - beta));
        let [correction, epsilon, keep] =
            [step.correction, step.epsilon, 1.0 - step.shrink].map(|value| V::splat(value));
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            let w = V::load_first(weights.add(i), n);
            let g = V::load_first(gradient.add(i), n).mul_add(scale, w.mul(decay));
            let m = V::load_first(mean.add(i), n).mul_add(keep_mean, g.mul(new_mean));
            let v = V::load_first(variance.add(i), n).mul_add(keep_variance, g.mul(g).mul(new_variance));
            let size = v.sqrt().mul_add(correction, epsilon);
            m.store_first(mean.add(i), n);
            v.store_first(variance.add(i), n);
            m.div(size).mul_add(rate, w.mul(keep)).store_first(weights.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, tiers};

    #[test]
    fn updates_agree_with_their_formula() {
        let mut random = Random::new(15);
        let plain = Adam {
            rate: 0.1,
            scale: 1.0 / 27.0,
            beta1: 0.9,
            beta2: 0.75,
            correction: 2.0,
            epsilon: 1e-3,
            decay: 0.0,
            shrink: 0.0,
        };
        for step in [plain, Adam { decay: 0.05, ..plain }, Adam { shrink: 0.01, ..plain }] {
            for kernels in tiers() {
                for len in 0..=70 {
                    let [w, m, g] = core::array::from_fn(|_| random.floats(len));
                    let v: std::vec::Vec<f32> = (0..len).map(|_| random.float(0.0, 1.0)).collect();
                    let (mut actual, mut mean, mut variance) = (w.clone(), m.clone(), v.clone());
                    kernels.adam(step, &mut actual, &mut mean, &mut variance, &g);
                    let mut expected = [(); 3].map(|()| std::vec::Vec::new());
                    for i in 0..len {
                        let [w, m, v, g] = [&w, &m, &v, &g].map(|values| f64::from(values[i]));
                        let [beta1, beta2, rate] = [step.beta1, step.beta2, step.rate].map(f64::from);
                        let [scale, decay, shrink] = [step.scale, step.decay, step.shrink].map(f64::from);
                        let g = scale * g + decay * w;
                        let m = beta1 * m + (1.0 - beta1) * g;
                        let v = beta2 * v + (1.0 - beta2) * g * g;
                        let size = f64::from(step.correction) * v.sqrt() + f64::from(step.epsilon);
                        expected[0].push(w * (1.0 - shrink) - rate * m / size);
                        expected[1].push(m);
                        expected[2].push(v);
                    }
                    assert_close(&actual, &expected[0], 5e-7, &(kernels, len));
                    assert_close(&mean, &expected[1], 2e-7, &(kernels, len));
                    assert_close(&variance, &expected[2], 2e-7, &(kernels, len));
                }
            }
        }
    }

    #[test]
    fn a_group_without_gradient_stays() {
        let step = Adam {
            rate: 0.1,
            scale: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            correction: 1.0,
            epsilon: 1e-8,
            decay: 0.0,
            shrink: 0.0,
        };
        for kernels in tiers() {
            let (mut w, mut m, mut v) = ([1.5; 5], [0.0; 5], [0.0; 5]);
            kernels.adam(step, &mut w, &mut m, &mut v, &[0.0; 5]);
            assert_eq!((w, m, v), ([1.5; 5], [0.0; 5], [0.0; 5]), "{kernels:?}");
        }
    }
}
