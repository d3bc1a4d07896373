//! C interface of `znn`, from which `include/znn.h` is generated.
//!
//! Handles are boxes behind opaque pointers. Every function catches panics, so that none unwinds into C, and leaves a
//! text for [`znn_last_error`] where it fails. What the caller must see to is said once, in the header's preamble
//! (`src/preamble.h`).
#![deny(unsafe_code)]

mod conv3d;
mod engine;
mod memory;
mod network;
mod status;

use std::ffi::c_char;

/// The version of the library, as in `0.1.0`. Static.
#[allow(unsafe_code)]
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub extern "C" fn znn_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
