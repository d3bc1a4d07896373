//! Updates of a whole network: optimisers against a plain reference and PyTorch, batches, clipping, what is not finite.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{Images, engine, network};
use serde_json::{Value, json};
use znn::conv::{Choice, Method};
use znn::network::weights_file;
use znn::network::{Network, Parameters};
use znn::train::Loss;
use znn::train::{
    Clip, Optimiser, OutputLoss, Place, Settings, StepOptions, Suspect, TrainingStep, Wanted, diagnose,
};
use znn::{Engine, Extent, Tensor};

const OUTPUT: Extent = Extent::new(2, 3, 4);
const STEPS: u64 = 20;

const TWO_LAYERS: &str = "
nodes in type=input size=1
edges c1 type=conv input=in output=n1 size=1,3,3 init=msra
nodes n1 type=transfer size=3 function=tanh
edges c2 type=conv input=n1 output=out size=2,2,2 init=xavier
nodes out type=transfer size=2 function=logistics";

fn options(optimiser: Optimiser) -> StepOptions {
    StepOptions { optimiser, algorithm: Choice::Fixed(Method::Direct), ..StepOptions::default() }
}

fn adam(decoupled: bool) -> Optimiser {
    Optimiser::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-6, decoupled }
}

fn settings(patch: u64) -> Settings {
    Settings { eta: 0.05, factor: 1.0, key: patch }
}

/// The values of all groups, one after another.
fn values(network: &Network, parameters: &mut Parameters) -> Vec<f32> {
    parameters.groups_mut(network).flat_map(|(_, parameter)| parameter.values().to_vec()).collect()
}

/// Everything that a parameter has.
fn bits(network: &Network, parameters: &mut Parameters) -> Vec<u32> {
    let groups = parameters.groups_mut(network);
    let all = groups.flat_map(|(_, p)| [p.values(), p.momentum(), p.variance().unwrap_or_default()].concat());
    all.map(f32::to_bits).collect()
}

/// The raw gradient of the last patch, in the order of [`values`].
fn gradient(step: &mut TrainingStep) -> Vec<f32> {
    let found = step.inspect().expect("inspect");
    let weights = found.weight_gradients.into_iter().flatten();
    weights.chain(found.bias_gradients.into_iter().flatten()).flatten().collect()
}

/// What a run of some updates met and made.
struct Run {
    start: Vec<f32>,
    /// The mean gradient of each update, over voxels and patches.
    gradients: Vec<Vec<f64>>,
    end: Vec<f32>,
    norms: Vec<Option<f32>>,
}

fn run(options: &StepOptions) -> Run {
    let network = network(TWO_LAYERS);
    let engine = engine(2, false);
    let options = StepOptions { inspect: true, ..*options };
    let mut step = TrainingStep::new(&engine, &network, OUTPUT, &options).expect("a plan");
    let mut parameters = Parameters::init(&network, 5);
    step.load(&parameters).expect("load");
    let start = values(&network, &mut parameters);
    let (mut gradients, mut norms) = (Vec::new(), Vec::new());
    let mut patch = 0;
    for _ in 0..STEPS {
        let mut sum = vec![0.0; start.len()];
        for _ in 0..options.batch {
            let images = Images::random(&network, &step, patch).with_weight(3.0);
            step.run(&images.inputs(), &images.wanted(), settings(patch)).expect("an iteration");
            let factor = 1.0 / (OUTPUT.len() * options.batch) as f64;
            sum.iter_mut().zip(gradient(&mut step)).for_each(|(sum, g)| *sum += f64::from(g) * factor);
            patch += 1;
        }
        gradients.push(sum);
        norms.push(step.gradient_norm().expect("a norm"));
    }
    step.store(&mut parameters).expect("store");
    Run { start, gradients, end: values(&network, &mut parameters), norms }
}

