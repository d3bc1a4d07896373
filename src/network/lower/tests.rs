//! Whole networks of all kinds of groups against a plain computation in double precision, and its differences.

mod reference;

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reference::{Image, Values};

use crate::conv::{Choice, Method};
use crate::engine::{Engine, EngineOptions};
use crate::infer::Predictor;
use crate::network::testing::{NODES, RESIZING, network, spelled};
use crate::network::{Network, Parameters};
use crate::ops::loss::Loss;
use crate::train::{Settings, StepOptions, TrainingStep, Wanted};
use crate::volume::{Extent, Tensor};

fn engine() -> Engine {
    Engine::new(&EngineOptions { threads: Some(2), ..EngineOptions::default() }).unwrap()
}

fn options(algorithm: Choice) -> StepOptions {
    StepOptions { loss: Loss::SQUARE, algorithm, inspect: true, ..StepOptions::default() }
}

/// A network with random parameters, images and targets.
struct Problem {
    network: Arc<Network>,
    parameters: Parameters,
    output: Extent,
    inputs: Vec<Tensor>,
    targets: Vec<Tensor>,
}

impl Problem {
    fn new(text: &str, output: Extent) -> Self {
        let network = Arc::new(network(&spelled(text)));
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut parameters = Parameters::init(&network, 3);
        for (_, parameter) in parameters.groups_mut(&network) {
            parameter.values_mut().iter_mut().for_each(|value| *value += rng.random_range(-0.1..0.1));
        }
        let shapes = network.shapes(output).unwrap_or_else(|error| panic!("{error}"));
        let mut images = |nodes: Vec<_>| -> Vec<Tensor> {
            let image = |node| {
                let extent = shapes[node].extent;
                Tensor::from_fn(network[node].size, extent, |_| rng.random_range(-1.0f32..1.0))
            };
            nodes.into_iter().map(image).collect()
        };
        let inputs = images(network.inputs().collect());
        let targets = images(network.outputs().collect());
        Self { network, parameters, output, inputs, targets }
    }

    fn reference(&self, values: &Values) -> Vec<Image> {
        let shapes = self.network.shapes(self.output).unwrap();
        reference::outputs(&self.network, &shapes, values, &self.inputs)
    }

    fn loss(&self, values: &Values) -> f64 {
        let outputs = self.reference(values);
        let squares = outputs.iter().zip(&self.targets).flat_map(|(output, target)| {
            output.data.iter().zip(target.data()).map(|(y, t)| (y - f64::from(*t)).powi(2))
        });
        squares.sum()
    }
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0_f64, |size, value| size.max(value.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*a) - b).abs();
        assert!(error <= tolerance * size, "{what}: [{i}] is {a}, expected {b} (largest {size})");
    }
}

/// Values, gradients of all parameters, and inference where it computes the same.
fn check(text: &str, output: Extent, algorithm: Choice, inference_is_the_same: bool) {
    const STEP: f64 = 1e-5;
    let problem = Problem::new(text, output);
    let network = &problem.network;
    let engine = engine();
    let mut step = TrainingStep::new(&engine, network, output, &options(algorithm)).unwrap();
    step.load(&problem.parameters).unwrap();
    let inputs: Vec<&Tensor> = problem.inputs.iter().collect();
    let wanted: Vec<Wanted<'_>> =
        problem.targets.iter().map(|target| Wanted { target, weight: None }).collect();
    let found = step.run(&inputs, &wanted, Settings { eta: 0.0, factor: 0.0, key: 0 }).unwrap();
    let values = Values::of(network, &problem.parameters);
    let expected = problem.reference(&values);
    for (found, expected) in step.predictions().iter().zip(&expected) {
        assert_near(found.data(), &expected.data, 1e-5, "values");
    }
    let loss = problem.loss(&values);
    assert!((found.loss - loss).abs() <= 1e-5 * loss, "{} for {loss}", found.loss);

    let inspection = step.inspect().unwrap();
    let groups = inspection.weight_gradients.iter().chain(&inspection.bias_gradients);
    let mut checked = 0;
    for (group, gradient) in groups.enumerate() {
        let Some(gradient) = gradient else { continue };
        let mut moved = values.clone();
        let expected: Vec<f64> = (0..gradient.len())
            .map(|i| {
                let mut at = |sign: f64| {
                    moved.groups[group][i] = values.groups[group][i] + sign * STEP;
                    let loss = problem.loss(&moved);
                    moved.groups[group][i] = values.groups[group][i];
                    loss
                };
                (at(1.0) - at(-1.0)) / (2.0 * STEP)
            })
            .collect();
        assert_near(gradient, &expected, 2e-4, &format!("gradient of group {group}"));
        checked += gradient.len();
    }
    let all: usize = values.groups.iter().map(Vec::len).sum();
    assert_eq!(checked, all, "every parameter has a gradient");

    let choice = match algorithm {
        Choice::Fixed(_) => algorithm,
        _ => Choice::Estimate,
    };
    let mut predictor = Predictor::new(&engine, network, &problem.parameters, output, choice).unwrap();
    let predicted = predictor.predict(&inputs).unwrap();
    if inference_is_the_same {
        for (found, expected) in predicted.iter().zip(&expected) {
            assert_near(found.data(), &expected.data, 1e-5, "inference");
        }
    }
}

