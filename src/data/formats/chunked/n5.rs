//! The description of an array of N5, `attributes.json`, and the header of its blocks. Its axes are in the order x, y, z,
//! channel.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::VolumeInfo;
use super::super::codec::Codec;
use super::array::{Array, Axes, Key};
use super::numbers;
use super::zarr2::shape_and_chunks;
use crate::data::{ByteOrder, DataError, NumberType};

/// The array that `attributes.json` in `folder` describes.
pub(super) fn parse(folder: &Path, metadata: &Value) -> Result<Array, DataError> {
    read(folder, metadata).map_err(|reason| DataError::format(folder, "attributes.json", reason))
}

fn read(folder: &Path, metadata: &Value) -> Result<Array, String> {
    let fail = |key: &str| format!("{key} is {}, which is not known", metadata[key]);
    let reversed = |key: &str| {
        let mut axes = numbers(&metadata[key]).ok_or_else(|| fail(key))?;
        axes.reverse();
        Ok::<_, String>(axes)
    };
    let (shape, blocks) = (reversed("dimensions")?, reversed("blockSize")?);
    if shape.len() > 4 {
        return Err(format!("dimensions is {}, expected x,y,z or x,y,z,channel", metadata["dimensions"]));
    }
    let data_type = metadata["dataType"].as_str().and_then(NumberType::from_name);
    let number_type = data_type.ok_or_else(|| fail("dataType"))?;
    let (size, chunk) = Array::axes(&shape, &blocks, number_type)?;
    // Before version 2 the type of compression was an entry of its own.
    let kind = metadata["compression"]["type"].as_str().or_else(|| metadata["compressionType"].as_str());
    let codecs = match kind {
        Some("raw") => vec![],
        Some("gzip") if metadata["compression"]["useZlib"] == true => vec![Codec::Zlib],
        Some("gzip") => vec![Codec::Gzip],
        Some("zstd") => vec![Codec::Zstd],
        Some("lz4") => vec![Codec::Lz4Stream],
        Some("blosc") => vec![Codec::Blosc],
        _ => return Err(format!("{}; expected raw, gzip, zstd, lz4 or blosc", fail("compression"))),
    };
    Ok(Array {
        folder: folder.to_owned(),
        rank: shape.len(),
        size,
        chunk,
        numbers: number_type,
        order: ByteOrder::Big,
        is_fortran: false,
        fill: 0.0,
        codecs,
        key: Key::N5,
        shards: None,
        table: HashMap::new(),
    })
}

/// The axes of a block, and its data.
///
/// # Errors
/// Where the header is damaged.
pub(super) fn block(bytes: &[u8], rank: usize, chunk: Axes) -> Result<(Axes, &[u8]), String> {
    let (head, mut rest) = bytes.split_first_chunk::<4>().ok_or("shorter than its header")?;
    let mode = u16::from_be_bytes([head[0], head[1]]);
    let found = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if mode > 1 || found != rank {
        return Err(format!("a block of mode {mode} and {found} axes, expected mode 0 and {rank} axes"));
    }
    let mut axes = [1; 4];
    for i in 0..rank {
        let (axis, behind) = rest.split_first_chunk::<4>().ok_or("shorter than its header")?;
        rest = behind;
        let axis = u32::from_be_bytes(*axis) as usize;
        let most = chunk[3 - i];
        if axis == 0 || axis > most {
            return Err(format!("a block of {axis} voxels along axis {i}, expected 1 to {most}"));
        }
        axes[3 - i] = axis;
    }
    if mode == 1 {
        rest = rest.get(4..).ok_or("shorter than its header")?;
    }
    Ok((axes, rest))
}

/// The header of a block.
pub(super) fn header(axes: Axes, rank: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((rank as u16).to_be_bytes());
    for i in 0..rank {
        bytes.extend((axes[3 - i] as u32).to_be_bytes());
    }
    bytes
}

/// A new array, and the file that describes it.
pub(super) fn describe(
    folder: &Path,
    info: &VolumeInfo,
) -> (Result<Array, String>, Vec<(&'static str, Value)>) {
    let (mut shape, mut blocks) = shape_and_chunks(info);
    shape.reverse();
    blocks.reverse();
    let mut metadata = json!({
        "n5": "2.5.0",
        "dimensions": shape,
        "blockSize": blocks,
        "dataType": info.numbers.name(),
        "compression": { "type": "gzip", "level": 1, "useZlib": false },
    });
    if let Some(voxel) = &info.voxel {
        let [z, y, x] = voxel.size;
        metadata["pixelResolution"] = json!({ "dimensions": [x, y, z], "unit": voxel.unit });
    }
    (read(folder, &metadata), vec![("attributes.json", metadata)])
}
