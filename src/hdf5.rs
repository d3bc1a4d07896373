//! HDF5 files: datasets by their paths, with errors that name the file and the dataset.
//!
//! The format is read and written by the crate `hdf5-pure`; no system library is needed. A file is in memory as a
//! whole, and a dataset is read only after its claimed size was compared with the bytes that the file has.

use std::io;
use std::path::{Path, PathBuf};

use hdf5_pure::{DType, Dataset, File, VlenStringReadOptions};
pub use hdf5_pure::{FileBuilder, FinishedGroup, GroupBuilder};

use crate::atomic_file;

/// The most that deflate, the filter of the original system's files, can shrink data: a match of 258 bytes takes at
/// least two bits.
const GREATEST_COMPRESSION: u64 = 1032;
/// The longest text, in bytes: hundreds of times the longest option.
const MAX_TEXT_BYTES: usize = 1 << 16;

/// An HDF5 file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Hdf5Error {
    /// The system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no HDF5 file, or a damaged one.
    #[error("{}: not a complete HDF5 file: {reason}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A group or dataset is not as expected.
    #[error("{}, {object}: {reason}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// The path of the group or dataset in the file.
        object: String,
        /// What was found and what was expected.
        reason: String,
    },
}

/// An HDF5 file in memory.
pub struct Hdf5File {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Hdf5File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Where the system refuses, and as [`from_bytes`](Self::from_bytes).
    pub fn open(path: &Path) -> Result<Self, Hdf5Error> {
        let bytes = std::fs::read(path).map_err(|source| Hdf5Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(path, bytes)
    }

    /// The file that these bytes are; errors call it `path`.
    ///
    /// # Errors
    /// Where they are no HDF5 file.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Hdf5Error> {
        let len = bytes.len() as u64;
        let file = File::from_bytes(bytes)
            .map_err(|error| Hdf5Error::Container { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { path: path.to_owned(), file, bytes: len })
    }

    /// The name of the file in errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error that `object` is not as expected.
    pub fn error(&self, object: &str, reason: impl ToString) -> Hdf5Error {
        Hdf5Error::Object { path: self.path.clone(), object: object.to_owned(), reason: reason.to_string() }
    }

    /// Whether there is a group of this path.
    pub fn has_group(&self, group: &str) -> bool {
        self.file.group(group).is_ok()
    }

    /// Whether there is a dataset of this path.
    pub fn has_dataset(&self, dataset: &str) -> bool {
        self.file.dataset(dataset).is_ok()
    }

    /// The names of the groups in a group, sorted.
    ///
    /// # Errors
    /// Where there is no such group, or it is damaged.
    pub fn groups(&self, group: &str) -> Result<Vec<String>, Hdf5Error> {
        let found = self.file.group(group).and_then(|group| group.groups());
        self.sorted(group, found)
    }

    /// The names of the datasets in a group, sorted.
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub fn datasets(&self, group: &str) -> Result<Vec<String>, Hdf5Error> {
        let found = self.file.group(group).and_then(|group| group.datasets());
        self.sorted(group, found)
    }

    fn sorted(
        &self,
        group: &str,
        names: Result<Vec<String>, hdf5_pure::Error>,
    ) -> Result<Vec<String>, Hdf5Error> {
        let mut names = names.map_err(|error| self.error(group, error))?;
        names.sort();
        Ok(names)
    }

    /// The shape of a dataset; that of a scalar is empty.
    ///
    /// # Errors
    /// Where there is no such dataset, it is damaged, or its shape is absurd.
    pub fn shape(&self, dataset: &str) -> Result<Vec<usize>, Hdf5Error> {
        let fail = |reason: String| self.error(dataset, reason);
        let found = self.dataset(dataset)?;
        let shape = found.shape().map_err(|error| fail(error.to_string()))?;
        let element = found.element_size().map_err(|error| fail(error.to_string()))?;
        let claimed = shape.iter().try_fold(element.max(1), |product, &axis| product.checked_mul(axis));
        let possible = self.bytes.saturating_mul(GREATEST_COMPRESSION);
        match claimed {
            Some(claimed) if claimed <= possible => Ok(shape.iter().map(|&axis| axis as usize).collect()),
            _ => Err(fail(format!(
                "the shape {shape:?} cannot come from a file of {} bytes; is it damaged?",
                self.bytes
            ))),
        }
    }

    /// The shape and the values of a dataset of floats or integers.
    ///
    /// # Errors
    /// As [`shape`](Self::shape), and where it holds anything else.
    pub fn numbers<T: Number>(&self, dataset: &str) -> Result<(Vec<usize>, Vec<T>), Hdf5Error> {
        let shape = self.shape(dataset)?;
        let found = self.dataset(dataset)?;
        let dtype = found.dtype().map_err(|error| self.error(dataset, error))?;
        if !T::is_read_from(&dtype) {
            return Err(self.error(dataset, format!("values of type {dtype}, expected {}", T::EXPECTED)));
        }
        let values = found.read::<T>().map_err(|error| self.error(dataset, error))?;
        if values.len() != shape.iter().product::<usize>() {
            let reason = format!("{} values, expected the shape {shape:?}", values.len());
            return Err(self.error(dataset, reason));
        }
        Ok((shape, values))
    }

    /// The text of a dataset of one string.
    ///
    /// # Errors
    /// As [`shape`](Self::shape), and where it is no single string.
    pub fn text(&self, dataset: &str) -> Result<String, Hdf5Error> {
        let shape = self.shape(dataset)?;
        if shape.iter().product::<usize>() != 1 {
            return Err(self.error(dataset, format!("the shape {shape:?}, expected one string")));
        }
        let found = self.dataset(dataset)?;
        let texts = match found.dtype().map_err(|error| self.error(dataset, error))? {
            DType::String => found.read_string(),
            DType::VariableLengthString => {
                found.read_vlen_strings(VlenStringReadOptions::new().with_max_payload_bytes(MAX_TEXT_BYTES))
            }
            other => return Err(self.error(dataset, format!("values of type {other}, expected a string"))),
        };
        let texts = texts.map_err(|error| self.error(dataset, error))?;
        texts.into_iter().next().ok_or_else(|| self.error(dataset, "no value, expected one string"))
    }

    fn dataset(&self, dataset: &str) -> Result<Dataset, Hdf5Error> {
        self.file.dataset(dataset).map_err(|error| self.error(dataset, error))
    }
}

/// A number as it is asked for.
pub trait Number: hdf5_pure::H5Element {
    /// What may be converted to it, in words.
    const EXPECTED: &'static str;