/// Where the rule leads in f64 from the gradients that the run had.
fn reference(options: &StepOptions, run: &Run) -> Vec<f64> {
    let (rate, decay) = (0.05, f64::from(options.weight_decay));
    let mut w: Vec<f64> = run.start.iter().map(|&w| f64::from(w)).collect();
    let (mut m, mut v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    for (g, t) in run.gradients.iter().zip(1..) {
        let mut g = g.clone();
        if let Some(bound) = options.clip.value.map(f64::from) {
            g.iter_mut().for_each(|g| *g = g.clamp(-bound, bound));
        }
        if let Some(limit) = options.clip.norm.map(f64::from) {
            let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            g.iter_mut().for_each(|g| *g *= (limit / norm).min(1.0));
        }
        for i in 0..w.len() {
            match options.optimiser {
                Optimiser::Sgd { nesterov } => {
                    let momentum = f64::from(options.momentum);
                    let change = -rate * (g[i] + decay * w[i]);
                    m[i] = momentum * m[i] + change;
                    w[i] += if nesterov { momentum * m[i] + change } else { m[i] };
                }
                Optimiser::Adam { beta1, beta2, epsilon, decoupled } => {
                    let g = if decoupled { g[i] } else { g[i] + decay * w[i] };
                    if decoupled {
                        w[i] -= rate * decay * w[i];
                    }
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                    let mean = m[i] / (1.0 - beta1.powi(t));
                    w[i] -= rate * mean / ((v[i] / (1.0 - beta2.powi(t))).sqrt() + epsilon);
                }
            }
        }
    }
    w
}

/// Every optimiser, with what may be combined with it.
fn cases() -> Vec<StepOptions> {
    let plain = |optimiser| options(optimiser);
    let nesterov = Optimiser::Sgd { nesterov: true };
    let [value, norm] = [Clip { value: Some(0.01), norm: None }, Clip { value: None, norm: Some(0.03) }];
    vec![
        plain(Optimiser::SGD),
        StepOptions { momentum: 0.9, weight_decay: 0.01, ..plain(Optimiser::SGD) },
        StepOptions { momentum: 0.9, weight_decay: 0.01, ..plain(nesterov) },
        StepOptions { weight_decay: 0.01, ..plain(adam(false)) },
        StepOptions { weight_decay: 0.01, ..plain(adam(true)) },
        StepOptions { momentum: 0.9, batch: 3, ..plain(Optimiser::SGD) },
        StepOptions { batch: 2, ..plain(adam(true)) },
        StepOptions { momentum: 0.9, clip: value, ..plain(Optimiser::SGD) },
        StepOptions { momentum: 0.9, clip: norm, ..plain(Optimiser::SGD) },
        StepOptions { clip: norm, batch: 2, ..plain(adam(false)) },
    ]
}

fn assert_near(found: &[f32], expected: &[f64], start: &[f32], what: &dyn std::fmt::Debug) {
    let mut moved = 0.0f64;
    for ((&found, &expected), &start) in found.iter().zip(expected).zip(start) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 2e-5, "{what:?}: {found}, expected {expected}");
        moved = moved.max((expected - f64::from(start)).abs());
    }
    assert!(moved > 1e-3, "{what:?} moves parameters, by {moved}");
}

#[test]
fn twenty_updates_agree_with_a_plain_reference() {
    for options in cases() {
        let run = run(&options);
        assert_near(&run.end, &reference(&options, &run), &run.start, &options);
        let has_norm = options.clip.norm.is_some();
        assert!(run.norms.iter().all(|norm| norm.is_some() == has_norm));
        for (norm, g) in run.norms.iter().flatten().zip(&run.gradients) {
            let expected = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((f64::from(*norm) - expected).abs() <= 1e-5 * expected, "{norm}, expected {expected}");
        }
        if let Some(limit) = options.clip.norm {
            assert!(run.norms.iter().flatten().any(|&norm| norm > limit), "something is clipped");
        }
    }
}

