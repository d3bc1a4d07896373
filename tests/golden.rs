//! Whole training iterations against numbers of the original system (`tests/golden/README.md` has their formulas).
//!
//! The environment variable `ZNN_GOLDEN_DIR` adds a folder of further cases in the same layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use znn::conv::{Choice, Method};
use znn::network::{EdgeOp, Network, Parameters, spec};
use znn::ops::repeat::average_blocks;
use znn::train::Loss;
use znn::train::{Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Extent, Tensor};

/// Of the array's largest value.
const TOLERANCE: f64 = 2e-5;
/// Of the largest output gradient: what the rounding of a sum's terms leaves in a bias gradient whose terms cancel (in
/// `maxpool_strided` to 1/500 of the largest one).
const CANCELLATION: f64 = 4.0 * f32::EPSILON as f64;

#[derive(Deserialize)]
struct Case {
    outsz: Extent,
    loss: String,
    margin: f32,
    eta: f32,
    momentum: f32,
    weight_decay: f32,
    iterations: usize,
    cost: Vec<f64>,
    arrays: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    offset: usize,
}

/// A case with its data.
struct Golden {
    name: String,
    case: Case,
    data: Vec<f64>,
    network: Arc<Network>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("case.json")).expect("case.json");
        let case: Case = serde_json::from_str(&text).expect("case.json");
        let bytes = std::fs::read(folder.join("data.f64")).expect("data.f64");
        let data =
            bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect();
        let network = Arc::new(spec::read(&folder.join("net.znn")).expect("net.znn").network);
        Self { name: folder.display().to_string(), case, data, network }
    }

    fn array(&self, name: &str) -> Option<&[f64]> {
        let array = self.case.arrays.get(name)?;
        Some(&self.data[array.offset..][..array.shape.iter().product()])
    }

    fn tensor(&self, name: &str) -> Tensor {
        let shape = &self.case.arrays[name].shape;
        let values: Vec<f32> = self.array(name).expect("listed").iter().map(|&v| v as f32).collect();
        Tensor::from_slice(shape[0], Extent::new(shape[1], shape[2], shape[3]), &values)
    }

    /// The parameters of an iteration; momentum too, where it is stored.
    fn parameters(&self, prefix: &str) -> Parameters {
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
        let mut parameters = Parameters::zeros(&self.network);
        for edge in self.network.edge_ids() {
            if let (Some(shape), Some(to)) = (self.network.weight_shape(edge), parameters.edge_mut(edge)) {
                let name = &self.network[edge].name;
                let values = self.array(&format!("{prefix}_W_{name}")).expect("weights");
                to.values_mut().copy_from_slice(&shape.from_convolution_order(&narrow(values)));
                if let Some(values) = self.array(&format!("{prefix}_V_{name}")) {
                    to.momentum_mut().copy_from_slice(&shape.from_convolution_order(&narrow(values)));
                }
            }
        }
        for node in self.network.node_ids() {
            if let Some(to) = parameters.node_mut(node) {
                let name = &self.network[node].name;
                let values = self.array(&format!("{prefix}_b_{name}")).expect("biases");
                to.values_mut().copy_from_slice(&narrow(values));
                if let Some(values) = self.array(&format!("{prefix}_vb_{name}")) {
                    to.momentum_mut().copy_from_slice(&narrow(values));
                }
            }
        }
        parameters
    }

    fn loss(&self) -> Loss {
        match self.case.loss.as_str() {
            "square_loss" => Loss::SQUARE,
            "square_square_loss" => {
                Loss::Values(znn_kernels::Loss::SquareSquare { margin: self.case.margin })
            }
            "binomial_cross_entropy" => Loss::BINOMIAL_CROSS_ENTROPY,
            "softmax_loss" => Loss::Softmax,
            other => panic!("{}: unknown loss {other}", self.name),
        }
    }

    fn compare(&self, what: &str, found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        let largest = max_abs(expected);
        let patch = self.case.outsz.len() as f64;
        let terms = self
            .network
            .outputs()
            .filter_map(|node| self.array(&format!("it1_grad_{}", self.network[node].name)));
        let rounding = CANCELLATION * terms.map(max_abs).fold(0.0, f64::max);
        let floor = match what {
            _ if what.contains("_dE_b_") => rounding,
            _ if what.contains("_vb_") => rounding * f64::from(self.case.eta) / patch,
            _ => 0.0,
        };
        for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= TOLERANCE * largest + floor,
                "{}: {what}[{i}] is {found}, expected {expected}; largest of the array {largest}",
                self.name
            );
        }
    }

    /// Trains as the case says and compares all that it stores. Returns how many arrays were compared.
    fn run(&self, engine: &Engine, method: Method) -> usize {
        let options = StepOptions {
            loss: self.loss(),
            momentum: self.case.momentum,
            weight_decay: self.case.weight_decay,
            algorithm: Choice::Fixed(method),
            inspect: true,
            ..StepOptions::default()
        };
        let network = &self.network;
        let mut step = TrainingStep::new(engine, network, self.case.outsz, &options).expect("a plan");
        step.load(&self.parameters("it0")).expect("load");
        let inputs: Vec<Tensor> =
            network.inputs().map(|node| self.tensor(&format!("input_{}", network[node].name))).collect();
        let targets: Vec<Tensor> =
            network.outputs().map(|node| self.tensor(&format!("label_{}", network[node].name))).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let wanted: Vec<Wanted<'_>> = targets.iter().map(|target| Wanted { target, weight: None }).collect();
        let settings = Settings { eta: self.case.eta, factor: 1.0, key: 0 };
        let mut compared = 0;
        for iteration in 1..=self.case.iterations {
            let outcome = step.run(&inputs, &wanted, settings).expect("an iteration");
            let expected = self.case.cost[iteration - 1];
            assert!(
                (outcome.loss - expected).abs() <= TOLERANCE * expected.abs(),
                "{}: loss of iteration {iteration} is {}, expected {expected}",
                self.name,
                outcome.loss
            );
            compared += self.compare_inside(&mut step, iteration);
            compared += self.compare_parameters(&mut step, iteration);
        }
        compared
    }

    /// Values and gradients of an iteration.
    fn compare_inside(&self, step: &mut TrainingStep, iteration: usize) -> usize {
        let network = &self.network;
        let inside = step.inspect().expect("inspect");
        let mut compared = 0;
        let mut check = |what: String, found: Option<&[f32]>| {
            if let (Some(expected), Some(found)) = (self.array(&what), found) {
                self.compare(&what, found, expected);
                compared += 1;
            }
        };
        for node in network.node_ids() {
            let name = &network[node].name;
            let data = |tensor: &'_ Option<Tensor>| tensor.as_ref().map(|t| t.data().to_vec());
            check(format!("it{iteration}_act_{name}"), data(&inside.values[node.0]).as_deref());
            check(format!("it{iteration}_grad_{name}"), data(&inside.output_gradients[node.0]).as_deref());
            check(format!("it{iteration}_dE_b_{name}"), inside.bias_gradients[node.0].as_deref());
        }
        for (node, prediction) in network.outputs().zip(step.predictions()) {
            check(format!("it{iteration}_prob_{}", network[node].name), Some(prediction.data()));
        }
        for edge in network.edge_ids() {
            if let (Some(found), Some(shape)) = (&inside.weight_gradients[edge.0], network.weight_shape(edge))
            {
                let mut found = found.clone();
                // What is stored is the gradient that the update sees: with `repeat`, its mean over the blocks.
                if let EdgeOp::Conv { size, repeat, .. } = network[edge].op {
                    average_blocks(&mut found, size, repeat);
                }
                let found = shape.to_convolution_order(&found);
                check(format!("it{iteration}_dE_W_{}", network[edge].name), Some(&found));
            }
        }
        compared
    }

    /// Weights, biases and momentum after an iteration.
    fn compare_parameters(&self, step: &mut TrainingStep, iteration: usize) -> usize {
        let network = &self.network;
        let mut parameters = Parameters::zeros(network);
        step.store(&mut parameters).expect("store");
        let mut compared = 0;
        let mut check = |what: String, found: &[f32]| {
            if let Some(expected) = self.array(&what) {
                self.compare(&what, found, expected);
                compared += 1;
            }
        };
        for edge in network.edge_ids() {
            if let (Some(shape), Some(found)) = (network.weight_shape(edge), parameters.edge(edge)) {
                let name = &network[edge].name;
                check(format!("it{iteration}_W_{name}"), &shape.to_convolution_order(found.values()));
                check(format!("it{iteration}_V_{name}"), &shape.to_convolution_order(found.momentum()));
            }
        }
        for node in network.node_ids() {
            if let Some(found) = parameters.node(node) {
                let name = &network[node].name;
                check(format!("it{iteration}_b_{name}"), found.values());
                check(format!("it{iteration}_vb_{name}"), found.momentum());
            }
        }
        compared
    }
}

fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

fn cases() -> Vec<Golden> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let more = std::env::var_os("ZNN_GOLDEN_DIR").map(PathBuf::from);
    let mut folders: Vec<PathBuf> = std::iter::once(own)
        .chain(more)
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder of cases"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("net.znn").exists())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Golden::read(folder)).collect()
}

fn all_cases(method: Method, deterministic: bool) {
    let engine = Engine::new(&EngineOptions { threads: Some(2), deterministic, ..EngineOptions::default() })
        .expect("an engine");
    let cases = cases();
    assert!(cases.len() >= 18, "{} cases", cases.len());
    for case in &cases {
        let compared = case.run(&engine, method);
        // Every array but the inputs, targets and first parameters is compared.
        let stored = case.case.arrays.keys().filter(|name| {
            !name.starts_with("input_") && !name.starts_with("label_") && !name.starts_with("it0_")
        });
        assert_eq!(compared, stored.count(), "{}: arrays compared, of those stored", case.name);
    }
}

#[test]
fn direct() {
    all_cases(Method::Direct, false);
}

#[test]
fn fft() {
    all_cases(Method::Fft, false);
}

#[test]
fn deterministic() {
    all_cases(Method::Direct, true);
}
