//! Numbers without a header: the shape and the type are in the name, or, as in the original system, in a second file.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::flat::{FlatReader, FlatWriter, Layout};
use super::{VolumeInfo, VolumeReader, VolumeWriter, shape_of};
use crate::data::{ByteOrder, DataError, NumberType};
use crate::volume::Extent;

/// What a name such as `cells.raw:uint8:30x512x512` says: the file, the type, and the shape, slowest axis first; a type
/// with `be` behind it is big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSpec {
    /// The file.
    pub path: PathBuf,
    /// The type of its numbers.
    pub numbers: NumberType,
    /// Which byte of a number comes first.
    pub order: ByteOrder,
    /// `z,y,x` or with channels before these.
    pub shape: Vec<usize>,
}

impl RawSpec {
    /// Reads a name; `None` where it is not of that form.
    pub fn parse(name: &str) -> Option<Self> {
        let (rest, shape) = name.rsplit_once(':')?;
        let (path, numbers) = rest.rsplit_once(':')?;
        let (word, order) = match numbers.strip_suffix("be") {
            Some(word) => (word, ByteOrder::Big),
            None => (numbers, ByteOrder::Little),
        };
        let shape = shape.split('x').map(|axis| axis.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(Self { path: PathBuf::from(path), numbers: NumberType::from_name(word)?, order, shape })
    }
}

/// Opens a raw file.
///
/// # Errors
/// Where its length is not that of the shape.
pub fn open(spec: &RawSpec) -> Result<Box<dyn VolumeReader>, DataError> {
    let (channels, extent) =
        shape_of(&spec.shape).map_err(|reason| DataError::format(&spec.path, "the given shape", reason))?;
    let info = VolumeInfo { channels, extent, numbers: spec.numbers, voxel: None, chunk: None };
    exact(&spec.path, Layout { order: spec.order, ..Layout::plain(info, 0) })
}

/// Opens a volume of the original system: 64-bit floats, whose three extents are in the file of the same name in `.size`,
/// in the order x, y, z.
///
/// # Errors
/// Where the lengths do not fit together.
pub fn open_doubles(path: &Path) -> Result<Box<dyn VolumeReader>, DataError> {
    let size_path = path.with_extension("size");
    let size = std::fs::read(&size_path).map_err(DataError::io("read", &size_path))?;
    let (extents, rest) = size.as_chunks::<4>();
    let [x, y, z] = match extents {
        &[x, y, z] if rest.is_empty() => [x, y, z].map(|axis| u32::from_le_bytes(axis) as usize),
        _ => {
            let reason = format!("its .size file has {} bytes, expected 12", size.len());
            return Err(DataError::Raw { path: path.to_owned(), reason });
        }
    };
    let fail = |reason| DataError::Raw { path: path.to_owned(), reason };
    shape_of(&[z, y, x]).map_err(fail)?;
    let extent = Extent::new(z, y, x);
    let info = VolumeInfo { channels: 1, extent, numbers: NumberType::F64, voxel: None, chunk: None };
    exact(path, Layout::plain(info, 0))
}

/// A file that holds nothing but the numbers.
fn exact(path: &Path, layout: Layout) -> Result<Box<dyn VolumeReader>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let bytes = file.metadata().map_err(DataError::io("read", path))?.len();
    let VolumeInfo { channels, extent, numbers, .. } = layout.info;
    let expected = (channels * extent.len() * numbers.bytes()) as u64;
    if bytes != expected {
        let reason = format!(
            "{bytes} bytes, expected {expected}: {channels} x {extent} (channels x z,y,x) of {numbers}"
        );
        return Err(DataError::Raw { path: path.to_owned(), reason });
    }
    Ok(Box::new(FlatReader::new(path, file, layout)?))
}

/// Begins a raw file, little-endian.
///
/// # Errors
/// Where the file system fails.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    Ok(Box::new(FlatWriter::create(path, &[], info.clone())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Tensor;

    #[test]
    fn names_give_type_and_shape() {
        let spec = RawSpec::parse("a:b/c.raw:uint16be:2x3x4").unwrap();
        assert_eq!((spec.path, spec.numbers), (PathBuf::from("a:b/c.raw"), NumberType::U16));
        assert_eq!((spec.order, spec.shape), (ByteOrder::Big, vec![2, 3, 4]));
        for bad in ["a.raw", "a.raw:uint8", "a.raw:uint7:1x2x3", "a.raw:uint8:1xx3", "a.raw:uint8:-1x2"] {
            assert_eq!(RawSpec::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn raw_files_are_as_long_as_their_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        std::fs::write(&path, (0..24).collect::<Vec<u8>>()).unwrap();
        let spec = |shape: &[usize]| RawSpec {
            path: path.clone(),
            numbers: NumberType::U8,
            order: ByteOrder::Little,
            shape: shape.to_vec(),
        };
        let extent = Extent::new(2, 3, 4);
        let found = open(&spec(&[2, 3, 4])).unwrap().read(Extent::ZERO, extent).unwrap();
        assert_eq!(found, Tensor::from_fn(1, extent, |i| i as f32));
        let error = |shape: &[usize]| open(&spec(shape)).err().unwrap().to_string();
        assert!(error(&[2, 3, 3]).ends_with("24 bytes, expected 18: 1 x 2,3,3 (channels x z,y,x) of uint8"));
        assert!(error(&[usize::MAX, 3, 3]).ends_with("is larger than any file; is it damaged?"));
        assert!(error(&[3]).contains("a.raw, the given shape: the shape [3], expected z,y,x"));
    }

    #[test]
    fn doubles_have_their_size_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.image");
        let write = |bytes: &[u8], size: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::write(path.with_extension("size"), size).unwrap();
        };
        let size = |axes: [u32; 3]| axes.iter().flat_map(|axis| axis.to_le_bytes()).collect::<Vec<u8>>();
        let bytes: Vec<u8> = (0..24).flat_map(|i| f64::from(i).to_le_bytes()).collect();
        write(&bytes, &size([4, 3, 2]));
        let extent = Extent::new(2, 3, 4);
        let found = open_doubles(&path).unwrap().read(Extent::ZERO, extent).unwrap();
        assert_eq!(found, Tensor::from_fn(1, extent, |i| i as f32));
        let error = |bytes: &[u8], size: &[u8]| {
            write(bytes, size);
            open_doubles(&path).err().unwrap().to_string()
        };
        assert!(
            error(&bytes[1..], &size([4, 3, 2]))
                .ends_with("191 bytes, expected 192: 1 x 2,3,4 (channels x z,y,x) of float64")
        );
        assert!(error(&bytes, &size([u32::MAX; 3])).contains("larger than any file"));
        assert!(error(&bytes, &[0; 11]).ends_with("its .size file has 11 bytes, expected 12"));
    }
}
