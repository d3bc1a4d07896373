use proptest::prelude::*;
use znn_kernels::Transfer;

use super::{Parsed, SpecError, parse, parse_toml, read, to_toml};
use crate::network::testing::{NODES, RESIZING, golden_cases, networks_folder, spelled};
use crate::network::{EdgeOp, Init, Network, NodeKind, UpdateOverrides};
use crate::volume::Extent;

/// All keys, groups out of order, tabs, comments, lines of another system.
const EVERYTHING: &str = "\
# A network with one group of each type.
edges c1
type conv
size 4,6,6   # kernel
stride 1,2,2
repeat 2,3,1
init uniform
init_args -0.5,0.25
fft 1
eta 0.5
momentum 0.75
weight_decay 0.125
seeding 0
input in
output a\r
\r
nodes in
\ttype\tinput
size 2
nodes a
size 3
type transfer
function tanh
function_args 1.7159,0.6666
init gaussian
init_args 0.5,2
eta 0
dense 1
nodes b
type sum
size 3
nodes c
type sum
size 3
nodes d
type sum
size 3
nodes m
type maxout
size 3
nodes out
type sum
size 3
edges filter
type max_filter
size 1,2,3
stride 1,1,2
input a
output b
edges pool
type max_pool
size 1,2,2
stride 5,5,5
input a
output c
edges drop
type dropout
ratio 0.25
input c
output d
edges crop
type crop
offset 0,1,2
input d
output out
edges x
type maxout
input d
output m
edges y
type dummy
input m
output out
";

fn ok(text: &str) -> Parsed {
    parse(text, "a.znn").unwrap_or_else(|error| panic!("{error}"))
}

fn errors(text: &str) -> Vec<String> {
    match parse(text, "a.znn") {
        Err(SpecError::Invalid(errors)) => errors.iter().map(ToString::to_string).collect(),
        other => panic!("expected errors, found {other:?}"),
    }
}

/// A small valid network, in which one line is another.
fn with(line: &str, other: &str) -> String {
    let text = "\
nodes input
type input
size 1
edges conv3
type conv
size 1,3,3
init constant
init_args 0.5
input input
output output
nodes output
type transfer
function linear
size 2
";
    assert!(text.contains(line), "{line}");
    text.replacen(&format!("{line}\n"), other, 1)
}

#[test]
fn every_key() {
    let Parsed { network, warnings } = ok(EVERYTHING);
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["in", "a", "b", "c", "d", "m", "out"]);
    let a = &network[network.find_node("a").unwrap()];
    assert_eq!(a.kind, NodeKind::Transfer(Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 }));
    assert_eq!((a.size, a.dense, a.seeding), (3, true, true));
    assert_eq!(a.init, Init::Gaussian { mean: 0.5, deviation: 2.0 });
    assert_eq!(a.update, UpdateOverrides { eta: Some(0.0), momentum: None, weight_decay: None });
    let c1 = &network.edges()[0];
    let conv = EdgeOp::Conv {
        size: Extent::new(4, 6, 6),
        stride: Extent::new(1, 2, 2),
        repeat: Extent::new(2, 3, 1),
        init: Init::Uniform { low: -0.5, high: 0.25 },
        fft: Some(true),
        pad: Extent::ZERO,
        downsample: Extent::ONE,
        share: None,
    };
    assert_eq!((c1.op, c1.seeding), (conv, false));
    let update = UpdateOverrides { eta: Some(0.5), momentum: Some(0.75), weight_decay: Some(0.125) };
    assert_eq!(c1.update, update);
    let ops: Vec<EdgeOp> = network.edges()[1..].iter().map(|edge| edge.op).collect();
    let expected = [
        EdgeOp::MaxFilter { size: Extent::new(1, 2, 3), stride: Extent::new(1, 1, 2) },
        EdgeOp::MaxPool { size: Extent::new(1, 2, 2), downsample: Extent::new(1, 2, 2), pad: Extent::ZERO },
        EdgeOp::Dropout { keep: 0.25 },
        EdgeOp::Crop { offset: Extent::new(0, 1, 2) },
        EdgeOp::Maxout,
        EdgeOp::Dummy,
    ];
    assert_eq!(ops, expected);
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["a.znn:53: edges pool: `stride` has no effect on a max_pool edge"]);
}

