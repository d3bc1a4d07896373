//! Which convolutions the engine computes, and their sizes in its words.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use znn::{Extent, Problem};

/// A convolution or a transposed one, on a batch of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    /// Of a transposed convolution, the convolution whose adjoint it is: its input is the other's output.
    pub problem: Problem,
    pub batch: usize,
    pub transposed: bool,
}

impl Case {
    /// A convolution of images `[batch, c_in, ..]` with weights `[c_out, c_in, ..]`; `None` where the engine does not
    /// compute it.
    pub fn convolution<const D: usize, const N: usize>(
        x: [usize; D],
        weight: [usize; D],
        options: &ConvOptions<N>,
    ) -> Option<Self> {
        let ([batch, c_in], input) = split::<D, N>(x)?;
        let ([c_out, of_weight], kernel) = split::<D, N>(weight)?;
        let problem = Problem {
            c_in,
            c_out,
            input: extent(input, 1),
            kernel: extent(kernel, 1),
            dilation: extent(options.dilation, 1),
            stride: extent(options.stride, 1),
            padding: [extent(options.padding_begin(), 0), extent(options.padding_end(), 0)],
        };
        let computed = batch > 0 && options.groups == 1 && of_weight == c_in && problem.check().is_ok();
        computed.then_some(Self { problem, batch, transposed: false })
    }

    /// A transposed convolution of images `[batch, c_in, ..]` with weights `[c_in, c_out, ..]`; `None` where the engine
    /// does not compute it.
    pub fn transposed<const D: usize, const N: usize>(
        x: [usize; D],
        weight: [usize; D],
        options: &ConvTransposeOptions<N>,
    ) -> Option<Self> {
        let ([batch, c_in], input) = split::<D, N>(x)?;
        let ([of_weight, c_out], kernel) = split::<D, N>(weight)?;
        let ConvTransposeOptions { stride, padding, padding_out, dilation, groups } = options;
        let mut output = [0; N];
        for axis in 0..N {
            let last = input[axis].checked_sub(1)?.checked_mul(stride[axis])?;
            let reach = kernel[axis].checked_sub(1)?.checked_mul(dilation[axis])?;
            let padded = last.checked_add(reach)?.checked_add(padding_out[axis])?.checked_add(1)?;
            output[axis] = padded.checked_sub(padding[axis].checked_mul(2)?)?;
        }
        let problem = Problem {
            c_in: c_out,
            c_out: c_in,
            input: extent(output, 1),
            kernel: extent(kernel, 1),
            dilation: extent(*dilation, 1),
            stride: extent(*stride, 1),
            padding: [extent(*padding, 0); 2],
        };
        let computed = batch > 0
            && *groups == 1
            && of_weight == c_in
            && problem.check().is_ok()
            && problem.output() == extent(input, 1);
        computed.then_some(Self { problem, batch, transposed: true })
    }

    /// Output channels.
    pub fn c_out(&self) -> usize {
        if self.transposed { self.problem.c_in } else { self.problem.c_out }
    }
}

/// The two axes of channels, and those of the voxels.
fn split<const D: usize, const N: usize>(shape: [usize; D]) -> Option<([usize; 2], [usize; N])> {
    Some((shape[..2].try_into().ok()?, shape[2..].try_into().ok()?))
}

/// Two or three axes as three; a flat image has `flat` along z.
fn extent<const N: usize>(axes: [usize; N], flat: usize) -> Extent {
    let mut all = [flat; 3];
    all[3 - N..].copy_from_slice(&axes);
    all.into()
}
