//! One battery for all algorithms, on every tier of this machine, any number of threads, deterministic or not.

mod accuracy;
mod decisions;
mod layer;
mod reference;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_kernels::Transfer;

use super::{Method, Problem};
use crate::volume::{Extent, Tensor};
use layer::{Hosts, Layout, SingleLayer, Variant};
use reference::{Case, Expected, edge_cases, random, strided, voxels};

/// What f32 may cost, in units of the norm of an element's terms.
const TOLERANCE: f64 = 4e-6;

/// The same for a method: Winograd tiles cost a few times as much.
fn tolerance(method: Method) -> f64 {
    if method == Method::Winograd { 3.0 * TOLERANCE } else { TOLERANCE }
}

fn cases() -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(1706);
    let mut problems = edge_cases();
    problems.extend((0..14).map(|_| random(&mut rng)));
    problems.into_iter().zip(0..).map(|(problem, seed)| Case::random(problem, seed)).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance, "{what}[{i}] is {found}, expected {expected}: {error:e} > {tolerance:e}");
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// A few variants that differ in every respect, for tests of properties that the large battery implies in part.
fn some(hosts: &Hosts) -> Vec<Variant<'_>> {
    let all: Vec<_> = hosts.variants().collect();
    Method::ALL.into_iter().filter_map(|method| all.iter().rfind(|v| v.method == method).copied()).collect()
}

#[test]
fn passes_match_their_definitions() {
    let hosts = Hosts::new();
    for case in cases() {
        let (y, dx, dw) = (case.forward(), case.backward_data(), case.backward_weights());
        for variant in hosts.variants() {
            let mut layer = SingleLayer::new(variant, case.problem, Layout::PLAIN);
            // The second step finds in the shared memory what the first one left.
            for step in 0..2 {
                let found = layer.run(&case);
                let what = |pass| format!("{pass} of {} by {variant:?}, step {step}", case.problem);
                assert_close(&found.y, &y.values, tolerance(variant.method) * y.norm, &what("forward"));
                assert_close(
                    &found.dx,
                    &dx.values,
                    tolerance(variant.method) * dx.norm,
                    &what("backward_data"),
                );
                assert_close(
                    &found.dw,
                    &dw.values,
                    tolerance(variant.method) * dw.norm,
                    &what("backward_weights"),
                );
            }
        }
    }
}

#[test]
fn strides_and_padding_match_their_definitions() {
    let hosts = Hosts::new();
    for (problem, seed) in strided().into_iter().zip(50..) {
        let case = Case::random(problem, seed);
        let (y, dx, dw) = (case.forward(), case.backward_data(), case.backward_weights());
        for variant in hosts.variants() {
            let found = SingleLayer::new(variant, problem, Layout::PLAIN).run(&case);
            let what = |pass| format!("{pass} of {problem} by {variant:?}");
            let tolerance = tolerance(variant.method);
            assert_close(&found.y, &y.values, tolerance * y.norm, &what("forward"));
            assert_close(&found.dx, &dx.values, tolerance * dx.norm, &what("backward_data"));
            assert_close(&found.dw, &dw.values, tolerance * dw.norm, &what("backward_weights"));
        }
    }
}