#[test]
fn defaults() {
    let network = ok(&with("init constant", "init uniform\n").replace("init_args 0.5\n", "")).network;
    let uniform = Init::Uniform { low: -0.1, high: 0.1 };
    let conv = EdgeOp::Conv {
        size: Extent::new(1, 3, 3),
        stride: Extent::ONE,
        repeat: Extent::ONE,
        init: uniform,
        fft: None,
        pad: Extent::ZERO,
        downsample: Extent::ONE,
        share: None,
    };
    assert_eq!(network.edges()[0].op, conv);
    assert!(network.edges()[0].seeding && !network.nodes()[1].dense);
    assert_eq!(network.edges()[0].update, UpdateOverrides::default());
    assert_eq!(network.nodes()[1].kind, NodeKind::Transfer(Transfer::IDENTITY));
    assert_eq!(network.nodes()[1].init, Init::Zero);
    let op =
        |text: &str| ok(&with("init constant", text).replace("init_args 0.5\n", "")).network.edges()[0].op;
    for (text, expected) in [
        ("init uniform\ninit_args 0.05\n", Init::Uniform { low: -0.05, high: 0.05 }),
        ("init gaussian\n", Init::Gaussian { mean: 0.0, deviation: 0.01 }),
        ("init bernoulli\n", Init::Bernoulli { p: 0.5 }),
        ("init zero\n", Init::Zero),
        ("init xavier\n", Init::Xavier),
        ("init msra\n", Init::Msra),
    ] {
        assert!(matches!(op(text), EdgeOp::Conv { init, .. } if init == expected), "{text}");
    }
}

