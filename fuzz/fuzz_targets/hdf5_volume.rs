#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::volume_file;
use znn::hdf5::Hdf5File;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Hdf5File::from_bytes(Path::new("volume.h5"), bytes.to_vec()) {
        let _ = volume_file::decode_hdf5(&file);
    }
});
