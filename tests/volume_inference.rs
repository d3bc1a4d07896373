//! `znn infer` on volumes of every format, larger than its memory, interrupted, and shared by several processes.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Desk, NET};
use znn::data::{NumberType, VoxelSize, volume_file};
use znn::network::{Parameters, spec, weights_file};
use znn::{Extent, Tensor};

/// A network that looks at one voxel.
const POINT: &str = "\
nodes in
type input
size 1
edges c
type conv
input in
output out
size 1,1,1
init constant
init_args 0.5
nodes out
type transfer
size 1
function tanh
";

/// Writes a model with drawn weights as `name`.
fn model(desk: &Desk, name: &str, text: &str) {
    let network = spec::parse(text, "net.znn").expect("a network").network;
    let parameters = Parameters::init(&network, 5);
    let notes = BTreeMap::from([("loss".to_owned(), "softmax".to_owned())]);
    weights_file::save(&desk.path(name), &network, &parameters, &notes, false).expect("a file");
}

/// Runs the program, which must fail; what it says.
fn fail(desk: &Desk, arguments: &str) -> String {
    let output = desk.znn(arguments);
    assert_eq!(output.status.code(), Some(1), "znn {arguments}");
    String::from_utf8(output.stderr).expect("text")
}

fn volume(desk: &Desk) -> Tensor {
    desk.volume("raw.tif")
}

#[test]
fn every_format_gives_the_same_prediction_and_keeps_the_voxel_size() {
    let desk = Desk::new();
    model(&desk, "net.safetensors", NET);
    desk.succeed("infer --model net.safetensors --input raw.tif --output expected.tif --algorithm direct");
    let expected = desk.volume("expected.tif");
    let voxel = VoxelSize::new([30.0, 4.0, 4.0], "nm");
    for (input, output, has_size) in [
        ("raw.h5", "out.n5", true),
        ("raw.n5", "zarr2:out2.zarr", true),
        ("zarr2:raw2.zarr", "out3.zarr", true),
        ("raw3.zarr", "out.h5", true),
        ("raw.nii.gz", "out.tif", true),
        ("raw.npy", "out.nii", false),
        ("raw.raw:float32:4x40x44", "out.npy", false),
        ("raw.nii", "out.raw:float32:4x40x44", true),
    ] {
        let (scheme, name) = match input.split_once(':') {
            Some((scheme, name)) if scheme.starts_with("zarr") => (format!("{scheme}:"), name),
            _ => (String::new(), input),
        };
        let path = format!("{scheme}{}", desk.path(name).display());
        volume_file::write(Path::new(&path), &volume(&desk), NumberType::F32, voxel.clone())
            .expect("a volume");
        let (stdout, _) = desk.succeed(&format!(
            "infer --model net.safetensors --input {input} --output {output} --algorithm direct --tile 3,20,30"
        ));
        assert_eq!(stdout.trim(), output);
        let file = output.strip_prefix("zarr2:").unwrap_or(output);
        let reader = volume_file::open(&desk.path(file)).expect("an output");
        let found = volume_file::read_image(&desk.path(file)).expect("an output");
        assert_eq!(found, expected, "{input} {output}");
        let size = reader.info().voxel.as_ref().filter(|_| has_size && !output.contains("raw"));
        if has_size && !output.contains("raw") {
            let nanometres = size.expect("a size").in_unit("nm");
            assert!(nanometres.size.iter().zip([30.0, 4.0, 4.0]).all(|(a, b)| (a / b - 1.0).abs() < 1e-5));
        }
        assert!(!desk.path(&format!("{file}.progress")).exists());
    }
}

