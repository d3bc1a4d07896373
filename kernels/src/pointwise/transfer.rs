//! Transfer functions: their value, and their derivative expressed by the value.

use super::exp;
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
}

impl Transfer {
    /// `f(x) = x`.
    pub const IDENTITY: Transfer = Transfer::Linear { scale: 1.0, shift: 0.0 };
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
            Transfer::Tanh { amplitude, slope } => exp::tanh(x.mul(V::splat(slope))).mul(V::splat(amplitude)),
            Transfer::SoftSign => {
                // Bounded, because inf / inf is no number. The order of the operands keeps a NaN.
                let x = V::splat(f32::MAX).min(V::splat(f32::MIN).max(x));
                x.div(V::splat(1.0).add(x.abs()))
            }
            Transfer::Logistic | Transfer::ForwardLogistic => exp::logistic(x),
        }
    }
}
