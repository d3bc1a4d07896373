//! Sums over a row. Blocks are summed in f32 by many short chains, the blocks in f64.

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// The sum of `x[i] - centre`, and of its square.
    pub fn deviations(&self, x: &[f32], centre: f32) -> [f64; 2] {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().deviations)(x.as_ptr(), centre, x.len()) }
    }

    /// The sum of `g[i] * (x[i] - centre)`; the slices have one length.
    pub fn centred_dot(&self, g: &[f32], x: &[f32], centre: f32) -> f64 {
        assert_eq!(g.len(), x.len());
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().centred_dot)(g.as_ptr(), x.as_ptr(), centre, x.len()) }
    }
}

/// The sums over `0..len` of what `terms` gives for each place of a vector and its number of lanes, zero in the others.
///
/// # Safety
/// The tier of `V` is enabled in the caller.
#[inline(always)]
pub(super) unsafe fn sums<V: Vector, const K: usize>(
    len: usize,
    terms: impl Fn(usize, usize) -> [V; K],
) -> [f64; K] {
    /// Chains of additions side by side: they hide the latency, and each is short.
    const CHAINS: usize = 4;
    /// Vectors that one chain adds before the block goes into the f64 total.
    const LINKS: usize = 16;
    let mut totals = [0.0; K];
    let mut start = 0;
    while start < len {
        let end = len.min(start + CHAINS * LINKS * V::LANES);
        // SAFETY: the caller's contract.
        let mut chains = [[unsafe { V::zero() }; K]; CHAINS];
        let mut i = start;
        while i + CHAINS * V::LANES <= end {
            for chain in &mut chains {
                let found = terms(i, V::LANES);
                for (sum, term) in chain.iter_mut().zip(found) {
                    *sum = sum.add(term);
                }
                i += V::LANES;
            }
        }
        while i < end {
            for (sum, term) in chains[0].iter_mut().zip(terms(i, end - i)) {
                *sum = sum.add(term);
            }
            i += V::LANES;
        }
        for (k, total) in totals.iter_mut().enumerate() {
            let [a, b, c, d] = chains.map(|chain| chain[k]);
            *total += f64::from(a.add(b).add(c.add(d)).reduce_add());
        }
        start = end;
    }
    totals
}

/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn deviations<V: Vector>(x: *const f32, centre: f32, len: usize) -> [f64; 2] {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        sums::<V, 2>(len, |i, n| {
            let off = V::load_first(x.add(i), n).sub(V::splat(centre)).select(V::first(n), V::zero());
            [off, off.mul(off)]
        })
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `g` and `x` are valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn centred_dot<V: Vector>(g: *const f32, x: *const f32, centre: f32, len: usize) -> f64 {
    // SAFETY: every access is below `len` by the count; lanes beyond it have a `g` of 0.
    unsafe {
        let [sum] = sums::<V, 1>(len, |i, n| {
            [V::load_first(g.add(i), n).mul(V::load_first(x.add(i), n).sub(V::splat(centre)))]
        });
        sum
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length() {
        let mut random = Random::new(18);
        for kernels in tiers() {
            for len in (0..=70).chain([1023, 1024, 1025, 5000, 300_001]) {
                let (x, g) = (random.floats(len), random.floats(len));
                let off = |i: usize| f64::from(x[i]) - 0.25;
                let expected: f64 = (0..len).map(off).sum();
                let squares: f64 = (0..len).map(|i| off(i).powi(2)).sum();
                let dot: f64 = (0..len).map(|i| f64::from(g[i]) * off(i)).sum();
                let bound = 2e-7 * (1.0 + len as f64);
                let [sum, square] = kernels.deviations(&x, 0.25);
                assert!((sum - expected).abs() <= bound, "{kernels:?} {len}: {sum} for {expected}");
                assert!((square - squares).abs() <= bound, "{kernels:?} {len}: {square} for {squares}");
                let found = kernels.centred_dot(&g, &x, 0.25);
                assert!((found - dot).abs() <= bound, "{kernels:?} {len}: {found} for {dot}");
            }
        }
    }
}
