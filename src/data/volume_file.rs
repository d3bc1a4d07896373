//! Volumes in the formats that the original system reads; the name of a file says which.
//!
//! | name | |
//! |---|---|
//! | `.h5`, `.hdf5` | dataset `/main`, `[z, y, x]` or with a channel before; numbers |
//! | `.image`, `.label` | 64-bit floats, little-endian, x fastest; the file of the same name in `.size` has the three extents in the order x, y, z, as 32-bit integers |
//! | any other | [`tiff`] |

use std::path::Path;

use super::{DataError, tiff};
use crate::hdf5::{self, FileBuilder, Hdf5File};
use crate::machine::memory;
use crate::volume::{Extent, Tensor};

/// The dataset of a volume.
const MAIN: &str = "main";

/// Reads an image of one channel.
///
/// # Errors
/// Names the file, and the place in it, where it is damaged or of a shape or type that is not expected.
pub fn read_image(path: &Path) -> Result<Tensor, DataError> {
    read(path, tiff::read)
}

/// Reads a label or a mask of one channel; colours of a TIFF give segment ids as in [`tiff::read_labels`].
///
/// # Errors
/// As [`read_image`].
pub fn read_label(path: &Path) -> Result<Tensor, DataError> {
    read(path, tiff::read_labels)
}

/// Reads an image of any number of channels: `[channel, z, y, x]` of HDF5; other formats have one.
///
/// # Errors
/// As [`read_image`].
pub fn read_maps(path: &Path) -> Result<Tensor, DataError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("h5" | "hdf5") => decode_maps(&Hdf5File::open(path)?),
        _ => read_image(path),
    }
}

fn read(path: &Path, otherwise: impl Fn(&Path) -> Result<Tensor, DataError>) -> Result<Tensor, DataError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("h5" | "hdf5") => decode_hdf5(&Hdf5File::open(path)?),
        Some("image" | "label") => {
            let read = |path: &Path| std::fs::read(path).map_err(DataError::io("read", path));
            decode_raw(path, &read(path)?, &read(&path.with_extension("size"))?)
        }
        _ => otherwise(path),
    }
}

/// The volume in an HDF5 file.
///
/// # Errors
/// Where it is no volume of one channel, or a number is too large to be exact.
pub fn decode_hdf5(file: &Hdf5File) -> Result<Tensor, DataError> {
    let shape = file.shape(MAIN)?;
    if let [channels, _, _, _] = shape[..]
        && channels != 1
    {
        let reason = format!("the shape {shape:?}, expected z,y,x or one channel of them");
        return Err(file.error(MAIN, reason).into());
    }
    decode_maps(file)
}

fn decode_maps(file: &Hdf5File) -> Result<Tensor, DataError> {
    let shape = file.shape(MAIN)?;
    let (channels, extent) = match shape[..] {
        [y, x] => (1, Extent::new(1, y, x)),
        [z, y, x] => (1, Extent::new(z, y, x)),
        [channels, z, y, x] => (channels, Extent::new(z, y, x)),
        _ => {
            let reason = format!("the shape {shape:?}, expected z,y,x or one channel of them");
            return Err(file.error(MAIN, reason).into());
        }
    };
    let voxels = (channels as u64).saturating_mul(extent.len() as u64);
    memory::check(voxels.saturating_mul(3 * 8)).map_err(|error| file.error(MAIN, error))?;
    let (_, values) = file.numbers::<f64>(MAIN)?;
    // Segment ids beyond this one would fall together.
    if let Some(value) = values.iter().find(|value| value.abs() > EXACT && value.is_finite()) {
        let reason = format!("the value {value} is too large, expected at most {EXACT}");
        return Err(file.error(MAIN, reason).into());
    }
    Ok(Tensor::from_fn(channels, extent, |i| values[i] as f32))
}

/// Integers up to this one are exact in f32.
const EXACT: f64 = 16_777_216.0;

