//! Transfer functions: their value, and their derivative expressed by the value.

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
