//! Errors that several modules share.

pub use crate::data::ini::IniError;
pub use crate::fft::FftError;
pub use crate::hdf5::Hdf5Error;
pub use crate::machine::memory::{Bytes, TooLittleMemory, UnknownBytes};
pub use crate::network::hdf5_file::Hdf5FileError;
pub use crate::plan::PlanError;
pub use crate::pool::PoolError;
pub use crate::train::report::metrics::MetricsError;
pub use crate::train::report::picture::PictureError;