#[test]
fn functions() {
    for (text, expected) in [
        ("function linear\nfunction_args 2,-1\n", Transfer::Linear { scale: 2.0, shift: -1.0 }),
        ("function rectify_linear\n", Transfer::RectifyLinear),
        ("function tanh\n", Transfer::Tanh { amplitude: 1.0, slope: 1.0 }),
        ("function soft_sign\n", Transfer::SoftSign),
        ("function logistics\n", Transfer::Logistic),
        ("function forward_logistics\n", Transfer::ForwardLogistic),
        ("function exponential_linear\n", Transfer::ExponentialLinear { amplitude: 1.0 }),
        ("function exponential_linear\nfunction_args 0.5\n", Transfer::ExponentialLinear { amplitude: 0.5 }),
        ("function leaky_rectify_linear\n", Transfer::LeakyRectifyLinear { slope: 0.01 }),
        ("function leaky_rectify_linear\nfunction_args 0.2\n", Transfer::LeakyRectifyLinear { slope: 0.2 }),
    ] {
        let parsed = ok(&with("function linear", text));
        assert_eq!(parsed.network.nodes()[1].kind, NodeKind::Transfer(expected));
        assert!(parsed.warnings.is_empty());
    }
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    for (line, other, expected) in [
        (
            "output output",
            "ouput output\n",
            "a.znn:10: edges conv3: `ouput` is not a key of a conv edge; did you mean `output`? The required key \
             `output` is missing",
        ),
        ("output output", "", "a.znn:4: edges conv3: the required key `output` of a conv edge is missing"),
        (
            "output output",
            "output ouput\n",
            "a.znn:10: edges conv3: `output` is `ouput`, expected the name of a node group; did you mean `output`?",
        ),
        (
            "size 1,3,3",
            "size 1, 3, 3\n",
            "a.znn:6: edges conv3: `size` is `1,`, expected three integers z,y,x without spaces, each within \
             1..=65536, such as 1,3,3",
        ),
        (
            "size 1,3,3",
            "size 1,0,3\n",
            "a.znn:6: edges conv3: `size` is `1,0,3`, expected three integers z,y,x without spaces, each within \
             1..=65536, such as 1,3,3",
        ),
        (
            "type conv",
            "type cnov\n",
            "a.znn:5: edges conv3: `type` is `cnov`, expected one of conv, max_filter, max_pool, dropout, crop, \
             maxout, dummy, deconv, average_pool, upsample, node_dropout, scale, slice; did you mean `conv`?",
        ),
        (
            "type conv",
            "tpye conv\n",
            "a.znn:5: edges conv3: `tpye` is not a key; did you mean `type`? The required key `type` is missing, one \
             of conv, max_filter, max_pool, dropout, crop, maxout, dummy, deconv, average_pool, upsample, node_dropout, \
             scale, slice",
        ),
        (
            "type transfer",
            "",
            "a.znn:11: nodes output: The required key `type` is missing, one of input, sum, transfer, maxout, \
             average, multiply, concat, normalise, softmax",
        ),
        ("size 2", "size\n", "a.znn:14: nodes output: `size` has no value"),
        (
            "size 2",
            "size -2\n",
            "a.znn:14: nodes output: `size` is `-2`, expected a number of feature maps within 1..=65536",
        ),
        (
            "size 2",
            "size 99999999999999999999999\n",
            "a.znn:14: nodes output: `size` is `99999999999999999999999`, expected a number of feature maps within \
             1..=65536",
        ),
        (
            "function linear",
            "function relu\n",
            "a.znn:13: nodes output: `function` is `relu`, expected one of linear, rectify_linear, tanh, soft_sign, \
             logistics, forward_logistics, exponential_linear, leaky_rectify_linear, parametric_rectify_linear",
        ),
        (
            "function linear",
            "function tanh\nfunction_args 1\n",
            "a.znn:14: nodes output: `function_args` is `1`, expected the two numbers a,b of tanh",
        ),
        (
            "function linear",
            "function tanh\nfunction_args 0,1\n",
            "a.znn:14: nodes output: the amplitude of tanh is 0, expected another number",
        ),
        ("init_args 0.5", "", "a.znn:4: edges conv3: the required key `init_args` of a conv edge is missing"),
        (
            "init constant",
            "init gaussian\n",
            "a.znn:8: edges conv3: `init_args` is `0.5`, expected the two numbers mu,sigma, sigma at least 0",
        ),
        ("init_args 0.5", "init_args nan\n", "a.znn:8: edges conv3: `init_args` is `nan`, expected a number"),
        (
            "init_args 0.5",
            "init_args 1e60\n",
            "a.znn:8: edges conv3: `init_args` is `1e60`, expected a number",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nfft yes\n",
            "a.znn:9: edges conv3: `fft` is `yes`, expected 0 or 1",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\neta -1\n",
            "a.znn:9: edges conv3: `eta` is `-1`, expected a number of at least 0",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nmomentum 1.5\n",
            "a.znn:9: edges conv3: `momentum` is `1.5`, expected a number within 0 and 1",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nsize 1,3,3\n",
            "a.znn:9: edges conv3: the key `size` is given already, at line 6",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nfilters 0x00\n",
            "a.znn:9: edges conv3: `filters` holds values in binary, which a text cannot; give them in a weights file",
        ),
        (
            "function linear",
            "function linear\nbiases 0x00\n",
            "a.znn:14: nodes output: `biases` holds values in binary, which a text cannot; give them in a weights file",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nrepeat 1,2,1\n",
            "a.znn:4: edges conv3: the kernel `size` 1,3,3 is not a multiple of `repeat` 1,2,1",
        ),
        (
            "function linear",
            "function linear\ninit msra\n",
            "a.znn:11: nodes output: `init` is xavier or msra, which are made for kernels: biases have no fan-in",
        ),
        (
            "nodes output",
            "nodes input\n",
            "a.znn:11: nodes input: there is a group of this name already, at line 1",
        ),
        (
            "nodes input",
            "",
            "a.znn:1: expected `nodes NAME` or `edges NAME` before the first key, found `type`",
        ),
        ("nodes input", "nodes\n", "a.znn:1: expected `nodes NAME`, found no name"),
        ("type input", "type sum\n", "a.znn:1: nodes input: no edge leads to this group"),
        ("type input", "type sum\n", "a.znn: the network has no group of type input"),
        ("input input", "input output\n", "a.znn:1: nodes input: no edge leads away from this input group"),
        ("input input", "input output\n", "a.znn:11: nodes output: the edges form a cycle: output -> output"),
        ("output output", "output input\n", "a.znn:4: edges conv3: leads to the input group input"),
        (
            "type conv",
            "type dummy\n",
            "a.znn:4: edges conv3: a dummy edge joins map to map, but nodes input has 1 of them and nodes output has 2",
        ),
        (
            "type transfer",
            "type maxout\n",
            "a.znn:4: edges conv3: a conv edge leads to the maxout group output, which takes maxout edges only",
        ),
        (
            "type conv",
            "type maxout\n",
            "a.znn:4: edges conv3: a maxout edge leads to output, which is not a maxout group",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\npad 1,-1,1\n",
            "a.znn:9: edges conv3: `pad` is `1,-1,1`, expected three integers z,y,x without spaces, each within 0..=65536",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\ndownsample 1,0,1\n",
            "a.znn:9: edges conv3: `downsample` is `1,0,1`, expected three integers z,y,x without spaces, each within \
             1..=65536",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nshare conv2\n",
            "a.znn:9: edges conv3: `share` is `conv2`, expected the name of an edge group; did you mean `conv3`?",
        ),
        (
            "init_args 0.5",
            "init_args 0.5\nshare conv3\n",
            "a.znn:4: edges conv3: `share` names edges conv3, which shares kernels itself: name those that have them",
        ),
        (
            "type conv",
            "type deconv\nstride 0,1,1\n",
            "a.znn:6: edges conv3: `stride` is `0,1,1`, expected three integers z,y,x without spaces, each within \
             1..=65536",
        ),
        (
            "type conv",
            "type slice\nfirst 1\n",
            "a.znn:4: edges conv3: takes 2 maps from map 1 on (counted from 0), but nodes input has 1",
        ),
        (
            "type conv",
            "type slice\nfirst -1\n",
            "a.znn:6: edges conv3: `first` is `-1`, expected the number of a feature map, counted from 0, below 65536",
        ),
        (
            "type conv",
            "type max_pool\npad 1,2,2\n",
            "a.znn:4: edges conv3: `pad` is 1,2,2, expected at most half the window 1,3,3: each window must have a voxel",
        ),
        (
            "type conv",
            "type node_dropout\nratio 0\n",
            "a.znn:6: edges conv3: `ratio` is `0`, expected the probability that a map is kept, above 0 and at most 1",
        ),
        (
            "type conv\nsize 1,3,3\ninit constant\ninit_args 0.5",
            "type scale\ninit msra\n",
            "a.znn:4: edges conv3: `init` is xavier or msra, which are made for kernels",
        ),
        (
            "type transfer",
            "type concat\n",
            "a.znn:4: edges conv3: a conv edge leads to the concat group output, which takes the maps of other groups as \
             they are: give it a group of its own, and that a dummy edge to output",
        ),
        (
            "type transfer",
            "type normalise\nepsilon 0\n",
            "a.znn:13: nodes output: `epsilon` is `0`, expected a number above 0",
        ),
        (
            "type transfer",
            "type normalise\nstatistics mine\n",
            "a.znn:13: nodes output: `statistics` is `mine`, expected own or running",
        ),
        (
            "function linear",
            "function exponential_linear\nfunction_args -1\n",
            "a.znn:14: nodes output: `function_args` is `-1`, expected a number of at least 0",
        ),
        (
            "size 1,3,3",
            "size 65536,65536,65536\n",
            "a.znn:4: edges conv3: has 562949953421312 weights, more than 4294967296",
        ),
    ] {
        let text = with(line, other);
        let found = errors(&text);
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "\nexpected: {expected}\nfound: {found:#?}\nin\n{text}"
        );
    }
}

