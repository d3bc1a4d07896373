//! The sizes of a convolution.

use core::ops::Range;

/// A convolution (cross-correlation): sizes in voxels, in the order z, y, x.
///
/// `y[o][p] = sum over i, k of w[o][i][k] * x[i][p * stride + k * dilation - padding before]` for every `p` for which
/// all taps lie inside of the padded input; the padding is zero.
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
    /// Distance in the input between two neighbours of the output.
    pub stride: [usize; 3],
    /// Zeros before and behind the input.
    pub padding: [[usize; 3]; 2],
}

impl Geometry {
    /// A convolution without stride and padding.
    pub const fn valid(
        c_in: usize,
        c_out: usize,
        input: [usize; 3],
        kernel: [usize; 3],
        dilation: [usize; 3],
    ) -> Self {
        Self { c_in, c_out, input, kernel, dilation, stride: [1; 3], padding: [[0; 3]; 2] }
    }

    /// Size of an output image: `(input + padding - (kernel - 1) * dilation - 1) / stride + 1`.
    ///
    /// # Panics
    /// Where the dilated kernel is larger than the padded input, or a kernel, dilation or stride is zero.
    pub fn output(&self) -> [usize; 3] {
        core::array::from_fn(|axis| {
            let steps = [self.kernel[axis], self.dilation[axis], self.stride[axis]];
            assert!(!steps.contains(&0), "empty kernel, dilation or stride: {self:?}");
            let [before, after] = self.padding;
            let padded = before[axis] + self.input[axis] + after[axis];
            let reach = self.reach(axis);
            assert!(reach < padded, "the kernel does not fit into the input: {self:?}");
            (padded - reach - 1) / self.stride[axis] + 1
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

    /// The input planes that the given output planes read, those in the padding left out.
    pub(crate) fn input_planes(&self, planes: &Range<usize>) -> Range<usize> {
        let before = self.padding[0][0];
        let end = (planes.end.saturating_sub(1) * self.stride[0] + self.reach(0) + 1).saturating_sub(before);
        let end = if planes.is_empty() { 0 } else { end.min(self.input[0]) };
        (planes.start * self.stride[0]).saturating_sub(before).min(end)..end
    }

    /// The output planes that read any of the given input planes.
    pub(crate) fn output_planes(&self, planes: &Range<usize>) -> Range<usize> {
        self.readers(0, planes)
    }

    /// The output positions along `axis` that read any of the given input positions; perhaps some more between them.
    pub(crate) fn readers(&self, axis: usize, positions: &Range<usize>) -> Range<usize> {
        if positions.is_empty() {
            return 0..0;
        }
        let (before, stride) = (self.padding[0][axis], self.stride[axis]);
        let end = ((positions.end - 1 + before) / stride + 1).min(self.output()[axis]);
        let start = (positions.start + before).saturating_sub(self.reach(axis)).div_ceil(stride);
        start.min(end)..end
    }

    /// The taps along `axis` by which input position `q` is read, each with the output position that reads it.
    pub(crate) fn taps_of(&self, axis: usize, q: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (dilation, stride, output) = (self.dilation[axis], self.stride[axis], self.output()[axis]);
        let at = q + self.padding[0][axis];
        (0..self.kernel[axis]).filter_map(move |k| {
            let from = at.checked_sub(k * dilation)?;
            let p = from / stride;
            (from % stride == 0 && p < output).then_some((k, p))
        })
    }

    /// The tap with the given index in a kernel.
    pub(crate) fn tap(&self, index: usize) -> [usize; 3] {
        let [_, ky, kx] = self.kernel;
        [index / (ky * kx), index / kx % ky, index % kx]
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
