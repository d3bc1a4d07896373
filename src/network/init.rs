//! First values of parameters.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// How the parameters of a group are first drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zero,
    /// All the same.
    Constant(f32),
    /// Uniform within `low..high`.
    Uniform {
        /// The smallest.
        low: f32,
        /// The largest.
        high: f32,
    },
    /// Normal.
    Gaussian {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        deviation: f32,
    },
    /// 1 with probability `p`, else 0.
    Bernoulli {
        /// The probability.
        p: f32,
    },
    /// Uniform within `-r..r`, `r = sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010). Kernels only.
    Xavier,
    /// Normal with standard deviation `sqrt(2 / fan_in)` (He et al. 2015). Kernels only.
    Msra,
}

impl Init {
    /// Whether it depends on the number of connections, so that it makes no sense for biases.
    pub(crate) fn needs_fan(&self) -> bool {
        matches!(self, Init::Xavier | Init::Msra)
    }

    /// Fills weights, in the order of their memory. `fan` is how many inputs meet in an output, and how many outputs an
    /// input reaches: maps times voxels of the kernel.
    pub(super) fn fill_weights(self, rng: &mut ChaCha8Rng, fan: [f64; 2], values: &mut [f32]) {
        match self {
            Init::Xavier => {
                let radius = (6.0 / (fan[0] + fan[1])).sqrt();
                uniform(rng, -radius, radius, values);
            }
            Init::Msra => gaussian(rng, 0.0, (2.0 / fan[0]).sqrt(), values),
            other => other.fill_biases(rng, values),
        }
    }

    /// Fills biases. Panics for the kinds that are made for kernels.
    pub(super) fn fill_biases(self, rng: &mut ChaCha8Rng, values: &mut [f32]) {
        match self {
            Init::Zero => values.fill(0.0),
            Init::Constant(value) => values.fill(value),
            Init::Uniform { low, high } => uniform(rng, low.into(), high.into(), values),
            Init::Gaussian { mean, deviation } => gaussian(rng, mean.into(), deviation.into(), values),
            Init::Bernoulli { p } => {
                values.fill_with(|| f32::from(u8::from(rng.random::<f64>() < f64::from(p))));
            }
            Init::Xavier | Init::Msra => panic!("{self:?} is made for kernels"),
        }
    }
}

fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64, values: &mut [f32]) {
    values.fill_with(|| (low + (high - low) * rng.random::<f64>()) as f32);
}

fn gaussian(rng: &mut ChaCha8Rng, mean: f64, deviation: f64, values: &mut [f32]) {
    values.fill_with(|| {
        let normal: f64 = StandardNormal.sample(rng);
        // Finite whatever the arguments are.
        (mean + deviation * normal).clamp(f32::MIN.into(), f32::MAX.into()) as f32
    });
}