#[test]
fn bias_transfer_and_accumulation() {
    type Function = fn(f64) -> f64;
    let functions: [(Transfer, Function); 9] = [
        (Transfer::IDENTITY, |x| x),
        (Transfer::Linear { scale: -0.5, shift: 2.0 }, |x| 2.0 - 0.5 * x),
        (Transfer::RectifyLinear, |x| x.max(0.0)),
        (Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 }, |x| 1.7159 * (0.6666 * x).tanh()),
        (Transfer::SoftSign, |x| x / (1.0 + x.abs())),
        (Transfer::Logistic, |x| 1.0 / (1.0 + (-x).exp())),
        (Transfer::ForwardLogistic, |x| 1.0 / (1.0 + (-x).exp())),
        (Transfer::ExponentialLinear { amplitude: 0.75 }, |x| x.max(0.0) + 0.75 * x.min(0.0).exp_m1()),
        (Transfer::LeakyRectifyLinear { slope: 0.25 }, |x| x.max(0.0) + 0.25 * x.min(0.0)),
    ];
    let hosts = Hosts::new();
    for (index, case) in cases().into_iter().enumerate().step_by(3) {
        let (sums, dx) = (case.forward(), case.backward_data());
        let before = Case::random(case.problem, 1000 + index as u64);
        let bias: Vec<f32> = before.weights.iter().cycle().take(case.problem.c_out).copied().collect();
        let voxels = case.problem.output().len();
        for (turn, variant) in hosts.variants().enumerate() {
            // Every variant meets every function and both ways to store, though not on each case.
            let (transfer, f) = functions[(index + turn) % functions.len()];
            for accumulate in [false, true] {
                let layout = Layout { accumulate, bias: true, transfer, ..Layout::PLAIN };
                let mut layer = SingleLayer::new(variant, case.problem, layout);
                layer.set_bias(&bias);
                layer.set_before(&before.dy, &before.x);
                let found = layer.run(&case);
                let earlier = |values: &[f32], i: usize| if accumulate { f64::from(values[i]) } else { 0.0 };
                let y: Vec<f64> = (0..sums.values.len())
                    .map(|i| f(sums.values[i] + f64::from(bias[i / voxels]) + earlier(&before.dy, i)))
                    .collect();
                let expected: Vec<f64> =
                    dx.values.iter().enumerate().map(|(i, value)| value + earlier(&before.x, i)).collect();
                let what = format!("{} by {variant:?}, {transfer:?}, accumulate {accumulate}", case.problem);
                assert_close(&found.y, &y, tolerance(variant.method) * (sums.norm + 2.0), &what);
                assert_close(&found.dx, &expected, tolerance(variant.method) * (dx.norm + 1.0), &what);
            }
        }
    }
}

#[test]
fn passes_are_adjoint() {
    let hosts = Hosts::new();
    for case in cases() {
        for variant in hosts.variants() {
            let found = SingleLayer::new(variant, case.problem, Layout::PLAIN).run(&case);
            let forward = dot(&found.y, &case.dy);
            let tolerance = 1e-6 * norm(&found.y) * norm(&case.dy) + 1e-6;
            for (pass, product) in
                [("data", dot(&found.dx, &case.x)), ("weights", dot(&found.dw, &case.weights))]
            {
                let error = (product - forward).abs();
                assert!(error <= tolerance, "{pass} of {} by {variant:?}: {error:e}", case.problem);
            }
        }
    }
}

#[test]
fn forward_is_linear_in_images_and_in_weights() {
    let hosts = Hosts::new();
    let (a, b) = (0.75f32, -1.5f32);
    let mix = |p: &[f32], q: &[f32]| -> Vec<f32> { p.iter().zip(q).map(|(p, q)| a * p + b * q).collect() };
    for (index, one) in cases().into_iter().enumerate() {
        let other = Case::random(one.problem, 2000 + index as u64);
        let scale = 3.0 * one.forward().norm.max(other.forward().norm);
        for variant in some(&hosts) {
            let mut layer = SingleLayer::new(variant, one.problem, Layout::PLAIN);
            let mut forward = |x: &[f32], weights: &[f32]| {
                layer.run(&Case { x: x.to_vec(), weights: weights.to_vec(), ..one.clone() }).y
            };
            let y = forward(&one.x, &one.weights);
            let images = mix(&y, &forward(&other.x, &one.weights));
            let weights = mix(&y, &forward(&one.x, &other.weights));
            let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
            let what = format!("{} by {variant:?}", one.problem);
            let found = forward(&mix(&one.x, &other.x), &one.weights);
            assert_close(&found, &wide(images), tolerance(variant.method) * scale, &what);
            let found = forward(&one.x, &mix(&one.weights, &other.weights));
            assert_close(&found, &wide(weights), tolerance(variant.method) * scale, &what);
        }
    }
}