/// What the optimisers of PyTorch make of the gradients that are given to them.
const SCRIPT: &str = r#"
import json, sys, torch
answers = []
for case in json.load(sys.stdin):
    w = torch.nn.Parameter(torch.tensor(case["start"], dtype=torch.float64))
    optimiser = getattr(torch.optim, case["optimiser"])([w], lr=0.05, **case["options"])
    for gradient in case["gradients"]:
        w.grad = torch.tensor(gradient, dtype=torch.float64)
        if case["value"] is not None:
            torch.nn.utils.clip_grad_value_([w], case["value"])
        if case["norm"] is not None:
            torch.nn.utils.clip_grad_norm_([w], case["norm"])
        optimiser.step()
    answers.append(w.detach().tolist())
json.dump(answers, sys.stdout)
"#;

#[test]
fn twenty_updates_agree_with_pytorch() {
    let Some(python) = std::env::var_os("ZNN_TORCH_PYTHON") else {
        println!("skipped: ZNN_TORCH_PYTHON names no Python with PyTorch");
        return;
    };
    let runs: Vec<(StepOptions, Run)> = cases().into_iter().map(|options| (options, run(&options))).collect();
    let case = |(options, run): &(StepOptions, Run)| {
        let decay = f64::from(options.weight_decay);
        let (name, arguments) = match options.optimiser {
            Optimiser::Sgd { nesterov } => {
                let momentum = f64::from(options.momentum);
                ("SGD", json!({"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}))
            }
            Optimiser::Adam { beta1, beta2, epsilon, decoupled } => {
                let name = if decoupled { "AdamW" } else { "Adam" };
                (name, json!({"betas": [beta1, beta2], "eps": epsilon, "weight_decay": decay}))
            }
        };
        json!({
            "start": run.start, "gradients": run.gradients, "optimiser": name, "options": arguments,
            "value": options.clip.value, "norm": options.clip.norm,
        })
    };
    let mut command = Command::new(&python);
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python");
    let input = serde_json::to_vec(&runs.iter().map(case).collect::<Vec<Value>>()).expect("JSON");
    child.stdin.take().expect("piped").write_all(&input).expect("the cases");
    let output = child.wait_with_output().expect("an answer");
    assert!(output.status.success());
    let expected: Vec<Vec<f64>> = serde_json::from_slice(&output.stdout).expect("weights");
    assert_eq!(expected.len(), runs.len());
    for ((options, run), expected) in runs.iter().zip(&expected) {
        assert_near(&run.end, expected, &run.start, options);
    }
}

/// One update by the mean of several patches' gradients, each taken for itself at the same weights.
#[test]
fn a_batch_is_the_mean_of_its_patches() {
    let network = network(TWO_LAYERS);
    let engine = engine(2, true);
    let parameters = Parameters::init(&network, 5);
    let mut mean = Vec::new();
    let one = StepOptions { inspect: true, ..options(Optimiser::SGD) };
    let mut step = TrainingStep::new(&engine, &network, OUTPUT, &one).expect("a plan");
    for patch in 0..4 {
        step.load(&parameters).expect("load");
        let images = Images::random(&network, &step, patch);
        step.run(&images.inputs(), &images.wanted(), settings(patch)).expect("an iteration");
        let gradient = gradient(&mut step);
        mean.resize(gradient.len(), 0.0);
        let factor = 1.0 / (4 * OUTPUT.len()) as f64;
        mean.iter_mut().zip(gradient).for_each(|(mean, g)| *mean += f64::from(g) * factor);
    }
    let four = StepOptions { batch: 4, ..options(Optimiser::SGD) };
    let mut step = TrainingStep::new(&engine, &network, OUTPUT, &four).expect("a plan");
    step.load(&parameters).expect("load");
    let mut found = parameters.clone();
    let before = values(&network, &mut found);
    for patch in 0..4 {
        step.store(&mut found).expect("store");
        assert_eq!(values(&network, &mut found), before, "no update before the last patch");
        let images = Images::random(&network, &step, patch);
        step.run(&images.inputs(), &images.wanted(), settings(patch)).expect("an iteration");
    }
    step.store(&mut found).expect("store");
    for ((found, before), mean) in values(&network, &mut found).into_iter().zip(before).zip(mean) {
        let expected = f64::from(before) - 0.05 * mean;
        assert!((f64::from(found) - expected).abs() <= 1e-6, "{found}, expected {expected}");
    }
}

/// Trains `updates` updates from `parameters`, patches from `first` on.
fn train(
    engine: &Engine,
    network: &Arc<Network>,
    options: &StepOptions,
    parameters: &mut Parameters,
    first: u64,
    updates: u64,
) {
    let mut step = TrainingStep::new(engine, network, OUTPUT, options).expect("a plan");
    step.load(parameters).expect("load");
    let batch = options.batch as u64;
    for patch in first * batch..(first + updates) * batch {
        let images = Images::random(network, &step, patch);
        step.run(&images.inputs(), &images.wanted(), settings(patch)).expect("an iteration");
    }
    step.store(parameters).expect("store");
}

#[test]
fn a_run_resumes_with_the_same_bits_on_any_number_of_threads() {
    let network = network(TWO_LAYERS);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    for options in cases() {
        let whole = [1, 3].map(|threads| {
            let mut parameters = Parameters::init(&network, 5);
            train(&engine(threads, true), &network, &options, &mut parameters, 0, 5);
            bits(&network, &mut parameters)
        });
        assert!(whole[0] == whole[1], "{options:?}: threads change the bits");
        let mut parameters = Parameters::init(&network, 5);
        train(&engine(2, true), &network, &options, &mut parameters, 0, 2);
        weights_file::save(&path, &network, &parameters, &BTreeMap::new(), true).expect("saved");
        let mut parameters = weights_file::load(&path).expect("loaded").parameters;
        assert_eq!(parameters.updates(), 2);
        train(&engine(2, true), &network, &options, &mut parameters, 2, 3);
        assert!(bits(&network, &mut parameters) == whole[0], "{options:?}: resuming changes the bits");
    }
}

/// A step on one patch with `spoil` done to the image, the weights of the loss and the parameters.
struct Spoiled {
    network: Arc<Network>,
    engine: Engine,
    options: StepOptions,
    parameters: Parameters,
    image: Tensor,
    target: Tensor,
    weight: Tensor,
}

impl Spoiled {
    fn new(clip: Clip) -> Self {
        let network = network(TWO_LAYERS);
        let shapes = network.shapes(OUTPUT).expect("shapes");
        let input = network.inputs().next().expect("an input");
        Self {
            engine: engine(2, true),
            options: StepOptions { clip, ..options(adam(false)) },
            parameters: Parameters::init(&network, 5),
            image: common::random(1, 1, shapes[input].extent),
            target: Tensor::zeros(2, OUTPUT),
            weight: Tensor::from_fn(2, OUTPUT, |_| 1.0),
            network,
        }
    }

    fn wanted(&self) -> [Wanted<'_>; 1] {
        [Wanted { target: &self.target, weight: Some(&self.weight) }]
    }

    /// Whether the loss is finite, whether a gradient is not, and whether the parameters have changed; then, of an iteration
    /// with a good image afterwards, whether it is told of the fault and whether the parameters have changed by it.
    fn run(&self) -> [bool; 5] {
        let mut step = TrainingStep::new(&self.engine, &self.network, OUTPUT, &self.options).expect("a plan");
        step.load(&self.parameters).expect("load");
        let values = |parameters: &mut Parameters| {
            values(&self.network, parameters).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let mut parameters = self.parameters.clone();
        let before = values(&mut parameters);
        let outcome = step.run(&[&self.image], &self.wanted(), settings(0)).expect("an iteration");
        assert!(!step.had_fault(), "of this iteration nothing is known yet");
        let has_fault = step.has_fault().expect("settled");
        step.store(&mut parameters).expect("store");
        let middle = values(&mut parameters);
        let good = Spoiled::new(self.options.clip);
        step.run(&[&good.image], &good.wanted(), settings(1)).expect("an iteration");
        let had_fault = step.had_fault();
        step.store(&mut parameters).expect("store");
        let after = values(&mut parameters);
        [outcome.loss.is_finite(), has_fault, middle != before, had_fault, after != middle]
    }

    fn place(&self) -> Option<Place> {
        let losses = [OutputLoss { loss: self.options.loss, factor: 1.0, malis: None }];
        let suspect = Suspect {
            network: &self.network,
            options: &self.options,
            losses: &losses,
            parameters: &self.parameters,
            inputs: &[&self.image],
            wanted: &self.wanted(),
            settings: settings(0),
        };
        diagnose(&self.engine, suspect).expect("a diagnosis").map(|finding| finding.place)
    }
}

#[test]
fn numbers_that_are_not_finite_change_nothing_and_are_found() {
    for clip in
        [Clip::default(), Clip { norm: Some(1.0), value: None }, Clip { norm: None, value: Some(0.1) }]
    {
        let sound = Spoiled::new(clip);
        assert_eq!((sound.run(), sound.place()), ([true, false, true, false, true], None));

        let mut image = Spoiled::new(clip);
        image.image.data_mut()[7] = f32::NAN;
        let [is_finite, _, changed, had_fault, _] = image.run();
        assert_eq!((is_finite, changed, had_fault), (false, false, true));
        assert_eq!(image.place(), Some(Place::Image("in".to_owned())));

        let mut weights = Spoiled::new(clip);
        let edge = weights.network.find_edge("c2").expect("an edge");
        weights.parameters.edge_mut(edge).expect("weights").values_mut()[3] = f32::NAN;
        let [is_finite, _, changed, ..] = weights.run();
        assert_eq!((is_finite, changed), (false, false));
        assert_eq!(weights.place(), Some(Place::Parameters("edges c2".to_owned())));

        // Weights so large that the sums of the first layer are infinite, of both signs: of the second, no number.
        let mut huge = Spoiled::new(clip);
        let edge = huge.network.find_edge("c1").expect("an edge");
        huge.image.data_mut().iter_mut().for_each(|x| *x *= 1e30);
        huge.parameters.edge_mut(edge).expect("weights").values_mut().iter_mut().for_each(|w| *w *= 1e30);
        assert_eq!(huge.place(), Some(Place::Forward("n1".to_owned())).filter(|_| !huge.run()[0]));

        // A loss that is finite while the product of its gradient and the image is not.
        let mut gradient = Spoiled::new(clip);
        gradient.weight.data_mut().fill(1e37);
        gradient.image.data_mut().iter_mut().for_each(|x| *x *= 1e4);
        let edge = gradient.network.find_edge("c1").expect("an edge");
        gradient.parameters.edge_mut(edge).expect("weights").values_mut().iter_mut().for_each(|w| *w *= 1e-4);
        let [is_finite, has_fault, changed, had_fault, changed_after] = gradient.run();
        assert_eq!((is_finite, has_fault, had_fault, changed_after), (true, true, true, false));
        assert!(clip.norm.is_none() || !changed, "a common norm holds all back");
        assert_eq!(gradient.place(), Some(Place::Backward("edges c1".to_owned())));
    }
}

/// A network that ends in a softmax of its own learns by the cross entropy of probabilities what one without it learns by that
/// of the softmax.
#[test]
fn a_softmax_inside_or_outside_the_network_is_the_same() {
    let body = "
        nodes in type=input size=1
        edges c1 type=conv input=in output=n1 size=1,3,3 init=msra
        nodes n1 type=transfer size=4 function=tanh
        edges c2 type=conv input=n1 output=scores size=2,2,2 init=xavier
        nodes scores type=transfer size=3 function=linear";
    let outside = network(body);
    let inside = network(&format!(
        "{body}
        edges s type=dummy input=scores output=out
        nodes out type=softmax size=3"
    ));
    let engine = engine(2, true);
    let train = |network: &Arc<Network>, loss| {
        let options = StepOptions { loss, momentum: 0.9, ..options(Optimiser::SGD) };
        let mut step = TrainingStep::new(&engine, network, OUTPUT, &options).expect("a plan");
        let mut parameters = Parameters::init(network, 5);
        step.load(&parameters).expect("load");
        let mut losses = Vec::new();
        for patch in 0..5 {
            let image = network.inputs().next().expect("an input");
            let image = common::random(patch, 1, step.extent(image));
            let class = |voxel: usize| (voxel * 7 + patch as usize) % 3;
            let target = Tensor::from_fn(3, OUTPUT, |i| {
                f32::from(u8::from(class(i % OUTPUT.len()) == i / OUTPUT.len()))
            });
            let weight = Tensor::from_fn(3, OUTPUT, |i| [1.0, 0.0, 2.5][class(i % OUTPUT.len())]);
            let wanted = [Wanted { target: &target, weight: Some(&weight) }];
            losses.push(step.run(&[&image], &wanted, settings(patch)).expect("an iteration").loss);
        }
        step.store(&mut parameters).expect("store");
        (losses, values(network, &mut parameters), step.predictions()[0].clone())
    };
    let (a, b) = (train(&outside, Loss::Softmax), train(&inside, Loss::CROSS_ENTROPY));
    for (a, b) in a.0.iter().zip(&b.0) {
        assert!((a - b).abs() <= 1e-5 * a.abs(), "losses {a} and {b}");
    }
    for (a, b) in a.1.iter().chain(a.2.data()).zip(b.1.iter().chain(b.2.data())) {
        assert!((a - b).abs() <= 1e-5, "{a} and {b}");
    }
    assert_ne!(a.0[0], a.0[4]);
}

/// Two outputs with losses and factors of their own: the gradient is the sum of those of each alone.
#[test]
fn outputs_have_losses_of_their_own() {
    let network = network(
        "nodes a type=input size=1
        nodes b type=input size=1
        edges ca type=conv input=a output=n size=1,3,3 init=msra
        edges cb type=conv input=b output=n size=1,3,3 init=msra
        nodes n type=transfer size=3 function=tanh
        edges c1 type=conv input=n output=o1 size=1,2,2 init=xavier
        nodes o1 type=transfer size=2 function=linear
        edges c2 type=conv input=n output=o2 size=1,2,2 init=xavier
        nodes o2 type=transfer size=1 function=linear",
    );
    let shapes = network.shapes(OUTPUT).expect("shapes");
    let engine = engine(2, true);
    let images: Vec<Tensor> =
        network.inputs().map(|node| common::random(node.0 as u64, 1, shapes[node].extent)).collect();
    let inputs: Vec<&Tensor> = images.iter().collect();
    let targets: Vec<Tensor> = network
        .outputs()
        .map(|node| Tensor::from_fn(network[node].size, OUTPUT, |i| (i % 2) as f32))
        .collect();
    let wanted: Vec<Wanted<'_>> = targets.iter().map(|target| Wanted { target, weight: None }).collect();
    let gradients = |factors: [f32; 2]| {
        let losses = [Loss::Softmax, Loss::SQUARE];
        let losses = [0, 1].map(|i| OutputLoss { loss: losses[i], factor: factors[i], malis: None });
        let options = StepOptions { inspect: true, ..options(Optimiser::SGD) };
        let mut step =
            TrainingStep::with_losses(&engine, &network, OUTPUT, &options, &losses).expect("a plan");
        step.load(&Parameters::init(&network, 5)).expect("load");
        let loss = step.run(&inputs, &wanted, settings(0)).expect("an iteration").loss;
        (loss, gradient(&mut step))
    };
    let (first, second, both) = (gradients([1.0, 0.0]), gradients([0.0, 1.0]), gradients([0.5, 3.0]));
    let expected = 0.5 * first.0 + 3.0 * second.0;
    assert!((both.0 - expected).abs() <= 1e-5 * expected, "{} and {expected}", both.0);
    for ((a, b), both) in first.1.into_iter().zip(second.1).zip(both.1) {
        let expected = 0.5 * a + 3.0 * b;
        assert!((both - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{both} and {expected}");
    }
}
