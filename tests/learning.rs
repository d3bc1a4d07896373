//! `znn train` with the optimisers, schedules, batches, targets and groups that a job can ask for, and what stops it.

mod support;

use serde_json::Value;
use support::{Desk, NET, TRAIN};
use znn::data::NumberType;
use znn::network::weights_file::{self, Model};
use znn::{Extent, Tensor};

/// Everything that a model has learned, and its state.
fn bits(mut model: Model) -> Vec<u32> {
    let network = model.network.clone();
    let groups = model.parameters.groups_mut(&network);
    let all = groups.flat_map(|(_, p)| [p.values(), p.momentum(), p.variance().unwrap_or_default()].concat());
    all.map(f32::to_bits).collect()
}

/// A training on the volumes of a desk with these options and no rates but theirs.
fn train(options: &str) -> String {
    let rates = "--eta 0.05 --momentum 0.9";
    assert!(TRAIN.contains(rates));
    let given = |name: &str, usual: &str| match options.contains(name) {
        true => String::new(),
        false => format!("{name} {usual} "),
    };
    let train = TRAIN.replace(rates, "").replace("--validate-every 10", "");
    format!(
        "{train} {}{}{}{options}",
        given("--eta", "0.05"),
        given("--momentum", "0.9"),
        given("--validate-every", "10")
    )
}

fn metrics(desk: &Desk, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(desk.path(run).join("metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn runs_with_state_resume_with_the_same_bits() {
    for options in [
        "--optimiser adamw --momentum 0 --batch 2 --clip-norm 0.05 --warmup 4 --schedule constant --eta 0.01",
        "--nesterov --clip-value 0.01 --schedule exponential --anneal-factor 0.5 --anneal-every 3",
        "--schedule plateau --patience 1 --anneal-factor 0.5 --validate-every 1 --eta 0.2 --batch 3",
    ] {
        let desk = Desk::new();
        let train = format!("{} --deterministic --checkpoint-every 100", train(options));
        desk.succeed(&format!("{train} --iterations 8 --out whole"));
        desk.succeed(&format!("{train} --iterations 5 --out run"));
        desk.succeed("train --resume --iterations 8 --threads 1 --out run");
        let (whole, run) = (desk.model("whole"), desk.model("run"));
        assert_eq!(whole.parameters.updates(), 8);
        for note in ["iteration", "patches", "optimiser"] {
            assert_eq!(whole.notes[note], run.notes[note], "{options}");
        }
        assert_eq!(whole.notes.get("plateau"), run.notes.get("plateau"), "{options}");
        assert!(bits(whole) == bits(run), "{options}: resuming changes the bits");
        let records = metrics(&desk, "whole");
        let of_training: Vec<&Value> = records.iter().filter(|record| record["phase"] == "train").collect();
        assert_eq!(of_training.len(), 8);
        let is_clipped = options.contains("clip-norm");
        assert!(of_training.iter().all(|record| record["gradient_norm"].is_f64() == is_clipped));
        let rates: Vec<f64> =
            of_training.iter().map(|record| record["eta"].as_f64().expect("a rate")).collect();
        if options.contains("warmup") {
            assert_eq!(of_training[0]["batch"], 2);
            let expected = [0.0025, 0.005, 0.0075, 0.01, 0.01];
            assert!(
                rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-9),
                "{rates:?}"
            );
        } else {
            assert!(rates[7] < rates[0], "{rates:?}");
        }
    }
}

#[test]
fn another_optimiser_begins_anew_and_says_so() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --iterations 2 --out run"));
    let (_, stderr) = desk.succeed("train --resume --optimiser adam --momentum 0 --iterations 3 --out run");
    assert!(
        stderr.contains("the checkpoint is of the optimiser sgd: adam begins without momentum"),
        "{stderr}"
    );
    let model = desk.model("run");
    assert_eq!((model.parameters.updates(), model.notes["optimiser"].as_str()), (1, "adam"));
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let desk = Desk::new();
    for (options, message) in [
        ("--momentum 0 --nesterov", "nesterov = true: expected the optimiser sgd and a momentum above 0"),
        ("--batch 0", "batch = 0: expected an integer above 0"),
        ("--clip-norm 0", "clip-norm = 0: expected a number above 0"),
        ("--clip-value nan", "clip-value = NaN: expected a number above 0"),
        ("--beta2 1", "beta2 = 1: expected a number from 0 to below 1"),
        ("--schedule plateau", "anneal-factor = 1: expected a number below 1"),
        ("--classes 3", "classes = 3: expected at least 2, with the target semantic"),
        ("--target semantic --classes 3", "the target `semantic` needs one output group of 3 maps"),
        ("--class-weights 1,x", "expected none, balanced or numbers from 0 such as 1,2,0.5, found `1,x`"),
        ("--class-weights 1,2,3", "class-weights: 3 numbers, expected 2: one for each class"),
    ] {
        let output = desk.znn(&format!("{} --iterations 1 --out run", train(options)));
        let stderr = support::text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{options}: {stderr}");
        assert!(stderr.contains(message), "{options}: {stderr}");
    }
}

