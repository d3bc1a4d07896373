//! The program as its users meet it: training, stopping and going on, prediction, checks.

mod support;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Desk, NET, TRAIN};
use znn::network::weights_file::Model;
use znn::train::report::metrics::{self, Phase, Record};
use znn::{Extent, Tensor};

/// Width and height of a PNG file, all of which is decoded.
fn png_size(path: &Path) -> (u32, u32) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height)
}

/// Parameters and their momentum, bit for bit.
fn bits(model: &Model) -> Vec<u32> {
    let network = &model.network;
    let edges = network.edge_ids().filter_map(|id| model.parameters.edge(id));
    let nodes = network.node_ids().filter_map(|id| model.parameters.node(id));
    edges
        .chain(nodes)
        .flat_map(|p| p.values().iter().chain(p.momentum()))
        .map(|value| value.to_bits())
        .collect()
}

fn iteration(model: &Model) -> u64 {
    model.notes["iteration"].parse().unwrap()
}

/// What a history says but for the time it took.
fn facts(desk: &Desk, run: &str) -> Vec<(u64, Phase, u64, u64)> {
    let fact = |r: &Record| (r.iteration, r.phase, r.loss.to_bits(), r.pixel_error.to_bits());
    metrics::read(&desk.path(run).join("metrics.jsonl")).unwrap().iter().map(fact).collect()
}

#[test]
fn training_leaves_a_run_that_can_be_read() {
    let desk = Desk::new();
    let (stdout, stderr) = desk.succeed(&format!("{TRAIN} --iterations 20 --out run"));
    assert_eq!(stdout, "", "reports go to standard error");
    assert!(stderr.contains("iteration 10: validation loss "), "{stderr}");
    assert!(stderr.contains("done after 20 iterations, validation pixel error 0."), "{stderr}");
    let files = ["curve.png", "events.out.tfevents.znn", "job.toml", "metrics.jsonl", "model.safetensors"];
    assert_eq!(desk.names("run"), [&files[..], &["preview.png"]].concat());

    let text = std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 22);
    for line in &lines {
        for key in ["loss", "pixel_error", "eta", "voxels_per_second", "seconds"] {
            assert!(line[key].as_f64().is_some_and(|value| value >= 0.0), "{key} in {line}");
        }
        let constant = line["constant_error"].as_f64();
        assert_eq!(constant.is_some_and(|error| error > 0.0 && error <= 0.5), line["phase"] == "validation");
    }
    let (width, height) = png_size(&desk.path("run/curve.png"));
    assert!(width >= 400 && height >= 300);
    let (width, height) = png_size(&desk.path("run/preview.png"));
    assert!(width > 3 * 12 && height > 12);

    let model = desk.model("run");
    assert_eq!(iteration(&model), 20);
    assert_eq!(model.notes["loss"], "softmax");
    assert!(bits(&model).iter().any(|&bits| bits != 0));
}

#[test]
fn a_run_is_replaced_only_when_asked_and_able_to() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --iterations 3 --out run"));
    let first = bits(&desk.model("run"));

    let again = desk.znn(&format!("{TRAIN} --iterations 3 --seed 2 --out run"));
    assert_eq!(again.status.code(), Some(1));
    assert!(support::text(&again.stderr).contains("run holds a run already: go on with it (--resume)"));

    // What cannot be started must not cost the earlier run.
    let too_large = TRAIN.replace("1,12,12", "1,500,500");
    let hopeless = desk.znn(&format!("{too_large} --overwrite --out run"));
    assert_eq!(hopeless.status.code(), Some(1));
    assert_eq!(bits(&desk.model("run")), first);
    assert_eq!(facts(&desk, "run").len(), 4);

    desk.succeed(&format!("{TRAIN} --iterations 3 --seed 2 --overwrite --out run"));
    assert_ne!(bits(&desk.model("run")), first);
    assert_eq!(facts(&desk, "run").len(), 4, "the history begins again");
}

#[test]
fn a_resumed_run_has_the_bits_of_one_in_one_go_with_any_number_of_threads() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --deterministic --iterations 20 --threads 2 --out whole"));
    let whole = desk.model("whole");
    for (first, second) in [(1, 1), (1, 2), (2, 1)] {
        let run = format!("run{first}{second}");
        desk.succeed(&format!("{TRAIN} --deterministic --iterations 10 --threads {first} --out {run}"));
        let (_, stderr) =
            desk.succeed(&format!("train --resume --iterations 20 --threads {second} --out {run}"));
        assert!(stderr.contains("going on after iteration 10"), "{stderr}");
        assert!(stderr.contains("changed since the run was started: iterations: 10 -> 20"), "{stderr}");
        let resumed = desk.model(&run);
        assert_eq!(iteration(&resumed), 20);
        assert_eq!(bits(&resumed), bits(&whole), "threads {first}, then {second}");
        assert_eq!(facts(&desk, &run), facts(&desk, "whole"), "threads {first}, then {second}");
    }
    let (_, stderr) = desk.succeed("train --resume --out whole");
    assert!(stderr.contains("done after 20 iterations"), "nothing is left to do: {stderr}");
    assert_eq!(bits(&desk.model("whole")), bits(&whole));
}

