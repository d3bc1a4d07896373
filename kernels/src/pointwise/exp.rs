//! The exponential function and the two transfer functions made of it, for one vector.
//!
//! The polynomials are minimax fits of this project (weighted least squares over Chebyshev nodes, reweighted
//! until the relative error is level); the error of each is far below half a unit in the last place.

use crate::vector::Vector;

/// `exp(x)` for `x <= 0`, down to the subnormals: 0 at `-inf`, NaN for NaN. About one unit in the last place.
///
/// The argument is split as `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite, 1980).
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn exp_of_negative<V: Vector>(x: V) -> V {
    /// `ln 2` in two parts; the first has so few bits that its products with `n` are exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// `(exp(r) - 1 - r) / r^2`, the highest power first; relative error of `exp` 3.1e-9.
    const POLYNOMIAL: [f32; 5] = [0.001_381_446_2, 0.008_368_781, 0.041_668_395, 0.166_665_2, 0.499_999_93];
    // SAFETY: the caller's contract.
    unsafe {
        // Below -105 the result is 0 in any case. The order of the operands keeps a NaN.
        let x = V::splat(-105.0).max(x);
        let n = x.mul(V::splat(core::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-LN2_HIGH), x);
        let r = n.mul_add(V::splat(-LN2_LOW), r);
        let mut p = V::splat(POLYNOMIAL[0]);
        for c in &POLYNOMIAL[1..] {
            p = p.mul_add(r, V::splat(*c));
        }
        p.mul_add(r.mul(r), r).add(V::splat(1.0)).scale_by_power(n)
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

/// `tanh(x)`.
///
/// # Safety
/// As [`Vector::zero`].
#[inline(always)]
pub(crate) unsafe fn tanh<V: Vector>(x: V) -> V {
    /// Below it the polynomial, above it the exponential: there the subtraction from 1 loses no bits.
    const SMALL: f32 = 0.625;
    /// `(tanh(x) / x - 1) / x^2` in powers of `x^2`, the highest first; relative error of `tanh` 4.8e-9.
    const POLYNOMIAL: [f32; 5] = [-0.005_666_957, 0.020_606_156, -0.053_73, 0.133_313_31, -0.333_332_78];
    // SAFETY: the caller's contract.
    unsafe {
        let (one, two) = (V::splat(1.0), V::splat(2.0));
        let magnitude = x.abs();

        let square = magnitude.mul(magnitude);
        let mut p = V::splat(POLYNOMIAL[0]);
        for c in &POLYNOMIAL[1..] {
            p = p.mul_add(square, V::splat(*c));
        }
        let small = p.mul(square).mul_add(magnitude, magnitude);

        let e = exp_of_negative(magnitude.mul(V::splat(-2.0)));
        let large = one.sub(two.mul(e).div(one.add(e)));

        small.select(V::splat(SMALL).greater(magnitude), large).copy_sign(x)
    }
}
