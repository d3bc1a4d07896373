//! The sizes of a convolution.

use std::fmt;

use znn_kernels::conv::Geometry;

use crate::volume::Extent;

/// A "valid" convolution of `c_in` maps to `c_out` maps:
/// `y[o][p] = sum over i, k of w[o][i][k] x[i][p + k * dilation]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Input maps.
    pub c_in: usize,
    /// Output maps.
    pub c_out: usize,
    /// Voxels of an input map.
    pub input: Extent,
    /// Taps of the kernel.
    pub kernel: Extent,
    /// Distance of neighbouring taps (the original's "sparsity").
    pub dilation: Extent,
}

impl Problem {
    /// How far the kernel reaches beyond its first tap.
    pub fn reach(&self) -> Extent {
        self.kernel.zip(self.dilation, |k, d| (k - 1) * d)
    }

    /// Voxels of an output map.
    pub fn output(&self) -> Extent {
        self.input - self.reach()
    }

    /// Floating-point operations of one pass by the direct method (a multiply-add counts as two).
    pub fn flops(&self) -> f64 {
        2.0 * (self.c_in * self.c_out * self.kernel.len()) as f64 * self.output().len() as f64
    }

    /// The number of weights.
    pub fn weights(&self) -> usize {
        self.c_in * self.c_out * self.kernel.len()
    }

    /// The sizes as the kernels take them.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            c_in: self.c_in,
            c_out: self.c_out,
            input: self.input.to_array(),
            kernel: self.kernel.to_array(),
            dilation: self.dilation.to_array(),
        }
    }
}

/// As in `20->40 k3,3,3 d1,1,1 in 50,50,50`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { c_in, c_out, input, kernel, dilation } = self;
        write!(f, "{c_in}->{c_out} k{kernel} d{dilation} in {input}")
    }
}
