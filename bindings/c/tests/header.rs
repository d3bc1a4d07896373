//! `include/znn.h` is what cbindgen makes of the sources.

use std::path::Path;

use cbindgen::{Builder, Config};

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let preamble = std::fs::read_to_string(root.join("src/preamble.h")).expect("the preamble");
    let mut config = Config::from_file(root.join("cbindgen.toml")).expect("the settings");
    config.header = Some(preamble.trim_end().to_owned());
    let builder = Builder::new().with_src(root.join("src/lib.rs"));
    let mut made = Vec::new();
    builder.with_config(config).generate().expect("a header").write(&mut made);
    // What Rust asks of an unsafe function's documentation, the preamble says once for all.
    let made = String::from_utf8(made)
        .expect("text")
        .replace("//\n// # Safety\n// See the preamble of the header.\n", "");
    let path = root.join("include/znn.h");
    if std::env::var_os("ZNN_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("the header is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "include/znn.h is out of date: run `ZNN_WRITE_HEADER=1 cargo test -p znn-c --test header`"
    );
}
