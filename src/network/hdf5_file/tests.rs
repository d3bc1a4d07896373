use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::hdf5::{self, FileBuilder};
use crate::network::testing::{NODES, RESIZING, network, spelled};
use crate::network::weights_file::Model;
use crate::network::{Network, Parameters};

const TEXT: &str = "nodes input\ntype input\nsize 1\n\
    nodes mid\ntype transfer\nfunction tanh\nfunction_args 1.5,0.5\nsize 3\n\
    nodes output\ntype transfer\nfunction linear\nsize 2\n\
    edges c1\ntype conv\nsize 2,3,4\nstride 1,2,2\ninit uniform\ninit_args 0.5\ninput input\noutput mid\n\
    edges c2\ntype conv\nsize 1,2,1\ninit zero\nload 0\ninput mid\noutput output\n";

fn model() -> Model {
    let network = network(TEXT);
    let mut parameters = Parameters::init(&network, 3);
    for (count, (_, parameter)) in parameters.groups_mut(&network).enumerate() {
        for (i, momentum) in parameter.momentum_mut().iter_mut().enumerate() {
            *momentum = (count * 1000 + i) as f32;
        }
    }
    Model { network, parameters, notes: BTreeMap::new() }
}

fn statistics() -> Statistics {
    let measure = |iteration, loss| Measure { iteration, loss, pixel_error: loss / 2.0 };
    Statistics {
        train: vec![measure(10, 0.75), measure(20, 0.5)],
        test: vec![measure(20, 0.625)],
        elapsed: 12.5,
    }
}

fn contents<'a>(model: &'a Model, statistics: &'a Statistics) -> Contents<'a> {
    let Model { network, parameters, .. } = model;
    Contents { network, parameters, rates: Rates::default(), statistics: Some(statistics) }
}

/// The groups of a network have no order in the file.
fn sorted(network: &Network) -> Vec<String> {
    let mut groups: Vec<String> = network.to_string().split("\n\n").map(|g| g.trim().to_owned()).collect();
    groups.sort();
    groups
}

fn assert_same(found: &Model, expected: &Model) {
    assert_eq!(sorted(&found.network), sorted(&expected.network));
    for id in expected.network.edge_ids() {
        let there = found.network.find_edge(&expected.network[id].name).unwrap();
        assert_eq!(found.parameters.edge(there), expected.parameters.edge(id));
    }
    for id in expected.network.node_ids() {
        let there = found.network.find_node(&expected.network[id].name).unwrap();
        assert_eq!(found.parameters.node(there), expected.parameters.node(id));
    }
}

#[test]
fn all_kinds_of_groups_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("resizing", RESIZING), ("nodes", NODES)] {
        // Groups of nodes and of edges have names of one kind there.
        let text = spelled(text).replace("edges ", "edges e_").replace("share ", "share e_");
        let network = network(&text);
        let mut parameters = Parameters::init(&network, 3);
        for (count, (_, parameter)) in parameters.groups_mut(&network).enumerate() {
            for (i, momentum) in parameter.momentum_mut().iter_mut().enumerate() {
                *momentum = (count * 1000 + i) as f32;
            }
        }
        for id in network.node_ids() {
            parameters.statistics_mut(id).iter_mut().zip(1..).for_each(|(value, i)| *value = 0.25 * i as f32);
        }
        let model = Model { network, parameters, notes: BTreeMap::new() };
        let path = folder.path().join(format!("{name}.h5"));
        save(&path, &contents(&model, &statistics()), Layout::Root).unwrap();
        assert_eq!(load(&path).unwrap().model, model, "{name}");
    }
}

