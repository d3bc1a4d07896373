use serde_json::json;

use super::super::{VolumeInfo, VolumeWriter};
use super::*;
use crate::data::NumberType;
use crate::volume::{Extent, Tensor};

const FORMATS: [ChunkedFormat; 3] = [ChunkedFormat::Zarr2, ChunkedFormat::Zarr3, ChunkedFormat::N5];

fn info() -> VolumeInfo {
    VolumeInfo {
        channels: 1,
        extent: Extent::new(3, 4, 5),
        numbers: NumberType::U16,
        voxel: None,
        chunk: Some(Extent::new(2, 2, 5)),
    }
}

/// The file that describes an array.
fn description(format: ChunkedFormat) -> &'static str {
    match format {
        ChunkedFormat::Zarr2 => ".zarray",
        ChunkedFormat::Zarr3 => "zarr.json",
        ChunkedFormat::N5 => "attributes.json",
    }
}

#[test]
fn missing_chunks_hold_the_fill_value_and_an_array_is_gone_on_with() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let ones = Tensor::from_fn(1, Extent::new(2, 2, 5), |_| 1.0);
        create(&path, format, &info()).unwrap().write(Extent::ZERO, &ones).unwrap();
        let twos = Tensor::from_fn(1, Extent::new(1, 2, 5), |_| 2.0);
        create(&path, format, &info()).unwrap().write(Extent::new(2, 2, 0), &twos).unwrap();
        let found = open(&path).unwrap().read(Extent::ZERO, info().extent).unwrap();
        let expected = Tensor::from_fn(1, info().extent, |i| match (i / 20, i / 5 % 4) {
            (0 | 1, 0 | 1) => 1.0,
            (2, 2 | 3) => 2.0,
            _ => 0.0,
        });
        assert_eq!(found, expected, "{format:?}");
        let other = VolumeInfo { numbers: NumberType::U8, ..info() };
        let error = create(&path, format, &other).err().unwrap().to_string();
        assert!(error.ends_with("another array is there; remove it, or give another name"), "{error}");
        let inside = create(folder.path(), format, &info()).err().unwrap().to_string();
        assert!(inside.contains("it is not empty"), "{inside}");
    }
}

#[test]
#[should_panic(expected = "cuts a chunk")]
fn a_box_that_cuts_a_chunk_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = create(&folder.path().join("a"), ChunkedFormat::Zarr3, &info()).unwrap();
    let _ = writer.write(Extent::ZERO, &Tensor::zeros(1, Extent::new(1, 4, 5)));
}

#[test]
fn damaged_chunks_are_named() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut writer = create(&path, format, &info()).unwrap();
        writer.write(Extent::ZERO, &Tensor::zeros(1, info().extent)).unwrap();
        let chunk = path.join(if format == ChunkedFormat::Zarr3 { "c/0/0/0" } else { "0/0/0" });
        let good = std::fs::read(&chunk).unwrap();
        for bytes in [&good[..0], &good[..3], &good[..good.len() - 9], &[0xff; 40], &[0; 40]] {
            std::fs::write(&chunk, bytes).unwrap();
            let error = open(&path).unwrap().read(Extent::ZERO, info().extent).unwrap_err().to_string();
            assert!(error.contains("0/0/0, the chunk [0, 0, 0, 0]: "), "{error}");
        }
    }
}

/// Each entry of the description replaced by something strange.
#[test]
fn strange_descriptions_are_refused() {
    let strange = [
        json!(null),
        json!("x"),
        json!(-1),
        json!([]),
        json!([0, 0, 0]),
        json!([1e30, 2, 3]),
        json!([u64::MAX, u64::MAX, u64::MAX]),
        json!({ "name": "x", "type": "x", "id": "x" }),
    ];
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, format, &info()).unwrap();
        let file = path.join(description(format));
        let good: Value = read(&file).unwrap().unwrap();
        let mut refused = 0;
        for key in good.as_object().unwrap().keys() {
            for value in &strange {
                let mut bad = good.clone();
                bad[key] = value.clone();
                std::fs::write(&file, bad.to_string()).unwrap();
                if let Err(error) = open(&path) {
                    let error = error.to_string();
                    assert!(error.contains(path.to_str().unwrap()) && error.len() < 600, "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 20, "{format:?} {refused}");
        for text in ["", "{", "[1", "\u{0}", "{\"zarr_format\": 3}", "3", "null"] {
            std::fs::write(&file, text).unwrap();
            assert!(open(&path).is_err(), "{format:?} {text}");
        }
    }
}
