//! `to += from`.

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// `to[i] += from[i]`; the slices have one length.
    pub fn add(&self, to: &mut [f32], from: &[f32]) {
        assert_eq!(to.len(), from.len());
        // SAFETY: the tier exists, as `self` proves; both pointers are valid for `len` floats.
        unsafe { (self.table().add)(to.as_mut_ptr(), from.as_ptr(), to.len()) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `to` and `from` are valid for `len` floats and do not overlap.
#[inline(always)]
pub(crate) unsafe fn add<V: Vector>(to: *mut f32, from: *const f32, len: usize) {
    let whole = len - len % V::LANES;
    // SAFETY: every access is below `len`, the tail by its mask.
    unsafe {
        let mut i = 0;
        while i < whole {
            V::load(to.add(i)).add(V::load(from.add(i))).store(to.add(i));
            i += V::LANES;
        }
        if i < len {
            let tail = V::first(len - i);
            V::load_masked(to.add(i), tail)
                .add(V::load_masked(from.add(i), tail))
                .store_masked(to.add(i), tail);
        }
    }
}
