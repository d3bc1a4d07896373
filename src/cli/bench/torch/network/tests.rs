use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use znn::conv::Choice;
use znn::infer::Predictor;
use znn::network::{Parameters, spec};
use znn::train::Loss;
use znn::train::{Inspection, Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Tensor};

use super::*;
use crate::cli::bench::side::{Answer, Question};

/// The network of a text with one group to a line: `nodes NAME key=value key=value ...`.
fn network(text: &str) -> Arc<Network> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split_whitespace();
        let (kind, name) = words.next().zip(words.next()).unwrap();
        let keys: String = words.map(|word| word.replacen('=', " ", 1) + "\n").collect();
        format!("{kind} {name}\n{keys}\n")
    });
    let text: String = lines.collect();
    Arc::new(spec::parse(&text, "test.znn").unwrap_or_else(|error| panic!("{error}")).network)
}

/// Every operation that both engines have, but the random one; branches, dilation, two inputs.
const EVERYTHING: &str = "
    nodes a type=input size=1
    nodes b type=input size=2
    edges ca type=conv init=msra size=3,3,3 input=a output=h
    edges cb type=conv init=msra size=3,3,3 input=b output=h
    nodes h type=transfer function=tanh function_args=1.7159,0.6666 size=4
    edges f type=max_filter size=2,2,2 stride=2,2,2 input=h output=s
    nodes s type=sum size=4
    edges d type=conv init=msra size=1,3,3 input=s output=t
    nodes t type=transfer function=rectify_linear size=4
    edges m1 type=maxout input=t output=m
    edges m2 type=dummy input=t output=u
    nodes u type=transfer function=soft_sign size=4
    edges m3 type=maxout input=u output=m
    nodes m type=maxout size=4
    edges e type=conv init=msra size=2,1,1 input=m output=v
    nodes v type=transfer function=logistics size=3
    edges g type=crop offset=1,1,1 input=v output=w
    nodes w type=transfer function=linear size=3
";

/// A flat one with pooling.
const FLAT: &str = "
    nodes a type=input size=1
    edges c1 type=conv init=msra size=1,3,3 input=a output=h1
    nodes h1 type=transfer function=rectify_linear size=5
    edges p type=max_pool size=1,2,2 input=h1 output=s
    nodes s type=sum size=5
    edges c2 type=conv init=msra size=1,3,3 input=s output=h2
    nodes h2 type=transfer function=linear size=3
";

/// What makes images smaller and larger again, and what joins them.
const RESIZING: &str = "
    nodes in type=input size=2
    edges a type=conv init=msra size=1,3,3 pad=0,1,1 input=in output=a
    nodes a type=transfer function=exponential_linear size=3
    edges d type=conv init=msra size=2,3,3 pad=1,1,1 downsample=1,2,2 input=a output=b
    nodes b type=transfer function=leaky_rectify_linear function_args=0.2 size=5
    edges r type=conv init=msra size=3,3,3 pad=1,1,1 input=b output=c
    edges rr type=dummy input=b output=c
    nodes c type=transfer function=exponential_linear function_args=0.7 size=5
    edges u type=deconv init=msra size=1,2,2 stride=1,2,2 input=c output=u
    nodes u type=transfer function=parametric_rectify_linear size=3
    edges v type=deconv init=msra size=2,3,3 stride=1,2,2 pad=0,1,1 input=c output=v
    nodes v type=transfer function=tanh size=2
    edges w type=crop offset=1,0,0 input=v output=w
    nodes w type=sum size=2
    edges z type=conv init=msra size=2,1,1 input=u output=x
    nodes x type=normalise function=exponential_linear size=3
    edges c1 type=dummy input=x output=cat
    edges c2 type=scale input=a output=cat
    edges c3 type=dummy input=w output=cat
    nodes cat type=concat size=8
    edges s type=slice first=2 input=cat output=y
    edges cc type=conv init=msra size=1,1,3 pad=0,0,1 input=cat output=y
    nodes y type=normalise statistics=own size=4
    edges p type=max_pool size=1,3,3 downsample=1,2,2 pad=0,1,1 input=y output=p
    nodes p type=sum size=4
    edges q type=average_pool size=1,2,2 input=y output=q
    nodes q type=sum size=4
    edges m1 type=dummy input=p output=m
    edges m2 type=conv init=msra size=1,1,1 input=q output=m
    nodes m type=multiply size=4
    edges e1 type=upsample size=1,2,2 input=m output=e
    edges e2 type=dummy input=y output=e
    nodes e type=average size=4
    edges o1 type=conv init=msra size=1,3,3 pad=0,1,1 input=e output=o
    edges o2 type=conv share=o1 size=1,3,3 pad=0,1,1 input=y output=o
    nodes o type=softmax size=3
";