/// Waits until the checkpoint in `run` has come to `wanted` iterations. At any moment there is a whole one.
fn wait_for_checkpoint(desk: &Desk, run: &str, wanted: u64, child: &mut Child) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if desk.path(run).join("model.safetensors").exists() && iteration(&desk.model(run)) >= wanted {
            return;
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the program ended by itself: {status}");
        }
    }
    panic!("no checkpoint of iteration {wanted} after a minute");
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on_as_if_nothing_had_happened() {
    let desk = Desk::new();
    let options = "--deterministic --threads 2 --checkpoint-every 1 --iterations 80";
    desk.succeed(&format!("{TRAIN} {options} --out whole"));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut reached = Vec::new();
    for kill in 0..8 {
        let arguments = match kill {
            0 => format!("{TRAIN} {options} --out run"),
            _ => "train --resume --out run".to_owned(),
        };
        let mut child = desk.command(&arguments).arg("--quiet").spawn().unwrap();
        let before = reached.last().copied().unwrap_or(0);
        wait_for_checkpoint(&desk, "run", before + 3, &mut child);
        // Anywhere within an iteration, a report or the writing of a checkpoint.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..8000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = iteration(&desk.model("run"));
        assert!(now >= before + 3 && now < 80, "{now} after {before}");
        reached.push(now);
    }
    desk.succeed("train --resume --out run");
    assert_eq!(bits(&desk.model("run")), bits(&desk.model("whole")), "killed after {reached:?}");
    assert_eq!(facts(&desk, "run"), facts(&desk, "whole"), "killed after {reached:?}");
    assert_eq!(desk.names("run"), desk.names("whole"), "no half-written file is left");
}

#[test]
fn ctrl_c_saves_and_stops() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --deterministic --iterations 40 --out whole"));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let run = format!("run{code}");
        // Without checkpoints on the way, only the one at the stop can tell how far it came.
        let arguments = format!("{TRAIN} --deterministic --iterations 1000000 --out {run}");
        let mut child = desk.command(&arguments).stderr(std::process::Stdio::piped()).spawn().unwrap();
        wait_for_checkpoint(&desk, &run, 0, &mut child);
        std::thread::sleep(Duration::from_millis(100));
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        let stderr = support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let stopped = iteration(&desk.model(&run));
        assert!(stderr.contains(&format!("stopped after {stopped} iterations")), "{stderr}");
        assert!(stderr.contains(&format!("go on with: znn train --resume --out {run}")), "{stderr}");
        assert!(stopped > 0, "it had a tenth of a second");
        desk.succeed(&format!("train --resume --iterations {} --out {run}", stopped.max(40)));
        if stopped <= 40 {
            assert_eq!(bits(&desk.model(&run)), bits(&desk.model("whole")));
        }
    }
}

/// The largest difference of two volumes of one extent.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.extent(), b.extent());
    a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn prediction_is_the_same_whatever_the_tiles() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --iterations 20 --out run"));
    let infer = |options: &str, output: &str| {
        let (stdout, stderr) =
            desk.succeed(&format!("infer --input val_raw.tif --output {output} {options}"));
        assert_eq!((stdout, stderr), (format!("{output}\n"), String::new()), "{options}");
        desk.volume(output)
    };
    let whole = infer("--model run", "whole.tif");
    assert_eq!(whole.extent(), Extent::new(3, 32, 36));
    assert!(whole.data().iter().all(|p| (0.0..=1.0).contains(p)));
    let (low, high) = whole.data().iter().fold((1.0_f32, 0.0_f32), |(l, h), &p| (l.min(p), h.max(p)));
    assert!(high - low > 0.05, "the prediction is flat: {low} to {high}");

    // by one algorithm, because what measures faster may differ from run to run, and with it the rounding
    let file = infer("--model run/model.safetensors --algorithm direct", "file.tif");
    assert_eq!(distance(&file, &infer("--model run --algorithm direct", "folder.tif")), 0.0);
    for options in
        ["--tile 1,10,10", "--tile 2,7,36 --threads 1", "--memory 200K", "--algorithm fft --tile 3,9,9"]
    {
        let tiled = infer(&format!("--model run {options}"), "tiled.tif");
        assert!(distance(&tiled, &whole) < 1e-5, "{options}: off by {}", distance(&tiled, &whole));
    }

    // The field of view is 2,8,8: of an axis, that less one is lost, the smaller half at its beginning.
    let valid = infer("--model run --valid", "valid.tif");
    assert_eq!(valid.extent(), Extent::new(2, 25, 29));
    assert!(distance(&valid, &whole.crop(Extent::new(0, 3, 3), valid.extent())) < 1e-5);

    let byte = infer("--model run --format u8 --preview preview.png", "byte.tif");
    let word = infer("--model run --format u16", "word.tif");
    for (i, &p) in whole.data().iter().enumerate() {
        assert!((byte.data()[i] - 255.0 * p).abs() <= 0.51 && (word.data()[i] - 65535.0 * p).abs() <= 0.6);
    }
    let (width, height) = png_size(&desk.path("preview.png"));
    assert!(width > 2 * 36 && height > 32);
    assert_eq!(desk.succeed("infer -q --model run --input val_raw.tif --output quiet.tif").0, "");
}

