//! Training steps as a whole: threads, determinism, the keys of groups, and gradients of every kind of group.

mod common;

use std::sync::Arc;

use common::{Images, engine, network};
use znn::conv::{Choice, Method};
use znn::network::{EdgeOp, Network, NodeKind, Parameters};
use znn::train::Loss;
use znn::train::{Settings, StepOptions, TrainingStep, check, natural_loss};
use znn::{Engine, EngineOptions, Extent};
use znn_kernels::Transfer;

const OUTPUT: Extent = Extent::new(2, 3, 4);

/// Every type of node and edge at once, in two branches with two inputs and two outputs.
const EVERYTHING: &str = "
nodes a type=input size=2
nodes b type=input size=3
edges ca type=conv input=a output=n1 size=2,3,3 init=msra
nodes n1 type=transfer size=3 function=rectify_linear
edges pool type=max_pool input=n1 output=n2 size=1,2,2
nodes n2 type=sum size=3
edges cb type=conv input=b output=n3 size=1,2,2 init=xavier stride=1,2,1
nodes n3 type=transfer size=3 function=tanh function_args=1.7159,0.6666 dense=1
edges crop type=crop input=n2 output=s offset=0,1,1
edges drop type=dropout input=n3 output=s ratio=0.8
nodes s type=sum size=3
edges filter type=max_filter input=s output=f size=2,2,2 stride=2,2,2
nodes f type=transfer size=3 function=soft_sign
edges m0 type=maxout input=f output=m
edges cm type=conv input=f output=g size=1,1,1 init=uniform
nodes g type=transfer size=3 function=linear function_args=0.9,0.1
edges m1 type=maxout input=g output=m
edges dummy type=dummy input=f output=h
nodes h type=transfer size=3 function=logistics
edges m2 type=maxout input=h output=m
nodes m type=maxout size=3
edges c1 type=conv input=m output=out1 size=1,2,2 init=xavier
edges c2 type=conv input=m output=out2 size=1,2,2 init=xavier repeat=1,1,2
nodes out1 type=transfer size=2 function=logistics
nodes out2 type=transfer size=1 function=linear
";

fn options(method: Method) -> StepOptions {
    StepOptions {
        loss: Loss::SQUARE,
        momentum: 0.9,
        weight_decay: 1e-4,
        algorithm: Choice::Fixed(method),
        ..StepOptions::default()
    }
}

/// The losses and the parameters of some iterations.
fn train(
    engine: &Engine,
    network: &Arc<Network>,
    options: &StepOptions,
    iterations: u64,
) -> (Vec<f64>, Parameters) {
    let mut step = TrainingStep::new(engine, network, OUTPUT, options).expect("a plan");
    let mut parameters = Parameters::init(network, 5);
    step.load(&parameters).expect("load");
    let losses = (0..iterations)
        .map(|iteration| {
            let images = Images::random(network, &step, iteration);
            let settings = Settings { eta: 0.05, factor: 1.0, key: 31 + iteration };
            step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration").loss
        })
        .collect();
    step.store(&mut parameters).expect("store");
    (losses, parameters)
}

/// The values of all groups, one after another.
fn values(network: &Network, parameters: &mut Parameters) -> Vec<f32> {
    let groups = parameters.groups_mut(network);
    groups.flat_map(|(_, p)| [p.values().to_vec(), p.momentum().to_vec()].concat()).collect()
}

#[test]
fn the_network_of_everything_has_every_type() {
    let network = network(EVERYTHING);
    let kinds = ["conv", "max_filter", "max_pool", "dropout", "crop", "maxout", "dummy"];
    for kind in kinds {
        assert!(network.edges().iter().any(|edge| edge.op.keyword() == kind), "{kind}");
    }
    for kind in
        [NodeKind::Input, NodeKind::Sum, NodeKind::Maxout, NodeKind::Transfer(Transfer::RectifyLinear)]
    {
        assert!(network.nodes().iter().any(|node| node.kind == kind), "{kind:?}");
    }
    assert!(network.inputs().count() == 2 && network.outputs().count() == 2);
}

