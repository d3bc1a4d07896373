//! HDF5 files: datasets by their paths, with errors that name the file and the dataset.
//!
//! The format is read and written by the crate `hdf5-pure`; no system library is needed. A dataset is read only after its
//! claimed size was compared with the bytes that the file has.

use std::io;
use std::path::{Path, PathBuf};

pub use hdf5_pure::AttrValue;
use hdf5_pure::{DType, Dataset, Datatype, DatatypeByteOrder, File, Layout, VlenStringReadOptions};
pub use hdf5_pure::{FileBuilder, FinishedGroup, GroupBuilder};

use crate::atomic_file;
use crate::volume::{ByteOrder, NumberType};

/// The most that deflate, the filter of the original system's files, can shrink data: a match of 258 bytes takes at
/// least two bits.
const GREATEST_COMPRESSION: u64 = 1032;
/// A chunk of so many bytes is nothing unusual, however little is in it.
const GREATEST_CHUNK: u64 = 1 << 26;
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

/// Where the numbers of a dataset lie in the file.
pub enum Storage {
    /// One after the other from this byte on.
    Contiguous(u64),
    /// In chunks.
    Chunked {
        /// The axes of a chunk.
        chunk: Vec<usize>,
        /// The numbers of the filters in the order of writing: 1 deflate, 2 shuffle, 3 Fletcher's sum.
        filters: Vec<u16>,
        /// The chunks that are there.
        chunks: Vec<StoredChunk>,
    },
    /// In another way, in which only the whole dataset can be read.
    Other,
}

/// A chunk of a dataset.
pub struct StoredChunk {
    /// Its first element, by axes.
    pub first: Vec<u64>,
    /// The first byte in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Filters that were left out, by bits in the order of writing.
    pub left_out: u32,
}