/// Writes labels of three classes: membranes, and cells to the left and to the right.
fn write_classes(desk: &Desk) {
    for (from, to) in [("cells.tif", "classes.tif"), ("val_cells.tif", "val_classes.tif")] {
        let mut labels = desk.volume(from);
        let width = labels.extent().x;
        for (i, label) in labels.data_mut().iter_mut().enumerate() {
            *label = if *label > 0.0 { 1.0 + (2 * (i % width) / width) as f32 } else { 0.0 };
        }
        desk.write_volume(to, &labels, NumberType::U8);
    }
}

const CLASSES: &str = "train --net net.znn --images raw.tif --labels classes.tif --val-images val_raw.tif \
    --val-labels val_classes.tif --output-size 1,12,12 --eta 0.02 --momentum 0.9 --validate-every 10 --report-every 1 \
    --target semantic --classes 3 --class-weights balanced --iterations 20";

#[test]
fn classes_are_learned_with_the_softmax_inside_or_outside() {
    let desk = Desk::new();
    write_classes(&desk);
    let three = NET.replace("function linear\nsize 2", "function linear\nsize 3");
    desk.write("net.znn", &three);
    let (_, stderr) = desk.succeed(&format!("{CLASSES} --deterministic --out outside"));
    assert!(stderr.contains(", of the classes accuracy "), "{stderr}");
    let with_softmax =
        three.replace("nodes output\n", "nodes scores\n").replace("output output\n", "output scores\n")
            + "\nedges last\ntype dummy\ninput scores\noutput output\n\nnodes output\ntype softmax\nsize 3\n";
    desk.write("net.znn", with_softmax);
    desk.succeed(&format!("{CLASSES} --deterministic --out inside"));
    let [outside, inside] = ["outside", "inside"].map(|run| metrics(&desk, run));
    assert_eq!(outside.len(), inside.len());
    for (a, b) in outside.iter().zip(&inside) {
        let [a_loss, b_loss] = [a, b].map(|record| record["loss"].as_f64().expect("a loss"));
        // The same initial weights, the same learning; but for rounding.
        assert!((a_loss - b_loss).abs() <= 1e-3 * a_loss, "{a_loss} and {b_loss}");
        if a["phase"] == "validation" {
            let classes = a["classes"].as_array().expect("classes");
            assert_eq!(classes.len(), 3);
            assert!(
                classes
                    .iter()
                    .all(|class| class["iou"].as_f64().is_none_or(|iou| (0.0..=1.0).contains(&iou)))
            );
        }
    }
    // The prediction is of probabilities whichever way; scores and classes are there for the asking.
    let mut largest = Vec::new();
    for run in ["outside", "inside"] {
        desk.succeed(&format!("infer --model {run} --input raw.tif --output p.tif --valid"));
        desk.succeed(&format!("infer --model {run} --input raw.tif --output s.tif --valid --scores"));
        desk.succeed(&format!("infer --model {run} --input raw.tif --output c.tif --valid --format classes"));
        let [p, s] = ["p", "s"].map(|name| {
            let names = [format!("{name}.tif"), format!("{name}_1.tif"), format!("{name}_2.tif")];
            names.map(|name| desk.volume(&name))
        });
        let classes = desk.volume("c.tif");
        let mut outside_of_range = 0;
        for voxel in 0..classes.data().len() {
            let [p, s] = [&p, &s].map(|maps| [0, 1, 2].map(|map| f64::from(maps[map].data()[voxel])));
            let sum: f64 = s.iter().map(|score| score.exp()).sum();
            for map in 0..3 {
                assert!((p[map] - s[map].exp() / sum).abs() < 1e-5, "{run}: {p:?} of {s:?}");
            }
            assert!(p.iter().all(|&q| q <= p[classes.data()[voxel] as usize]));
            outside_of_range += usize::from(s.iter().any(|score| !(0.0..=1.0).contains(score)));
        }
        assert!(outside_of_range > 0, "scores are no probabilities");
        largest.push(classes);
    }
    let same = largest[0].data().iter().zip(largest[1].data()).filter(|(a, b)| a == b).count();
    assert!(same * 100 >= 99 * largest[0].data().len(), "{same} of {}", largest[0].data().len());
    let losses: Vec<f64> = outside.iter().filter_map(|record| record["loss"].as_f64()).collect();
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");

    let output =
        desk.znn(&CLASSES.replace("classes.tif", "cells.tif").replace("--iterations 20", "--out other"));
    let stderr = support::text(&output.stderr);
    assert!(stderr.contains("expected the number of a class, 0 to 2"), "{stderr}");
}

