use super::*;
use crate::data::VoxelSize;
use crate::hdf5::{self, FileBuilder};

const EXTENT: Extent = Extent::new(5, 7, 6);

fn volume(channels: usize) -> Tensor {
    Tensor::from_fn(channels, EXTENT, |i| (i % 120) as f32)
}

/// A name of each format that is written, and whether it holds several channels and the size of a voxel.
const WRITTEN: [(&str, bool, bool); 9] = [
    ("a.tif", false, true),
    ("a.h5", true, true),
    ("a.nii", true, true),
    ("a.nii.gz", true, true),
    ("a.npy", true, false),
    ("zarr2:a.zarr", true, true),
    ("b.zarr", true, true),
    ("a.n5", true, true),
    ("a.raw", true, false),
];

/// The name in `folder`, with what a raw file needs.
fn name(folder: &Path, name: &str, channels: usize, numbers: NumberType) -> PathBuf {
    let (scheme, file) = name.split_once(':').map_or(("", name), |(scheme, file)| (scheme, file));
    let path = folder.join(file).to_str().unwrap().to_owned();
    let Extent { z, y, x } = EXTENT;
    match (scheme, name.ends_with(".raw")) {
        (_, true) => PathBuf::from(format!("{path}:{numbers}:{channels}x{z}x{y}x{x}").replace(":1x", ":")),
        ("", _) => PathBuf::from(path),
        _ => PathBuf::from(format!("{scheme}:{path}")),
    }
}

#[test]
fn volumes_round_trip_in_every_format_and_type() {
    for (format, has_channels, _) in WRITTEN {
        for numbers in NumberType::ALL {
            for channels in [1, 3] {
                let folder = tempfile::tempdir().unwrap();
                let path = name(folder.path(), format, channels, numbers);
                assert_eq!(super::has_channels(&path), has_channels);
                let result = write(&path, &volume(channels), numbers, None);
                if channels > 1 && !has_channels {
                    assert!(result.unwrap_err().to_string().contains("expected 1"));
                    continue;
                }
                result.unwrap();
                let reader = open(&path).unwrap();
                assert_eq!(reader.info().numbers, numbers, "{format}");
                assert_eq!(read_maps(&path).unwrap(), volume(channels), "{format} {numbers} {channels}");
                let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
                assert_eq!(names.len(), 1, "{format}: nothing else is left");
            }
        }
    }
}

#[test]
fn boxes_are_written_in_any_order_and_voxel_sizes_are_kept() {
    for (format, has_channels, has_size) in WRITTEN {
        let channels = if has_channels { 2 } else { 1 };
        let folder = tempfile::tempdir().unwrap();
        let path = name(folder.path(), format, channels, NumberType::F32);
        let voxel = VoxelSize::new([30.0, 4.0, 4.5], "um");
        let info = VolumeInfo {
            channels,
            extent: EXTENT,
            numbers: NumberType::F32,
            voxel: voxel.clone(),
            chunk: Some(Extent::new(2, 4, 3)),
        };
        let volume = volume(channels);
        let mut writer = create(&path, &info).unwrap();
        for z in [2, 0, 4] {
            for (y, height) in [(4, 3), (0, 4)] {
                let (origin, extent) = (Extent::new(z, y, 0), Extent::new(2.min(5 - z), height, 6));
                writer.write(origin, &volume.crop(origin, extent)).unwrap();
            }
        }
        writer.finish().unwrap();
        let mut reader = open(&path).unwrap();
        let found = reader.info().voxel.clone();
        if has_size {
            let found = found.unwrap();
            let close = found.size.iter().zip([30.0, 4.0, 4.5]).all(|(a, b)| (a / b - 1.0).abs() < 1e-6);
            assert!(found.unit == "um" && close, "{format}: {found}");
        } else {
            assert_eq!(found, None, "{format}");
        }
        assert_eq!(reader.read(Extent::ZERO, EXTENT).unwrap(), volume, "{format}");
        let (origin, extent) = (Extent::new(1, 3, 2), Extent::new(3, 2, 3));
        assert_eq!(reader.read(origin, extent).unwrap(), volume.crop(origin, extent), "{format}");
    }
}

#[test]
fn names_say_the_format() {
    let format = |name: &str| Format::of(Path::new(name));
    let hdf5 = |path: &str, dataset: &str| Format::Hdf5 { path: path.into(), dataset: dataset.into() };
    let chunked = |path: &str, format| Format::Chunked { path: path.into(), format };
    assert_eq!(format("a.H5"), hdf5("a.H5", "main"));
    assert_eq!(format("a.hdf5:/volumes/raw"), hdf5("a.hdf5", "volumes/raw"));
    assert_eq!(format("a.zarr/volumes/raw"), chunked("a.zarr/volumes/raw", None));
    assert_eq!(format("zarr2:a"), chunked("a", Some(ChunkedFormat::Zarr2)));
    assert_eq!(format("a.n5"), chunked("a.n5", Some(ChunkedFormat::N5)));
    assert_eq!(format("a.nii.gz"), Format::Nifti);
    assert_eq!(format("a.tif.gz"), Format::Tiff);
    assert_eq!(format("a.tiff"), Format::Tiff);
    assert_eq!(format("a"), Format::Tiff);
    assert_eq!(file_of(Path::new("a.raw:uint8:1x2x3")), Path::new("a.raw"));
    assert_eq!(file_of(Path::new("n5:b/a")), Path::new("b/a"));
    assert!(is_chunked(Path::new("a.zarr")) && !is_chunked(Path::new("a.tif")));
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let error =
        |path: &Path, channels| write(path, &volume(channels), NumberType::U8, None).unwrap_err().to_string();
    assert!(
        error(&path("a.raw:uint8:5x7x7"), 1)
            .ends_with("uint8 of [5, 7, 7], but the volume is uint8 of [5, 7, 6]")
    );
    assert!(error(&path("a.image"), 1).contains("only read"));
    assert!(error(&path("a.h5:raw"), 1).ends_with("the dataset `raw`, expected `main` of a new file"));
    write(&path("two.h5"), &volume(2), NumberType::F32, None).unwrap();
    let error = read_label(&path("two.h5")).unwrap_err().to_string();
    assert!(error.ends_with("the shape: 2 channels, expected z,y,x or one channel of them"), "{error}");
    let mut file = FileBuilder::new();
    file.create_dataset(MAIN).with_data(&[1u32 << 25, 1]).with_shape(&[1, 2]);
    hdf5::write(&path("large.h5"), file).unwrap();
    let error = read_label(&path("large.h5")).unwrap_err().to_string();
    assert!(error.ends_with("the value 33554432 is too large, expected at most 16777216"), "{error}");
    std::fs::create_dir(path("empty.zarr")).unwrap();
    let error = read_image(&path("empty.zarr")).unwrap_err().to_string();
    assert!(error.contains("empty.zarr, the folder: no zarr.json, .zarray or attributes.json"), "{error}");
}
