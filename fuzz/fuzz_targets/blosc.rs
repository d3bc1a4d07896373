#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::data::formats::decode_blosc;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode_blosc(bytes, 1 << 20);
});
