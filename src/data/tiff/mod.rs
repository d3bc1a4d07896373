//! Multi-page TIFF: one page for each section.
//!
//! [`read`] takes what microscopes and annotation tools write: strips or tiles, uncompressed, LZW, deflate or
//! PackBits, either byte order, classic or BigTIFF, gray values of 8, 16 or 32 bits, integer or float.
//! [`read_labels`] also takes 8-bit RGB pages, in which segment ids are stored as `r * 65536 + g * 256 + b`.
//! [`Writer`] writes section by section, so that a volume need not be in memory at once, and [`write()`] a whole
//! volume. A file appears under its name only when it is complete.

mod read;
mod write;

pub use read::{read, read_labels};
pub use write::{Writer, write};

/// How a voxel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleType {
    /// 8 bits: values are rounded and limited to 0..=255, NaN becomes 0.
    U8,
    /// 16 bits: values are rounded and limited to 0..=65535, NaN becomes 0.
    U16,
    /// 32-bit float, exact.
    F32,
}

impl SampleType {
    /// Bytes of one voxel.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}
