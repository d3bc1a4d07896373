//! The transforms of one axis: Cook-Toom bilinear algorithms F(m, k) for m outputs of a k-tap correlation.
//!
//! `y = A'[(G g) . (B' d)]` for a tile `d` of `m + k - 1` inputs. F(4,3) takes the points 0, 1, -1, 1/2, -2 and infinity:
//! all entries of A and B are then exact in binary and small, which halves the error of the customary 0, +-1, +-2
//! (error analysis in arXiv 1803.10986). The factored forms below take 14 operations for B', 12 for A'.

use core::marker::PhantomData;

use crate::vector::Vector;

/// The most points of an axis.
pub(crate) const MAX_POINTS: usize = 6;

/// One of the algorithms. Of the arrays only the first [`POINTS`](Axis::POINTS), [`OUTPUTS`](Axis::OUTPUTS) or
/// [`TAPS`](Axis::TAPS) elements count.
///
/// All methods are inlined into functions that enable the tier of `V`; an existing `V` is the proof that it is there.
pub(crate) trait Axis {
    /// Outputs of a tile: m.
    const OUTPUTS: usize;
    /// Taps of the kernel: k.
    const TAPS: usize;
    /// Inputs of a tile, and products: m + k - 1.
    const POINTS: usize = Self::OUTPUTS + Self::TAPS - 1;

    /// `B' d`: inputs to points.
    fn input<V: Vector>(d: [V; 6]) -> [V; 6];
    /// `A' m`: points to outputs.
    fn output<V: Vector>(m: [V; 6]) -> [V; 4];
    /// `G g`: taps to points.
    fn kernel<V: Vector>(g: [V; 3]) -> [V; 6];
    /// `A y`: gradients of outputs to points.
    fn output_gradient<V: Vector>(y: [V; 4]) -> [V; 6];
    /// `G' m`: points to gradients of taps.
    fn kernel_gradient<V: Vector>(m: [V; 6]) -> [V; 3];
}

/// F(1,1): an axis along which the kernel has one tap.
pub(crate) struct F11;
/// F(2,3), points 0, 1, -1, infinity.
pub(crate) struct F23;
/// F(4,3), points 0, 1, -1, 1/2, -2, infinity.
pub(crate) struct F43;

#[inline(always)]
fn number<V: Vector>(value: f32) -> V {
    // SAFETY: the methods that call this have values of `V`, which prove its tier.
    unsafe { V::splat(value) }
}

impl Axis for F11 {
    const OUTPUTS: usize = 1;
    const TAPS: usize = 1;

    #[inline(always)]
    fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        d
    }
    #[inline(always)]
    fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        [m[0]; 4]
    }
    #[inline(always)]
    fn kernel<V: Vector>(g: [V; 3]) -> [V; 6] {
        [g[0]; 6]
    }
    #[inline(always)]
    fn output_gradient<V: Vector>(y: [V; 4]) -> [V; 6] {
        [y[0]; 6]
    }
    #[inline(always)]
    fn kernel_gradient<V: Vector>(m: [V; 6]) -> [V; 3] {
        [m[0]; 3]
    }
}

impl Axis for F23 {
    const OUTPUTS: usize = 2;
    const TAPS: usize = 3;

    #[inline(always)]
    fn input<V: Vector>([d0, d1, d2, d3, ..]: [V; 6]) -> [V; 6] {
        [d0.sub(d2), d1.add(d2), d2.sub(d1), d3.sub(d1), d0, d0]
    }
    #[inline(always)]
    fn output<V: Vector>([m0, m1, m2, m3, ..]: [V; 6]) -> [V; 4] {
        [m0.add(m1.add(m2)), m1.sub(m2).add(m3), m0, m0]
    }
    #[inline(always)]
    fn kernel<V: Vector>([g0, g1, g2]: [V; 3]) -> [V; 6] {
        let even = g0.add(g2);
        let half = number::<V>(0.5);
        [g0, even.add(g1).mul(half), even.sub(g1).mul(half), g2, g0, g0]
    }
    #[inline(always)]
    fn output_gradient<V: Vector>([y0, y1, ..]: [V; 4]) -> [V; 6] {
        [y0, y0.add(y1), y0.sub(y1), y1, y0, y0]
    }
    #[inline(always)]
    fn kernel_gradient<V: Vector>([m0, m1, m2, m3, ..]: [V; 6]) -> [V; 3] {
        let half = number::<V>(0.5);
        let even = m1.add(m2);
        [even.mul_add(half, m0), m1.sub(m2).mul(half), even.mul_add(half, m3)]
    }
}

