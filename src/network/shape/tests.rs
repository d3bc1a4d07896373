use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::network::ParameterCounts;
use crate::network::spec;
use crate::network::testing::{extent, golden, golden_cases, network, networks_folder};

/// Compares with `{node: {fov, stride, fsize}}`.
fn check(name: &str, network: &Network, output: Extent, expected: &Value) {
    let shapes = network.shapes(output).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), network.nodes().len(), "{name}: node groups");
    for (node, shape) in expected {
        let id = network.find_node(node).unwrap_or_else(|| panic!("{name}: no node {node}"));
        let found = shapes[id];
        assert_eq!(found.fov, extent(&shape["fov"]), "{name}: field of view of {node} for output {output}");
        assert_eq!(found.stride, extent(&shape["stride"]), "{name}: stride of {node}");
        assert_eq!(found.extent, extent(&shape["fsize"]), "{name}: image of {node} for output {output}");
    }
}

#[test]
fn stored_cases() {
    for (folder, case) in golden_cases() {
        let name = case["name"].as_str().unwrap();
        let network = spec::read(&folder.join("net.znn")).unwrap().network;
        let output = extent(&case["outsz"]);
        check(name, &network, output, &case["nodes"]);
        assert_eq!(network.shapes(output).unwrap().fov(), extent(&case["fov"]), "{name}");
        // The stored parameters.
        let len = |array: &str| {
            let shape =
                case["arrays"][array]["shape"].as_array().unwrap_or_else(|| panic!("{name}: {array}"));
            shape.iter().map(|size| size.as_u64().unwrap() as usize).collect::<Vec<_>>()
        };
        for edge in network.edge_ids() {
            if let Some(shape) = network.weight_shape(edge) {
                let [c_out, c_in, z, y, x] = shape.to_array();
                assert_eq!(len(&format!("it0_W_{}", network[edge].name)), [c_in, c_out, z, y, x], "{name}");
            }
        }
        for node in network.node_ids() {
            if let Some(biases) = network.bias_len(node) {
                assert_eq!(len(&format!("it0_b_{}", network[node].name)), [biases], "{name}");
            }
        }
        let arrays = case["arrays"].as_object().unwrap().keys();
        let groups = arrays.filter(|array| array.starts_with("it0_")).count();
        let parameters = network.edge_ids().filter(|&edge| network.weight_shape(edge).is_some()).count()
            + network.node_ids().filter(|&node| network.bias_len(node).is_some()).count();
        assert_eq!(groups, parameters, "{name}");
    }
}

#[test]
fn network_files_of_the_original() {
    let table: Vec<Value> =
        serde_json::from_slice(&std::fs::read(golden().join("fov_table.json")).unwrap()).unwrap();
    assert!(table.len() > 60);
    let Some(folder) = networks_folder() else { return };
    for row in &table {
        let name = row["net"].as_str().unwrap();
        let file = name.rsplit('/').next().unwrap();
        let path =
            [folder.join(file), folder.join("benchmark").join(file)].into_iter().find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("{name} is not in {}", folder.display()));
        let network = spec::read(&path).unwrap().network;
        let output = extent(&row["outsz"]);
        check(name, &network, output, &row["nodes"]);
        assert_eq!(network.shapes(output).unwrap().fov(), extent(&row["fov"]), "{name}");
        let count = |key: &str| row[key].as_u64().unwrap() as usize;
        let counts = ParameterCounts {
            kernels: count("kernels"),
            weights: count("kernel_weights"),
            biases: count("biases"),
        };
        assert_eq!(network.parameter_counts(), counts, "{name}");
    }
}