#[test]
fn errors_are_collected() {
    let text = with("size 1,3,3", "size 1,3\n").replace("size 2", "size two").replace("linear", "liner");
    let lines: Vec<String> =
        errors(&text).iter().map(|error| error[..error.find(": ").unwrap()].to_owned()).collect();
    assert_eq!(lines, ["a.znn:6", "a.znn:13", "a.znn:14"]);
    assert_eq!(parse(&text, "a.znn").unwrap_err().to_string().lines().count(), 3);
    assert_eq!(errors(&"x y\n".repeat(10_000)).len(), 50, "but not without end");
    let unknown: String = (0..10_000).map(|i| format!("key{i} 1\n")).collect();
    let parsed = ok(&with("size 2", &format!("size 2\n{unknown}")));
    assert_eq!(parsed.warnings.len(), 50);
    assert_eq!(parsed.network.nodes()[1].extra.len(), 10_000);
}

#[test]
fn dropout_keeps_with_a_probability() {
    let text = |ratio: &str| EVERYTHING.replace("ratio 0.25", ratio);
    assert!(ok(&text("ratio 1")).network.edges().iter().any(|edge| edge.op == EdgeOp::Dropout { keep: 1.0 }));
    assert!(ok(&text("")).network.edges().iter().any(|edge| edge.op == EdgeOp::Dropout { keep: 0.5 }));
    for bad in ["0", "-0", "1.5", "nan", "half"] {
        let expected = format!(
            "a.znn:58: edges drop: `ratio` is `{bad}`, expected the probability that a voxel is kept, above 0 and at \
             most 1"
        );
        assert_eq!(errors(&text(&format!("ratio {bad}"))), [expected]);
    }
}

