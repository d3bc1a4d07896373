//! Transfer functions: their value, and their derivative expressed by the value.

use super::elementary;
use crate::Kernels;
use crate::vector::Vector;

/// A transfer function `f`. All derivatives are computed from the output `y = f(x)` alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transfer {
    /// `scale * x + shift`; `f' = scale`.
    Linear {
        /// Factor.
        scale: f32,
        /// Addend.
        shift: f32,
    },
    /// `max(x, 0)`; `f' = 1` where `y > 0`.
    RectifyLinear,
    /// `amplitude * tanh(slope * x)`; `f' = slope / amplitude * (amplitude - y) * (amplitude + y)`.
    Tanh {
        /// The limit for large `x`.
        amplitude: f32,
        /// Factor of the argument.
        slope: f32,
    },
    /// `x / (1 + |x|)`; `f' = (1 - |y|)^2`.
    SoftSign,
    /// `1 / (1 + exp(-x))`; `f' = y * (1 - y)`.
    Logistic,
    /// The value of `Logistic`, but gradients pass unchanged (`f' = 1`).
    ForwardLogistic,
    /// `x` where `x > 0`, else `amplitude * (exp(x) - 1)` (Clevert et al. 2016); `f' = y + amplitude` where `y <= 0`, else 1.
    ExponentialLinear {
        /// Minus the limit for `x` far below zero; not negative.
        amplitude: f32,
    },
    /// `x` where `x > 0`, else `slope * x`; `f' = slope` where `y <= 0`, else 1.
    LeakyRectifyLinear {
        /// The slope below zero; not negative.
        slope: f32,
    },
}

impl Transfer {
    /// `f(x) = x`.
    pub const IDENTITY: Transfer = Transfer::Linear { scale: 1.0, shift: 0.0 };
}

impl Kernels {
    /// `row[i] = f(row[i] + bias)`. A NaN stays a NaN in every function.
    pub fn bias_transfer(&self, t: Transfer, bias: f32, row: &mut [f32]) {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().bias_transfer)(t, bias, row.as_mut_ptr(), row.len()) }
    }

    /// `g[i] *= f'(y[i])`, the derivative being expressed by the value `y = f(x)`.
    ///
    /// Returns the sum of the resulting `g`, which is the gradient of the bias: blocks are summed in f32 by
    /// many short chains, the blocks in f64. The slices have one length.
    pub fn transfer_backward(&self, t: Transfer, y: &[f32], g: &mut [f32]) -> f32 {
        assert_eq!(y.len(), g.len());
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().transfer_backward)(t, y.as_ptr(), g.as_mut_ptr(), g.len()) }
    }
}

/// `f(x)` of every lane. A NaN stays a NaN in every function.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn apply<V: Vector>(t: Transfer, x: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        match t {
            Transfer::Linear { scale, shift } => x.mul_add(V::splat(scale), V::splat(shift)),
            // the order of the operands keeps a NaN
            Transfer::RectifyLinear => V::zero().max(x),
            Transfer::Tanh { amplitude, slope } => {
                elementary::tanh(x.mul(V::splat(slope))).mul(V::splat(amplitude))
            }
            Transfer::SoftSign => {
                // Bounded, because inf / inf is no number. The order of the operands keeps a NaN.
                let x = V::splat(f32::MAX).min(V::splat(f32::MIN).max(x));
                x.div(V::splat(1.0).add(x.abs()))
            }
            Transfer::Logistic | Transfer::ForwardLogistic => elementary::logistic(x),
            // the order of the operands keeps a NaN
            Transfer::ExponentialLinear { amplitude } => {
                let below = elementary::exp_minus_one_of_negative(V::zero().min(x)).mul(V::splat(amplitude));
                x.select(x.greater(V::zero()), below)
            }
            Transfer::LeakyRectifyLinear { slope } => x.select(x.greater(V::zero()), x.mul(V::splat(slope))),
        }
    }
}

