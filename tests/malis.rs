//! MALIS against numbers of the original system (`tests/golden/README.md`).

use std::collections::BTreeMap;
use std::path::Path;

use std::sync::Arc;

use serde::Deserialize;
use znn::conv::Choice;
use znn::network::{Parameters, spec};
use znn::segment::{Mode, Norm, Window, components, malis, weights};
use znn::train::Loss;
use znn::train::{Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Extent, Tensor};

#[derive(Deserialize)]
struct Case {
    variants: Vec<Variant>,
    arrays: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Variant {
    #[serde(rename = "id")]
    id: usize,
    #[serde(rename = "high")]
    high: f32,
    #[serde(rename = "low")]
    low: f32,
    #[serde(rename = "frac_norm")]
    frac_norm: u8,
    #[serde(rename = "rand_error")]
    rand_error: f64,
    #[serde(rename = "num_non_bdr")]
    voxels: usize,
    tp: f64,
    tn: f64,
    fp: f64,
    #[serde(rename = "FN")]
    missed: f64,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    offset: usize,
}

#[test]
fn weights_and_counts_are_those_of_the_original() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/malis_zalis");
    let text = std::fs::read_to_string(folder.join("case.json")).expect("case.json");
    let case: Case = serde_json::from_str(&text).expect("case.json");
    let bytes = std::fs::read(folder.join("data.f64")).expect("data.f64");
    let (words, _) = bytes.as_chunks::<8>();
    let array = |name: &str| -> Vec<f64> {
        let Array { shape, offset } = &case.arrays[name];
        words[*offset..][..shape.iter().product()].iter().map(|&word| f64::from_le_bytes(word)).collect()
    };
    let shape = &case.arrays["aff_true"].shape;
    let extent = Extent::new(shape[1], shape[2], shape[3]);
    let affinities = |name| {
        let values: Vec<f32> = array(name).into_iter().map(|value| value as f32).collect();
        Tensor::from_slice(3, extent, &values)
    };

    let segments = components(&affinities("aff_true"), 0.5);
    let expected = array("segmentation_of_true");
    for (i, (a, b)) in segments.iter().zip(&expected).enumerate() {
        assert_eq!(*a == 0, *b == 0.0, "voxel {i}");
        for j in 0..i {
            assert_eq!(*a == segments[j], *b == expected[j], "voxels {i} and {j}");
        }
    }

    assert_eq!(case.variants.len(), 4);
    for variant in &case.variants {
        let window = Window { high: variant.high, low: variant.low };
        let found = malis(&affinities("aff_pred"), &segments, window, variant.frac_norm == 1);
        let id = variant.id;
        for (kind, weights) in [("merger", &found.merger), ("splitter", &found.splitter)] {
            for (i, (a, b)) in weights.data().iter().zip(array(&format!("v{id}_{kind}"))).enumerate() {
                assert!((f64::from(*a) - b).abs() <= 1e-6 * b.max(1.0), "variant {id}: {kind} {i}: {a}, {b}");
            }
        }
        let counts = found.counts;
        for (a, b) in [
            (counts.true_positive, variant.tp),
            (counts.true_negative, variant.tn),
            (counts.false_positive, variant.fp),
            (counts.false_negative, variant.missed),
            (counts.rand_error(), variant.rand_error),
        ] {
            assert!((a - b).abs() <= 1e-9 * b.max(1.0), "variant {id}: {counts:?}, expected {b}");
        }
        assert_eq!(counts.voxels, variant.voxels);
    }
}

const NET: &str = "nodes input\ntype input\nsize 1\nnodes output\ntype transfer\nfunction forward_logistics\nsize 3\n\
    edges c\ntype conv\nsize 1,3,3\ninit uniform\ninput input\noutput output\n";

#[test]
fn training_weighs_the_gradients_and_not_the_loss() {
    let engine =
        Engine::new(&EngineOptions { threads: Some(2), ..EngineOptions::default() }).expect("an engine");
    let network = Arc::new(spec::parse(NET, "affinities").expect("a network").network);
    let extent = Extent::new(3, 8, 9);
    let input = Tensor::from_fn(1, Extent::new(3, 10, 11), |i| ((i * 37) % 101) as f32 / 50.0 - 1.0);
    let target = Tensor::from_fn(3, extent, |i| f32::from((i * 29) % 7 > 1));
    let none = Tensor::zeros(3, extent);
    let modes =
        [Mode::Plain(Norm::None), Mode::Plain(Norm::Frac), Mode::Plain(Norm::Pair), Mode::Constrained];
    for mode in [None].into_iter().chain(modes.map(Some)) {
        let options = StepOptions {
            loss: Loss::BINOMIAL_CROSS_ENTROPY,
            malis: mode,
            algorithm: Choice::Estimate,
            inspect: true,
            ..StepOptions::default()
        };
        let mut step = TrainingStep::new(&engine, &network, extent, &options).expect("a plan");
        step.load(&Parameters::init(&network, 3)).expect("parameters");
        let settings = Settings { eta: 0.0, factor: 1.0, key: 0 };
        let mut run = |target| {
            let outcome =
                step.run(&[&input], &[Wanted { target, weight: None }], settings).expect("an iteration");
            let found = step.inspect().expect("finished");
            let gradient = found.output_gradients.into_iter().flatten().next().expect("an output");
            (outcome, gradient, step.predictions()[0].clone(), step.rand_error())
        };
        let (outcome, gradient, prediction, rand_error) = run(&target);
        let found = mode.map(|mode| weights(&prediction, &target, mode).expect("pairs"));
        for (i, gradient) in gradient.data().iter().enumerate() {
            let weight = found.as_ref().map_or(1.0, |found| found.weights.data()[i]);
            let expected = (prediction.data()[i] - target.data()[i]) * weight;
            assert!((gradient - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "{mode:?} {i}");
        }
        assert_eq!(outcome.counted, target.data().len() as f64, "the loss is over all affinities");
        assert_eq!(rand_error.is_some(), mode.is_some());
        if let (Some(error), Some(found)) = (rand_error, found) {
            assert!((error - found.rand_error).abs() < 1e-6 && error > 0.0);
        }
        // Nothing to learn about segments where there are none.
        let (_, gradient, _, rand_error) = run(&none);
        assert_eq!(gradient.data().iter().all(|&value| value == 0.0), mode.is_some());
        assert_eq!(rand_error, None);
    }
}
