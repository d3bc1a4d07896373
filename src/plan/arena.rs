//! The memory of a plan.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Zeroed floats that several tasks reach at once through raw pointers; who may touch what is the business of
/// the plan.
pub(super) struct Arena {
    start: NonNull<f32>,
    layout: Layout,
}

// SAFETY: the arena only owns the memory; every access goes through unsafe code that upholds the plan's order.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `len` floats, at least one. Large arenas start at a huge page and ask for huge pages; no page is touched
    /// here, so that each comes from the memory of the worker that first uses it.
    pub fn new(len: usize) -> Self {
        const HUGE_PAGE: usize = 2 << 20;
        const CACHE_LINE_PAIR: usize = 128;
        let bytes = len.max(1).checked_mul(size_of::<f32>()).expect("arena size overflows");
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE_PAIR };
        let layout = Layout::from_size_align(bytes, align).expect("arena size overflows");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { handle_alloc_error(layout) };
        #[cfg(all(target_os = "linux", not(miri)))]
        if bytes >= HUGE_PAGE {
            // SAFETY: the range is ours; the advice changes no content. Failure only means ordinary pages.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Self { start, layout }
    }

    /// The float at `offset`, which must be within the arena (or its end).
    pub fn at(&self, offset: usize) -> *mut f32 {
        debug_assert!(offset * size_of::<f32>() <= self.layout.size());
        self.start.as_ptr().wrapping_add(offset)
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) }
    }
}