/// The residual 3D U-Net of `examples`, with few maps.
fn unet() -> Arc<Network> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/networks/unet3d.znn");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (many, few) in [("size 28\n", "size 3\n"), ("size 36\n", "size 4\n"), ("size 48\n", "size 5\n")] {
        assert!(text.contains(many));
        text = text.replace(many, few);
    }
    Arc::new(spec::parse(text.replace("size 64\n", "size 6\n"), "unet3d.znn").unwrap().network)
}

#[test]
fn sizes_and_dilations_are_those_of_the_network() {
    let network = network(EVERYTHING);
    let shapes = network.shapes(Extent::new(2, 3, 4)).unwrap();
    let description = serde_json::to_value(Description::new(&network, &shapes).unwrap()).unwrap();
    let nodes = description["nodes"].as_array().unwrap();
    let node = |name: &str| nodes.iter().find(|node| node["name"] == name).unwrap();
    let place = |name: &str| nodes.iter().position(|node| node["name"] == name).unwrap();
    assert_eq!(description["outputs"], json!([place("w")]));
    assert_eq!(node("a")["kind"], "input");
    assert_eq!(node("a")["extent"], json!([9, 12, 13]));
    let h = node("h");
    assert_eq!((&h["kind"], &h["function"], &h["size"]), (&json!("transfer"), &json!("tanh"), &json!(4)));
    assert_eq!(h["edges"].as_array().unwrap().len(), 2, "branches converge");
    assert_eq!(
        node("s")["edges"][0],
        json!({"name": "f", "from": place("h"), "op": "maximum",
               "size": [2, 2, 2], "dilation": [1, 1, 1], "stride": [1, 1, 1], "padding": [0, 0, 0]})
    );
    assert_eq!(
        node("t")["edges"][0],
        json!({"name": "d", "from": place("s"), "op": "convolution", "kernel": [1, 3, 3], "dilation": [2, 2, 2],
               "stride": [1, 1, 1], "padding": [0, 0, 0], "share": null})
    );
    assert_eq!(node("w")["edges"][0]["op"], "crop");
    for (place, node) in nodes.iter().enumerate() {
        for edge in node["edges"].as_array().unwrap() {
            assert!((edge["from"].as_u64().unwrap() as usize) < place, "sources come first");
        }
    }
}

#[test]
fn blocks_of_equal_weights_are_refused() {
    let network = network(
        "nodes a type=input size=1
         edges c type=conv init=msra size=1,4,4 repeat=1,2,2 input=a output=b
         nodes b type=transfer function=linear size=1",
    );
    let shapes = network.shapes(Extent::ONE).unwrap();
    let error = Description::new(&network, &shapes).unwrap_err();
    assert_eq!(error, NotInTorch { edge: "c".to_owned() });
}

#[derive(Deserialize)]
struct Outputs {
    outputs: Vec<Vec<f32>>,
}

/// The gradients of the last iteration, by the names of edges and nodes.
#[derive(Deserialize)]
struct Gradients {
    edges: BTreeMap<String, Vec<f32>>,
    nodes: BTreeMap<String, Vec<f32>>,
}

fn assert_near(found: &[Tensor], expected: &Outputs, what: &str) {
    assert_eq!(found.len(), expected.outputs.len());
    for (found, expected) in found.iter().zip(&expected.outputs) {
        assert_same(found.data(), expected, 1.0, 1e-4, what);
    }
}

/// `found` is `factor` times `expected`, but for rounding.
fn assert_same(found: &[f32], expected: &[f32], factor: f64, tolerance: f64, what: &str) {
    let (mut error, mut size) = (0.0, 0.0);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        let b = factor * f64::from(*b);
        error += (f64::from(*a) - b).powi(2);
        size += b.powi(2);
    }
    assert!(size > 0.0 && error.sqrt() <= tolerance * size.sqrt(), "{what}: {error} of {size}");
}

/// Both engines find the same gradients of all parameters in the first iteration.
fn assert_gradients(network: &Network, found: &Inspection, expected: &Gradients, voxels: f64) {
    for (edge, gradient) in network.edges().iter().zip(&found.weight_gradients) {
        assert_eq!(gradient.is_some(), expected.edges.contains_key(&edge.name), "edges {}", edge.name);
        if let Some(gradient) = gradient {
            assert_same(gradient, &expected.edges[&edge.name], voxels, 1e-4, &edge.name);
        }
    }
    for (node, gradient) in network.nodes().iter().zip(&found.bias_gradients) {
        assert_eq!(gradient.is_some(), expected.nodes.contains_key(&node.name), "nodes {}", node.name);
        if let Some(gradient) = gradient {
            assert_same(gradient, &expected.nodes[&node.name], voxels, 1e-4, &node.name);
        }
    }
}

