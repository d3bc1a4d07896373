//! The description of an array of Zarr v3: `zarr.json`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::VolumeInfo;
use super::super::codec::Codec;
use super::array::{Array, Axes, Key, Shards};
use super::zarr2::{fill, shape_and_chunks};
use super::{numbers, voxel};
use crate::data::{ByteOrder, DataError, NumberType};

/// The most chunks of a shard whose table is read.
const MAX_SHARD_CHUNKS: usize = 1 << 22;

/// The array that `zarr.json` in `folder` describes.
pub(super) fn parse(folder: &Path, metadata: &Value) -> Result<Array, DataError> {
    read(folder, metadata).map_err(|reason| DataError::format(folder, "zarr.json", reason))
}

fn read(folder: &Path, metadata: &Value) -> Result<Array, String> {
    let fail = |key: &str| format!("{key} is {}, which is not known", metadata[key]);
    if metadata["zarr_format"] != 3 {
        return Err(fail("zarr_format"));
    }
    let shape = numbers(&metadata["shape"]).ok_or_else(|| fail("shape"))?;
    let number_type = match metadata["data_type"].as_str() {
        Some("bool") => Some(NumberType::U8),
        Some(name) => NumberType::from_name(name),
        None => None,
    };
    let number_type = number_type.ok_or_else(|| fail("data_type"))?;
    let grid = &metadata["chunk_grid"];
    let chunks = numbers(&grid["configuration"]["chunk_shape"]).filter(|_| grid["name"] == "regular");
    let outer = chunks.ok_or_else(|| fail("chunk_grid"))?;
    let encoding = &metadata["chunk_key_encoding"];
    let separator = |default: char| match encoding["configuration"]["separator"].as_str() {
        None => Some(default),
        Some(".") => Some('.'),
        Some("/") => Some('/'),
        _ => None,
    };
    let key = match encoding["name"].as_str() {
        Some("default") => separator('/').map(Key::Zarr3),
        Some("v2") => separator('.').map(Key::Zarr2),
        _ => None,
    };
    let key = key.ok_or_else(|| fail("chunk_key_encoding"))?;
    let transformers = &metadata["storage_transformers"];
    if !(transformers.is_null() || transformers.as_array().is_some_and(Vec::is_empty)) {
        return Err(fail("storage_transformers"));
    }
    let chain = metadata["codecs"].as_array().ok_or_else(|| fail("codecs"))?;
    let (inner, chain, table) = match &chain[..] {
        [only] if only["name"] == "sharding_indexed" => {
            let configuration = &only["configuration"];
            let inner = numbers(&configuration["chunk_shape"]).ok_or_else(|| fail("codecs"))?;
            let chain = configuration["codecs"].as_array().ok_or_else(|| fail("codecs"))?;
            (inner, chain, Some(configuration))
        }
        _ => (outer.clone(), chain, None),
    };
    let (size, chunk) = Array::axes(&shape, &inner, number_type)?;
    let shards = table.map(|table| shards(table, &outer, &inner)).transpose()?;
    let (codecs, order, is_fortran) = steps(chain, shape.len(), number_type)?;
    Ok(Array {
        folder: folder.to_owned(),
        rank: shape.len(),
        size,
        chunk,
        numbers: number_type,
        order,
        is_fortran,
        fill: fill(&metadata["fill_value"]).ok_or_else(|| fail("fill_value"))?,
        codecs,
        key,
        shards,
        table: HashMap::new(),
    })
}

/// What is known of files of many chunks.
fn shards(table: &Value, outer: &[usize], inner: &[usize]) -> Result<Shards, String> {
    let mut counts: Axes = [1; 4];
    let mut total = 1usize;
    for (i, (&outer, &inner)) in outer.iter().zip(inner).rev().enumerate() {
        if !outer.is_multiple_of(inner) {
            return Err(format!("shards of {outer} voxels with chunks of {inner}"));
        }
        total = total.saturating_mul(outer / inner);
        match counts.get_mut(3usize.wrapping_sub(i)) {
            Some(count) => *count = outer / inner,
            None if outer == inner => {}
            None => return Err("shards of several chunks along an axis before channels,z,y,x".to_owned()),
        }
    }
    if outer.len() != inner.len() || total > MAX_SHARD_CHUNKS {
        return Err(format!("shards of {outer:?} with chunks of {inner:?}"));
    }
    let codecs: Vec<Option<&str>> =
        table["index_codecs"].as_array().into_iter().flatten().map(|codec| codec["name"].as_str()).collect();
    let has_checksum = match codecs[..] {
        [Some("bytes")] => false,
        [Some("bytes"), Some("crc32c")] => true,
        _ => return Err(format!("index_codecs is {}, which is not known", table["index_codecs"])),
    };
    let is_index_first = match table["index_location"].as_str() {
        Some("start") => true,
        Some("end") | None => false,
        _ => return Err(format!("index_location is {}, which is not known", table["index_location"])),
    };
    Ok(Shards { counts, is_index_first, has_checksum })
}

/// The compressions, the byte order, and whether the axes are reversed.
fn steps(
    chain: &[Value],
    rank: usize,
    number_type: NumberType,
) -> Result<(Vec<Codec>, ByteOrder, bool), String> {
    let (mut codecs, mut order, mut is_fortran) = (Vec::new(), None, false);
    for codec in chain {
        let fail = || format!("the codec {codec} is not known");
        let configuration = &codec["configuration"];
        match (codec["name"].as_str(), order) {
            (Some("transpose"), None) => {
                let axes = numbers(&configuration["order"]).ok_or_else(fail)?;
                if axes.iter().copied().eq((0..rank).rev()) {
                    is_fortran = !is_fortran;
                } else if !axes.iter().copied().eq(0..rank) {
                    return Err(fail());
                }
            }
            (Some("bytes"), None) => {
                order = Some(match configuration["endian"].as_str() {
                    Some("little") => ByteOrder::Little,
                    Some("big") => ByteOrder::Big,
                    None if number_type.bytes() == 1 => ByteOrder::Little,
                    _ => return Err(fail()),
                });
            }
            (Some("gzip"), Some(_)) => codecs.push(Codec::Gzip),
            (Some("zlib" | "numcodecs.zlib"), Some(_)) => codecs.push(Codec::Zlib),
            (Some("zstd"), Some(_)) => codecs.push(Codec::Zstd),
            (Some("blosc"), Some(_)) => codecs.push(Codec::Blosc),
            (Some("lz4" | "numcodecs.lz4"), Some(_)) => codecs.push(Codec::Lz4),
            (Some("crc32c"), Some(_)) => codecs.push(Codec::Crc32c),
            _ => return Err(fail()),
        }
    }
    let order = order.ok_or("codecs without `bytes`")?;
    Ok((codecs, order, is_fortran))
}

/// A new array, and the file that describes it.
pub(super) fn describe(
    folder: &Path,
    info: &VolumeInfo,
) -> (Result<Array, String>, Vec<(&'static str, Value)>) {
    let (shape, chunks) = shape_and_chunks(info);
    let names = &["c", "z", "y", "x"][4 - shape.len()..];
    let metadata = json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": info.numbers.name(),
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunks } },
        "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
        "fill_value": 0,
        "codecs": [
            { "name": "bytes", "configuration": { "endian": "little" } },
            { "name": "gzip", "configuration": { "level": 1 } },
        ],
        "attributes": voxel::zarr_attributes(info),
        "dimension_names": names,
    });
    (read(folder, &metadata), vec![("zarr.json", metadata)])
}
