//! Multi-page TIFF: one page for each section.
//!
//! `read` takes what microscopes and annotation tools write: strips or tiles, uncompressed, LZW, deflate or
//! PackBits, either byte order, classic or BigTIFF, gray values of 8 to 64 bits, integer or float.
//! A [`Stack`] also takes 8-bit RGB pages, in which segment ids are stored as `r * 65536 + g * 256 + b`.
//! [`Writer`] writes section by section, so that a volume need not be in memory at once, and [`write()`] a whole
//! volume. A file appears under its name only when it is complete.

mod read;
mod write;

pub use read::{Stack, read};
pub use write::{Writer, write};
