//! `to *= factor`.

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// `to[i] *= factor`.
    pub fn scale(&self, to: &mut [f32], factor: f32) {
        // SAFETY: the tier exists, as `self` proves; the pointer is valid for `len` floats.
        unsafe { (self.table().scale)(to.as_mut_ptr(), factor, to.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `to` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn scale<V: Vector>(to: *mut f32, factor: f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: every access is below `len` by the count.
        unsafe {
            let n = len - i;
            V::load_first(to.add(i), n).mul(V::splat(factor)).store_first(to.add(i), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Random, tiers};

    #[test]
    fn every_length() {
        let mut random = Random::new(7);
        for kernels in tiers() {
            for len in 0..=70 {
                let before = random.floats(len + 1);
                let mut after = before.clone();
                kernels.scale(&mut after[..len], -1.25);
                assert_eq!(after[len], before[len]);
                assert!(after[..len].iter().zip(&before).all(|(a, b)| *a == b * -1.25), "{kernels:?}");
            }
        }
    }
}