/// The volume of 64-bit floats in `bytes`, whose extents are in `size`; errors call it `path`.
///
/// # Errors
/// Where the lengths do not fit together.
pub fn decode_raw(path: &Path, bytes: &[u8], size: &[u8]) -> Result<Tensor, DataError> {
    let fail = |reason: String| DataError::Raw { path: path.to_owned(), reason };
    let (extents, rest) = size.as_chunks::<4>();
    let [x, y, z] = match extents {
        &[x, y, z] if rest.is_empty() => [x, y, z].map(|axis| u32::from_le_bytes(axis) as usize),
        _ => return Err(fail(format!("its .size file has {} bytes, expected 12", size.len()))),
    };
    let claimed = [x, y, z].iter().try_fold(8_usize, |product, &axis| product.checked_mul(axis));
    if claimed != Some(bytes.len()) {
        return Err(fail(format!(
            "{} bytes, expected 64-bit floats of the extent {z},{y},{x} (z,y,x) that its .size file gives",
            bytes.len()
        )));
    }
    let (words, _) = bytes.as_chunks::<8>();
    Ok(Tensor::from_fn(1, Extent::new(z, y, x), |i| f64::from_le_bytes(words[i]) as f32))
}

/// Writes all channels of `volume` as the dataset `/main` of an HDF5 file, `[channel, z, y, x]`, compressed.
///
/// # Errors
/// Where the file system fails.
pub fn write_hdf5(path: &Path, volume: &Tensor) -> Result<(), DataError> {
    /// Voxels of a chunk along z, y and x: a few hundred kilobytes, as it is read at once.
    const CHUNK: Extent = Extent::new(8, 128, 128);
    let extent = volume.extent();
    let shape = |channels: usize, extent: Extent| {
        let [z, y, x] = extent.to_array();
        [channels, z, y, x].map(|axis| axis as u64)
    };
    let mut file = FileBuilder::new();
    file.create_dataset(MAIN)
        .with_data(volume.data())
        .with_shape(&shape(volume.channels(), extent))
        .with_chunks(&shape(1, CHUNK.min(extent)))
        .with_deflate(4);
    Ok(hdf5::write(path, file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdf5_volumes_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.h5");
        let extent = Extent::new(3, 130, 7);
        let volume = Tensor::from_fn(1, extent, |i| i as f32 / 7.0);
        write_hdf5(&path, &volume).unwrap();
        assert_eq!(Hdf5File::open(&path).unwrap().shape(MAIN).unwrap(), [1, 3, 130, 7]);
        assert_eq!(read_image(&path).unwrap(), volume);
        let maps = Tensor::from_fn(2, extent, |i| i as f32);
        write_hdf5(&path, &maps).unwrap();
        assert_eq!(read_maps(&path).unwrap(), maps);
        let error = read_label(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("main: the shape [2, 3, 130, 7], expected z,y,x or one channel of them"),
            "{error}"
        );
        let mut file = FileBuilder::new();
        file.create_dataset(MAIN).with_data(&[1u32 << 25, 1]).with_shape(&[1, 2]);
        hdf5::write(&path, file).unwrap();
        let error = read_label(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("main: the value 33554432 is too large, expected at most 16777216"),
            "{error}"
        );
    }

    #[test]
    fn raw_volumes_have_their_size_beside() {
        let size = |axes: [u32; 3]| axes.iter().flat_map(|axis| axis.to_le_bytes()).collect::<Vec<u8>>();
        let bytes: Vec<u8> = (0..24).flat_map(|i| f64::from(i).to_le_bytes()).collect();
        let path = Path::new("a.image");
        let volume = decode_raw(path, &bytes, &size([4, 3, 2])).unwrap();
        assert_eq!(volume.extent(), Extent::new(2, 3, 4));
        assert_eq!(volume.data()[23], 23.0);
        let error = |bytes: &[u8], size: &[u8]| decode_raw(path, bytes, size).unwrap_err().to_string();
        assert_eq!(
            error(&bytes[1..], &size([4, 3, 2])),
            "a.image: 191 bytes, expected 64-bit floats of the extent 2,3,4 (z,y,x) that its .size file gives"
        );
        assert!(error(&bytes, &size([u32::MAX; 3])).contains("192 bytes, expected"));
        assert_eq!(error(&bytes, &[0; 11]), "a.image: its .size file has 11 bytes, expected 12");
    }
}