#[test]
fn a_loop_over_the_tasks_computes_what_the_pool_does() {
    let network = network(EVERYTHING);
    let engine = engine(2, true);
    let train = |in_order: fn(u64) -> bool| {
        let options = options(Method::Direct);
        let mut step = TrainingStep::new(&engine, &network, OUTPUT, &options).expect("a plan");
        let mut parameters = Parameters::init(&network, 5);
        step.load(&parameters).expect("load");
        for key in 0..6 {
            let images = Images::random(&network, &step, key);
            let run = if in_order(key) { TrainingStep::run_in_order } else { TrainingStep::run };
            let settings = Settings { eta: 0.05, factor: 1.0, key };
            run(&mut step, &images.inputs(), &images.wanted(), settings).expect("an iteration");
        }
        step.store(&mut parameters).expect("store");
        values(&network, &mut parameters)
    };
    let pool = train(|_| false);
    assert_eq!(train(|_| true), pool);
    assert_eq!(train(|key| key % 2 == 1), pool, "in turn with the pool");
}

#[test]
fn threads_agree_within_rounding() {
    let network = network(EVERYTHING);
    for method in Method::ALL {
        let one = train(&engine(1, false), &network, &options(method), 5);
        let three = train(&engine(3, false), &network, &options(method), 5);
        for (a, b) in one.0.iter().zip(&three.0) {
            assert!(a.is_finite() && (a - b).abs() <= 1e-5 * a.abs(), "{method}: losses {a} and {b}");
        }
        assert_ne!(one.0[0], one.0[4], "training changes something");
        let (mut one, mut three) = (one.1, three.1);
        for (a, b) in values(&network, &mut one).into_iter().zip(values(&network, &mut three)) {
            assert!((a - b).abs() <= 2e-5 * a.abs().max(1.0), "{method}: parameters {a} and {b}");
        }
    }
}

#[test]
fn deterministic_training_has_the_same_bits_for_any_number_of_threads() {
    let network = network(EVERYTHING);
    for algorithm in [Choice::Fixed(Method::Direct), Choice::Fixed(Method::Fft), Choice::Measure] {
        let options = StepOptions { algorithm, ..options(Method::Direct) };
        // Twice with two threads: from run to run as well.
        let mut results = [1, 2, 2, 5].map(|threads| {
            let (losses, mut parameters) = train(&engine(threads, true), &network, &options, 5);
            let bits: Vec<u32> = values(&network, &mut parameters).into_iter().map(f32::to_bits).collect();
            (losses, bits)
        });
        let first = results[0].clone();
        for (losses, bits) in &mut results[1..] {
            assert_eq!(*losses, first.0, "{algorithm:?}");
            assert!(*bits == first.1, "{algorithm:?}: parameters differ in their bits");
        }
    }
}

/// Two convolutions of which the second one's groups have `keys`.
fn with_keys(keys: &str) -> Arc<Network> {
    network(&format!(
        "nodes in type=input size=1
        edges c1 type=conv input=in output=n1 size=1,3,3 init=msra
        nodes n1 type=transfer size=2 function=tanh
        edges c2 type=conv input=n1 output=out size=2,2,2 init=xavier {keys}
        nodes out type=transfer size=2 function=logistics {keys}"
    ))
}

#[test]
fn groups_have_their_own_training_constants() {
    let plain = StepOptions { momentum: 0.0, weight_decay: 0.0, ..options(Method::Direct) };
    let engine = engine(2, false);
    let groups = |keys: &str, options: &StepOptions| {
        let network = with_keys(keys);
        let mut after = train(&engine, &network, options, 3).1;
        let found: Vec<_> =
            after.groups_mut(&network).map(|(name, p)| (name.to_string(), p.clone())).collect();
        found
    };
    let find = |groups: &[(String, znn::network::Parameter)], name: &str| {
        groups.iter().find(|(group, _)| group == name).expect("a group").1.clone()
    };
    let start = Parameters::init(&with_keys(""), 5);
    let network = with_keys("");
    let first = |edge: &str| start.edge(network.find_edge(edge).expect("an edge")).expect("weights").clone();
    let usual = groups("", &plain);

    let frozen = groups("eta=0", &plain);
    assert_eq!(find(&frozen, "edges c2").values(), first("c2").values(), "eta 0 freezes weights");
    assert_eq!(find(&frozen, "nodes out").values(), [0.0; 2], "eta 0 freezes biases");
    assert_ne!(find(&frozen, "edges c1").values(), first("c1").values(), "the others go on");
    assert_ne!(find(&usual, "nodes out").values(), [0.0; 2]);

    // A group's own constant is what the option does for all.
    let same = |keys: &str, options: StepOptions| {
        let (own, all) = (groups(keys, &plain), groups("", &options));
        for name in ["edges c2", "nodes out"] {
            assert_ne!(find(&own, name).values(), find(&usual, name).values(), "{keys} changes {name}");
        }
        assert_ne!(find(&own, "edges c1"), find(&all, "edges c1"), "{keys} of another group");
        (own, all)
    };
    let (momentum, all) = same("momentum=0.5", StepOptions { momentum: 0.5, ..plain });
    assert!(find(&momentum, "edges c2").momentum().iter().any(|&v| v != 0.0));
    assert!(find(&momentum, "edges c1").momentum().iter().all(|&v| v == 0.0));
    assert!(find(&all, "edges c1").momentum().iter().any(|&v| v != 0.0));
    same("weight_decay=0.3", StepOptions { weight_decay: 0.3, ..plain });

    // The schedule's factor of settings is 1 here, so that an own rate equal to the common one changes nothing.
    assert_eq!(groups("eta=0.05", &plain), usual);
}

