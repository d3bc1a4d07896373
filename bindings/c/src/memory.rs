//! The caller's pointers as what they point to.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use crate::status::Failure;

/// The value that a pointer leads to.
///
/// # Safety
/// It is null, or valid and not written for `'a`.
pub unsafe fn reference<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Failure> {
    check(name, pointer)?;
    // SAFETY: not null and aligned; valid by the caller's contract.
    Ok(unsafe { &*pointer })
}

/// `len` floats that are read.
///
/// # Safety
/// As [`list`].
pub unsafe fn slice<'a>(name: &str, pointer: *const f32, len: usize) -> Result<&'a [f32], Failure> {
    // SAFETY: the caller's contract.
    unsafe { list(name, pointer, len) }
}

/// `len` numbers that are read.
///
/// # Safety
/// The pointer is null, or valid for reads of `len` numbers, of which any bits are one, that nobody writes for `'a`.
pub unsafe fn list<'a, T>(name: &str, pointer: *const T, len: usize) -> Result<&'a [T], Failure> {
    check(name, pointer)?;
    // SAFETY: not null and aligned; valid by the caller's contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// `len` floats that are written, and the arrays that are read meanwhile.
///
/// # Safety
/// The pointer is null, or valid for reads and writes of `len` floats that nobody else touches for `'a`, unless it is
/// by `others`.
pub unsafe fn slice_mut<'a>(
    name: &str,
    pointer: *mut f32,
    len: usize,
    others: &[&[f32]],
) -> Result<&'a mut [f32], Failure> {
    check(name, pointer)?;
    let own = pointer.addr()..pointer.addr() + len * size_of::<f32>();
    for other in others.iter().map(|other| other.as_ptr_range()) {
        if own.start.max(other.start.addr()) < own.end.min(other.end.addr()) {
            return Err(Failure::argument(format!("{name} overlaps another array of the call")));
        }
    }
    // SAFETY: not null, aligned and apart from `others`; valid by the caller's contract. Any bits are a float.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Puts `value` where the caller wants it.
///
/// # Safety
/// The pointer is null, or valid for a write.
pub unsafe fn put<T>(name: &str, pointer: *mut T, value: T) -> Result<(), Failure> {
    check(name, pointer)?;
    // SAFETY: not null and aligned; valid by the caller's contract.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Ends a handle.
///
/// # Safety
/// The pointer is null, or comes from `Box::into_raw` and is not used again.
pub unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's contract.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

/// A file name.
///
/// # Safety
/// The pointer is null, or leads to a text that ends with a zero.
pub unsafe fn path(name: &str, pointer: *const c_char) -> Result<PathBuf, Failure> {
    check(name, pointer)?;
    // SAFETY: not null; valid by the caller's contract.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text.to_str().map_err(|_| Failure::argument(format!("{name} is not UTF-8")))?;
    Ok(PathBuf::from(text))
}

fn check<T>(name: &str, pointer: *const T) -> Result<(), Failure> {
    if pointer.is_null() {
        Err(Failure::argument(format!("{name} is NULL")))
    } else if !pointer.is_aligned() {
        Err(Failure::argument(format!("{name} is not aligned to {} bytes", align_of::<T>())))
    } else {
        Ok(())
    }
}
