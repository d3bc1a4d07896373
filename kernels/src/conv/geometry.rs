//! The sizes of a convolution.

/// A "valid" convolution (cross-correlation): sizes in voxels, in the order z, y, x.
///
/// `y[o][p] = sum over i, k of w[o][i][k] * x[i][p + k * dilation]` for every `p` for which all taps lie inside of
/// the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// Size of an input image.
    pub input: [usize; 3],
    /// Taps of the kernel.
    pub kernel: [usize; 3],
    /// Distance between two taps.
    pub dilation: [usize; 3],
}

impl Geometry {
    /// Size of an output image: `input - (kernel - 1) * dilation`.
    ///
    /// # Panics
    /// Where the dilated kernel is larger than the input, or a kernel or dilation is zero.
    pub fn output(&self) -> [usize; 3] {
        core::array::from_fn(|axis| {
            assert!(self.kernel[axis] > 0 && self.dilation[axis] > 0, "empty kernel or dilation: {self:?}");
            let reach = self.reach(axis);
            assert!(reach < self.input[axis], "the kernel does not fit into the input: {self:?}");
            self.input[axis] - reach
        })
    }

    /// Taps of a kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Floats of all weights `[c_out][c_in][kz][ky][kx]`.
    pub fn weights_len(&self) -> usize {
        self.c_out * self.c_in * self.taps()
    }

    /// Floats of an input image.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Floats of an output image.
    pub fn output_len(&self) -> usize {
        self.output().iter().product()
    }

    /// Distance between the first and the last tap along `axis`.
    pub(crate) fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis]
    }

    /// Distance between the starts of two input rows.
    pub(crate) fn pitch(&self) -> usize {
        self.input[2]
    }

    /// Floats of an input plane.
    pub(crate) fn plane(&self) -> usize {
        self.input[1] * self.input[2]
    }

    /// Distance in the input between neighbouring taps along z, y and x.
    pub(crate) fn tap_steps(&self) -> [usize; 3] {
        let [z, y, x] = self.dilation;
        [z * self.plane(), y * self.pitch(), x]
    }
}