/// An HDF5 file, in memory or on the disk.
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

    /// Opens the file at `path`; what is asked for is read from the disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on_disk(path: &Path) -> Result<Self, Hdf5Error> {
        let io = |source| Hdf5Error::Io { action: "read", path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        let file = File::open_streaming(path)
            .map_err(|error| Hdf5Error::Container { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { path: path.to_owned(), file, bytes })
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
        let possible = self.bytes.saturating_mul(GREATEST_COMPRESSION);
        let fits = |axes: &[u64], most: u64| {
            let claimed = axes.iter().try_fold(element.max(1), |product, &axis| product.checked_mul(axis));
            claimed.is_some_and(|claimed| claimed <= most)
        };
        let absurd = |what: &str, axes: &[u64]| {
            fail(format!(
                "the {what} {axes:?} cannot come from a file of {} bytes; is it damaged?",
                self.bytes
            ))
        };
        if !fits(&shape, possible) {
            return Err(absurd("shape", &shape));
        }
        if let Ok(Layout::Chunked { chunk_shape, .. }) = found.layout() {
            // A chunk may be larger than what is in it.
            if !fits(&chunk_shape, possible.max(GREATEST_CHUNK)) {
                return Err(absurd("chunk", &chunk_shape));
            }
        }
        Ok(shape.iter().map(|&axis| axis as usize).collect())
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
        // The library takes the memory of a chunk before it looks whether the file has so many bytes.
        let chunks = found.chunks().unwrap_or_default();
        if let Some(chunk) = chunks.iter().find(|chunk| chunk.storage_size > self.bytes) {
            let (claimed, bytes) = (chunk.storage_size, self.bytes);
            let reason = format!("a stored chunk of {claimed} bytes in a file of {bytes}; is it damaged?");
            return Err(self.error(dataset, reason));
        }
        let values = found.read::<T>().map_err(|error| self.error(dataset, error))?;
        if values.len() != shape.iter().product::<usize>() {
            let reason = format!("{} values, expected the shape {shape:?}", values.len());
            return Err(self.error(dataset, reason));
        }
        Ok((shape, values))
    }

    /// How the numbers of a dataset are stored.
    ///
    /// # Errors
    /// As [`shape`](Self::shape), and where it holds anything else than numbers.
    pub fn number_type(&self, dataset: &str) -> Result<(NumberType, ByteOrder), Hdf5Error> {
        let found = self.dataset(dataset)?;
        let dtype = found.dtype().map_err(|error| self.error(dataset, error))?;
        let numbers = match dtype {
            DType::U8 => NumberType::U8,
            DType::U16 => NumberType::U16,
            DType::U32 => NumberType::U32,
            DType::U64 => NumberType::U64,
            DType::I8 => NumberType::I8,
            DType::I16 => NumberType::I16,
            DType::I32 => NumberType::I32,
            DType::I64 => NumberType::I64,
            DType::F32 => NumberType::F32,
            DType::F64 => NumberType::F64,
            other => return Err(self.error(dataset, format!("values of type {other}, expected numbers"))),
        };
        let datatype = found.datatype().map_err(|error| self.error(dataset, error))?;
        let (Datatype::FixedPoint { size, byte_order, .. }
        | Datatype::FloatingPoint { size, byte_order, .. }) = datatype
        else {
            return Err(self.error(dataset, format!("values of type {numbers} that are no plain numbers")));
        };
        let order = match byte_order {
            DatatypeByteOrder::LittleEndian => ByteOrder::Little,
            DatatypeByteOrder::BigEndian => ByteOrder::Big,
            DatatypeByteOrder::Vax => return Err(self.error(dataset, "numbers of a VAX")),
        };
        if size as usize != numbers.bytes() {
            return Err(self.error(dataset, format!("{numbers} of {size} bytes")));
        }
        Ok((numbers, order))
    }

    /// Where the numbers of a dataset are.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn storage(&self, dataset: &str) -> Result<Storage, Hdf5Error> {
        let found = self.dataset(dataset)?;
        let fail = |error: hdf5_pure::Error| self.error(dataset, error);
        match found.layout().map_err(fail)? {
            Layout::Contiguous { address: Some(address), .. } => Ok(Storage::Contiguous(address)),
            Layout::Chunked { chunk_shape, .. } => {
                // An index that cannot be listed can still be read.
                let Ok(chunks) = found.chunks() else { return Ok(Storage::Other) };
                let chunks = chunks.into_iter().map(|chunk| StoredChunk {
                    first: chunk.offset,
                    offset: chunk.address,
                    bytes: chunk.storage_size,
                    left_out: chunk.filter_mask,
                });
                Ok(Storage::Chunked {
                    chunk: chunk_shape.into_iter().map(|axis| axis as usize).collect(),
                    filters: found.filters(),
                    chunks: chunks.collect(),
                })
            }
            _ => Ok(Storage::Other),
        }
    }

    /// An attribute of a dataset as floats; `None` where there is none, or another type.
    pub fn float_attribute(&self, dataset: &str, name: &str) -> Option<Vec<f64>> {
        match self.dataset(dataset).ok()?.attrs().ok()?.remove(name)? {
            AttrValue::F64(value) => Some(vec![value]),
            AttrValue::F64Array(values) => Some(values),
            AttrValue::F32Array(values) => Some(values.into_iter().map(f64::from).collect()),
            AttrValue::I64Array(values) => Some(values.into_iter().map(|value| value as f64).collect()),
            AttrValue::I32Array(values) => Some(values.into_iter().map(f64::from).collect()),
            AttrValue::U64Array(values) => Some(values.into_iter().map(|value| value as f64).collect()),
            AttrValue::U32Array(values) => Some(values.into_iter().map(f64::from).collect()),
            _ => None,
        }
    }

    /// An attribute of a dataset as text; `None` where there is none, or another type.
    pub fn text_attribute(&self, dataset: &str, name: &str) -> Option<String> {
        match self.dataset(dataset).ok()?.attrs().ok()?.remove(name)? {
            AttrValue::String(text)
            | AttrValue::StringSized { value: text, .. }
            | AttrValue::AsciiString(text)
            | AttrValue::AsciiStringSized { value: text, .. }
            | AttrValue::VarLenString(text)
            | AttrValue::VarLenAsciiString(text) => Some(text),
            AttrValue::StringArray(texts)
            | AttrValue::StringArraySized { values: texts, .. }
            | AttrValue::AsciiStringArray(texts)
            | AttrValue::VarLenStringArray(texts) => texts.into_iter().last(),
            _ => None,
        }
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

/// Writes the file to `path`, replacing what is there as a whole or not at all.
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
