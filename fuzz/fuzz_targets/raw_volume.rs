#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::formats::RawSpec;
use znn::data::volume_file;

fuzz_target!(|parts: (&[u8], &[u8], &str)| {
    let (bytes, size, name) = parts;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("volume.image");
    std::fs::write(&path, bytes).expect("a file");
    std::fs::write(path.with_extension("size"), size).expect("a file");
    let _ = volume_file::read_image(&path);
    if let Some(spec) = RawSpec::parse(name) {
        let _ = znn::data::formats::open_raw(&RawSpec { path: Path::new(&path).to_owned(), ..spec });
    }
});
