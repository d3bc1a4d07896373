//! What the tests of this folder share.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Network, spec};
use crate::volume::Extent;

/// The network of a text that is right.
pub fn network(text: &str) -> Network {
    spec::parse(text, "test.znn").unwrap_or_else(|error| panic!("{error}")).network
}

/// The text of a network from lines `nodes NAME key=value ...` and `edges NAME key=value ...`.
pub fn spelled(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        for (i, word) in line.split_whitespace().enumerate() {
            let end = if i == 0 { ' ' } else { '\n' };
            text += &word.replacen('=', " ", 1);
            text.push(end);
        }
    }
    text
}

/// The folder of the stored reference data.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The stored cases that train a network: their names, and what `case.json` says.
pub fn golden_cases() -> Vec<(PathBuf, Value)> {
    let mut cases: Vec<_> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("net.znn").exists())
        .map(|folder| {
            let case = std::fs::read(folder.join("case.json")).unwrap();
            let case = serde_json::from_slice(&case).unwrap();
            (folder, case)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(cases.len(), 19, "stored cases in {}", golden().display());
    cases
}

/// An array of a stored case.
pub fn golden_array(folder: &Path, case: &Value, name: &str) -> Vec<f64> {
    let array = &case["arrays"][name];
    let shape: Vec<usize> = serde_json::from_value(array["shape"].clone()).unwrap();
    let offset = array["offset"].as_u64().unwrap() as usize;
    let bytes = std::fs::read(folder.join("data.f64")).unwrap();
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    words[offset..][..shape.iter().product()].iter().map(|&word| f64::from_le_bytes(word)).collect()
}

/// A triple in a stored file.
pub fn extent(value: &Value) -> Extent {
    serde_json::from_value(value.clone()).unwrap()
}

/// The folder of the original's network files, which are not part of this project: `ZNN_NETWORKS_DIR`, or
/// `../shared/networks`. `None`, with a printed word, where it is not there.
pub fn networks_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ZNN_NETWORKS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/networks"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no network files at {} (set ZNN_NETWORKS_DIR)", folder.display());
    None
}
