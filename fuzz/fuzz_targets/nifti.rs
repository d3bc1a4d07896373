#![no_main]

use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::formats::decode_nifti;
use znn::Extent;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut volume) = decode_nifti(Path::new("volume.nii"), Cursor::new(bytes.to_vec())) {
        let _ = volume.read(Extent::ZERO, volume.info().extent);
    }
});
