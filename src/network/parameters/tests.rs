use znn_kernels::Transfer;

use super::*;
use crate::network::spec;
use crate::network::testing::{extent, golden_array, golden_cases, network};
use crate::network::{NodeKind, WeightShape};
use crate::volume::Extent;

/// `layers` is a list of the keys of convolutions in a chain of `maps` maps.
fn chain(maps: usize, layers: &[(&str, &str)]) -> Network {
    let mut text = format!("nodes n0\ntype input\nsize {maps}\n");
    for (i, (keys, node)) in layers.iter().enumerate() {
        text += &format!("edges e{i}\ntype conv\n{keys}\ninput n{i}\noutput n{}\n", i + 1);
        text += &format!("nodes n{}\ntype transfer\nfunction linear\nsize {maps}\n{node}\n", i + 1);
    }
    network(&text)
}

/// Weights of 20 x 20 kernels of 3,5,5 (30000 values), and 20 biases.
fn drawn(init: &str) -> (Vec<f32>, Vec<f32>) {
    let bias_init = if init.contains("xavier") || init.contains("msra") { "init zero" } else { init };
    let network = chain(20, &[(&format!("size 3,5,5\n{init}"), bias_init)]);
    let parameters = Parameters::init(&network, 7);
    let weights = parameters.edge(EdgeId(0)).unwrap();
    assert!(weights.momentum().iter().all(|&value| value == 0.0));
    assert_eq!(weights.momentum().len(), weights.values().len());
    (weights.values().to_vec(), parameters.node(NodeId(1)).unwrap().values().to_vec())
}

fn mean_and_deviation(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

#[track_caller]
fn check_moments(init: &str, mean: f64, deviation: f64) -> Vec<f32> {
    let (weights, _) = drawn(init);
    let (found_mean, found_deviation) = mean_and_deviation(&weights);
    // Five standard errors of the mean; the deviation is known better than to 3 % from 30000 values.
    let tolerance = 5.0 * deviation / (weights.len() as f64).sqrt();
    assert!((found_mean - mean).abs() < tolerance, "{init}: mean {found_mean}, expected {mean}");
    assert!(
        (found_deviation / deviation - 1.0).abs() < 0.03,
        "{init}: {found_deviation}, expected {deviation}"
    );
    weights
}

#[track_caller]
fn check_range(values: &[f32], low: f32, high: f32) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let margin = 0.01 * (high - low);
    assert!(least >= low && least < low + margin, "{least}, expected from {low}");
    assert!(most <= high && most > high - margin, "{most}, expected to {high}");
}

#[test]
fn initialisers() {
    assert_eq!(drawn("init zero"), (vec![0.0; 30000], vec![0.0; 20]));
    assert_eq!(drawn("init constant\ninit_args -0.5"), (vec![-0.5; 30000], vec![-0.5; 20]));
    let third = 1.0 / 3.0_f64.sqrt();
    check_range(&check_moments("init uniform\ninit_args 1,3", 2.0, third), 1.0, 3.0);
    check_range(&check_moments("init uniform", 0.0, 0.1 * third), -0.1, 0.1);
    check_moments("init gaussian\ninit_args 3,0.5", 3.0, 0.5);
    check_moments("init gaussian", 0.0, 0.01);
    let bernoulli = check_moments("init bernoulli\ninit_args 0.25", 0.25, (0.25 * 0.75_f64).sqrt());
    assert!(bernoulli.iter().all(|&value| value == 0.0 || value == 1.0));
    // 20 maps to 20 maps by 75 voxels.
    let radius = (6.0_f64 / (1500.0 + 1500.0)).sqrt();
    check_range(&check_moments("init xavier", 0.0, radius * third), -radius as f32, radius as f32);
    check_moments("init msra", 0.0, (2.0_f64 / 1500.0).sqrt());
}

#[test]
fn fan_in_counts_inputs_and_fan_out_outputs() {
    let text = "nodes in\ntype input\nsize 2\nnodes out\ntype sum\nsize 400\n\
                edges msra\ntype conv\nsize 1,5,5\ninit msra\ninput in\noutput out\n\
                edges xavier\ntype conv\nsize 1,5,5\ninit xavier\ninput in\noutput out\n";
    let parameters = Parameters::init(&network(text), 1);
    let (_, deviation) = mean_and_deviation(parameters.edge(EdgeId(0)).unwrap().values());
    assert!((deviation / (2.0_f64 / 50.0).sqrt() - 1.0).abs() < 0.03, "{deviation}");
    let radius = (6.0_f32 / (50.0 + 10000.0)).sqrt();
    check_range(parameters.edge(EdgeId(1)).unwrap().values(), -radius, radius);
}

#[test]
fn biases_are_drawn_too() {
    let (_, biases) = drawn("init uniform\ninit_args 1,3");
    assert!(biases.iter().all(|value| (1.0..=3.0).contains(value)));
    assert_ne!(biases[0], biases[1]);
}

