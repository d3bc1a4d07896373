//! Products: `to *= from`, and `to = factor * from`.

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// `to[i] *= from[i]`; the slices have one length.
    pub fn multiply(&self, to: &mut [f32], from: &[f32]) {
        assert_eq!(to.len(), from.len());
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().multiply_by)(to.as_mut_ptr(), from.as_ptr(), to.len()) }
    }

    /// `to[i] = factor * from[i]`, or added to `to[i]`; the slices have one length.
    pub fn scaled(&self, factor: f32, from: &[f32], accumulate: bool, to: &mut [f32]) {
        assert_eq!(to.len(), from.len());
        // SAFETY: as above.
        unsafe { (self.table().scaled)(factor, from.as_ptr(), accumulate, to.as_mut_ptr(), to.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the pointers are valid for `len` floats, nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn multiply_by<V: Vector>(to: *mut f32, from: *const f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let n = len - i;
            V::load_first(to.add(i), n).mul(V::load_first(from.add(i), n)).store_first(to.add(i), n);
        }
    }
}

/// # Safety
/// As [`multiply_by`].
#[inline(always)]
pub(crate) unsafe fn scaled<V: Vector>(
    factor: f32,
    from: *const f32,
    accumulate: bool,
    to: *mut f32,
    len: usize,
) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let (n, factor) = (len - i, V::splat(factor));
            let x = V::load_first(from.add(i), n);
            let y = if accumulate { x.mul_add(factor, V::load_first(to.add(i), n)) } else { x.mul(factor) };
            y.store_first(to.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length() {
        let mut random = Random::new(17);
        for kernels in tiers() {
            for len in 0..=70 {
                let (from, before) = (random.floats(len), random.floats(len + 1));
                let mut product = before.clone();
                kernels.multiply(&mut product[..len], &from);
                assert_eq!(product[len], before[len]);
                for i in 0..len {
                    assert_eq!(product[i], before[i] * from[i], "{kernels:?}");
                }
                for accumulate in [false, true] {
                    let mut to = before.clone();
                    kernels.scaled(-1.25, &from, accumulate, &mut to[..len]);
                    assert_eq!(to[len], before[len]);
                    for i in 0..len {
                        let addend = if accumulate { f64::from(before[i]) } else { 0.0 };
                        let expected = addend - 1.25 * f64::from(from[i]);
                        assert!((f64::from(to[i]) - expected).abs() < 3e-7, "{kernels:?}");
                    }
                }
            }
        }
    }
}