#[test]
fn windows_of_maxima_are_bounded() {
    for (edge, size) in [("filter", "size 1,2,3"), ("pool", "size 1,2,2")] {
        ok(&EVERYTHING.replacen(size, "size 1,256,1", 1));
        let found = errors(&EVERYTHING.replacen(size, "size 1,1,257", 1));
        let expected = format!("edges {edge}: `size` is 1,1,257, expected 1..=256 along each axis");
        assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:?}");
    }
}

#[test]
fn a_longer_cycle_is_spelled_out() {
    let text = EVERYTHING.to_owned() + "edges back\ntype dummy\ninput out\noutput c\n";
    let found = errors(&text);
    assert_eq!(found.len(), 1);
    // The cycle by the crop or the one by the maxout group.
    assert!(found[0].contains("the edges form a cycle: "), "{found:?}");
    let names: Vec<&str> = found[0].rsplit(": ").next().unwrap().split(" -> ").collect();
    assert_eq!(names.first(), names.last());
    assert!(["c", "d", "out"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn what_has_no_effect_is_kept_and_reported() {
    let text = with("size 1,3,3", "size 1,3,3\nload 0\nsrtide 1,2,2\nratio 0.5 0.6\nempty\n");
    let Parsed { network, warnings } = ok(&text);
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "a.znn:7: edges conv3: `load` is not a key of a conv edge and has no effect",
        "a.znn:8: edges conv3: `srtide` is not a key of a conv edge and has no effect; did you mean `stride`?",
        "a.znn:9: edges conv3: `0.6` and what follows on this line is ignored",
        "a.znn:9: edges conv3: `ratio` has no effect on a conv edge",
        "a.znn:10: edges conv3: `empty` is not a key of a conv edge and has no effect",
    ];
    assert_eq!(warnings, expected);
    let extra: Vec<(&str, &str)> =
        network.edges()[0].extra.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(extra, [("load", "0"), ("srtide", "1,2,2"), ("ratio", "0.5"), ("empty", "")]);
    assert_eq!(ok(&network.to_string()).network, network);
}

#[test]
fn files_that_are_no_text() {
    assert_eq!(errors(""), ["a.znn: expected groups of `nodes` and `edges`, found none"]);
    let Err(SpecError::Invalid(found)) = parse(b"nodes a\ntype \xff", "a.znn") else { panic!() };
    assert_eq!(found[0].to_string(), "a.znn:2: expected a network file, but this is not UTF-8 text");
    assert_eq!(ok(&format!("\u{feff}{EVERYTHING}")).network, ok(EVERYTHING).network);
    let folder = tempfile::tempdir().unwrap();
    let missing = read(&folder.path().join("missing.znn")).unwrap_err();
    assert!(missing.to_string().contains("missing.znn: "), "{missing}");
    assert!(read(folder.path()).is_err());
    let long = folder.path().join("long.znn");
    std::fs::File::create(&long).unwrap().set_len(super::MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(read(&long), Err(SpecError::TooLong { .. })));
}

#[test]
fn written_networks_read_back_the_same() {
    let round = |text: &str| {
        let network = ok(text).network;
        let again = ok(&network.to_string());
        assert_eq!(again.network, network, "{text}");
        assert_eq!(again.network.to_string(), network.to_string());
        let toml = to_toml(&network);
        let again = parse_toml(&toml, "a.toml").unwrap_or_else(|error| panic!("{toml}: {error}"));
        assert_eq!(again.network, network, "{toml}");
    };
    round(EVERYTHING);
    round(&spelled(RESIZING));
    round(&spelled(NODES));
    for (folder, case) in golden_cases() {
        round(case["net_text"].as_str().unwrap());
        let file = read(&folder.join("net.znn")).unwrap();
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }
    let Some(folder) = networks_folder() else { return };
    let files = |folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut read = 0;
    for path in files(folder.clone()).chain(files(folder.join("benchmark"))) {
        if path.extension().is_some_and(|extension| extension == "znn") {
            round(&std::fs::read_to_string(path).unwrap());
            read += 1;
        }
    }
    assert!(read > 20, "{read} network files");
}

#[test]
fn a_network_in_toml() {
    let text = "\
# Sizes are z, y, x.
[nodes.in]
type = 'input'
size = 1

[nodes.out]
type = 'transfer'
size = 3
function = 'tanh'
function_args = [1.7159, 0.6666]
dense = true

[edges.c1]
type = 'conv'
size = [1, 3, 3]
init = 'gaussian'
init_args = [0, 0.5]
eta = 0.5
fft = false
input = 'in'
output = 'out'
";
    let same = "nodes in\ntype input\nsize 1\nnodes out\ntype transfer\nsize 3\nfunction tanh\nfunction_args \
                1.7159,0.6666\ndense 1\nedges c1\ntype conv\nsize 1,3,3\ninit gaussian\ninit_args 0,0.5\neta \
                0.5\nfft 0\ninput in\noutput out\n";
    assert_eq!(parse_toml(text, "a.toml").unwrap().network, ok(same).network);
    for (found, wrong, message) in [
        ("size = 3", "size = -3", "a.toml:8: nodes out: `size` is `-3`, expected"),
        ("size = [1, 3, 3]", "size = [1, [3], 3]", "a.toml:15: edges c1: `size` is array, expected"),
        ("input = 'in'", "input = 'on'", "a.toml:20: edges c1: "),
        (
            "[nodes.in]",
            "[layers.in]",
            "a.toml:2: expected tables [nodes.NAME] and [edges.NAME], found `layers`",
        ),
        (
            "[nodes.in]",
            "nodes.x = 1\n[nodes.in]",
            "a.toml:2: nodes x: expected a table of keys, found a value",
        ),
        ("dense = true", "dense = ", "a.toml:11: "),
        ("size = 1\n", "size = 1\nsize = 2\n", "a.toml:5: "),
    ] {
        assert!(text.contains(found));
        let error = parse_toml(text.replace(found, wrong), "a.toml").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = parse_toml("", "a.toml").unwrap_err().to_string();
    assert_eq!(error, "a.toml: expected tables [nodes.NAME] and [edges.NAME], found none");
    assert!(parse_toml(b"\xff\xfe", "a.toml").unwrap_err().to_string().contains("not UTF-8"));
}

/// A chain of groups with random keys.
fn any_network() -> impl Strategy<Value = String> {
    let axis = || (1_usize..4, 1_usize..4, 1_usize..4).prop_map(|(z, y, x)| format!("{z},{y},{x}"));
    let number = || prop::num::f32::NORMAL.prop_map(|value| value.to_string());
    let init = prop_oneof![
        Just("zero".to_owned()),
        Just("msra".to_owned()),
        number().prop_map(|value| format!("constant\ninit_args {value}")),
        (number(), 0.0_f32..9.0)
            .prop_map(|(mean, deviation)| format!("gaussian\ninit_args {mean},{deviation}")),
        (0.0_f32..1.0).prop_map(|p| format!("bernoulli\ninit_args {p}")),
        (0.0_f32..9.0).prop_map(|radius| format!("uniform\ninit_args {radius}")),
    ];
    let training =
        || (0.0_f32..1.0, any::<bool>()).prop_map(|(v, s)| format!("eta {v}\nseeding {}\n", u8::from(s)));
    let op = prop_oneof![
        (axis(), axis(), init, any::<bool>(), training()).prop_map(|(size, stride, init, fft, training)| {
            format!(
                "type conv\nsize {size}\nrepeat {size}\nstride {stride}\ninit {init}\nfft {}\n{training}",
                u8::from(fft)
            )
        }),
        (axis(), axis())
            .prop_map(|(size, stride)| format!("type max_filter\nsize {size}\nstride {stride}\n")),
        axis().prop_map(|size| format!("type max_pool\nsize {size}\n")),
        (0.01_f32..=1.0).prop_map(|keep| format!("type dropout\nratio {keep}\n")),
        axis().prop_map(|offset| format!("type crop\noffset {offset}\n")),
        Just("type dummy\n".to_owned()),
    ];
    let node = prop_oneof![
        Just("type sum\n".to_owned()),
        Just("type sum\ndense 1\nodd thing\n".to_owned()),
        training()
            .prop_map(|training| format!("type transfer\nfunction soft_sign\ninit uniform\n{training}")),
        (number(), number())
            .prop_map(|(a, b)| format!("type transfer\nfunction tanh\nfunction_args {a},{b}\n")),
        (number(), number())
            .prop_map(|(a, b)| format!("type transfer\nfunction linear\nfunction_args {a},{b}\n")),
    ];
    let layers = prop::collection::vec((op, node, any::<bool>()), 1..8);
    (layers, 1_usize..40).prop_map(|(layers, size)| {
        let mut text = format!("nodes n0\ntype input\nsize {size}\n");
        for (i, (op, node, node_first)) in layers.iter().enumerate() {
            let edge = format!("edges e{i}\n{op}input n{i}\noutput n{}\n", i + 1);
            let node = format!("nodes n{}\nsize {size}\n{node}", i + 1);
            text += &if *node_first { node + &edge } else { edge + &node };
        }
        text
    })
}

proptest! {
    #[test]
    fn random_networks_read_back_the_same(text in any_network()) {
        let network = ok(&text).network;
        prop_assert_eq!(&ok(&network.to_string()).network, &network);
        prop_assert_eq!(&parse_toml(to_toml(&network), "a.toml").unwrap().network, &network);
        let dense = network.to_dense();
        prop_assert_eq!(&ok(&dense.to_string()).network, &dense);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, "a.znn");
        let _ = parse_toml(&bytes, "a.toml");
    }

    #[test]
    fn no_words_panic(words in prop::collection::vec(
        prop::sample::select(EVERYTHING.split_whitespace().chain(["\n", "\n", "\n", "0", "99999999999999999999", "é"]).collect::<Vec<_>>()),
        0..200,
    )) {
        if let Ok(parsed) = parse(words.join(" "), "a.znn") {
            use_network(&parsed.network);
        }
    }

    #[test]
    fn no_mutation_panics(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4), 1..6)
    ) {
        let mut lines: Vec<String> = EVERYTHING.lines().map(str::to_owned).collect();
        for (a, b, kind) in mutations {
            let (i, j) = (a.index(lines.len()), b.index(lines.len()));
            match kind {
                0 => drop(lines.remove(i)),
                1 => lines.swap(i, j),
                2 => lines.insert(i, lines[j].clone()),
                _ => {
                    // A line with the value of another.
                    let value = lines[j].split_whitespace().nth(1).unwrap_or("").to_owned();
                    let key = lines[i].split_whitespace().next().unwrap_or("").to_owned();
                    lines[i] = format!("{key} {value}");
                }
            }
        }
        match parse(lines.join("\n"), "a.znn") {
            Ok(parsed) => use_network(&parsed.network),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// Whatever was accepted can be used without a panic.
fn use_network(network: &Network) {
    assert_eq!(ok(&network.to_string()).network, *network);
    let _ = network.parameter_counts();
    let _ = network.shapes(Extent::new(1, 2, 3));
    let _ = network.to_dense().shapes(Extent::new(usize::MAX, 2, 3));
}
