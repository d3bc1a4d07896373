#![no_main]

use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::tiff::Stack;
use znn::Extent;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut stack) = Stack::new(Path::new("volume.tif"), Cursor::new(bytes), true) {
        let _ = stack.read(Extent::ZERO, stack.extent());
    }
});