/// Both engines compute the same outputs from the same weights, before and after some iterations of training, and the same
/// gradients.
#[test]
fn both_engines_compute_the_same() {
    const ITERATIONS: usize = 3;
    let Some(python) = std::env::var_os("ZNN_TORCH_PYTHON").map(PathBuf::from) else {
        println!("skipped: ZNN_TORCH_PYTHON names no Python with PyTorch");
        return;
    };
    // A U-Net whose weights nothing has normalised is steep.
    for (network, output, eta) in [
        (network(EVERYTHING), Extent::new(2, 3, 4), 0.003),
        (network(FLAT), Extent::new(1, 4, 6), 0.003),
        (network(RESIZING), Extent::new(2, 6, 8), 0.1),
        (unet(), Extent::new(3, 16, 24), 1e-4),
    ] {
        let shapes = network.shapes(output).unwrap();
        let description = Description::new(&network, &shapes).unwrap();
        let mut parameters = Parameters::init(&network, 7);
        // Nothing is zero, or it would have no part in the gradients of others.
        for edge in network.edge_ids() {
            if let Some(weights) = parameters.edge_mut(edge) {
                let wave = |i: i32| 0.1 * (0.7 * i as f32).sin();
                let zeros = weights.values_mut().iter_mut().zip(1..).filter(|(weight, _)| **weight == 0.0);
                zeros.for_each(|(weight, i)| *weight = wave(i));
            }
        }
        for node in network.node_ids() {
            if let Some(biases) = parameters.node_mut(node) {
                biases.values_mut().iter_mut().zip(1..).for_each(|(bias, i)| *bias = 0.05 * i as f32);
            }
        }
        let image = |node: znn::network::NodeId| {
            let value = |i: usize| ((i * 37 + i / 5) % 23) as f32 / 11.0 - 1.0;
            Tensor::from_fn(network[node].size, shapes[node].extent, value)
        };
        let images: Vec<Tensor> = network.inputs().map(image).collect();
        let engine = Engine::new(&EngineOptions { threads: Some(2), ..EngineOptions::default() }).unwrap();
        let options = StepOptions {
            loss: Loss::SQUARE,
            momentum: 0.9,
            algorithm: Choice::Estimate,
            inspect: true,
            ..StepOptions::default()
        };
        let mut step = TrainingStep::new(&engine, &network, output, &options).unwrap();
        let mut predictor = Predictor::new(&engine, &network, &parameters, output, Choice::Estimate).unwrap();
        step.load(&parameters).unwrap();

        let edges: serde_json::Map<String, Value> = network
            .edge_ids()
            .filter_map(|id| Some((network[id].name.clone(), json!(parameters.edge(id)?.values()))))
            .collect();
        let nodes: serde_json::Map<String, Value> = network
            .node_ids()
            .filter_map(|id| Some((network[id].name.clone(), json!(parameters.node(id)?.values()))))
            .collect();
        let inputs: Vec<&Tensor> = images.iter().collect();
        let mut sides = Format::ALL.map(|format| {
            let setup = json!({
                "network": description, "mode": Mode::Training, "threads": 1, "format": format, "eta": eta,
                "parameters": {"edges": edges, "nodes": nodes},
                "images": images.iter().map(Tensor::data).collect::<Vec<_>>(),
            });
            Side::new(start(&python, SCRIPT).unwrap(), &setup).unwrap()
        });
        let before = predictor.predict(&inputs).unwrap().to_vec();
        let targets: Vec<Tensor> =
            before.iter().map(|output| Tensor::zeros(output.channels(), output.extent())).collect();
        let wanted: Vec<Wanted<'_>> = targets.iter().map(|target| Wanted { target, weight: None }).collect();
        let mut first = None;
        for _ in 0..ITERATIONS {
            step.run(&inputs, &wanted, Settings { eta, factor: 1.0, key: 0 }).unwrap();
            first.get_or_insert(step.inspect().unwrap());
        }
        let first = first.unwrap();
        step.store(&mut parameters).unwrap();
        predictor.load(&parameters).unwrap();
        let after = predictor.predict(&inputs).unwrap();
        for side in &mut sides {
            let ask_outputs = json!({"outputs": true});
            assert_near(&before, &side.ask(&ask_outputs), "before training");
            side.ask::<Answer>(&Question { iterations: 1 });
            let gradients: Gradients = side.ask(&json!({"gradients": true}));
            assert_gradients(&network, &first, &gradients, output.len() as f64);
            let Answer { seconds } = side.ask(&Question { iterations: ITERATIONS - 1 });
            assert!(seconds > 0.0);
            assert_near(after, &side.ask(&ask_outputs), "after training");
        }
        let change = before[0].data().iter().zip(after[0].data()).map(|(a, b)| (a - b).abs());
        assert!(change.fold(0.0, f32::max) > 1e-3, "training changes the outputs");
    }
}