    /// Whether values of `dtype` are meant as such numbers.
    fn is_read_from(dtype: &DType) -> bool;
}

const fn is_integer(dtype: &DType) -> bool {
    use DType::{I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

const fn is_float(dtype: &DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

impl Number for f32 {
    const EXPECTED: &'static str = "floats of 32 or 64 bits";

    fn is_read_from(dtype: &DType) -> bool {
        is_float(dtype)
    }
}

/// Also from integers, all of which up to 2^53 are exact.
impl Number for f64 {
    const EXPECTED: &'static str = "numbers";

    fn is_read_from(dtype: &DType) -> bool {
        is_float(dtype) || is_integer(dtype)
    }
}

impl Number for i64 {
    const EXPECTED: &'static str = "integers";

    fn is_read_from(dtype: &DType) -> bool {
        is_integer(dtype)
    }
}

/// A group of this name, to be filled and added to a file or another group.
pub fn group(name: &str) -> GroupBuilder {
    FileBuilder::new().create_group(name)
}

/// Adds a dataset of one string to a group, of variable length as h5py writes it.
pub fn write_text(group: &mut GroupBuilder, name: &str, text: &str) {
    group.create_dataset(name).with_vlen_strings(&[text]).with_shape(&[]);
}

/// Writes the file to `path`, replacing what is there as a whole or not at all (see [`atomic_file`]).
///
/// # Errors
/// Where the file system fails, or two objects have one name.
pub fn write(path: &Path, file: FileBuilder) -> Result<(), Hdf5Error> {
    let bytes = file.finish().map_err(|error| Hdf5Error::Io {
        action: "write",
        path: path.to_owned(),
        source: io::Error::other(error.to_string()),
    })?;
    atomic_file::write_bytes(path, &bytes).map_err(|source| Hdf5Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
