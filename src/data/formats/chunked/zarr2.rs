//! The description of an array of Zarr v2: `.zarray`, and its attributes in `.zattrs`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::VolumeInfo;
use super::super::codec::Codec;
use super::array::{Array, Key};
use super::{numbers, voxel};
use crate::data::{ByteOrder, DataError, NumberType};

/// The array that `.zarray` in `folder` describes.
pub(super) fn parse(folder: &Path, metadata: &Value) -> Result<Array, DataError> {
    read(folder, metadata).map_err(|reason| DataError::format(folder, ".zarray", reason))
}

fn read(folder: &Path, metadata: &Value) -> Result<Array, String> {
    let fail = |key: &str| format!("{key} is {}, which is not known", metadata[key]);
    if metadata["zarr_format"] != 2 {
        return Err(fail("zarr_format"));
    }
    let shape = numbers(&metadata["shape"]).ok_or_else(|| fail("shape"))?;
    let chunks = numbers(&metadata["chunks"]).ok_or_else(|| fail("chunks"))?;
    let dtype = metadata["dtype"].as_str().and_then(NumberType::from_numpy);
    let (numbers, order) = dtype.ok_or_else(|| fail("dtype"))?;
    let (size, chunk) = Array::axes(&shape, &chunks, numbers)?;
    let is_fortran = match metadata["order"].as_str() {
        Some("C") | None => false,
        Some("F") => true,
        _ => return Err(fail("order")),
    };
    let mut codecs = Vec::new();
    match &metadata["filters"] {
        Value::Null => {}
        Value::Array(filters) => {
            for filter in filters {
                match (filter["id"].as_str(), filter["elementsize"].as_u64()) {
                    (Some("shuffle"), width) if width.unwrap_or(4) <= 8 => {
                        codecs.push(Codec::Shuffle(width.unwrap_or(4) as usize));
                    }
                    _ => return Err(fail("filters")),
                }
            }
        }
        _ => return Err(fail("filters")),
    }
    match (&metadata["compressor"], metadata["compressor"]["id"].as_str()) {
        (Value::Null, _) => {}
        (_, Some("gzip")) => codecs.push(Codec::Gzip),
        (_, Some("zlib")) => codecs.push(Codec::Zlib),
        (_, Some("zstd")) => codecs.push(Codec::Zstd),
        (_, Some("lz4")) => codecs.push(Codec::Lz4),
        (_, Some("blosc")) => codecs.push(Codec::Blosc),
        _ => return Err(format!("{}; expected gzip, zlib, zstd, lz4, blosc or null", fail("compressor"))),
    }
    let separator = match metadata["dimension_separator"].as_str() {
        Some(".") | None => '.',
        Some("/") => '/',
        _ => return Err(fail("dimension_separator")),
    };
    Ok(Array {
        folder: folder.to_owned(),
        rank: shape.len(),
        size,
        chunk,
        numbers,
        order,
        is_fortran,
        fill: fill(&metadata["fill_value"]).ok_or_else(|| fail("fill_value"))?,
        codecs,
        key: Key::Zarr2(separator),
        shards: None,
        table: HashMap::new(),
    })
}

/// What missing chunks hold; nothing said is zero.
pub(super) fn fill(value: &Value) -> Option<f32> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(value) => Some(f32::from(u8::from(*value))),
        Value::Number(number) => number.as_f64().map(|value| value as f32),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f32::NAN),
            "Infinity" => Some(f32::INFINITY),
            "-Infinity" => Some(f32::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The shape and the chunks of a new array, slowest axis first.
pub(super) fn shape_and_chunks(info: &VolumeInfo) -> (Vec<usize>, Vec<usize>) {
    let mut shape = info.extent.to_array().to_vec();
    let mut chunks = info.chunk.unwrap_or(info.extent).to_array().to_vec();
    if info.channels > 1 {
        shape.insert(0, info.channels);
        chunks.insert(0, 1);
    }
    (shape, chunks)
}

/// A new array, and the files that describe it.
pub(super) fn describe(
    folder: &Path,
    info: &VolumeInfo,
) -> (Result<Array, String>, Vec<(&'static str, Value)>) {
    let (shape, chunks) = shape_and_chunks(info);
    let metadata = json!({
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": info.numbers.to_numpy(),
        "compressor": { "id": "gzip", "level": 1 },
        "fill_value": 0,
        "order": "C",
        "filters": null,
        "dimension_separator": "/",
    });
    let array = read(folder, &metadata).map(|array| Array { order: ByteOrder::Little, ..array });
    (array, vec![(".zattrs", voxel::zarr_attributes(info)), (".zarray", metadata)])
}
