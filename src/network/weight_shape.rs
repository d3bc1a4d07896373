//! The shape of a convolution's weights, and their order in memory.

use crate::volume::Extent;

/// The shape `[c_out][c_in][kz][ky][kx]` of the weights of one convolution, in cross-correlation form:
/// `y[o][p] = sum over i, k of W[o][i][k] x[i][p + k * dilation]`.
///
/// ```
/// use znn::Extent;
/// use znn::network::WeightShape;
///
/// let shape = WeightShape { c_out: 8, c_in: 3, kernel: Extent::new(1, 5, 5) };
/// assert_eq!((shape.len(), shape.to_array()), (600, [8, 3, 1, 5, 5]));
/// assert!(!shape.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightShape {
    /// Maps of the output.
    pub c_out: usize,
    /// Maps of the input.
    pub c_in: usize,
    /// The kernel of one pair of maps.
    pub kernel: Extent,
}

impl WeightShape {
    /// The number of weights.
    pub const fn len(&self) -> usize {
        self.c_out * self.c_in * self.kernel.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[c_out, c_in, kz, ky, kx]`.
    pub const fn to_array(&self) -> [usize; 5] {
        [self.c_out, self.c_in, self.kernel.z, self.kernel.y, self.kernel.x]
    }

    /// The weights that do the same, from the order of the original system: `[c_in][c_out][kz][ky][kx]` and true
    /// convolution, `W[o][i][k] = V[i][o][K - 1 - k]`. Panics where the length is not that of the shape.
    #[doc(hidden)]
    pub fn from_convolution_order<T: Copy>(&self, convolution: &[T]) -> Vec<T> {
        self.reordered(convolution, |c_out, c_in| c_in * self.c_out + c_out, (self.c_out, self.c_in))
    }

    /// The inverse of [`WeightShape::from_convolution_order`].
    #[doc(hidden)]
    pub fn to_convolution_order<T: Copy>(&self, correlation: &[T]) -> Vec<T> {
        self.reordered(correlation, |c_in, c_out| c_out * self.c_in + c_in, (self.c_in, self.c_out))
    }

    /// The kernels in the order of an outer and an inner index, each read backwards (which flips all three axes).
    fn reordered<T: Copy>(
        &self,
        from: &[T],
        source: impl Fn(usize, usize) -> usize,
        (outer, inner): (usize, usize),
    ) -> Vec<T> {
        assert_eq!(from.len(), self.len(), "weights of shape {:?}", self.to_array());
        let len = self.kernel.len();
        (0..outer)
            .flat_map(|a| (0..inner).map(move |b| (a, b)))
            .flat_map(|(a, b)| from[source(a, b) * len..][..len].iter().rev().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_order_is_swapped_and_flipped_on_all_axes() {
        let shape = WeightShape { c_out: 3, c_in: 2, kernel: Extent::new(2, 3, 4) };
        let convolution: Vec<usize> = (0..shape.len()).collect();
        let correlation = shape.from_convolution_order(&convolution);
        let k = shape.kernel;
        for o in 0..3 {
            for i in 0..2 {
                for (z, y, x) in [(0, 0, 0), (1, 0, 2), (1, 2, 3), (0, 1, 1)] {
                    let to = (o * 2 + i) * k.len() + k.index(z, y, x);
                    let from = (i * 3 + o) * k.len() + k.index(1 - z, 2 - y, 3 - x);
                    assert_eq!(correlation[to], convolution[from], "W[{o}][{i}][{z},{y},{x}]");
                }
            }
        }
        assert_eq!(shape.to_convolution_order(&correlation), convolution);
    }
}
