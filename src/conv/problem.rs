//! The sizes of a convolution.

use std::fmt;

use serde::{Deserialize, Serialize};
use znn_kernels::conv::Geometry;

use crate::volume::Extent;

/// A convolution of `c_in` maps to `c_out` maps:
/// `y[o][p] = sum over i, k of w[o][i][k] x[i][p * stride + k * dilation - padding before]`, where `x` is zero outside.
///
/// ```
/// use znn::{Extent, Problem, ProblemError};
///
/// // 3 maps of 10 x 12 x 14 voxels to 8 maps, kernels of 3 x 3 x 3: the output is smaller by two voxels.
/// let three = Extent::new(3, 3, 3);
/// let valid = Problem::valid(3, 8, Extent::new(10, 12, 14), three, Extent::ONE);
/// assert_eq!(valid.output(), Extent::new(8, 10, 12));
/// assert_eq!(valid.weights(), 8 * 3 * 27);
/// // Multiplications with an addition; each counts for two operations.
/// assert_eq!(valid.flops(), 2.0 * (valid.weights() * valid.output().len()) as f64);
///
/// // With a border of zeros, and every second voxel along y and x.
/// let stride = Extent::new(1, 2, 2);
/// let strided = Problem { padding: [Extent::ONE; 2], stride, ..valid };
/// assert_eq!(strided.output(), Extent::new(10, 6, 7));
/// assert_eq!(strided.check(), Ok(()));
/// assert_eq!(Problem { c_in: 0, ..valid }.check(), Err(ProblemError::NoMaps));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Distance in the input between two neighbours of the output.
    pub stride: Extent,
    /// Voxels of zeros before and behind the input.
    pub padding: [Extent; 2],
}

/// A [`Problem`] that has no solution.
///
/// ```
/// use znn::{Extent, Problem, ProblemError};
///
/// let flat = Problem::valid(1, 1, Extent::new(2, 9, 9), Extent::new(3, 3, 3), Extent::ONE);
/// assert_eq!(flat.check(), Err(ProblemError::KernelTooLarge { axis: 'z' }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// No maps.
    #[error("a convolution needs at least one input and one output map")]
    NoMaps,
    /// A size along an axis is zero.
    #[error("input, kernel, dilation and stride must be at least 1 along each axis")]
    Empty,
    /// There is no place where the kernel fits.
    #[error("the dilated kernel is larger than the padded input along {axis}")]
    KernelTooLarge {
        /// The axis: `z`, `y` or `x`.
        axis: char,
    },
    /// The arrays cannot be addressed.
    #[error("the convolution has more values than memory can hold")]
    TooLarge,
}

impl Problem {
    /// Whether the sizes are those of a convolution with at least one output voxel, of arrays that can be addressed.
    /// What the library makes of a network is; what comes from elsewhere has to be asked.
    ///
    /// # Errors
    /// The first reason found.
    pub fn check(&self) -> Result<(), ProblemError> {
        if self.c_in == 0 || self.c_out == 0 {
            return Err(ProblemError::NoMaps);
        }
        let sizes = [self.input, self.kernel, self.dilation, self.stride].map(Extent::to_array);
        if sizes.as_flattened().contains(&0) {
            return Err(ProblemError::Empty);
        }
        let [input, kernel, dilation, stride] = sizes.map(|size| size.map(|size| size as u128));
        let [before, after] = self.padding.map(|side| side.to_array().map(|zeros| zeros as u128));
        let most = isize::MAX as u128 / size_of::<f32>() as u128;
        let (mut output_len, mut padded_len) = (1_u128, 1_u128);
        for axis in 0..3 {
            let padded = before[axis] + input[axis] + after[axis];
            let reach = (kernel[axis] - 1) * dilation[axis];
            if reach >= padded {
                return Err(ProblemError::KernelTooLarge { axis: ['z', 'y', 'x'][axis] });
            }
            output_len = output_len.saturating_mul((padded - reach - 1) / stride[axis] + 1);
            padded_len = padded_len.saturating_mul(padded);
        }
        let (c_in, c_out) = (self.c_in as u128, self.c_out as u128);
        let taps = kernel.into_iter().fold(1_u128, u128::saturating_mul);
        let arrays = [
            c_in.saturating_mul(padded_len),
            c_out.saturating_mul(output_len),
            (c_in * c_out).saturating_mul(taps),
        ];
        if arrays.iter().any(|&len| len > most) { Err(ProblemError::TooLarge) } else { Ok(()) }
    }

    /// A convolution without stride and padding.
    pub const fn valid(c_in: usize, c_out: usize, input: Extent, kernel: Extent, dilation: Extent) -> Self {
        Self { c_in, c_out, input, kernel, dilation, stride: Extent::ONE, padding: [Extent::ZERO; 2] }
    }

    /// How far the kernel reaches beyond its first tap.
    pub(crate) fn reach(&self) -> Extent {
        self.kernel.zip(self.dilation, |k, d| (k - 1) * d)
    }

    /// Voxels of an output map.
    pub fn output(&self) -> Extent {
        let [before, after] = self.padding;
        let last = before + self.input + after - self.reach() - Extent::ONE;
        last.zip(self.stride, |last, stride| last / stride) + Extent::ONE
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
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            c_in: self.c_in,
            c_out: self.c_out,
            input: self.input.to_array(),
            kernel: self.kernel.to_array(),
            dilation: self.dilation.to_array(),
            stride: self.stride.to_array(),
            padding: self.padding.map(Extent::to_array),
        }
    }
}

/// As in `20->40 k3,3,3 d1,1,1 in 50,50,50`, with ` s2,2,2` and ` p1,1,1+1,1,1` where there are stride and padding.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { c_in, c_out, input, kernel, dilation, stride, padding: [before, after] } = self;
        write!(f, "{c_in}->{c_out} k{kernel} d{dilation} in {input}")?;
        if *stride != Extent::ONE {
            write!(f, " s{stride}")?;
        }
        if self.padding != [Extent::ZERO; 2] {
            write!(f, " p{before}+{after}")?;
        }
        Ok(())
    }
}