#[test]
fn each_map_of_an_affinity_gets_a_file() {
    let desk = Desk::new();
    desk.write("net.znn", NET.replace("function linear\nsize 2", "function forward_logistics\nsize 3"));
    desk.succeed(&format!("{TRAIN} --target affinity --iterations 10 --out run"));
    let (stdout, _) = desk.succeed("infer --model run --input val_raw.tif --output out.tif");
    assert_eq!(stdout, "out.tif\nout_1.tif\nout_2.tif\n");
    let maps = ["out.tif", "out_1.tif", "out_2.tif"].map(|name| desk.volume(name));
    assert!(maps.iter().all(|map| map.extent() == Extent::new(3, 32, 36)));
    assert!(distance(&maps[0], &maps[1]) > 1e-4 && distance(&maps[1], &maps[2]) > 1e-4);
}

#[test]
fn gradients_of_networks_are_right() {
    let desk = Desk::new();
    for (name, net) in [
        ("pooling and dropout", NET.to_owned()),
        ("max_pool", NET.replace("type max_filter", "type max_pool").replace("stride 1,2,2\n", "")),
        ("forward_logistics", NET.replace("function linear", "function forward_logistics")),
        ("tanh", NET.replace("function rectify_linear", "function tanh\nfunction_args 1.7159,0.6666")),
    ] {
        desk.write("checked.znn", net);
        let (stdout, stderr) = desk.succeed("check --net checked.znn");
        assert_eq!(stderr, "", "{name}");
        assert!(stdout.starts_with("convolutions: direct\n  edges conv1"), "{name}: {stdout}");
        for line in ["convolutions: fft\n", "  nodes output", " gradients are right\n"] {
            assert!(stdout.contains(line), "{name}: {stdout}");
        }
    }
}

#[test]
fn networks_are_described() {
    let desk = Desk::new();
    let (stdout, stderr) = desk.succeed("info --net net.znn --output-size 1,12,12");
    assert_eq!(stderr, "");
    assert!(stdout.starts_with("group     kind"), "{stdout}");
    assert!(stdout.ends_with("field of view 2,8,8; 12 kernels, 180 weights, 6 biases\n"), "{stdout}");
    let (stdout, _) = desk.succeed("info --net net.znn --output-size 1,12,12 --plan");
    for layer in ["conv1 ", "conv2 "] {
        let line = stdout.lines().rfind(|line| line.trim_start().starts_with(layer)).unwrap();
        assert!(["  direct", "  fft ", "  winograd "].iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn convolutions_are_described_and_decisions_kept() {
    let desk = Desk::new();
    let info = "info --net net.znn --output-size 1,12,12 --plan --threads 2";
    let (text, warnings) = desk.succeed(&format!("{info} --tuning none"));
    assert_eq!(warnings, "");
    assert!(!desk.path("cache").exists());
    for word in ["forward", "backward_data", "backward_weights", "  ms  ", "memory\n", "\nsum  "] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let (fixed, _) = desk.succeed(&format!("{info} --algorithm fft --inference"));
    assert!(fixed.contains(" fft ") && !fixed.contains("backward"), "{fixed}");
    assert!(!desk.path("cache").exists(), "nothing was measured to be decided");

    desk.succeed(info);
    let kept = desk.path("cache/znn/tuning.jsonl");
    let decisions = std::fs::read_to_string(&kept).unwrap();
    assert!(decisions.starts_with("{\"znn_tuning\":1}\n"), "{decisions}");
    desk.succeed(info);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), decisions);
    desk.succeed(&format!("{info} --tuning own.jsonl"));
    assert!(desk.path("own.jsonl").exists());

    desk.write("notes.txt", "not to be lost");
    let (_, warning) = desk.succeed(&format!("{info} --tuning notes.txt"));
    assert!(warning.starts_with("warning: notes.txt, line 1: not a tuning file"), "{warning}");
    let (_, warning) = desk.succeed(&format!("{TRAIN} --iterations 2 --out run --tuning notes.txt"));
    assert!(warning.contains("notes.txt, line 1: not a tuning file"), "{warning}");
    assert_eq!(std::fs::read_to_string(desk.path("notes.txt")).unwrap(), "not to be lost");
}

#[test]
fn the_demo_runs_without_any_file() {
    let desk = Desk::new();
    let (_, stderr) = desk.succeed("train --demo --iterations 4 --validate-patches 1");
    assert!(stderr.contains("done after 4 iterations, validation pixel error 0."), "{stderr}");
    assert!(stderr.contains("; see out\n"), "{stderr}");
    assert_eq!(desk.names("out").len(), 6);
}

/// The most memory that the process has held so far, in bytes, while it runs.
#[cfg(target_os = "linux")]
fn peak_memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_network_takes_little_memory() {
    let desk = Desk::new();
    let mut child =
        desk.command(&format!("{TRAIN} --iterations 100 --threads 2 --out run --quiet")).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_memory(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert!((1 << 20..100_000_000).contains(&peak), "{peak} bytes");
}