impl Axis for F43 {
    const OUTPUTS: usize = 4;
    const TAPS: usize = 3;

    // With q(k) = d[k+2] + 3/2 d[k+1] - d[k], which vanishes at the points 1/2 and -2, and r(k) = d[k+3] - d[k+1],
    // which does at 0, 1 and -1.
    #[inline(always)]
    fn input<V: Vector>([d0, d1, d2, d3, d4, d5]: [V; 6]) -> [V; 6] {
        let slope = number::<V>(1.5);
        let (r0, r1) = (d3.sub(d1), d4.sub(d2));
        let q0 = d1.mul_add(slope, d2.sub(d0));
        let q1 = d2.mul_add(slope, r0);
        let q2 = d3.mul_add(slope, r1);
        let q3 = d4.mul_add(slope, d5.sub(d3));
        [
            q2.sub(q0),
            q2.add(q1),
            q2.sub(q1),
            r0.mul_add(number(2.0), r1),
            r0.mul_add(number(-0.5), r1),
            q3.sub(q1),
        ]
    }
    #[inline(always)]
    fn output<V: Vector>([m0, m1, m2, m3, m4, m5]: [V; 6]) -> [V; 4] {
        let (even, odd) = (m1.add(m2), m1.sub(m2));
        [
            m0.add(even).add(m3.add(m4)),
            m4.mul_add(number(-2.0), m3.mul_add(number(0.5), odd)),
            m4.mul_add(number(4.0), m3.mul_add(number(0.25), even)),
            m4.mul_add(number(-8.0), m3.mul_add(number(0.125), odd)).add(m5),
        ]
    }
    #[inline(always)]
    fn kernel<V: Vector>([g0, g1, g2]: [V; 3]) -> [V; 6] {
        let third = number::<V>(1.0 / 3.0);
        let even = g0.add(g2);
        let at_half = g2.mul_add(number(0.25), g1.mul_add(number(0.5), g0));
        let at_minus_two = g2.mul_add(number(4.0), g1.mul_add(number(-2.0), g0));
        [
            g0,
            even.add(g1).mul(third),
            g1.sub(even).mul(third),
            at_half.mul(number(-16.0 / 15.0)),
            at_minus_two.mul(number(1.0 / 15.0)),
            g2,
        ]
    }
    #[inline(always)]
    fn output_gradient<V: Vector>([y0, y1, y2, y3]: [V; 4]) -> [V; 6] {
        let (even, odd) = (y0.add(y2), y1.add(y3));
        let half_tail = y3.mul_add(number(0.125), y2.mul(number(0.25)));
        let minus_two_tail = y3.mul_add(number(-8.0), y2.mul(number(4.0)));
        [
            y0,
            even.add(odd),
            even.sub(odd),
            y1.mul_add(number(0.5), y0).add(half_tail),
            y1.mul_add(number(-2.0), y0).add(minus_two_tail),
            y3,
        ]
    }
    #[inline(always)]
    fn kernel_gradient<V: Vector>([m0, m1, m2, m3, m4, m5]: [V; 6]) -> [V; 3] {
        let third = number::<V>(1.0 / 3.0);
        let (even, odd) = (m1.sub(m2).mul(third), m1.add(m2).mul(third));
        let half = m3.mul(number(-16.0 / 15.0));
        let minus_two = m4.mul(number(1.0 / 15.0));
        [
            m0.add(even).add(half.add(minus_two)),
            minus_two.mul_add(number(-2.0), half.mul_add(number(0.5), odd)),
            minus_two.mul_add(number(4.0), half.mul_add(number(0.25), even)).add(m5),
        ]
    }
}

/// What of a tile is taken to its points.
pub(crate) trait Elements {
    /// Elements from one tile to the next.
    const STEP: usize;
    /// Elements of a tile.
    const COUNT: usize;
    /// Points of a tile.
    const POINTS: usize;

