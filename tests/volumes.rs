//! Volumes that the reference implementations of their formats have written; see `tests/volumes/make.py`.

use std::path::{Path, PathBuf};

use znn::data::volume_file;
use znn::data::{NumberType, VoxelSize};
use znn::hdf5::Hdf5File;
use znn::{Extent, Tensor};

const EXTENT: Extent = Extent::new(5, 9, 11);

fn expected() -> Tensor {
    let value = |i: usize| (37 * (i / 99) + 11 * (i / 11 % 9) + 3 * (i % 11)) % 251;
    Tensor::from_fn(1, EXTENT, |i| value(i) as f32)
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/volumes").join(name)
}

#[test]
fn every_format_is_read_as_a_whole_and_by_boxes() {
    let nanometres = || VoxelSize::new([30.0, 4.0, 4.0], "nm");
    for (name, numbers, voxel) in [
        ("blosc_lz4.zarr", NumberType::U16, None),
        ("blosc_bits.zarr", NumberType::F32, None),
        ("blosc_lz.zarr", NumberType::I32, None),
        ("blosc_zlib.zarr", NumberType::U64, None),
        ("fortran.zarr", NumberType::I32, None),
        ("zstd.zarr", NumberType::F64, None),
        ("lz4.zarr", NumberType::U8, None),
        ("plain.zarr", NumberType::U8, nanometres()),
        ("default3.zarr", NumberType::U16, None),
        ("sharded.zarr", NumberType::I16, None),
        ("transposed.zarr", NumberType::F32, None),
        ("blosc3.zarr", NumberType::U8, None),
        ("scales.zarr", NumberType::U8, nanometres()),
        ("scales.zarr/0", NumberType::U8, nanometres()),
        ("gzip.n5", NumberType::U16, None),
        ("blosc.n5", NumberType::F32, None),
        ("volume.h5", NumberType::U16, nanometres()),
        ("volume.h5:/volumes/contiguous", NumberType::I32, None),
        ("volume.h5:volumes/lzf", NumberType::F32, None),
        ("c.npy", NumberType::U16, None),
        ("fortran.npy", NumberType::F64, None),
        ("volume.nii.gz", NumberType::I16, VoxelSize::new([30.0, 4.0, 4.0], "um")),
        ("second.nii", NumberType::F32, VoxelSize::new([1.0; 3], "")),
        ("imagej.tif", NumberType::U16, nanometres()),
        ("big.tif", NumberType::F32, None),
    ] {
        let path = file(name);
        let mut reader = volume_file::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = reader.info().clone();
        assert_eq!((info.channels, info.extent, info.numbers), (1, EXTENT, numbers), "{name}");
        assert_eq!(info.voxel, voxel, "{name}");
        let whole = reader.read(Extent::ZERO, EXTENT).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(whole, expected(), "{name}");
        for (origin, extent) in [((0, 0, 0), (1, 9, 11)), ((2, 3, 4), (2, 4, 5)), ((4, 8, 10), (1, 1, 1))] {
            let origin = Extent::new(origin.0, origin.1, origin.2);
            let extent = Extent::new(extent.0, extent.1, extent.2);
            let part = reader.read(origin, extent).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(part, expected().crop(origin, extent), "{name} {origin}");
        }
        assert_eq!(volume_file::read_image(&path).expect(name), expected(), "{name}");
    }
}

/// Found by fuzzing: a chunk of gigabytes in a file of kilobytes.
#[test]
fn an_absurd_chunk_is_refused_before_memory_is_taken() {
    let path = file("absurd_chunk.h5");
    let damaged = Hdf5File::from_bytes(&path, std::fs::read(&path).unwrap()).unwrap();
    let error = volume_file::decode_hdf5(&damaged).unwrap_err().to_string();
    assert!(
        error.contains("absurd_chunk.h5, main: a stored chunk of 2888237055 bytes in a file of 5333"),
        "{error}"
    );
}