#[test]
fn shards_together_are_one_run_and_interrupted_ones_go_on() {
    let desk = Desk::new();
    model(&desk, "net.safetensors", NET);
    let infer = "infer --model net.safetensors --input raw.tif --deterministic --tile 2,16,16 --chunk 2,16,16 --output";
    desk.succeed(&format!("{infer} whole.zarr"));
    let whole = volume_file::read_maps(&desk.path("whole.zarr")).expect("an output");
    for name in ["shared.zarr", "shared.n5"] {
        for shard in [2, 3, 1] {
            desk.succeed(&format!("{infer} {name} --shard {shard}/3"));
        }
        assert_eq!(volume_file::read_maps(&desk.path(name)).expect("an output"), whole, "{name}");
        let blocks = desk.names(&format!("{name}.progress"));
        assert_eq!(blocks.len(), 2 * 3 * 3 + 1, "{blocks:?}");

        // One chunk and what says that it is done are lost, another chunk is not looked at again.
        let lost = if name.ends_with("n5") { "0/1/1" } else { "c/1/1/0" };
        std::fs::remove_file(desk.path(name).join(lost)).expect("a chunk");
        assert_ne!(volume_file::read_maps(&desk.path(name)).expect("an output"), whole);
        std::fs::remove_file(desk.path(&format!("{name}.progress")).join("block-12")).expect("a block");
        let stderr = fail(&desk, &format!("{infer} {name}"));
        assert!(stderr.contains(".progress: a prediction has been begun here; --resume goes on"), "{stderr}");
        let stderr = fail(&desk, &format!("{infer} {name} --resume --format u8"));
        assert!(stderr.contains("was begun with format F32, now it is U8"), "{stderr}");
        desk.succeed(&format!("{infer} {name} --resume --memory 1G").replace("--tile 2,16,16", ""));
        assert_eq!(volume_file::read_maps(&desk.path(name)).expect("an output"), whole, "{name}");
        assert!(!desk.path(&format!("{name}.progress")).exists());
    }
    let stderr = fail(&desk, &format!("{infer} out.tif --resume"));
    assert!(stderr.contains("out.tif: --resume and --shard need an output in chunks"), "{stderr}");
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let desk = Desk::new();
    model(&desk, "net.safetensors", NET);
    let infer = "infer --model net.safetensors --input raw.tif --algorithm direct --tile 1,5,5 --chunk 1,5,5 --output";
    desk.succeed(&format!("{infer} whole.zarr"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_znn"))
        .args(format!("{infer} killed.zarr").split_whitespace())
        .current_dir(desk.path(""))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let folder = desk.path("killed.zarr.progress");
    let blocks = || std::fs::read_dir(&folder).map_or(0, |entries| entries.count());
    while blocks() < 20 && child.try_wait().expect("a state").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a signal");
    child.wait().expect("an end");
    assert!(folder.exists(), "the run of 288 blocks was not complete yet");
    desk.succeed(&format!("{infer} killed.zarr --resume"));
    let read = |name: &str| volume_file::read_maps(&desk.path(name)).expect("an output");
    assert_eq!(read("killed.zarr"), read("whole.zarr"));
}

/// The most memory that the program had, in bytes.
#[cfg(target_os = "linux")]
fn peak(desk: &Desk, arguments: &str) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_znn"))
        .args(arguments.split_whitespace())
        .current_dir(desk.path(""))
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().expect("a state") {
            assert!(status.success(), "{arguments}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A volume of 128 MiB in memory, and its prediction of as many, within a bound of 16 MiB: the rest is the program's own, and
/// what its allocator keeps.
#[cfg(target_os = "linux")]
#[test]
fn a_volume_larger_than_the_memory_is_predicted_in_bounded_memory() {
    let desk = Desk::new();
    model(&desk, "point.safetensors", POINT);
    let extent = Extent::new(32, 1024, 1024);
    let bytes = 4 * extent.len() as u64;
    let file = File::create(desk.path("large.raw")).expect("a file");
    file.set_len(extent.len() as u64).expect("a sparse file");
    let small = peak(&desk, "infer --model point.safetensors --input raw.tif --output small.n5 --memory 16M");
    for (output, preprocess) in [("out.zarr", "standard3d"), ("out.tif", "standard2d")] {
        let most = peak(
            &desk,
            &format!(
                "infer --model point.safetensors --input large.raw:uint8:32x1024x1024 --output {output} --memory 16M \
                 --preprocess {preprocess} --format u8 --algorithm direct --threads 2"
            ),
        );
        assert!(most < small + bytes / 2, "{output}: {most} bytes, {small} for a small volume");
        let found = volume_file::open(&desk.path(output)).expect("an output");
        assert_eq!(found.info().extent, extent);
    }
}
