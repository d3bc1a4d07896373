#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::volume_file;

fuzz_target!(|parts: (&[u8], &[u8])| {
    let (bytes, size) = parts;
    let _ = volume_file::decode_raw(Path::new("volume.image"), bytes, size);
});
