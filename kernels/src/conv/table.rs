//! Tables of offsets in scratch memory, since their length is not known when the crate is compiled.

/// An entry of a table: plain numbers, of the size of some floats and of no stricter alignment.
pub(crate) trait Entry: Copy {}

/// Floats of memory that a table of `entries` takes.
pub(crate) const fn floats<T: Entry>(entries: usize) -> usize {
    const { assert!(align_of::<T>() <= align_of::<f32>() && size_of::<T>().is_multiple_of(size_of::<f32>())) };
    entries * (size_of::<T>() / size_of::<f32>())
}

/// A table of `entries` in `memory`.
///
/// # Panics
/// Where `memory` is too small.
pub(crate) fn write<T: Entry>(memory: &mut [f32], entries: impl Iterator<Item = T>) -> &[T] {
    let most = memory.len() / floats::<T>(1);
    let table = memory.as_mut_ptr().cast::<T>();
    let mut count = 0;
    for entry in entries {
        assert!(count < most, "memory of a table");
        // SAFETY: `memory` has room for `most` entries, whose alignment is that of f32.
        unsafe { table.add(count).write(entry) }
        count += 1;
    }
    // SAFETY: just written, within `memory`, which is borrowed for as long as the table.
    unsafe { core::slice::from_raw_parts(table, count) }
}