#[test]
fn images_of_other_sizes() {
    for algorithm in [Choice::Estimate, Choice::Fixed(Method::Direct), Choice::Fixed(Method::Winograd)] {
        check(RESIZING, Extent::new(3, 6, 8), algorithm, true);
    }
}

#[test]
fn all_kinds_of_nodes() {
    check(NODES, Extent::new(2, 4, 6), Choice::Estimate, false);
    // Without running statistics, inference computes what training does.
    let own = NODES.replace("type=normalise function", "type=normalise statistics=own function");
    check(&own, Extent::new(1, 6, 4), Choice::Fixed(Method::Direct), true);
}

/// Running statistics approach those of the image, and are what inference uses.
#[test]
fn running_statistics() {
    const TEXT: &str = "
        nodes in type=input size=1
        edges c type=conv init=msra size=1,3,3 input=in output=n
        nodes n type=normalise fraction=0.5 size=3
    ";
    let problem = Problem::new(TEXT, Extent::new(2, 5, 6));
    let (network, engine) = (&problem.network, engine());
    let mut step = TrainingStep::new(&engine, network, problem.output, &options(Choice::Estimate)).unwrap();
    let mut parameters = problem.parameters.clone();
    let node = network.find_node("n").unwrap();
    assert_eq!(parameters.statistics(node), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    step.load(&parameters).unwrap();
    let wanted = Wanted { target: &problem.targets[0], weight: None };
    let predict = |parameters: &Parameters| {
        let mut predictor =
            Predictor::new(&engine, network, parameters, problem.output, Choice::Estimate).unwrap();
        predictor.predict(&[&problem.inputs[0]]).unwrap()[0].clone()
    };
    let distance = |a: &Tensor, b: &Tensor| {
        a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let mut distances = Vec::new();
    for _ in 0..24 {
        step.run(&[&problem.inputs[0]], &[wanted], Settings { eta: 0.0, factor: 0.0, key: 0 }).unwrap();
        step.store(&mut parameters).unwrap();
        distances.push(distance(&predict(&parameters), &step.predictions()[0]));
    }
    // What remains is the difference of biased and unbiased variance: 1 of 120 of the deviation, with 60 voxels.
    assert!(distances[0] > 10.0 * distances[23], "{distances:?}");
    let largest = step.predictions()[0].data().iter().fold(0.0_f32, |size, value| size.max(value.abs()));
    assert!(distances[23] <= 1.1 * largest / 120.0, "{distances:?} of {largest}");
}

/// Whole maps are dropped while training, others divided by the probability; none in inference.
#[test]
fn dropped_maps() {
    const TEXT: &str = "
        nodes in type=input size=40
        edges d type=node_dropout ratio=0.5 input=in output=out
        nodes out type=sum size=40
    ";
    let problem = Problem::new(TEXT, Extent::new(1, 3, 5));
    let engine = engine();
    let mut step =
        TrainingStep::new(&engine, &problem.network, problem.output, &options(Choice::Estimate)).unwrap();
    let wanted = Wanted { target: &problem.targets[0], weight: None };
    let input = &problem.inputs[0];
    let mut draw = |key| {
        step.run(&[input], &[wanted], Settings { eta: 0.0, factor: 0.0, key }).unwrap();
        let output = &step.predictions()[0];
        let kept = |map: &usize| {
            let doubled = input.channel(*map).iter().map(|x| 2.0 * x);
            let is_kept = doubled.eq(output.channel(*map).iter().copied());
            assert!(is_kept || output.channel(*map).iter().all(|&y| y == 0.0), "map {map}");
            is_kept
        };
        (0..40).filter(kept).collect::<Vec<_>>()
    };
    let (first, second) = (draw(1), draw(2));
    assert!((8..=32).contains(&first.len()), "{first:?}");
    assert_ne!(first, second, "each step draws anew");
    assert_eq!(first, draw(1));
    let choice = Choice::Estimate;
    let mut predictor =
        Predictor::new(&engine, &problem.network, &problem.parameters, problem.output, choice).unwrap();
    assert_eq!(predictor.predict(&[input]).unwrap()[0], *input);
}
