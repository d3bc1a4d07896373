#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::network::hdf5_file;

fuzz_target!(|bytes: &[u8]| {
    let _ = hdf5_file::from_bytes(Path::new("net.h5"), bytes.to_vec());
});
