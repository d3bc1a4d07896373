#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::data::tiff;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("volume.tif");
    std::fs::write(&path, bytes).expect("a file");
    let _ = tiff::read(&path);
    let _ = tiff::read_labels(&path);
});