#[test]
fn what_is_written_is_read_in_both_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let (model, statistics) = (model(), statistics());
    for (layout, name) in [(Layout::Root, "root_20.h5"), (Layout::Single, "single_20.h5")] {
        let path = folder.path().join(name);
        save(&path, &contents(&model, &statistics), layout).unwrap();
        let loaded = load(&path).unwrap();
        assert_same(&loaded.model, &model);
        assert_eq!((loaded.layout, loaded.statistics.as_ref()), (layout, Some(&statistics)), "{name}");
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let path = path.display();
        assert_eq!(
            warnings,
            [format!("{path}: edges c2: `load` is not a key of a conv edge and has no effect")]
        );
    }
    assert!(folder.path().join("root_statistics_20.h5").exists());
    assert!(!folder.path().join("single_statistics_20.h5").exists());
    assert_eq!(statistics.iteration(), 20);
}

#[test]
fn keys_are_written_as_the_original_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.h5");
    let model = model();
    let rates = Rates { eta: 0.5, momentum: 0.9, weight_decay: 0.0 };
    save(&path, &Contents { statistics: None, rates, ..contents(&model, &statistics()) }, Layout::Root)
        .unwrap();
    let file = crate::hdf5::Hdf5File::open(&path).unwrap();
    let text = |dataset: &str| file.text(dataset).unwrap();
    assert_eq!(text("c1/group_type"), "edge");
    assert_eq!(text("mid/group_type"), "node");
    assert_eq!(text("c1/name"), "c1");
    assert_eq!(text("mid/function_args"), "1.5,0.5");
    assert_eq!((text("c1/eta"), text("mid/momentum")), ("0.5".to_owned(), "0.9".to_owned()));
    assert_eq!(file.numbers::<i64>("c1/size").unwrap(), (vec![3], vec![2, 3, 4]));
    assert_eq!(file.numbers::<i64>("input/size").unwrap(), (vec![1], vec![1]));
    assert_eq!(file.shape("c1/filters").unwrap(), [1, 3, 2, 3, 4]);
    assert_eq!(file.shape("mid/momentum_vol").unwrap(), [3]);
    assert!(file.shape("c1/type").unwrap().is_empty(), "scalars");
    assert!(!file.has_dataset("input/eta"));
}

/// A file with one network that is changed before it is written.
fn changed(change: impl Fn(&str, &str) -> Change) -> Vec<u8> {
    let model = model();
    let mut file = FileBuilder::new();
    for block in model.network.to_string().split("\n\n") {
        let (head, keys) = block.split_once('\n').unwrap();
        let (kind, name) = head.split_once(' ').unwrap();
        let mut group = hdf5::group(name);
        let mut add = |dataset: &str, normal: Change| {
            let value = match change(name, dataset) {
                Change::None => normal,
                other => other,
            };
            match value {
                Change::None | Change::Drop => {}
                Change::Text(text) => hdf5::write_text(&mut group, dataset, &text),
                Change::Integers(values) => drop(group.create_dataset(dataset).with_data(&values)),
                Change::Floats(shape, values) => {
                    group.create_dataset(dataset).with_data(&values).with_shape(&shape);
                }
            }
        };
        add("group_type", Change::Text(if kind == "nodes" { "node" } else { "edge" }.to_owned()));
        for (key, value) in keys.lines().filter_map(|line| line.split_once(' ')) {
            match key {
                "size" | "stride" => {
                    add(key, Change::Integers(value.split(',').map(|v| v.parse().unwrap()).collect()));
                }
                _ => add(key, Change::Text(value.to_owned())),
            }
        }
        for (of, dataset, shape) in [
            ("mid", "biases", vec![3]),
            ("output", "biases", vec![2]),
            ("c1", "filters", vec![1, 3, 2, 3, 4]),
            ("c1", "momentum_vol", vec![1, 3, 2, 3, 4]),
            ("c2", "filters", vec![3, 2, 1, 2, 1]),
        ] {
            if of == name {
                let len = shape.iter().product::<u64>() as usize;
                add(dataset, Change::Floats(shape, vec![0.5; len]));
            }
        }
        file.add_group(group.finish());
    }
    file.finish().unwrap()
}

enum Change {
    None,
    Drop,
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<u64>, Vec<f32>),
}

