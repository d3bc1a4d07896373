//! Floats between two pages that cannot be accessed.

use std::ops::{Deref, DerefMut};

/// Which end of the floats touches a guard page.
#[derive(Clone, Copy)]
pub enum Side {
    Start,
    End,
}

/// A `[f32]` whose start or end is the border of a page without access rights.
pub struct Guarded {
    map: *mut libc::c_void,
    map_bytes: usize,
    data: *mut f32,
    len: usize,
}

impl Guarded {
    pub fn new(from: &[f32], side: Side) -> Self {
        // SAFETY: a query.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page size");
        let bytes = size_of_val(from);
        let inner = bytes.next_multiple_of(page).max(page);
        let map_bytes = inner + 2 * page;
        // SAFETY: a fresh private mapping, of which only the inner pages get access rights.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), map_bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let start = map.byte_add(page);
            assert_eq!(libc::mprotect(start, inner, libc::PROT_READ | libc::PROT_WRITE), 0);
            let data = match side {
                Side::Start => start,
                Side::End => start.byte_add(inner - bytes),
            };
            let data = data.cast::<f32>();
            data.copy_from_nonoverlapping(from.as_ptr(), from.len());
            Self { map, map_bytes, data, len: from.len() }
        }
    }
}

impl Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `new` placed `len` initialised floats there, aligned because page and float sizes are.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; `&mut self` makes the slice unique.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.map, self.map_bytes) };
    }
}