/// One iteration at a time, the second group's constants by hand.
#[test]
fn own_constants_enter_the_rule() {
    let engine = engine(1, false);
    let network = with_keys("eta=0.4 momentum=0.5 weight_decay=0.1");
    let edge = network.find_edge("c2").expect("an edge");
    let options = StepOptions { inspect: true, ..options(Method::Direct) };
    let mut step = TrainingStep::new(&engine, &network, OUTPUT, &options).expect("a plan");
    let mut parameters = Parameters::init(&network, 1);
    step.load(&parameters).expect("load");
    for iteration in 0..3 {
        let before = parameters.edge(edge).expect("weights").clone();
        let images = Images::random(&network, &step, iteration);
        let settings = Settings { eta: 0.01, factor: 0.5, key: 0 };
        step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration");
        let gradient = step.inspect().expect("inspect").weight_gradients[edge.0].clone().expect("a gradient");
        step.store(&mut parameters).expect("store");
        let after = parameters.edge(edge).expect("weights");
        let voxels = OUTPUT.len() as f64;
        for (i, g) in gradient.into_iter().enumerate() {
            let [w, v, g] = [before.values()[i], before.momentum()[i], g].map(f64::from);
            let v = 0.5 * v - 0.4 * 0.5 * g / voxels - 0.4 * 0.5 * 0.1 * w;
            assert!((f64::from(after.momentum()[i]) - v).abs() <= 1e-6, "velocity {i}");
            assert!((f64::from(after.values()[i]) - w - v).abs() <= 1e-6, "weight {i}");
        }
    }
}

#[test]
fn repeat_keeps_kernels_constant_over_blocks() {
    let network = network(
        "nodes in type=input size=2
        edges c type=conv input=in output=out size=2,4,6 repeat=1,2,3 init=gaussian init_args=0,0.5
        nodes out type=transfer size=3 function=tanh",
    );
    let edge = network.find_edge("c").expect("an edge");
    let kernel = Extent::new(2, 4, 6);
    for method in Method::ALL {
        let (_, parameters) = train(&engine(2, false), &network, &options(method), 4);
        let weights = parameters.edge(edge).expect("weights").values();
        assert_ne!(weights, Parameters::init(&network, 5).edge(edge).expect("weights").values());
        let mut blocks = std::collections::BTreeSet::new();
        for taps in weights.chunks_exact(kernel.len()) {
            for z in 0..kernel.z {
                for y in 0..kernel.y {
                    for x in 0..kernel.x {
                        let block = taps[kernel.index(z, y / 2 * 2, x / 3 * 3)];
                        assert_eq!(taps[kernel.index(z, y, x)], block, "{method}: {z},{y},{x}");
                        blocks.insert(block.to_bits());
                    }
                }
            }
        }
        assert!(blocks.len() > weights.len() / 12, "blocks differ from each other");
    }
}