#[test]
fn a_label_without_a_class_is_named() {
    let desk = Desk::new();
    write_classes(&desk);
    let mut labels = desk.volume("classes.tif");
    labels.data_mut()[44 * 40 + 44 * 3 + 5] = 7.0;
    desk.write_volume("classes.tif", &labels, NumberType::U8);
    desk.write("net.znn", NET.replace("function linear\nsize 2", "function linear\nsize 3"));
    let output = desk.znn(&format!("{CLASSES} --out run"));
    let stderr = support::text(&output.stderr);
    assert!(
        stderr.contains(
            "raw.tif: the label has the value 7 at z,y,x = 1,3,5, expected the number of a class, 0 to 2"
        ),
        "{stderr}"
    );
}

#[test]
fn groups_have_images_labels_and_targets_of_their_own() {
    let desk = Desk::new();
    write_classes(&desk);
    desk.write_volume(
        "prior.tif",
        &Tensor::from_fn(1, Extent::new(4, 40, 44), |i| (i % 7) as f32),
        NumberType::F32,
    );
    let second = "\nnodes prior\ntype input\nsize 1\n\nedges p\ntype conv\ninit msra\nsize 2,10,10\nstride 1,2,2\ninput prior\n\
        output classes\n\nedges conv3\ntype conv\ninit msra\nsize 2,3,3\ninput dropped1\noutput classes\n\n\
        nodes classes\ntype transfer\nfunction linear\nsize 3\n";
    // What the second input reaches has another field of view, which is as well.
    desk.write("net.znn", NET.to_owned() + second);
    let job = "net = 'net.znn'\nimages = 'raw.tif'\nout = 'run'\noutput-size = [1, 12, 12]\niterations = 4\n\
        report-every = 1\ndeterministic = true\n[inputs.prior]\nimages = 'prior.tif'\npreprocess = 'none'\n\
        [outputs.output]\nlabels = 'cells.tif'\n[outputs.classes]\nlabels = 'classes.tif'\ntarget = 'semantic'\n\
        classes = 3\nclass-weights = [1, 2, 0.5]\nloss-weight = 0.25\n";
    desk.write("job.toml", job);
    desk.succeed("train job.toml");
    assert_eq!(desk.model("run").notes["iteration"], "4");
    desk.succeed("train --resume --out run --iterations 6");
    let losses: Vec<f64> =
        metrics(&desk, "run").iter().map(|record| record["loss"].as_f64().unwrap()).collect();
    assert_eq!(losses.len(), 6);
    assert_eq!(desk.model("run").notes["preprocess"], "standard2d,none");
    // Each input gets its volume, or all the same.
    desk.succeed("infer --model run --input raw.tif prior.tif --output both.npy --valid --deterministic");
    desk.succeed("infer --model run --input raw.tif --output one.npy --valid --deterministic");
    let read = |name: &str| std::fs::read(desk.path(name)).unwrap();
    assert_eq!(read("both.npy"), read("one.npy"), "the first output does not see the second input");
    assert_ne!(read("both_1.npy"), read("one_1.npy"));
    let stderr =
        support::text(&desk.znn("infer --model run --input raw.tif val_raw.tif --output x.npy").stderr);
    assert!(
        stderr.contains("val_raw.tif: 3,32,36 voxels (z,y,x), expected 4,40,44 as in raw.tif"),
        "{stderr}"
    );
    let stderr =
        support::text(&desk.znn("infer --model run --input raw.tif raw.tif raw.tif --output x.npy").stderr);
    assert!(stderr.contains("3 channels") || stderr.contains("3 images"), "{stderr}");
    desk.write("job.toml", job.replace("loss-weight = 0.25", "loss-weight = 4"));
    desk.succeed("train job.toml --overwrite");
    let heavier = metrics(&desk, "run")[0]["loss"].as_f64().unwrap();
    assert!(heavier > losses[0], "{heavier} and {}", losses[0]);
    desk.write("job.toml", job.replace("[outputs.classes]", "[outputs.klasses]"));
    let stderr = support::text(&desk.znn("train job.toml --overwrite").stderr);
    assert!(
        stderr.contains("[outputs.klasses]: the network has no such group, its outputs are "),
        "{stderr}"
    );
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_and_is_found() {
    let desk = Desk::new();
    let model = |name: &str| weights_file::load(&desk.path("run").join(name));
    let mut image = desk.volume("raw.tif");
    image.data_mut()[1000..1100].fill(3e38);
    desk.write_volume("huge.tif", &image, NumberType::F32);
    let train = TRAIN.replace("raw.tif --labels", "huge.tif --labels");
    let output = desk.znn(&format!("{train} --preprocess none --iterations 200 --out run"));
    let stderr = support::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is not finite. Such numbers arose first in the "), "{stderr}");
    assert!(stderr.contains("`nodes ") && stderr.contains("What often helps: "), "{stderr}");
    let (kept, stopped) =
        (model("model.safetensors").expect("kept"), model("stopped.safetensors").expect("kept"));
    assert_eq!(kept.notes["iteration"], "0");
    // The message names the iteration after the one that the network is of.
    let iteration: u64 = stopped.notes["iteration"].parse().expect("a number");
    assert!(stderr.contains(&format!("iteration {}: ", iteration + 1)), "{stderr}");
}