/// Problems that are too large for the reference.
#[test]
fn direct_and_fft_agree() {
    let hosts = Hosts::new();
    let problem = |c_in, c_out, input: [usize; 3], kernel: [usize; 3], dilation: [usize; 3]| {
        Problem::valid(c_in, c_out, input.into(), kernel.into(), dilation.into())
    };
    for (seed, problem) in [
        problem(20, 33, [9, 24, 25], [3, 5, 5], [1, 1, 1]),
        problem(5, 20, [1, 100, 110], [1, 9, 9], [1, 2, 2]),
        problem(3, 3, [24, 40, 40], [4, 4, 4], [2, 3, 5]),
        problem(4, 18, [30, 31, 29], [5, 5, 5], [1, 1, 1]),
        problem(2, 3, [28, 27, 40], [9, 7, 9], [1, 2, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let case = Case::random(problem, seed as u64);
        let [direct, fft, _] = some(&hosts)[..] else { panic!("three methods") };
        let direct = SingleLayer::new(direct, problem, Layout::PLAIN).run(&case);
        let fft = SingleLayer::new(fft, problem, Layout::PLAIN).run(&case);
        for (pass, a, b) in
            [("y", &direct.y, &fft.y), ("dx", &direct.dx, &fft.dx), ("dw", &direct.dw, &fft.dw)]
        {
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let (error, scale) = (norm(&difference), norm(a));
            assert!(scale > 0.0 && error <= 1e-6 * scale, "{pass} of {problem}: {error:e} of {scale:e}");
        }
    }
}

/// A dilated convolution takes each sub-lattice of the image by itself.
#[test]
fn dilated_convolutions_are_those_of_the_sub_lattices() {
    let hosts = Hosts::new();
    for (seed, (input, kernel, dilation)) in [
        ([1, 23, 80], [1, 3, 3], [1, 2, 3]),
        ([9, 10, 21], [2, 3, 4], [4, 2, 3]),
        ([10, 12, 13], [3, 1, 2], [3, 4, 2]),
    ]
    .into_iter()
    .enumerate()
    {
        let (input, kernel, dilation) = (Extent::from(input), Extent::from(kernel), Extent::from(dilation));
        let problem = Problem::valid(3, 5, input, kernel, dilation);
        let case = Case::random(problem, seed as u64);
        let image = Tensor::from_slice(3, input, &case.x);
        let scale = case.forward().norm;
        for variant in hosts.variants() {
            let y = SingleLayer::new(variant, problem, Layout::PLAIN).run(&case).y;
            let y = Tensor::from_slice(5, problem.output(), &y);
            for phase in voxels(dilation) {
                let part = lattice(&image, phase, dilation);
                let problem = Problem { input: part.extent(), dilation: Extent::ONE, ..problem };
                let dy = vec![0.0; 5 * problem.output().len()];
                let case = Case { problem, x: part.data().to_vec(), weights: case.weights.clone(), dy };
                let found = SingleLayer::new(variant, problem, Layout::PLAIN).run(&case).y;
                let expected: Vec<f64> =
                    lattice(&y, phase, dilation).data().iter().map(|&v| f64::from(v)).collect();
                let what = format!("phase {phase} of {input} dilated by {dilation}, {variant:?}");
                assert_close(&found, &expected, 2.0 * tolerance(variant.method) * scale, &what);
            }
        }
    }
}

/// The voxels of an image at `phase`, `phase + step`, ... along each axis.
fn lattice(image: &Tensor, phase: Extent, step: Extent) -> Tensor {
    let full = image.extent();
    let extent = Extent::from([0, 1, 2].map(|axis| {
        let [size, phase, step] = [full, phase, step].map(|extent| extent.to_array()[axis]);
        (size - phase).div_ceil(step)
    }));
    let places: Vec<usize> = voxels(extent)
        .map(|at| {
            let at = at * step + phase;
            full.index(at.z, at.y, at.x)
        })
        .collect();
    Tensor::from_fn(image.channels(), extent, |i| image.channel(i / extent.len())[places[i % extent.len()]])
}

#[test]
fn deterministic_passes_have_the_same_bits_for_any_number_of_threads() {
    let hosts = Hosts::new();
    for case in cases() {
        for method in Method::ALL {
            for isa in hosts.tiers() {
                let alike =
                    |v: &Variant<'_>| v.deterministic && v.method == method && v.tools.kernels.isa() == isa;
                let mut found = hosts.variants().filter(alike).flat_map(|variant| {
                    let mut layer = SingleLayer::new(variant, case.problem, Layout::PLAIN);
                    [layer.run(&case), layer.run(&case)]
                });
                let first = found.next().expect("several numbers of threads");
                let mut others = 0;
                for other in found {
                    assert!(first == other, "{} by {method} on {isa}", case.problem);
                    others += 1;
                }
                assert!(others >= 3);
            }
        }
    }
}

/// The next step packs or transforms the weights that the deferred update of this one leaves.
#[test]
fn updates_reach_the_next_step() {
    const STEPS: usize = 4;
    const RATE: f32 = 1e-3;
    let hosts = Hosts::new();
    for case in cases().into_iter().step_by(4) {
        let mut serial = case.clone();
        let mut expected: Vec<Expected> = Vec::new();
        for _ in 0..STEPS {
            expected.push(serial.forward());
            let gradient = serial.backward_weights().values;
            serial.weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= RATE * g as f32);
        }
        for variant in hosts.variants() {
            let layout = Layout { learning_rate: RATE, ..Layout::PLAIN };
            let mut layer = SingleLayer::new(variant, case.problem, layout);
            layer.set(&case);
            for (step, expected) in expected.iter().enumerate() {
                layer.step();
                let tolerance = 10.0 * tolerance(variant.method) * (1.0 + expected.norm);
                let what = format!("step {step} of {} by {variant:?}", case.problem);
                assert_close(&layer.results().y, &expected.values, tolerance, &what);
            }
        }
    }
}

#[test]
fn frozen_layers_see_weights_that_the_caller_changes() {
    let hosts = Hosts::new();
    for (index, case) in cases().into_iter().enumerate().step_by(2) {
        let changed = Case::random(case.problem, 3000 + index as u64);
        let changed = Case { weights: changed.weights, ..case.clone() };
        let (before, after) = (case.forward(), changed.forward());
        for variant in hosts.variants() {
            let layout = Layout { frozen: true, ..Layout::PLAIN };
            let mut layer = SingleLayer::new(variant, case.problem, layout);
            layer.set(&case);
            for (expected, change) in [(&before, false), (&before, false), (&after, true), (&after, false)] {
                if change {
                    layer.set(&changed);
                }
                layer.step();
                let what = format!("{} by {variant:?}, changed {change}", case.problem);
                assert_close(
                    &layer.results().y,
                    &expected.values,
                    tolerance(variant.method) * expected.norm,
                    &what,
                );
            }
        }
    }
}

#[test]
fn the_seed_makes_different_cases() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let problems: Vec<Problem> = (0..20).map(|_| random(&mut rng)).collect();
    assert!(problems.iter().any(|p| p.input.z == 1 && p.input.x >= 64), "a wide 2D image");
    assert!(problems.iter().any(|p| p.input.z > 1 && p.kernel.z > 1), "a 3D kernel");
    assert!(problems.iter().any(|p| p.dilation.x != p.dilation.y), "mixed dilations");
    assert_ne!(rng.random::<u64>(), rng.random::<u64>());
}
