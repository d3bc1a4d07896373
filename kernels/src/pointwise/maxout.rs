//! The element-wise maximum over several edges, one edge after the other.

use crate::Kernels;
use crate::vector::Vector;
use crate::words::{Words, load_bytes_within};

impl Kernels {
    /// Where `from[i]` is larger than `to[i]` or NaN: `to[i] = from[i]` and `winners[i] = edge`.
    ///
    /// The first edge is a copy with its number in all of `winners`; after the last one `to` is the maximum,
    /// and of equal values the earliest edge has won. A NaN is never lost. The slices have one length.
    pub fn max_merge(&self, edge: u8, from: &[f32], to: &mut [f32], winners: &mut [u8]) {
        assert_eq!(from.len(), to.len());
        assert_eq!(winners.len(), to.len());
        // SAFETY: the tier exists, as `self` proves; all pointers are valid for `len` elements.
        unsafe {
            (self.table().max_merge)(edge, from.as_ptr(), to.as_mut_ptr(), winners.as_mut_ptr(), to.len())
        }
    }

    /// The gradient by the input of one edge: `dx[i]` becomes `g[i]` where `winners[i] == edge`, else 0; with
    /// `accumulate` it is added to. The slices have one length.
    pub fn max_merge_backward(&self, edge: u8, winners: &[u8], g: &[f32], accumulate: bool, dx: &mut [f32]) {
        assert_eq!(winners.len(), dx.len());
        assert_eq!(g.len(), dx.len());
        // SAFETY: the tier exists, as `self` proves; all pointers are valid for `len` elements.
        unsafe {
            (self.table().max_merge_backward)(
                edge,
                winners.as_ptr(),
                g.as_ptr(),
                accumulate,
                dx.as_mut_ptr(),
                dx.len(),
            )
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` elements, nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn max_merge<V: Vector>(
    edge: u8,
    from: *const f32,
    to: *mut f32,
    winners: *mut u8,
    len: usize,
) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len`: by the count, or because the byte functions see to it.
        unsafe {
            let n = len - i;
            let (candidate, best) = (V::load_first(from.add(i), n), V::load_first(to.add(i), n));
            let wins = candidate.exceeds(best);
            candidate.select(wins, best).store_first(to.add(i), n);
            let winner: V::Words = load_bytes_within(winners, len, i);
            V::Words::splat(u32::from(edge)).select(wins, winner).store_bytes(winners.add(i), n);
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` elements, nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn max_merge_backward<V: Vector>(
    edge: u8,
    winners: *const u8,
    g: *const f32,
    accumulate: bool,
    dx: *mut f32,
    len: usize,
) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len`: by the count, or because the byte function sees to it.
        unsafe {
            let n = len - i;
            let winner: V::Words = load_bytes_within(winners, len, i);
            let won = winner.equal(V::Words::splat(u32::from(edge)));
            let start = if accumulate { V::load_first(dx.add(i), n) } else { V::zero() };
            start.add_masked(won, V::load_first(g.add(i), n)).store_first(dx.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn three_edges_give_the_maximum_and_share_the_gradient() {
        let mut random = Random::new(8);
        for kernels in tiers() {
            for len in 0..=70 {
                let mut edges: Vec<Vec<f32>> = (0..3).map(|_| random.ties(len)).collect();
                if len > 4 {
                    edges[1][len / 2] = f32::NAN;
                }
                let (mut y, mut winners) = (edges[0].clone(), vec![0; len]);
                for (edge, x) in edges.iter().enumerate().skip(1) {
                    kernels.max_merge(edge as u8, x, &mut y, &mut winners);
                }
                let (g, before) = (random.floats(len), random.floats(len));
                for (edge, x) in edges.iter().enumerate() {
                    let (mut dx, mut added) = (vec![9.0; len], before.clone());
                    kernels.max_merge_backward(edge as u8, &winners, &g, false, &mut dx);
                    kernels.max_merge_backward(edge as u8, &winners, &g, true, &mut added);
                    for i in 0..len {
                        let mut first = 0;
                        for other in 1..3 {
                            if edges[other][i] > edges[first][i] || edges[other][i].is_nan() {
                                first = other;
                            }
                        }
                        assert_eq!(y[i].to_bits(), edges[first][i].to_bits(), "{kernels:?} {len}");
                        assert_eq!(winners[i], first as u8, "{kernels:?} {len} {x:?}");
                        let expected = if first == edge { g[i] } else { 0.0 };
                        assert_eq!((dx[i], added[i]), (expected, before[i] + expected), "{kernels:?} {len}");
                    }
                }
            }
        }
    }
}
