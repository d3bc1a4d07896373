//! Elementary functions of one vector.
//!
//! The polynomials are minimax fits of this project (weighted least squares over Chebyshev nodes, reweighted
//! until the relative error is level); the error of each is far below half a unit in the last place.

use crate::vector::Vector;

/// `n` and `exp(r) - 1` with `x = n ln 2 + r` and `|r| <= ln 2 / 2` (Cody and Waite, 1980), for `x <= 0`. Below -105,
/// where the exponential is no subnormal any more, those of -105.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
unsafe fn exp_parts<V: Vector>(x: V) -> (V, V) {
    /// `ln 2` in two parts; the first has so few bits that its products with `n` are exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// `(exp(r) - 1 - r) / r^2`, the highest power first; relative error of `exp` 3.1e-9.
    const POLYNOMIAL: [f32; 5] = [0.001_381_446_2, 0.008_368_781, 0.041_668_395, 0.166_665_2, 0.499_999_93];
    // SAFETY: the caller's contract.
    unsafe {
        // The order of the operands keeps a NaN.
        let x = V::splat(-105.0).max(x);
        let n = x.mul(V::splat(core::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-LN2_HIGH), x);
        let r = n.mul_add(V::splat(-LN2_LOW), r);
        let mut p = V::splat(POLYNOMIAL[0]);
        for c in &POLYNOMIAL[1..] {
            p = p.mul_add(r, V::splat(*c));
        }
        (n, p.mul_add(r.mul(r), r))
    }
}

/// `exp(x)` for `x <= 0`, down to the subnormals: 0 at `-inf`, NaN for NaN. About one unit in the last place.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn exp_of_negative<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let (n, p) = exp_parts(x);
        p.add(V::splat(1.0)).scale_by_power(n)
    }
}

/// `exp(x) - 1` for `x <= 0`, in which nothing cancels: -1 at `-inf`, NaN for NaN.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn exp_minus_one_of_negative<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let one = V::splat(1.0);
        let (n, p) = exp_parts(x);
        let power = one.scale_by_power(n);
        p.mul_add(power, power.sub(one))
    }
}

/// `1 / (1 + exp(-x))`, relatively accurate on both sides.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn logistic<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let (zero, one) = (V::zero(), V::splat(1.0));
        let e = exp_of_negative(zero.sub(x.abs()));
        e.select(zero.greater(x), one).div(one.add(e))
    }
}

/// `tanh(x)` as `-e / (2 + e)` with `e = exp(-2 |x|) - 1`, in which nothing cancels.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let e = exp_minus_one_of_negative(x.abs().mul(V::splat(-2.0)));
        e.div(e.add(V::splat(2.0))).copy_sign(x)
    }
}

/// `ln(x)` of a positive, normal, finite `x`; NaN for NaN. About one unit in the last place.
///
/// `x = 2^e m` with `m` within a factor of the square root of 2 around 1, and a polynomial for `ln m`.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn ln_of_normal<V: Vector>(x: V) -> V {
    /// As for the exponential.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// `(ln(1 + f) - f + f^2 / 2) / f^3`, the highest power first; relative error of `ln` 5.8e-9.
    const POLYNOMIAL: [f32; 8] = [
        -0.076_343_41,
        0.127_615_15,
        -0.131_602_12,
        0.142_017_68,
        -0.166_233_55,
        0.200_012_26,
        -0.250_008_2,
        0.333_333_3,
    ];
    // SAFETY: the caller's contract.
    unsafe {
        let (mantissa, exponent) = x.split_power();
        let f = mantissa.sub(V::splat(1.0));
        let square = f.mul(f);
        let mut p = V::splat(POLYNOMIAL[0]);
        for c in &POLYNOMIAL[1..] {
            p = p.mul_add(f, V::splat(*c));
        }
        let small = p.mul(f).mul_add(square, exponent.mul(V::splat(LN2_LOW)));
        let small = square.mul_add(V::splat(-0.5), small);
        // the product with 0 brings back a NaN, whose bits were taken for a number
        exponent.mul_add(V::splat(LN2_HIGH), small.add(f)).add(x.mul(V::zero()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::F32x4;

    /// One lane of the portable tier; the others are tested through the kernels made of these functions.
    fn lane(f: unsafe fn(F32x4) -> F32x4, x: f32) -> f64 {
        let mut lanes = [0.0; 4];
        // SAFETY: the portable tier is always available.
        unsafe { f(F32x4::splat(x)).store(lanes.as_mut_ptr()) };
        f64::from(lanes[1])
    }

    #[test]
    fn exponential_and_logarithm_are_accurate_to_the_last_place() {
        for i in 0..1_000_000 {
            let x = -88.0 * i as f32 / 1e6;
            let expected = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * expected.max(f64::from(f32::MIN_POSITIVE));
            assert!((lane(exp_of_negative, x) - expected).abs() <= 1.2 * unit, "exp({x})");
        }
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(1009) {
            let x = f32::from_bits(bits);
            let expected = f64::from(x).ln();
            let error = (lane(ln_of_normal, x) - expected).abs();
            assert!(error <= 1.2 * f64::from(f32::EPSILON) * expected.abs(), "ln({x})");
        }
    }
}
