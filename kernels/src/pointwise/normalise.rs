//! Rows made to have another mean and deviation, and the gradient.

use super::transfer::{Transfer, apply};
use crate::Kernels;
use crate::vector::Vector;

/// `(x - centre) * factor + addend`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// What is subtracted first.
    pub centre: f32,
    /// The factor.
    pub factor: f32,
    /// What is added last.
    pub addend: f32,
}

impl Kernels {
    /// `y[i] = f((x[i] - centre) * factor + addend)`; without `x`, `y` is its own.
    pub fn affine_transfer(&self, t: Transfer, affine: Affine, x: Option<&[f32]>, y: &mut [f32]) {
        let to = y.as_mut_ptr();
        let from = x.map_or(to.cast_const(), |x| {
            assert_eq!(x.len(), y.len());
            x.as_ptr()
        });
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().affine_transfer)(t, affine, from, to, y.len()) }
    }

    /// `g[i] = g[i] * slope + (x[i] - centre) * factor + addend`; the slices have one length.
    pub fn affine_gradient(&self, slope: f32, affine: Affine, x: &[f32], g: &mut [f32]) {
        assert_eq!(x.len(), g.len());
        // SAFETY: as above.
        unsafe { (self.table().affine_gradient)(slope, affine, x.as_ptr(), g.as_mut_ptr(), g.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, and are the same or do not overlap.
#[inline(always)]
pub(crate) unsafe fn affine_transfer<V: Vector>(
    t: Transfer,
    affine: Affine,
    x: *const f32,
    y: *mut f32,
    len: usize,
) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let Affine { centre, factor, addend } = affine;
        let (centre, factor, addend) = (V::splat(centre), V::splat(factor), V::splat(addend));
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            let x = V::load_first(x.add(i), n).sub(centre).mul_add(factor, addend);
            apply(t, x).store_first(y.add(i), n);
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn affine_gradient<V: Vector>(
    slope: f32,
    affine: Affine,
    x: *const f32,
    g: *mut f32,
    len: usize,
) {
    // SAFETY: every access is below `len` by the count.
    unsafe {
        let Affine { centre, factor, addend } = affine;
        let (centre, factor, addend) = (V::splat(centre), V::splat(factor), V::splat(addend));
        for i in (0..len).step_by(V::LANES) {
            let n = len - i;
            let x = V::load_first(x.add(i), n).sub(centre).mul_add(factor, addend);
            V::load_first(g.add(i), n).mul_add(V::splat(slope), x).store_first(g.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length() {
        let mut random = Random::new(19);
        let affine = Affine { centre: 0.25, factor: -1.5, addend: 0.5 };
        for kernels in tiers() {
            for len in 0..=70 {
                let (x, before) = (random.floats(len), random.floats(len + 1));
                let straight = |x: f32| (f64::from(x) - 0.25) * -1.5 + 0.5;
                for in_place in [false, true] {
                    let mut y = before.clone();
                    if in_place {
                        y[..len].copy_from_slice(&x);
                    }
                    let from = (!in_place).then_some(&x[..]);
                    kernels.affine_transfer(Transfer::RectifyLinear, affine, from, &mut y[..len]);
                    assert_eq!(y[len], before[len]);
                    for i in 0..len {
                        assert!((f64::from(y[i]) - straight(x[i]).max(0.0)).abs() < 5e-7, "{kernels:?}");
                    }
                }
                let mut g = before.clone();
                kernels.affine_gradient(0.75, affine, &x, &mut g[..len]);
                assert_eq!(g[len], before[len]);
                for i in 0..len {
                    let expected = 0.75 * f64::from(before[i]) + straight(x[i]);
                    assert!((f64::from(g[i]) - expected).abs() < 5e-7, "{kernels:?}");
                }
            }
        }
    }
}
