#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::train::job::Job;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("job.toml");
    std::fs::write(&path, bytes).expect("a file");
    if let Ok(layer) = Job::read_layer(&path) {
        let _ = Job::from_layers(&[layer]);
    }
});