    /// Elements to points.
    fn points<V: Vector>(elements: [V; 6]) -> [V; 6];
}

/// The inputs of a tile, which share some with the next one.
pub(crate) struct Inputs<A>(PhantomData<A>);
/// The gradients of a tile's outputs.
pub(crate) struct Gradients<A>(PhantomData<A>);

impl<A: Axis> Elements for Inputs<A> {
    const STEP: usize = A::OUTPUTS;
    const COUNT: usize = A::POINTS;
    const POINTS: usize = A::POINTS;

    #[inline(always)]
    fn points<V: Vector>(elements: [V; 6]) -> [V; 6] {
        A::input(elements)
    }
}

impl<A: Axis> Elements for Gradients<A> {
    const STEP: usize = A::OUTPUTS;
    const COUNT: usize = A::OUTPUTS;
    const POINTS: usize = A::POINTS;

    #[inline(always)]
    fn points<V: Vector>([y0, y1, y2, y3, ..]: [V; 6]) -> [V; 6] {
        A::output_gradient([y0, y1, y2, y3])
    }
}

/// Runs an expression with the axis of so many outputs and taps as the type `$axis`.
macro_rules! with_axis {
    ($outputs:expr, $taps:expr, $axis:ident => $body:expr) => {
        match ($outputs, $taps) {
            (1, 1) => {
                type $axis = $crate::winograd::axis::F11;
                $body
            }
            (2, 3) => {
                type $axis = $crate::winograd::axis::F23;
                $body
            }
            (4, 3) => {
                type $axis = $crate::winograd::axis::F43;
                $body
            }
            _ => unreachable!("`Shape` admits no other axes"),
        }
    };
}
pub(crate) use with_axis;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::F32x4;

    /// One number in all lanes.
    fn lanes<const N: usize>(values: [f32; N]) -> [F32x4; N] {
        values.map(number)
    }

    fn first<const N: usize>(vectors: [F32x4; N]) -> [f32; N] {
        vectors.map(|vector| {
            let mut lanes = [0.0; 4];
            // SAFETY: four floats for four lanes.
            unsafe { vector.store(lanes.as_mut_ptr()) };
            lanes[0]
        })
    }

    fn unit<const N: usize>(at: usize) -> [f32; N] {
        core::array::from_fn(|i| if i == at { 1.0 } else { 0.0 })
    }

    /// On units (and hence on all numbers): the bilinear algorithm is the correlation.
    fn is_correlation<A: Axis>() {
        for i in 0..A::POINTS {
            for k in 0..A::TAPS {
                let (d, g) = (A::input(lanes(unit(i))), A::kernel(lanes(unit(k))));
                let products = core::array::from_fn(|p| if p < A::POINTS { d[p].mul(g[p]) } else { d[p] });
                let y = first(A::output(products));
                for (o, &y) in y.iter().enumerate().take(A::OUTPUTS) {
                    let expected = if i == o + k { 1.0 } else { 0.0 };
                    assert!((y - expected).abs() < 1e-6, "y[{o}] of d[{i}] g[{k}] is {y}");
                }
            }
        }
    }

    /// `<transform(x), p> = <x, adjoint(p)>` for units.
    fn are_adjoint<const N: usize, const M: usize>(
        (inputs, outputs): (usize, usize),
        transform: impl Fn([F32x4; N]) -> [F32x4; M],
        adjoint: impl Fn([F32x4; M]) -> [F32x4; N],
    ) {
        for i in 0..inputs {
            for o in 0..outputs {
                let there = first(transform(lanes(unit(i))))[o];
                let back = first(adjoint(lanes(unit(o))))[i];
                assert!((there - back).abs() < 1e-6, "element ({o}, {i}) is {there}, and {back} transposed");
            }
        }
    }

    fn check<A: Axis>() {
        is_correlation::<A>();
        are_adjoint((A::POINTS, A::OUTPUTS), A::output, A::output_gradient);
        are_adjoint((A::TAPS, A::POINTS), A::kernel, A::kernel_gradient);
    }

    #[test]
    fn algorithms_are_correlations_and_their_gradients_adjoint() {
        check::<F11>();
        check::<F23>();
        check::<F43>();
    }
}