/// Node, field of view, stride, image.
type Row = (&'static str, [usize; 3], [usize; 3], [usize; 3]);

fn check_rows(network: &Network, output: [usize; 3], rows: &[Row]) {
    let shapes = network.shapes(output.into()).unwrap();
    assert_eq!(rows.len(), network.nodes().len());
    for &(name, fov, stride, extent) in rows {
        let expected = NodeShape { fov: fov.into(), stride: stride.into(), extent: extent.into() };
        assert_eq!(shapes[network.find_node(name).unwrap()], expected, "{name}");
    }
}

fn node(name: &str, keys: &str) -> String {
    format!("nodes {name}\nsize 2\n{keys}\n")
}

fn edge(input: &str, output: &str, keys: &str) -> String {
    format!("edges {input}-{output}\ninput {input}\noutput {output}\n{keys}\n")
}

fn conv(size: &str, stride: &str) -> String {
    format!("type conv\ninit zero\nsize {size}\nstride {stride}")
}

#[test]
fn pooling_by_filters_dilates_what_follows() {
    let text = [
        node("in", "type input"),
        edge("in", "a", &conv("1,3,3", "1,1,1")),
        node("a", "type transfer\nfunction linear"),
        edge("a", "b", "type max_filter\nsize 1,3,2\nstride 1,2,2"),
        node("b", "type sum"),
        edge("b", "c", &conv("2,2,4", "3,1,1")),
        node("c", "type sum"),
        edge("c", "out", &conv("2,3,1", "1,1,1")),
        node("out", "type sum"),
    ];
    #[rustfmt::skip]
    check_rows(&network(&text.concat()), [1, 5, 10], &[
        ("out", [1, 1, 1], [3, 2, 2], [1, 5, 10]),
        // The last kernel, 2,3,1, is dilated by 3,2,2.
        ("c", [2, 3, 1], [3, 2, 2], [4, 9, 10]),
        // The kernel 2,2,4 is dilated by 1,2,2, not by its own stride.
        ("b", [5, 4, 4], [1, 2, 2], [5, 11, 16]),
        // The window 1,3,2 is not dilated.
        ("a", [5, 9, 8], [1, 1, 1], [5, 13, 17]),
        ("in", [5, 11, 10], [1, 1, 1], [5, 15, 19]),
    ]);
}

#[test]
fn pooling_by_blocks_multiplies() {
    let text = [
        node("in", "type input"),
        edge("in", "a", &conv("1,2,2", "1,1,1")),
        node("a", "type sum"),
        edge("a", "b", "type max_pool\nsize 1,2,3"),
        node("b", "type sum"),
        edge("b", "out", &conv("1,3,3", "1,1,1")),
        node("out", "type sum"),
    ];
    let pooled = network(&text.concat());
    #[rustfmt::skip]
    check_rows(&pooled, [1, 4, 5], &[
        ("out", [1, 1, 1], [1, 1, 1], [1, 4, 5]),
        ("b", [1, 3, 3], [1, 1, 1], [1, 6, 7]),
        ("a", [1, 6, 9], [1, 1, 1], [1, 12, 21]),
        ("in", [1, 7, 10], [1, 1, 1], [1, 13, 22]),
    ]);
    // The field of view is the same, the image is that of a dense output: output + fov - 1.
    #[rustfmt::skip]
    check_rows(&pooled.to_dense(), [1, 4, 5], &[
        ("out", [1, 1, 1], [1, 2, 3], [1, 4, 5]),
        ("b", [1, 3, 3], [1, 2, 3], [1, 8, 11]),
        ("a", [1, 6, 9], [1, 1, 1], [1, 9, 13]),
        ("in", [1, 7, 10], [1, 1, 1], [1, 10, 14]),
    ]);
    assert_eq!(pooled.to_dense().to_dense(), pooled.to_dense());
}

#[test]
fn branches_with_a_crop_and_a_dense_group() {
    let text = |offset: &str, dense: &str| {
        [
            node("in", "type input"),
            edge("in", "a", "type max_filter\nsize 2,2,2\nstride 2,2,2"),
            node("a", dense),
            edge("a", "b", &conv("3,3,3", "1,1,1")),
            node("b", "type sum"),
            edge("a", "cropped", &format!("type crop\noffset {offset}")),
            node("cropped", "type sum"),
            edge("cropped", "dropped", "type dropout"),
            node("dropped", "type sum"),
            edge("dropped", "out", "type dummy"),
            edge("b", "out", "type dummy"),
            node("out", "type sum"),
        ]
        .concat()
    };
    #[rustfmt::skip]
    check_rows(&network(&text("1,1,1", "type sum\ndense 1")), [1, 2, 3], &[
        ("out", [1, 1, 1], [1, 1, 1], [1, 2, 3]),
        ("dropped", [1, 1, 1], [1, 1, 1], [1, 2, 3]),
        ("cropped", [1, 1, 1], [1, 1, 1], [1, 2, 3]),
        ("b", [1, 1, 1], [1, 1, 1], [1, 2, 3]),
        ("a", [3, 3, 3], [1, 1, 1], [3, 4, 5]),
        ("in", [6, 6, 6], [1, 1, 1], [4, 5, 6]),
    ]);
    // Without `dense` the kernel is dilated by 2 and needs a crop by 2.
    #[rustfmt::skip]
    check_rows(&network(&text("2,2,2", "type sum")), [1, 2, 3], &[
        ("out", [1, 1, 1], [2, 2, 2], [1, 2, 3]),
        ("dropped", [1, 1, 1], [2, 2, 2], [1, 2, 3]),
        ("cropped", [1, 1, 1], [2, 2, 2], [1, 2, 3]),
        ("b", [1, 1, 1], [2, 2, 2], [1, 2, 3]),
        ("a", [3, 3, 3], [2, 2, 2], [5, 6, 7]),
        ("in", [6, 6, 6], [1, 1, 1], [6, 7, 8]),
    ]);
    let error = network(&text("1,2,2", "type sum")).shapes(Extent::new(1, 2, 3)).unwrap_err();
    let expected = "nodes a: edges a-b to nodes b needs 5 voxels along z, but edges a-cropped to nodes cropped needs 3; \
                    the branches must agree (a crop edge can make them, or `pad` of a convolution)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn strides_must_agree() {
    let text = [
        node("in", "type input"),
        edge("in", "a", &conv("1,3,3", "1,2,2")),
        node("a", "type sum"),
        edge("in", "b", &conv("1,3,3", "1,1,1")),
        node("b", "type sum"),
        edge("a", "out", "type dummy"),
        edge("b", "out", "type dummy"),
        node("out", "type sum"),
    ];
    let error = network(&text.concat()).shapes(Extent::ONE).unwrap_err();
    let expected = "nodes out: edges a-out comes with an accumulated stride of 1,2,2, but edges b-out with 1,1,1; \
                    the branches must agree";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn absurd_sizes_are_errors() {
    let chain = |keys: &str, n: usize| {
        let mut text = node("n0", "type input");
        for i in 0..n {
            text += &edge(&format!("n{i}"), &format!("n{}", i + 1), keys);
            text += &node(&format!("n{}", i + 1), "type sum");
        }
        network(&text)
    };
    for keys in [
        "type max_pool\nsize 256,256,256",
        "type max_filter\nsize 2,2,2\nstride 65536,65536,65536",
        "type crop\noffset 65536,65536,65536",
    ] {
        for n in [2, 5, 40] {
            // Cropping only adds up: it takes more steps.
            let network = chain(keys, n * if keys.contains("crop") { 100 } else { 1 });
            let error = network.shapes(Extent::ONE).unwrap_err();
            assert!(matches!(error, ShapeError::TooLarge { .. }), "{keys}: {error}");
        }
    }
    let small = chain("type dummy", 1);
    assert!(small.shapes(Extent::new(1, 1, MAX_LEN)).is_ok());
    for output in [[1, 1, MAX_LEN + 1], [usize::MAX; 3], [1 << 14; 3]] {
        let error = small.shapes(output.into()).unwrap_err();
        assert!(matches!(error, ShapeError::TooLarge { what: "the image", .. }), "{error}");
    }
    for output in [[0, 1, 1], [1, 0, 1], [1, 1, 0]] {
        assert_eq!(small.shapes(output.into()), Err(ShapeError::Empty(output.into())));
    }
}

#[test]
fn padding_and_real_strides() {
    let text = |pad: &str, kernel: &str| {
        [
            node("in", "type input"),
            edge("in", "a", &format!("{}\npad {pad}\ndownsample 1,2,3", conv(kernel, "1,1,1"))),
            node("a", "type sum"),
            edge("a", "out", "type deconv\ninit zero\nsize 1,2,3\nstride 1,2,3"),
            node("out", "type sum"),
        ]
        .concat()
    };
    // Of the images that would do, the multiple of the stride.
    #[rustfmt::skip]
    check_rows(&network(&text("0,1,1", "1,3,3")), [4, 8, 9], &[
        ("out", [1, 1, 1], [1, 1, 1], [4, 8, 9]),
        ("a", [1, 1, 1], [1, 1, 1], [4, 4, 3]),
        ("in", [1, 3, 3], [1, 1, 1], [4, 8, 9]),
    ]);
    // Or the least, where the multiple does not do.
    #[rustfmt::skip]
    check_rows(&network(&text("0,0,0", "2,3,5")), [4, 8, 9], &[
        ("out", [1, 1, 1], [1, 1, 1], [4, 8, 9]),
        ("a", [1, 1, 1], [1, 1, 1], [4, 4, 3]),
        ("in", [2, 3, 5], [1, 1, 1], [5, 9, 11]),
    ]);
    let error =
        |output: [usize; 3]| network(&text("0,1,1", "1,3,3")).shapes(output.into()).unwrap_err().to_string();
    let expected = "edges a-out: a deconv edge of size 2 makes no image of 9 voxels along y at nodes out; an output of 8 or \
                    10 works";
    assert_eq!(error([4, 9, 9]), expected);
    assert!(error([4, 8, 1]).ends_with("of 1 voxels along x at nodes out; an output of 3 works"));
}

/// Branches decide where several sizes would do, and a branch of another size is an error that names both ends.
#[test]
fn a_branch_decides_what_a_stride_leaves_open() {
    let text = |skip: &str| {
        [
            node("in", "type input"),
            edge("in", "a", &(conv("1,1,3", "1,1,1") + "\npad 0,0,1\ndownsample 1,1,2")),
            node("a", "type sum"),
            edge("a", "out", "type deconv\ninit zero\nsize 1,1,3\nstride 1,1,2\npad 0,0,1"),
            edge("in", "b", skip),
            node("b", "type sum"),
            edge("b", "out", "type dummy"),
            node("out", "type sum"),
        ]
        .concat()
    };
    for len in 1..20 {
        let shapes = network(&text("type dummy")).shapes(Extent::new(1, 1, len)).unwrap();
        assert_eq!(shapes[NodeId(0)].extent.x, len);
        assert_eq!(shapes[NodeId(1)].extent.x, len.div_ceil(2));
    }
    let error = network(&text(&conv("1,1,5", "1,1,1"))).shapes(Extent::new(1, 1, 8)).unwrap_err();
    let expected = "nodes in: edges in-a to nodes a needs 8 voxels along x, but edges in-b to nodes b needs 12; the branches \
                    must agree (a crop edge can make them, or `pad` of a convolution)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn frames() {
    let e = Extent::new;
    let valid = network(
        &[node("in", "type input"), edge("in", "out", &conv("2,3,5", "1,1,1")), node("out", "type sum")]
            .concat(),
    );
    let frame = valid.frame().unwrap();
    assert_eq!(frame, Frame { least: Extent::ONE, step: Extent::ONE, margin: e(1, 2, 4) });
    assert_eq!(frame.output(e(2, 4, 9)), Some(e(1, 2, 5)));
    assert_eq!(frame.output(e(1, 4, 9)), None);

    // Two levels, a margin of 1 at the first and of 2 at the second.
    let level = [
        node("in", "type input"),
        edge("in", "a", &conv("1,2,2", "1,1,1")),
        node("a", "type sum"),
        edge("a", "p", "type max_pool\nsize 1,2,4"),
        node("p", "type sum"),
        edge("p", "b", &conv("1,3,3", "1,1,1")),
        node("b", "type sum"),
        edge("b", "out", "type upsample\nsize 1,2,4"),
        node("out", "type sum"),
    ];
    let frame = network(&level.concat()).frame().unwrap();
    assert_eq!(frame, Frame { least: e(1, 2, 4), step: e(1, 2, 4), margin: e(0, 5, 9) });
    assert_eq!(frame.largest(e(3, 7, 9)), Some(e(3, 6, 8)));
    assert_eq!(frame.largest(e(3, 1, 9)), None);
    assert_eq!((frame.output(e(3, 11, 17)), frame.output(e(3, 12, 17))), (Some(e(3, 6, 8)), None));

    let smaller = [
        node("in", "type input"),
        edge("in", "out", "type average_pool\nsize 1,2,1"),
        node("out", "type sum"),
    ];
    let error = network(&smaller.concat()).frame().unwrap_err().to_string();
    assert!(error.starts_with("along y, inputs of 2 and 4 voxels give outputs of 1 and 2"), "{error}");
}

proptest! {
    /// The rule that users know: a network of convolutions and filters alone needs output + field of view - 1.
    #[test]
    fn input_is_output_plus_field_of_view(
        layers in prop::collection::vec((any::<bool>(), 1_usize..4, 1_usize..4, 1_usize..3), 1..7),
        output in (1_usize..9, 1_usize..9, 1_usize..9),
    ) {
        let mut text = node("n0", "type input");
        for (i, (filter, z, yx, stride)) in layers.iter().enumerate() {
            let keys = conv(&format!("{z},{yx},{yx}"), &format!("1,{stride},1"));
            let keys = if *filter { keys.replace("conv\ninit zero", "max_filter") } else { keys };
            text += &edge(&format!("n{i}"), &format!("n{}", i + 1), &keys);
            text += &node(&format!("n{}", i + 1), "type sum");
        }
        let network = network(&text);
        let output = Extent::new(output.0, output.1, output.2);
        let shapes = network.shapes(output).unwrap();
        prop_assert_eq!(shapes[NodeId(0)].extent, output + shapes.fov() - Extent::ONE);
    }
}