/// Small networks that have between them every type of node and edge, every key and every transfer function.
const NETWORKS: [(&str, &str); 12] = [
    ("everything", EVERYTHING),
    (
        "linear",
        "nodes i type=input size=1
        edges c type=conv input=i output=o size=2,3,2 init=uniform init_args=0.5
        nodes o type=transfer size=2 function=linear function_args=-0.7,0.2",
    ),
    (
        "forward_logistics",
        "nodes i type=input size=2
        edges c type=conv input=i output=h size=1,2,2 init=xavier
        nodes h type=transfer size=3 function=logistics init=constant init_args=0.1
        edges d type=conv input=h output=o size=2,1,1 init=xavier
        nodes o type=transfer size=2 function=forward_logistics",
    ),
    (
        "sum",
        "nodes i type=input size=1
        edges a type=conv input=i output=o size=2,2,2 init=gaussian init_args=0,0.4
        edges b type=conv input=i output=o size=2,2,2 init=bernoulli init_args=0.3
        nodes o type=sum size=2",
    ),
    (
        "branches and crop",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=1,3,3 init=msra
        nodes n type=transfer size=2 function=soft_sign
        edges b type=conv input=n output=o size=1,3,3 init=msra
        edges k type=conv input=i output=m size=1,1,1 init=xavier
        nodes m type=transfer size=2 function=tanh
        edges crop type=crop input=m output=l offset=0,1,1
        nodes l type=sum size=2
        edges e type=conv input=l output=o size=1,3,3 init=xavier
        nodes o type=transfer size=2 function=logistics",
    ),
    (
        "maxout",
        "nodes i type=input size=1
        edges a type=conv input=i output=a size=2,2,2 init=msra
        nodes a type=transfer size=2 function=linear
        edges b type=conv input=i output=b size=2,2,2 init=msra
        nodes b type=transfer size=2 function=linear
        edges c type=conv input=i output=c size=2,2,2 init=msra
        nodes c type=sum size=2
        edges ma type=maxout input=a output=m
        edges mb type=maxout input=b output=m
        edges mc type=maxout input=c output=m
        nodes m type=maxout size=2
        edges d type=conv input=m output=o size=1,2,2 init=msra
        nodes o type=transfer size=1 function=tanh",
    ),
    (
        "max_pool",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=2,3,3 init=msra
        nodes n type=transfer size=3 function=tanh
        edges p type=max_pool input=n output=q size=1,2,3
        nodes q type=sum size=3
        edges b type=conv input=q output=o size=2,2,2 init=msra
        nodes o type=transfer size=1 function=logistics",
    ),
    (
        "max_filter and dense",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=1,3,3 init=msra
        nodes n type=transfer size=3 function=tanh
        edges f type=max_filter input=n output=q size=2,2,2 stride=2,2,2
        nodes q type=sum size=3
        edges b type=conv input=q output=r size=2,2,2 init=msra
        nodes r type=transfer size=2 function=tanh dense=1
        edges c type=conv input=r output=o size=1,2,2 init=msra
        nodes o type=transfer size=1 function=logistics",
    ),
    (
        "strided conv",
        "nodes i type=input size=2
        edges a type=conv input=i output=n size=2,2,2 stride=1,2,3 init=msra
        nodes n type=transfer size=3 function=logistics
        edges b type=conv input=n output=o size=2,3,2 init=msra fft=0
        nodes o type=transfer size=2 function=linear",
    ),
    (
        "dropout into a sum",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=1,2,2 init=msra
        nodes n type=transfer size=4 function=tanh
        edges d type=dropout input=n output=s ratio=0.6
        edges e type=dropout input=n output=s
        edges y type=dummy input=n output=s
        nodes s type=sum size=4
        edges b type=conv input=s output=o size=2,2,2 init=msra fft=1
        nodes o type=transfer size=1 function=logistics",
    ),
    (
        "large windows",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=1,2,2 init=msra
        nodes n type=transfer size=1 function=tanh
        edges f type=max_filter input=n output=s size=5,9,8 stride=1,1,1
        edges g type=max_filter input=n output=s size=5,9,8 stride=1,1,1
        nodes s type=sum size=1
        edges b type=conv input=s output=o size=1,2,2 init=msra
        nodes o type=transfer size=1 function=logistics",
    ),
    (
        "repeat",
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=2,4,4 repeat=2,2,2 init=msra
        nodes n type=transfer size=2 function=rectify_linear init=constant init_args=0.3
        edges b type=conv input=n output=o size=1,2,2 init=msra
        nodes o type=transfer size=1 function=logistics",
    ),
];

#[test]
fn gradients_are_right() {
    let engine = engine(2, false);
    for (name, text) in NETWORKS {
        let network = network(text);
        for method in Method::ALL {
            let choice = Choice::Fixed(method);
            let found = check(&engine, &network, OUTPUT, natural_loss(&network), choice, 3).expect("a check");
            let groups = network.edge_ids().filter(|&edge| network.weight_shape(edge).is_some()).count()
                + network.node_ids().filter(|&node| network.bias_len(node).is_some()).count();
            let names: std::collections::BTreeSet<&str> = found.iter().map(|d| d.group.as_str()).collect();
            assert_eq!(names.len(), groups, "{name}: every group is checked");
            for derivative in found {
                assert!(derivative.is_right(), "{name} by {method}: {derivative:?}");
            }
        }
    }
}

