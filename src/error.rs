//! Errors that several modules share.
//!
//! They come with a text that names the place and what was expected:
//!
//! ```
//! use znn::error::{Bytes, Remark, TooLittleMemory, UnknownBytes};
//! use znn::error::{FftError, Hdf5Error, Hdf5FileError, IniError, MetricsError, PictureError, PlanError, PoolError};
//!
//! let needed: Bytes = "96G".parse()?;
//! let error = TooLittleMemory { needed, available: Bytes(64 << 30) };
//! assert_eq!(error.to_string(), "96.0 GiB of memory are needed, but this machine has 64.0 GiB");
//! assert_eq!("much".parse::<Bytes>().unwrap_err().to_string(), "expected a number of bytes such as 500M or 2G, found `much`");
//!
//! let path = || "run".into();
//! let io = || std::io::Error::other("no space is left");
//! let errors: [Box<dyn std::error::Error>; 8] = [
//!     Box::new(FftError::Empty(znn::Extent::ZERO)),
//!     Box::new(Hdf5Error::Io { action: "write", path: path(), source: io() }),
//!     Box::new(Hdf5FileError::Hdf5(Hdf5Error::Container { path: path(), reason: "it is empty".to_owned() })),
//!     Box::new(IniError::Line(Remark { path: path(), line: 7, message: "expected a number".to_owned() })),
//!     Box::new(MetricsError::Io { path: path(), action: "append to", source: io() }),
//!     Box::new(PictureError::Write { path: path(), source: io() }),
//!     Box::new(PlanError { task: "first forward".to_owned(), message: "index out of bounds".to_owned() }),
//!     Box::new(PoolError::NoThread),
//! ];
//! assert_eq!(errors[6].to_string(), "task `first forward` failed: index out of bounds");
//! assert!(errors.iter().all(|error| !error.to_string().is_empty()));
//! # Ok::<(), UnknownBytes>(())
//! ```

pub use crate::data::ini::{IniError, Remark};
pub use crate::fft::FftError;
pub use crate::hdf5::Hdf5Error;
pub use crate::machine::memory::{Bytes, TooLittleMemory, UnknownBytes};
pub use crate::network::hdf5_file::Hdf5FileError;
pub use crate::plan::PlanError;
pub use crate::pool::PoolError;
pub use crate::train::report::metrics::MetricsError;
pub use crate::train::report::picture::PictureError;
