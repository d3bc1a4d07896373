#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::data::formats::open_chunked;
use znn::Extent;

/// The most voxels that are read of what a description claims; missing chunks cost nothing on the disk.
const MOST: usize = 1 << 20;

// The first byte says which of the formats the text describes an array of; the rest is every chunk at the origin.
fuzz_target!(|parts: (u8, &str, &[u8])| {
    let (format, text, bytes) = parts;
    let folder = tempfile::tempdir().expect("a folder");
    let name = ["zarr.json", ".zarray", "attributes.json"][usize::from(format % 3)];
    std::fs::write(folder.path().join(name), text).expect("a file");
    for chunk in ["0.0.0", "c/0/0/0", "0/0/0", "c.0.0.0", "0.0", "c/0/0"] {
        let path = folder.path().join(chunk);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        if !path.is_dir() {
            std::fs::write(&path, bytes).expect("a file");
        }
    }
    if let Ok(mut volume) = open_chunked(folder.path()) {
        let info = volume.info().clone();
        let voxels = info.extent.to_array().iter().try_fold(info.channels, |all, &axis| all.checked_mul(axis));
        if voxels.is_some_and(|voxels| voxels <= MOST) {
            let _ = volume.read(Extent::ZERO, info.extent);
        }
    }
});