#[test]
fn gradients_of_the_softmax_loss_are_right() {
    let network = network(NETWORKS[4].1);
    for derivative in
        check(&engine(1, false), &network, OUTPUT, Loss::Softmax, Choice::Estimate, 8).expect("a check")
    {
        assert!(derivative.is_right(), "{derivative:?}");
    }
}

/// Inside a network, a function that hands gradients on unchanged makes them wrong.
#[test]
fn the_check_finds_wrong_gradients() {
    let network = network(
        "nodes i type=input size=1
        edges a type=conv input=i output=n size=1,3,3 init=msra
        nodes n type=transfer size=3 function=forward_logistics
        edges b type=conv input=n output=o size=1,2,2 init=msra
        nodes o type=transfer size=1 function=tanh",
    );
    let found =
        check(&engine(2, false), &network, OUTPUT, Loss::SQUARE, Choice::Estimate, 3).expect("a check");
    for derivative in &found {
        let behind = ["edges b", "nodes o"].contains(&derivative.group.as_str());
        assert!(derivative.is_right() || !behind, "{derivative:?}");
    }
    for group in ["edges a", "nodes n"] {
        let wrong = found.iter().filter(|d| d.group == group && !d.is_right()).count();
        assert!(wrong > 0, "the gradient of {group} is wrong, and nothing says so: {found:?}");
    }
}

#[test]
fn the_networks_have_every_transfer_function_and_key() {
    let networks: Vec<_> = NETWORKS.iter().map(|(_, text)| network(text)).collect();
    let transfers = |test: fn(&Transfer) -> bool| {
        networks.iter().flat_map(|network| network.nodes()).any(|node| match &node.kind {
            NodeKind::Transfer(transfer) => test(transfer),
            _ => false,
        })
    };
    assert!(transfers(|t| matches!(t, Transfer::Linear { .. })));
    assert!(transfers(|t| matches!(t, Transfer::RectifyLinear)));
    assert!(transfers(|t| matches!(t, Transfer::Tanh { .. })));
    assert!(transfers(|t| matches!(t, Transfer::SoftSign)));
    assert!(transfers(|t| matches!(t, Transfer::Logistic)));
    assert!(transfers(|t| matches!(t, Transfer::ForwardLogistic)));
    assert!(networks.iter().flat_map(|network| network.nodes()).any(|node| node.dense));
    let conv = |test: fn(Extent, Extent, Option<bool>) -> bool| {
        networks.iter().flat_map(|network| network.edges()).any(|edge| match edge.op {
            EdgeOp::Conv { stride, repeat, fft, .. } => test(stride, repeat, fft),
            _ => false,
        })
    };
    assert!(conv(|stride, _, _| stride != Extent::ONE) && conv(|_, repeat, _| repeat != Extent::ONE));
    assert!(conv(|_, _, fft| fft == Some(true)) && conv(|_, _, fft| fft == Some(false)));
}

#[test]
fn voxels_of_weight_zero_teach_nothing() {
    let network = with_keys("");
    let engine =
        Engine::new(&EngineOptions { threads: Some(2), ..EngineOptions::default() }).expect("an engine");
    let options = StepOptions { momentum: 0.0, weight_decay: 0.0, ..options(Method::Direct) };
    let mut step = TrainingStep::new(&engine, &network, OUTPUT, &options).expect("a plan");
    let start = Parameters::init(&network, 5);
    step.load(&start).expect("load");
    let images = Images::random(&network, &step, 0).with_weight(0.0);
    let settings = Settings { eta: 0.5, factor: 1.0, key: 0 };
    let outcome = step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration");
    assert_eq!((outcome.loss, outcome.errors, outcome.counted), (0.0, 0.0, 0.0));
    let mut after = start.clone();
    step.store(&mut after).expect("store");
    after.set_updates(0);
    assert_eq!(after, start);
    let images = images.with_weight(1.0);
    let outcome = step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration");
    assert!(outcome.loss > 0.0 && outcome.counted == 2.0 * OUTPUT.len() as f64);
    step.store(&mut after).expect("store");
    assert_ne!(after, start);
}
