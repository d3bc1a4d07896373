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

/// For [`spelled`]: padding, real strides, deconvolution, sums and concatenation of their results, a slice, a scale.
pub const RESIZING: &str = "
    nodes in type=input size=2
    edges a type=conv init=msra size=1,3,3 pad=0,1,1 input=in output=a
    nodes a type=transfer function=exponential_linear size=3
    edges down type=conv init=msra size=2,3,3 pad=1,1,1 downsample=1,2,2 input=a output=b
    nodes b type=transfer function=leaky_rectify_linear function_args=0.2 size=5
    edges b2 type=conv init=msra size=3,3,3 pad=1,1,1 input=b output=b2
    edges bb type=dummy input=b output=b2
    nodes b2 type=transfer function=exponential_linear function_args=0.7 size=5
    edges up type=deconv init=msra size=1,2,2 stride=1,2,2 input=b2 output=u
    edges up3 type=deconv init=msra size=2,3,3 stride=1,2,2 pad=0,1,1 input=b2 output=v
    nodes v type=transfer function=tanh size=2
    edges cut type=crop offset=1,0,0 input=v output=w
    nodes w type=sum size=2
    edges z1 type=conv init=msra size=2,1,1 input=u output=u1
    nodes u type=sum size=3
    nodes u1 type=sum size=3
    edges z2 type=conv init=msra size=1,1,1 input=a output=s
    nodes s type=sum size=3
    edges c1 type=dummy input=u1 output=cat
    edges c2 type=scale init=uniform init_args=0.5,1.5 input=s output=cat
    edges c3 type=dummy input=w output=cat
    nodes cat type=concat size=8
    edges part type=slice first=2 input=cat output=out
    edges whole type=conv init=msra size=1,1,3 pad=0,0,1 input=cat output=out
    nodes out type=transfer function=linear size=4
";

/// For [`spelled`]: every other kind of node, shared kernels, poolings.
pub const NODES: &str = "
    nodes in type=input size=2
    nodes in2 type=input size=2
    edges a type=conv init=msra size=2,3,3 input=in output=a
    nodes a type=transfer function=parametric_rectify_linear function_args=0.3 init=uniform size=4
    edges a2 type=conv share=a size=2,3,3 pad=0,1,1 input=in2 output=a2
    nodes a2 type=normalise function=exponential_linear init=uniform size=4
    edges p type=max_pool size=1,2,2 input=a output=p
    edges q type=max_pool size=2,3,3 downsample=1,2,2 pad=0,1,1 input=a2 output=q
    nodes q type=sum size=4
    edges qc type=crop offset=0,1,1 input=q output=qq
    nodes qq type=sum size=4
    nodes p type=sum size=4
    edges g type=conv init=msra size=2,1,1 input=p output=gate
    nodes gate type=transfer function=logistics size=4
    edges m1 type=dummy input=gate output=m
    edges m2 type=scale input=qq output=m
    edges m3 type=conv init=msra size=1,1,1 input=qq output=m
    nodes m type=multiply size=4
    edges v1 type=average_pool size=1,2,2 input=m output=av
    nodes av type=normalise statistics=own size=4
    edges v2 type=upsample size=1,2,2 input=av output=mean
    edges v3 type=dummy input=m output=mean
    nodes mean type=average size=4
    edges e type=conv init=msra size=1,3,3 pad=0,1,1 input=mean output=soft
    edges e2 type=conv share=e size=1,3,3 pad=0,1,1 input=m output=soft
    nodes soft type=softmax size=3
    edges o type=dummy input=soft output=out
    nodes out type=transfer function=linear size=3
";

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
