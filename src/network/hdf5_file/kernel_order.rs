//! The order of the values of a kernel in the file: the first axis is contiguous.

use crate::network::WeightShape;
use crate::volume::Extent;

/// Weights as they are kept here from those of a file.
pub(super) fn from_file(shape: WeightShape, values: &[f32]) -> Vec<f32> {
    shape.from_convolution_order(&transposed(values, shape.kernel))
}

/// Weights as a file has them from those kept here.
pub(super) fn to_file(shape: WeightShape, weights: &[f32]) -> Vec<f32> {
    let Extent { z, y, x } = shape.kernel;
    transposed(&shape.to_convolution_order(weights), Extent::new(x, y, z))
}

/// The weights of a deconvolution as they are kept here from those of a file, which are in the same order but for the axes:
/// `[c_in][c_out]` of the deconvolution, and not flipped, because it spreads what a convolution gathers.
pub(super) fn adjoint_from_file(shape: WeightShape, values: &[f32]) -> Vec<f32> {
    transposed(values, shape.kernel)
}

/// The inverse of [`adjoint_from_file`].
pub(super) fn adjoint_to_file(shape: WeightShape, weights: &[f32]) -> Vec<f32> {
    let Extent { z, y, x } = shape.kernel;
    transposed(weights, Extent::new(x, y, z))
}

/// Each kernel, stored with its first axis contiguous, with its last axis contiguous; `kernel` is the extent of the
/// result. The inverse is the same with the axes of the extent reversed.
fn transposed(values: &[f32], kernel: Extent) -> Vec<f32> {
    let Extent { z, y, x } = kernel;
    let mut result = Vec::with_capacity(values.len());
    for from in values.chunks_exact(kernel.len()) {
        for a in 0..z {
            for b in 0..y {
                result.extend((0..x).map(|c| from[(c * y + b) * z + a]));
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_is_contiguous_and_the_kernel_is_flipped() {
        let shape = WeightShape { c_out: 2, c_in: 3, kernel: Extent::new(2, 3, 4) };
        let values: Vec<f32> = (0..shape.len()).map(|i| i as f32).collect();
        let weights = from_file(shape, &values);
        let k = shape.kernel;
        for (i, o) in [(0, 0), (2, 1), (1, 0)] {
            for (a, b, c) in [(0, 0, 0), (1, 2, 3), (0, 1, 3), (1, 0, 2)] {
                let in_file = (i * 2 + o) * k.len() + (c * 3 + b) * 2 + a;
                let here = (o * 3 + i) * k.len() + k.index(1 - a, 2 - b, 3 - c);
                assert_eq!(weights[here], values[in_file], "{i} {o} {a},{b},{c}");
            }
        }
        assert_eq!(to_file(shape, &weights), values);
    }
}
