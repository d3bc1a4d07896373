#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::network::weights_file;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).expect("a file");
    let _ = weights_file::load(&path);
});
