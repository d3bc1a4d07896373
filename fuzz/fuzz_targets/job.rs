#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::train::job::cfg;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("job.cfg");
    std::fs::write(&path, bytes).expect("a file");
    let _ = cfg::read_training(&path);
    let _ = cfg::read_forward(&path, None);
});