#[test]
fn what_is_wrong_is_named_with_file_and_dataset() {
    assert!(from_bytes(Path::new("net.h5"), changed(|_, _| Change::None)).is_ok());
    let mut nan = vec![0.5; 72];
    nan[7] = f32::NAN;
    let text = |text: &str| Change::Text(text.to_owned());
    let cases: Vec<(&str, &str, Change, &str)> = vec![
        ("c1", "filters", Change::Drop, "net.h5, c1/filters: "),
        ("c1", "filters", text("x"), "net.h5, c1/filters: "),
        (
            "c1",
            "filters",
            Change::Floats(vec![1, 3, 4, 3, 2], vec![0.0; 72]),
            "net.h5, c1/filters: the shape [1, 3, 4, 3, 2], expected [1, 3, 2, 3, 4] like the groups it joins",
        ),
        (
            "c1",
            "filters",
            Change::Floats(vec![1, 3, 2, 3, 4], nan),
            "net.h5, c1/filters: 1 of 72 values are no numbers, the first (NaN) at place 7; did the training of \
             this network diverge?",
        ),
        (
            "c1",
            "momentum_vol",
            Change::Floats(vec![3], vec![0.0; 3]),
            "net.h5, c1/momentum_vol: the shape [3], expected [1, 3, 2, 3, 4] like `filters`",
        ),
        (
            "mid",
            "biases",
            Change::Integers(vec![1, 2, 3]),
            "net.h5, mid/biases: values of type i64, expected floats",
        ),
        ("mid", "group_type", text("knot"), "net.h5, mid/group_type: `knot`, expected `node` or `edge`"),
        ("mid", "group_type", Change::Drop, "net.h5, mid/group_type: "),
        (
            "mid",
            "function",
            text("linear\nnodes x"),
            "net.h5, mid/function: `linear\nnodes x`, expected one word",
        ),
        ("mid", "function", text("relu"), "net.h5: nodes mid: `function` is `relu`, expected one of"),
        ("c1", "output", text("ouput"), "net.h5: edges c1: `output` is `ouput`"),
        ("c1", "input", text("output"), "net.h5"),
        ("c1", "size", Change::Integers(vec![1, -3, 3]), "net.h5: edges c1: `size` is `1,-3,3`"),
        (
            "c1",
            "size",
            Change::Integers(vec![1; 17]),
            "net.h5, c1/size: the shape [17], expected one or three",
        ),
        ("mid", "size", Change::Integers(vec![1 << 40]), "net.h5: nodes mid: `size` is `1099511627776`"),
        ("mid", "size", text("3"), "net.h5, mid/size: values of type vlen_string, expected integers"),
    ];
    for (group, dataset, change, expected) in cases {
        let change = std::cell::RefCell::new(Some(change));
        let bytes = changed(|name, key| match (name, key) == (group, dataset) {
            true => change.take().unwrap_or(Change::None),
            false => Change::None,
        });
        let error = from_bytes(Path::new("net.h5"), bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{group}/{dataset}: {error}");
    }
    let empty = from_bytes(Path::new("net.h5"), FileBuilder::new().finish().unwrap()).unwrap_err();
    assert_eq!(empty.to_string(), "net.h5, /: there are no groups, expected one for each group of a network");
    let other = from_bytes(Path::new("net.h5"), b"nodes input\ntype input".to_vec()).unwrap_err().to_string();
    assert!(other.starts_with("net.h5: not a complete HDF5 file: "), "{other}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens to a file: an answer, and no panic.
    #[test]
    fn a_damaged_file_gives_an_error_or_a_network(
        cut in proptest::option::of(0.0..1.0f64),
        places in proptest::collection::vec((0.0..1.0f64, any::<u8>(), 1..9usize), 0..6),
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| changed(|_, _| Change::None));
        let mut bytes = GOOD.clone();
        for (place, value, count) in places {
            let start = (place * bytes.len() as f64) as usize;
            let end = bytes.len().min(start + count);
            bytes[start..end].fill(value);
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        if let Ok(loaded) = from_bytes(Path::new("net.h5"), bytes) {
            prop_assert!(loaded.model.network.parameter_counts().weights < 1 << 20);
        }
    }
}