/// `g * f'`, for `y = f(x)`.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
unsafe fn times_derivative<V: Vector>(t: Transfer, y: V, g: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        match t {
            Transfer::Linear { scale, .. } => g.mul(V::splat(scale)),
            Transfer::RectifyLinear => g.select(y.greater(V::zero()), V::zero()),
            Transfer::Tanh { amplitude, slope } => {
                let a = V::splat(amplitude);
                g.mul(V::splat(slope / amplitude)).mul(a.sub(y).mul(a.add(y)))
            }
            Transfer::SoftSign => {
                let root = V::splat(1.0).sub(y.abs());
                g.mul(root.mul(root))
            }
            Transfer::Logistic => g.mul(y.mul(V::splat(1.0).sub(y))),
            Transfer::ForwardLogistic => g,
            Transfer::ExponentialLinear { amplitude } => {
                g.select(y.greater(V::zero()), g.mul(y.add(V::splat(amplitude))))
            }
            Transfer::LeakyRectifyLinear { slope } => g.select(y.greater(V::zero()), g.mul(V::splat(slope))),
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `row` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn bias_transfer<V: Vector>(t: Transfer, bias: f32, row: *mut f32, len: usize) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let bias = V::splat(bias);
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            apply(t, V::load_first(row.add(i), n).add(bias)).store_first(row.add(i), n);
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `y` and `g` are valid for `len` floats and do not overlap.
#[inline(always)]
pub(crate) unsafe fn transfer_backward<V: Vector>(
    t: Transfer,
    y: *const f32,
    g: *mut f32,
    len: usize,
) -> f32 {
    /// Chains of additions side by side: they hide the latency, and each is short.
    const CHAINS: usize = 4;
    /// Vectors that one chain adds before the block goes into the f64 total.
    const LINKS: usize = 16;
    let mut total = 0.0f64;
    // SAFETY: every access is below `len`, the tail by its mask, whose other lanes are zero and stay zero.
    unsafe {
        let mut i = 0;
        while i < len {
            let block = (len - i).min(LINKS * CHAINS * V::LANES);
            let end = i + block;
            let mut sums = [V::zero(); CHAINS];
            while i + CHAINS * V::LANES <= end {
                for sum in &mut sums {
                    let pulled = times_derivative(t, V::load(y.add(i)), V::load(g.add(i)));
                    pulled.store(g.add(i));
                    *sum = sum.add(pulled);
                    i += V::LANES;
                }
            }
            while i < end {
                let tail = V::first(end - i);
                let pulled =
                    times_derivative(t, V::load_masked(y.add(i), tail), V::load_masked(g.add(i), tail));
                pulled.store_masked(g.add(i), tail);
                sums[0] = sums[0].add(pulled);
                i += V::LANES;
            }
            let [a, b, c, d] = sums;
            total += f64::from(a.add(b).add(c.add(d)).reduce_add());
        }
    }
    total as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, tiers};
    use std::vec::Vec;

    const ALL: [Transfer; 13] = [
        Transfer::IDENTITY,
        Transfer::Linear { scale: -1.5, shift: 0.25 },
        Transfer::RectifyLinear,
        Transfer::Tanh { amplitude: 1.0, slope: 1.0 },
        Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 },
        Transfer::SoftSign,
        Transfer::Logistic,
        Transfer::ForwardLogistic,
        Transfer::ExponentialLinear { amplitude: 1.0 },
        Transfer::ExponentialLinear { amplitude: 0.3 },
        Transfer::ExponentialLinear { amplitude: 0.0 },
        Transfer::LeakyRectifyLinear { slope: 0.01 },
        Transfer::LeakyRectifyLinear { slope: 0.0 },
    ];

    fn value(t: Transfer, x: f64) -> f64 {
        match t {
            Transfer::Linear { scale, shift } => f64::from(scale) * x + f64::from(shift),
            Transfer::RectifyLinear => x.max(0.0),
            Transfer::Tanh { amplitude, slope } => f64::from(amplitude) * (f64::from(slope) * x).tanh(),
            Transfer::SoftSign if x.is_infinite() => x.signum(),
            Transfer::SoftSign => x / (1.0 + x.abs()),
            // the second form is accurate where the first one's sum rounds to exp(-x)
            Transfer::Logistic | Transfer::ForwardLogistic if x >= 0.0 => 1.0 / (1.0 + (-x).exp()),
            Transfer::Logistic | Transfer::ForwardLogistic => x.exp() / (1.0 + x.exp()),
            Transfer::ExponentialLinear { .. } | Transfer::LeakyRectifyLinear { .. } if x > 0.0 => x,
            Transfer::ExponentialLinear { amplitude } => f64::from(amplitude) * x.exp_m1(),
            // zero times the infinity is what the formula says
            Transfer::LeakyRectifyLinear { slope } => f64::from(slope) * x,
        }
    }

    fn derivative(t: Transfer, x: f64) -> f64 {
        let logistic = value(Transfer::Logistic, x);
        match t {
            Transfer::Linear { scale, .. } => f64::from(scale),
            Transfer::RectifyLinear => f64::from(x > 0.0),
            Transfer::Tanh { amplitude, slope } => {
                f64::from(amplitude) * f64::from(slope) / (f64::from(slope) * x).cosh().powi(2)
            }
            Transfer::SoftSign => (1.0 + x.abs()).powi(-2),
            Transfer::Logistic => logistic * (1.0 - logistic),
            Transfer::ForwardLogistic => 1.0,
            Transfer::ExponentialLinear { .. } | Transfer::LeakyRectifyLinear { .. } if x > 0.0 => 1.0,
            Transfer::ExponentialLinear { amplitude } => f64::from(amplitude) * x.exp(),
            Transfer::LeakyRectifyLinear { slope } => f64::from(slope),
        }
    }

    /// The distance in units of the last place of the correctly rounded value.
    fn ulps(actual: f32, expected: f64) -> f64 {
        let rounded = (expected as f32).abs();
        if f64::from(actual) == expected || actual == expected as f32 {
            return 0.0;
        }
        let unit = f64::from(rounded.next_up()) - f64::from(rounded);
        (f64::from(actual) - expected).abs() / unit
    }

    /// Floats of every exponent and both signs, and the special ones.
    fn whole_range() -> Vec<f32> {
        let mut x: Vec<f32> = (0..=u32::MAX >> 12).map(|i| f32::from_bits(i << 12 | 0x5A5)).collect();
        x.retain(|x| x.is_finite());
        x.extend((-3000..3000).map(|i| i as f32 * 0.037));
        x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45]);
        x.extend([-1e-45, 0.625, -0.625, 0.624_999_94, 88.8, -87.4, -103.97, -104.1, -105.0]);
        x
    }

    #[test]
    fn values_are_accurate_over_the_whole_range() {
        let x = whole_range();
        for kernels in tiers() {
            for t in ALL {
                let mut y = x.clone();
                kernels.bias_transfer(t, 0.0, &mut y);
                // the argument's own rounding reaches the result where tanh scales it
                let bound = match t {
                    Transfer::Tanh { slope: 1.0, .. } | Transfer::Logistic | Transfer::ForwardLogistic => 3.0,
                    Transfer::ExponentialLinear { .. } => 3.0,
                    Transfer::Tanh { .. } => 4.0,
                    _ => 1.5,
                };
                for (&x, &y) in x.iter().zip(&y) {
                    let expected = value(t, f64::from(x));
                    // a linear map that cancels has no relative accuracy without a fused multiply-add
                    if matches!(t, Transfer::Linear { .. }) {
                        let error = (f64::from(y) - expected).abs();
                        assert!(y.is_infinite() || error <= 1.2e-7 * (1.5 * f64::from(x).abs() + 0.25));
                        continue;
                    }
                    if expected.is_nan() {
                        assert!(y.is_nan(), "{kernels:?} {t:?}({x}) = {y}");
                        continue;
                    }
                    assert!(ulps(y, expected) <= bound, "{kernels:?} {t:?}({x}) = {y}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn a_nan_stays_a_nan() {
        for kernels in tiers() {
            for t in ALL {
                for at in 0..19 {
                    let mut y = std::vec![0.5; 19];
                    y[at] = f32::NAN;
                    kernels.bias_transfer(t, 0.0, &mut y);
                    for (i, y) in y.iter().enumerate() {
                        assert_eq!(y.is_nan(), i == at, "{kernels:?} {t:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_length_adds_the_bias_and_ends_where_it_should() {
        let mut random = Random::new(1);
        for kernels in tiers() {
            for t in ALL {
                for len in 0..=70 {
                    let x = random.floats(len + 1);
                    let mut y = x.clone();
                    kernels.bias_transfer(t, 0.75, &mut y[..len]);
                    assert_eq!(y[len], x[len]);
                    for (&x, &y) in x.iter().zip(&y[..len]) {
                        assert!((f64::from(y) - value(t, f64::from(x) + 0.75)).abs() < 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn backward_multiplies_by_the_derivative_and_sums() {
        let mut random = Random::new(2);
        for kernels in tiers() {
            for t in ALL {
                for len in (0..=70).chain([1023, 1024, 1025, 5000]) {
                    let x: Vec<f32> = (0..len).map(|_| random.float(-3.0, 3.0)).collect();
                    let y: Vec<f32> = x.iter().map(|&x| value(t, f64::from(x)) as f32).collect();
                    let before = random.floats(len + 1);
                    let mut g = before.clone();
                    let sum = kernels.transfer_backward(t, &y, &mut g[..len]);
                    assert_eq!(g[len], before[len]);
                    let (mut expected_sum, mut magnitude) = (0.0, 0.0);
                    for i in 0..len {
                        let expected = f64::from(before[i]) * derivative(t, f64::from(x[i]));
                        assert!((f64::from(g[i]) - expected).abs() < 2e-6, "{kernels:?} {t:?}");
                        expected_sum += f64::from(g[i]);
                        magnitude += f64::from(g[i]).abs();
                    }
                    assert!((f64::from(sum) - expected_sum).abs() <= 2e-7 * magnitude);
                }
            }
        }
    }

    #[test]
    fn the_sum_of_a_long_row_keeps_its_digits() {
        // one running f32 sum would lose more and more of every addend
        let len = 3_000_001;
        let y = std::vec![1.0f32; len];
        for kernels in tiers() {
            let mut g: Vec<f32> = (0..len).map(|i| if i % 2 == 0 { 0.1 } else { 1e-4 }).collect();
            let exact: f64 = g.iter().map(|&g| f64::from(g)).sum();
            let sum = kernels.transfer_backward(Transfer::IDENTITY, &y, &mut g);
            assert!((f64::from(sum) / exact - 1.0).abs() < 2e-7, "{kernels:?}: {sum} for {exact}");
        }
    }
}
