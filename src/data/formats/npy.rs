//! NPY, the file of one NumPy array.

use std::fs::File;
use std::path::Path;

use super::flat::{FlatReader, FlatWriter, Layout};
use super::{Source, VolumeInfo, VolumeReader, VolumeWriter, shape_of};
use crate::data::{DataError, NumberType};

/// The longest header that is read, in bytes: hundreds of times that of an array of numbers.
const MAX_HEADER: u32 = 1 << 16;
const MAGIC: &[u8] = b"\x93NUMPY";

/// Opens the file at `path`.
///
/// # Errors
/// Where it is no array of numbers `[z, y, x]`, or with channels before these, or it is truncated.
pub fn open(path: &Path) -> Result<Box<dyn VolumeReader>, DataError> {
    decode(path, File::open(path).map_err(DataError::io("open", path))?)
}

/// The volume in `source`, which errors call `path`.
///
/// # Errors
/// As [`open`].
pub fn decode<S: Source + 'static>(path: &Path, mut source: S) -> Result<Box<dyn VolumeReader>, DataError> {
    let fail = |reason: String| DataError::format(path, "the header", reason);
    let mut start = [0; 8];
    source.read_exact(&mut start).map_err(|_| fail("shorter than any NPY file".to_owned()))?;
    if !start.starts_with(MAGIC) {
        return Err(fail("this is not an NPY file".to_owned()));
    }
    let mut length = [0; 4];
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(fail(format!("the version {version}, expected 1 to 3"))),
    };
    source.read_exact(&mut length[..width]).map_err(DataError::io("read", path))?;
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(fail(format!("{length} bytes, more than the {MAX_HEADER} of the longest")));
    }
    let mut header = vec![0; length as usize];
    source.read_exact(&mut header).map_err(|_| fail("it is truncated".to_owned()))?;
    let header = String::from_utf8(header).map_err(|_| fail("it is no text".to_owned()))?;
    let (descr, is_fortran, shape) = dictionary(&header)
        .ok_or_else(|| fail(format!("`{}`, expected descr, fortran_order and shape", header.trim())))?;
    let (numbers, order) = NumberType::from_numpy(descr)
        .ok_or_else(|| fail(format!("values of type `{descr}`, expected integers or floats")))?;
    let (channels, extent) = shape_of(&shape).map_err(fail)?;
    let info = VolumeInfo { channels, extent, numbers, voxel: None, chunk: None };
    let offset = (start.len() + width) as u64 + u64::from(length);
    let layout = Layout { order, is_fortran, ..Layout::plain(info, offset) };
    Ok(Box::new(FlatReader::new(path, source, layout)?))
}

/// The three entries of the header, a literal of a Python dictionary.
fn dictionary(text: &str) -> Option<(&str, bool, Vec<usize>)> {
    let after = |key: &str| {
        let start = text.find(&format!("'{key}'"))? + key.len() + 2;
        text[start..].trim_start().strip_prefix(':').map(str::trim_start)
    };
    let (descr, _) = after("descr")?.strip_prefix('\'')?.split_once('\'')?;
    let order = after("fortran_order")?;
    let is_fortran = order.starts_with("True");
    if !is_fortran && !order.starts_with("False") {
        return None;
    }
    let (shape, _) = after("shape")?.strip_prefix('(')?.split_once(')')?;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape = axes.map(|axis| axis.parse().ok()).collect::<Option<Vec<usize>>>()?;
    Some((descr, is_fortran, shape))
}

/// Begins the file of an array `[z, y, x]`, of several channels `[channel, z, y, x]`.
///
/// # Errors
/// Where the file system fails.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    let [z, y, x] = info.extent.to_array();
    let channels = if info.channels == 1 { String::new() } else { format!("{}, ", info.channels) };
    let descr = info.numbers.to_numpy();
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({channels}{z}, {y}, {x}), }}");
    // The numbers begin at a multiple of 64 bytes, behind a line feed.
    let prefix = MAGIC.len() + 4;
    let length = (prefix + text.len() + 1).next_multiple_of(64) - prefix;
    text.push_str(&" ".repeat(length - 1 - text.len()));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend((length as u16).to_le_bytes());
    header.extend(text.as_bytes());
    Ok(Box::new(FlatWriter::create(path, &header, info.clone())?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::volume::{Extent, Tensor};

    #[test]
    fn headers_of_numpy_are_read() {
        let file = |header: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend((0..24u16).flat_map(u16::to_be_bytes));
            decode(Path::new("a.npy"), Cursor::new(bytes))
        };
        let mut reader =
            file("{'descr': '>u2', 'fortran_order': False, 'shape': (2, 3, 4), }      \n").unwrap();
        let extent = Extent::new(2, 3, 4);
        assert_eq!(reader.info().extent, extent);
        assert_eq!(reader.read(Extent::ZERO, extent).unwrap(), Tensor::from_fn(1, extent, |i| i as f32));
        for (header, reason) in [
            ("{'descr': '>c8', 'fortran_order': False, 'shape': (2,), }", "values of type `>c8`"),
            ("{'descr': '>u2', 'fortran_order': False, 'shape': (2,), }", "the shape [2], expected z,y,x"),
            ("{'descr': '>u2', 'fortran_order': False, 'shape': (2, 0), }", "expected at least one voxel"),
            ("{'descr': '>u2', 'fortran_order': False, 'shape': (200, 300), }", "is it truncated?"),
            (
                "{'descr': '>u2', 'fortran_order': False, 'shape': (18446744073709551615, 99), }",
                "larger than any file",
            ),
            ("{'shape': (2, 3)}", "expected descr, fortran_order and shape"),
        ] {
            let error = file(header).err().unwrap().to_string();
            assert!(error.starts_with("a.npy, the ") && error.contains(reason), "{error}");
        }
        let error =
            |bytes: &[u8]| decode(Path::new("a.npy"), Cursor::new(bytes.to_vec())).err().unwrap().to_string();
        assert!(error(b"PK").ends_with("shorter than any NPY file"));
        assert!(error(b"PK345678").ends_with("this is not an NPY file"));
        assert!(error(b"\x93NUMPY\x01\x00\xff\x00{").ends_with("it is truncated"));
    }
}
