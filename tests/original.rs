//! Jobs and networks of the original system, as their users have them.
//!
//! The stored networks are looked for in the folder that `ZNN_MODELS_DIR` names, else in `../shared/models`; where there
//! is none, their test says so and passes.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use support::{Desk, NET};
use znn::conv::{Choice, Method};
use znn::hdf5::Hdf5File;
use znn::network::hdf5_file::{self, Layout};
use znn::network::weights_file;
use znn::train::Loss;
use znn::train::report::metrics;
use znn::train::{Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Extent, Tensor};

/// The folder of the stored networks.
fn models() -> Option<PathBuf> {
    let folder = std::env::var_os("ZNN_MODELS_DIR").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/models")));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no stored networks in {} (ZNN_MODELS_DIR)", folder.display());
    None
}

/// Images that the original wrote beside its network.
fn patch(file: &Hdf5File, name: &str) -> Tensor {
    let (shape, values) = file.numbers::<f32>(&format!("processing/znn/train/patch/{name}")).expect(name);
    Tensor::from_slice(shape[0], Extent::new(shape[1], shape[2], shape[3]), &values)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_stored_network_reproduces_output_gradient_and_error() {
    let Some(path) = models().map(|folder| folder.join("srini2d_boundary_iteration1_f32.h5")) else { return };
    let loaded = hdf5_file::load(&path).expect("the network");
    assert_eq!((loaded.layout, loaded.warnings.len()), (Layout::Single, 0));
    let statistics = loaded.statistics.expect("statistics");
    assert_eq!((statistics.iteration(), statistics.train.len(), statistics.test.len()), (1, 1, 1));

    let file = Hdf5File::open(&path).expect("the file");
    let [input, output, label, gradient] =
        ["inputs/input", "props/output", "lbls/output", "grdts/output"].map(|name| patch(&file, name));
    let network = Arc::new(loaded.model.network);
    for method in [Method::Direct, Method::Fft] {
        let options = StepOptions {
            loss: Loss::Softmax,
            algorithm: Choice::Fixed(method),
            inspect: true,
            ..StepOptions::default()
        };
        let engine = Engine::new(&EngineOptions { threads: Some(2), ..Default::default() }).expect("engine");
        let mut step = TrainingStep::new(&engine, &network, output.extent(), &options).expect("a plan");
        step.load(&loaded.model.parameters).expect("parameters");
        let wanted = Wanted { target: &label, weight: None };
        let settings = Settings { eta: 0.0, factor: 1.0, key: 0 };
        let outcome = step.run(&[&input], &[wanted], settings).expect("an iteration");
        let difference = largest_difference(step.predictions()[0].data(), output.data());
        println!("{method}: output differs by {difference:e}");
        assert!(difference < 1e-6, "{method}: {difference}");
        let node = network.outputs().next().expect("an output");
        let inside = step.inspect().expect("inside");
        let found = inside.output_gradients[node.0].as_ref().expect("a gradient");
        let difference = largest_difference(found.data(), gradient.data());
        println!("{method}: gradient differs by {difference:e}");
        assert!(difference < 1e-6, "{method}: {difference}");
        // What is stored is the error of the training iteration: per voxel and channel.
        let (loss, wrong) = (outcome.mean_loss(), outcome.pixel_error());
        println!("{method}: error {loss} and {wrong}, stored {:?}", statistics.train[0]);
        assert!((loss - statistics.train[0].loss).abs() < 1e-6, "{method}: {loss}");
        assert!((wrong - statistics.train[0].pixel_error).abs() < 1e-6, "{method}: {wrong}");
    }
}

#[test]
fn a_stored_network_survives_both_layouts() {
    let Some(path) = models().map(|folder| folder.join("srini2d_boundary_iteration1_f32.h5")) else { return };
    let loaded = hdf5_file::load(&path).expect("the network");
    let folder = tempfile::tempdir().expect("a folder");
    let contents = hdf5_file::Contents {
        network: &loaded.model.network,
        parameters: &loaded.model.parameters,
        rates: hdf5_file::Rates { eta: 0.01, momentum: 0.9, weight_decay: 0.0 },
        statistics: loaded.statistics.as_ref(),
    };
    for layout in [Layout::Root, Layout::Single] {
        let path = folder.path().join("net_1.h5");
        hdf5_file::save(&path, &contents, layout).expect("written");
        let again = hdf5_file::load(&path).expect("read");
        assert_eq!(again, hdf5_file::Loaded { layout, ..loaded.clone() });
    }
}

/// The training of this one has failed: its first kernels are no numbers.
#[test]
fn a_stored_network_that_diverged_is_refused() {
    let Some(path) = models().map(|folder| folder.join("srini2d_trained.h5")) else { return };
    let error = hdf5_file::load(&path).expect_err("NaN").to_string();
    let expected = "/processing/znn/train/network/conv1/filters: 490 of 490 values are no numbers";
    assert!(error.replace(", processing", "/processing").contains(expected), "{error}");
}

const CFG: &str = "\
[parameters]
fnet_spec = net.znn
fdata_spec = data.spec
num_threads = 2
dtype = float32
out_type = boundary
logging = yes
train_net_prefix = net.h5
train_range = 1
test_range = 2
train_outsz = 1,12,12
train_conv_mode = direct
cost_fn = auto
eta = 0.05
momentum = 0.9
is_data_aug = yes
is_bd_mirror = no
is_stdio = yes
Num_iter_per_show = 5
Num_iter_per_test = 10
test_num = 4
Num_iter_per_save = 10
Max_iter = 20
forward_range = 1-2
forward_net = net_current.h5
forward_conv_mode = optimize
forward_outsz = 1,20,20
output_prefix = pred
";

const SPEC: &str = "\
[image1]
fnames = raw.tif
pp_types = standard2D
is_auto_crop = yes
[label1]
fnames = cells.tif
pp_types = auto
[image2]
fnames = val_raw.tif
pp_types = standard2D
[label2]
fnames = val_cells.tif
pp_types = auto
[sample1]
input = 1
output = 1
[sample2]
input = 2
output = 2
";

fn desk() -> Desk {
    let desk = Desk::new();
    // Rates in the network's file, which the trainer of the original replaces.
    desk.write("net.znn", NET.replace("init msra\n", "init msra\neta 0\nmomentum 0.5\n"));
    desk.write("job.cfg", CFG);
    desk.write("data.spec", SPEC);
    desk
}

fn run(desk: &Desk, arguments: &str) -> String {
    let output = desk.znn(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "znn {arguments}: {errors}");
    errors
}

#[test]
fn a_job_trains_goes_on_and_predicts() {
    let desk = desk();
    let said = run(&desk, "train job.cfg");
    assert!(said.contains("warning: ") && said.contains("`logging` has no effect"), "{said}");
    for name in ["net_init.h5", "net_10.h5", "net_20.h5", "net_current.h5", "net/model.safetensors"] {
        assert!(desk.path(name).exists(), "{name}");
    }
    let trained = hdf5_file::load(&desk.path("net_current.h5")).expect("a network");
    let statistics = trained.statistics.expect("statistics");
    let iterations = |curve: &[hdf5_file::Measure]| curve.iter().map(|m| m.iteration).collect::<Vec<_>>();
    assert_eq!(iterations(&statistics.train), [5, 10, 15, 20]);
    assert_eq!(iterations(&statistics.test), [10, 20]);
    let init = hdf5_file::load(&desk.path("net_init.h5")).expect("a network");
    assert_ne!(init.model.parameters, trained.model.parameters, "`eta 0` of the network's file is replaced");

    // The same again: all iterations are done.
    let said = run(&desk, "train job.cfg");
    assert!(said.contains("going on after iteration 20") && said.contains("done after 20"), "{said}");
    // From what the original leaves: the HDF5 file alone.
    std::fs::remove_dir_all(desk.path("net")).expect("removed");
    let said = run(&desk, "train job.cfg --iterations 30");
    assert!(said.contains("going on after iteration 20") && said.contains("done after 30"), "{said}");
    let records = metrics::read(&desk.path("net/metrics.jsonl")).expect("the history");
    let iterations: Vec<u64> = records.iter().map(|record| record.iteration).collect();
    assert_eq!(iterations, [5, 10, 10, 15, 20, 20, 25, 30, 30]);

    run(&desk, "infer job.cfg");
    for (sample, extent) in [(1, Extent::new(4, 40, 44)), (2, Extent::new(3, 32, 36))] {
        let file =
            Hdf5File::open(&desk.path(&format!("pred_sample{sample}_output.h5"))).expect("a prediction");
        let (shape, values) = file.numbers::<f32>("main").expect("main");
        let valid = extent - Extent::new(1, 7, 7);
        assert_eq!(shape, [2, valid.z, valid.y, valid.x]);
        let (inside, boundary) = values.split_at(valid.len());
        let sums = inside.iter().zip(boundary).map(|(a, b)| (a + b - 1.0).abs());
        assert!(sums.fold(0.0, f32::max) < 1e-5, "a softmax");
        for channel in 0..2 {
            let path = desk.path(&format!("pred_sample{sample}_output_{channel}.tif"));
            let map = znn::data::tiff::read(&path).expect("a map");
            assert_eq!(map.data(), [inside, boundary][channel]);
        }
    }
    let said = run(&desk, "train job.cfg --overwrite --iterations 10");
    assert!(said.contains("done after 10"), "{said}");
}

/// A run that is interrupted and goes on from its HDF5 file ends as one that is not.
#[test]
fn going_on_from_hdf5_keeps_the_momentum() {
    let (whole, parts) = (desk(), desk());
    for (desk, iterations) in [(&whole, &[20][..]), (&parts, &[10, 20])] {
        for iterations in iterations {
            let _ = std::fs::remove_dir_all(desk.path("net"));
            run(desk, &format!("train job.cfg --deterministic --iterations {iterations}"));
        }
    }
    let load = |desk: &Desk| weights_file::load(&desk.path("net/model.safetensors")).expect("a model");
    assert!(load(&whole).parameters == load(&parts).parameters);
}

#[test]
fn converting() {
    let desk = desk();
    run(&desk, "train job.cfg --iterations 10");
    run(&desk, "convert net_10.h5 a.safetensors");
    run(&desk, "convert a.safetensors b_10.h5");
    run(&desk, "convert b_10.h5 c.safetensors");
    assert_eq!(
        std::fs::read(desk.path("a.safetensors")).ok(),
        std::fs::read(desk.path("c.safetensors")).ok()
    );
    let (first, second) =
        (hdf5_file::load(&desk.path("net_10.h5")).unwrap(), hdf5_file::load(&desk.path("b_10.h5")).unwrap());
    assert_eq!((first.layout, second.layout), (Layout::Single, Layout::Root));
    assert_eq!((first.model, first.statistics), (second.model, second.statistics));

    run(&desk, "convert net run_10.h5 --layout single");
    let of_run =
        hdf5_file::load(&desk.path("run_10.h5")).unwrap().statistics.expect("the history of the run");
    let of_checkpoint = hdf5_file::load(&desk.path("net_10.h5")).unwrap().statistics.expect("statistics");
    assert_eq!((of_run.train, of_run.test), (of_checkpoint.train, of_checkpoint.test));

    run(&desk, "convert job.cfg job.toml");
    run(&desk, "train job.toml --out native --iterations 10 --hdf5 native");
    assert!(desk.path("native_10.h5").exists());
    run(&desk, "infer --model native_10.h5 --input raw.tif --output cells-found.tif");
    run(&desk, "train job.toml --out seeded --weights native_10.h5 --iterations 1");

    for (arguments, expected) in [
        ("convert job.cfg job.h5", "cannot convert job.cfg to job.h5: expected a network"),
        ("convert raw.tif a.h5", "raw.tif: not a complete safetensors file"),
        ("convert no.h5 a.safetensors", "no.h5: "),
        ("infer job.cfg --input a", "cannot be used with"),
        ("train job.cfg --job job.cfg", "cannot be used with"),
    ] {
        let output = desk.znn(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{arguments}: {said}");
    }
}