#[test]
fn a_group_depends_on_the_seed_and_its_name_alone() {
    let conv = "size 1,3,3\ninit gaussian";
    let small = Parameters::init(&chain(3, &[(conv, "init uniform")]), 5);
    let large = Parameters::init(&chain(3, &[(conv, "init uniform"), (conv, "init uniform")]), 5);
    assert_eq!(small.edge(EdgeId(0)), large.edge(EdgeId(0)));
    assert_eq!(small.node(NodeId(1)), large.node(NodeId(1)));
    assert_ne!(large.edge(EdgeId(0)), large.edge(EdgeId(1)), "the groups differ");
    assert_ne!(large.node(NodeId(1)), large.node(NodeId(2)));
    let other = Parameters::init(&chain(3, &[(conv, "init uniform")]), 6);
    assert_ne!(small.edge(EdgeId(0)), other.edge(EdgeId(0)), "the seeds differ");
    assert_eq!(small, Parameters::init(&chain(3, &[(conv, "init uniform")]), 5));
}

/// A change of these values makes every experiment with a fixed seed another one.
#[test]
fn streams_never_change() {
    // Published test vectors of the hash.
    assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    let parameters = Parameters::init(
        &chain(1, &[("size 1,1,3\ninit uniform\ninit_args 1", "init gaussian\ninit_args 0,1")]),
        1,
    );
    let bits = |parameter: Option<&Parameter>| {
        parameter.unwrap().values().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(parameters.edge(EdgeId(0))), [3210325648, 3205788117, 3197412662]);
    assert_eq!(bits(parameters.node(NodeId(1))), [1076199518]);
}

#[test]
fn repeated_kernels_start_as_block_means() {
    let repeated = chain(2, &[("size 2,4,4\nrepeat 1,2,4\ninit gaussian", "")]);
    let plain = chain(2, &[("size 2,4,4\ninit gaussian", "")]);
    let mut expected = Parameters::init(&plain, 3);
    let expected = expected.edge_mut(EdgeId(0)).unwrap().values_mut();
    average_blocks(expected, Extent::new(2, 4, 4), Extent::new(1, 2, 4));
    let found = Parameters::init(&repeated, 3);
    assert_eq!(found.edge(EdgeId(0)).unwrap().values(), expected);
    assert_eq!(expected[0], expected[7]);
    assert_ne!(expected[7], expected[8]);
}

/// The first layers of the stored cases: with converted weights, cross-correlation gives the stored activations.
#[test]
fn converted_weights_compute_what_the_original_computed() {
    let mut checked = 0;
    for (folder, case) in golden_cases() {
        let network = spec::read(&folder.join("net.znn")).unwrap().network;
        let shapes = network.shapes(extent(&case["outsz"])).unwrap();
        for id in network.edge_ids() {
            let edge = &network[id];
            let (Some(shape), NodeKind::Transfer(transfer)) =
                (network.weight_shape(id), network[edge.output].kind)
            else {
                continue;
            };
            if network[edge.input].kind != NodeKind::Input || network.in_edges(edge.output).len() > 1 {
                continue;
            }
            let array =
                |prefix: &str, group: &str| golden_array(&folder, &case, &format!("{prefix}_{group}"));
            let convolution = array("it0_W", &edge.name);
            let weights = shape.from_convolution_order(&convolution);
            assert_eq!(shape.to_convolution_order(&weights), convolution);
            let input = array("input", &network[edge.input].name);
            let mut found = cross_correlation(
                &shape,
                &weights,
                &input,
                shapes[edge.input].extent,
                shapes[edge.output].extent,
            );
            let biases = array("it0_b", &network[edge.output].name);
            for (map, bias) in found.chunks_exact_mut(shapes[edge.output].extent.len()).zip(biases) {
                map.iter_mut().for_each(|value| *value = apply(transfer, *value + bias));
            }
            let stored = array("it1_act", &network[edge.output].name);
            assert_eq!(found.len(), stored.len());
            for (found, stored) in found.iter().zip(stored) {
                // The arguments of the functions are f32 here and f64 there.
                assert!((found - stored).abs() < 1e-7, "{}: {found}, expected {stored}", folder.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 19, "{checked} layers");
}

fn cross_correlation(
    shape: &WeightShape,
    weights: &[f64],
    input: &[f64],
    from: Extent,
    to: Extent,
) -> Vec<f64> {
    let kernel = shape.kernel;
    let mut output = Vec::new();
    for o in 0..shape.c_out {
        for (z, y, x) in voxels(to) {
            let mut sum = 0.0;
            for i in 0..shape.c_in {
                for (kz, ky, kx) in voxels(kernel) {
                    let weight = weights[(o * shape.c_in + i) * kernel.len() + kernel.index(kz, ky, kx)];
                    sum += weight * input[i * from.len() + from.index(z + kz, y + ky, x + kx)];
                }
            }
            output.push(sum);
        }
    }
    output
}

fn voxels(extent: Extent) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..extent.len()).map(move |i| (i / extent.x / extent.y, i / extent.x % extent.y, i % extent.x))
}

fn apply(transfer: Transfer, x: f64) -> f64 {
    match transfer {
        Transfer::Linear { scale, shift } => f64::from(scale) * x + f64::from(shift),
        Transfer::RectifyLinear => x.max(0.0),
        Transfer::Tanh { amplitude, slope } => f64::from(amplitude) * (f64::from(slope) * x).tanh(),
        Transfer::SoftSign => x / (1.0 + x.abs()),
        Transfer::Logistic | Transfer::ForwardLogistic => 1.0 / (1.0 + (-x).exp()),
        Transfer::ExponentialLinear { amplitude } => x.max(0.0) + f64::from(amplitude) * x.min(0.0).exp_m1(),
        Transfer::LeakyRectifyLinear { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
    }
}
