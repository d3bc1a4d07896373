//! Zarr v2, Zarr v3 and N5: folders with a file for each chunk of an array.
//!
//! The three differ in the text that describes an array ([`zarr2`], [`zarr3`], [`n5`]) and in little else: what is read of
//! it is an [`Array`].

pub(super) mod array;
mod n5;
pub(super) mod reader;
mod voxel;
mod writer;
mod zarr2;
mod zarr3;

use std::path::Path;

use serde_json::Value;

pub use writer::{ChunkedWriter, create};

use self::array::Array;
use super::VolumeReader;
use crate::data::{DataError, VoxelSize};

/// A format of chunks in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedFormat {
    /// `.zarray` and `.zattrs`.
    Zarr2,
    /// `zarr.json`.
    Zarr3,
    /// `attributes.json`.
    N5,
}

/// The longest description of an array that is read, in bytes.
const MAX_METADATA: u64 = 1 << 24;

/// Opens the array in the folder `path`, or the first, finest one of the group of scales there (OME-Zarr; `s0` of N5).
///
/// # Errors
/// Where there is none, or its description is damaged or says what is not known. Chunks are looked at when they are read.
pub fn open(path: &Path) -> Result<Box<dyn VolumeReader>, DataError> {
    let (array, voxel) = find(path)?;
    Ok(Box::new(reader::Reader::new(array, voxel)))
}

fn find(path: &Path) -> Result<(Array, Option<VoxelSize>), DataError> {
    if let Some(metadata) = read(&path.join("zarr.json"))? {
        if metadata["node_type"] == "array" {
            let array = zarr3::parse(path, &metadata)?;
            let voxel = voxel::of_zarr(&metadata["attributes"]).or_else(|| voxel::beside(path));
            return Ok((array, voxel));
        }
        return of_scales(path, &metadata["attributes"], "zarr.json");
    }
    if let Some(metadata) = read(&path.join(".zarray"))? {
        let array = zarr2::parse(path, &metadata)?;
        let attributes = read(&path.join(".zattrs"))?.unwrap_or_default();
        let voxel = voxel::of_zarr(&attributes).or_else(|| voxel::beside(path));
        return Ok((array, voxel));
    }
    if path.join(".zgroup").exists() {
        let attributes = read(&path.join(".zattrs"))?.unwrap_or_default();
        return of_scales(path, &attributes, ".zattrs");
    }
    if let Some(metadata) = read(&path.join("attributes.json"))? {
        if metadata.get("dimensions").is_some() {
            return Ok((n5::parse(path, &metadata)?, voxel::of_n5(&metadata)));
        }
        let finest = path.join("s0");
        if finest.is_dir() {
            let (array, voxel) = find(&finest)?;
            return Ok((array, voxel.or_else(|| voxel::of_n5(&metadata))));
        }
    }
    let reason =
        "no zarr.json, .zarray or attributes.json of an array; expected the folder of a Zarr or N5 array";
    Err(DataError::format(path, "the folder", reason))
}

/// The first array of a group of scales.
fn of_scales(path: &Path, attributes: &Value, file: &str) -> Result<(Array, Option<VoxelSize>), DataError> {
    let Some(first) = voxel::first_scale(attributes) else {
        let reason = "a group without `multiscales`; expected the folder of an array in it";
        return Err(DataError::format(path, file, reason));
    };
    let inside = path.join(first);
    let is_below = Path::new(first).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let is_array = inside.join(".zarray").exists()
        || read(&inside.join("zarr.json"))?.is_some_and(|metadata| metadata["node_type"] == "array");
    if !is_below || !is_array {
        let reason = format!("the first scale is `{first}`, where there is no array");
        return Err(DataError::format(path, file, reason));
    }
    let (array, voxel) = find(&inside)?;
    Ok((array, voxel.or_else(|| voxel::of_zarr(attributes))))
}

/// The text of a description, `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Value>, DataError> {
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataError::io("read", path)(error)),
    };
    if bytes > MAX_METADATA {
        let reason = format!("{bytes} bytes, more than the {MAX_METADATA} of the longest description");
        return Err(DataError::format(path, "the text", reason));
    }
    let text = std::fs::read(path).map_err(DataError::io("read", path))?;
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|error| DataError::format(path, "the text", error.to_string()))
}

/// A list of whole numbers.
fn numbers(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|axis| usize::try_from(axis.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests;
