//! Decisions: what they may be made of, and what they leave behind.

use std::sync::Arc;

use znn_kernels::Transfer;

use super::layer::{Hosts, Layout, SingleLayer};
use super::reference::{Case, strided};
use super::{TOLERANCE, assert_close, tolerance};
use crate::conv::{Decision, Destination, Layer, Method, Pass, Passes, Problem, Variant, begin, of_method};
use crate::plan::{Label, PlanBuilder};
use crate::volume::Extent;

fn fft(z: usize, y: usize, x: usize) -> Variant {
    Variant::TiledFft(Extent::new(z, y, x))
}

fn winograd(z: usize, y: usize, x: usize) -> Variant {
    Variant::Winograd(Extent::new(z, y, x))
}

#[test]
fn variants_have_names() {
    for variant in [Variant::Direct, Variant::WholeFft, fft(1, 12, 16), winograd(2, 4, 4)] {
        assert_eq!(variant.to_string().parse(), Ok(variant));
    }
    for text in ["", "winograd", "fft", "fft half", "winograd 2", "direct 1,1,1"] {
        let error = text.parse::<Variant>().unwrap_err();
        assert!(error.to_string().ends_with(&format!("found `{text}`")), "{error}");
    }
}

#[test]
fn what_cannot_be_computed_is_direct() {
    let extent = |n| Extent::new(n, n, n);
    let k3 = Problem::valid(2, 3, extent(9), extent(3), Extent::ONE);
    let padded = Problem { padding: [Extent::ONE, Extent::ZERO], ..k3 };
    let strided = Problem { stride: Extent::new(1, 1, 2), ..k3 };
    let k5 = Problem { kernel: extent(5), ..k3 };
    let k1 = Problem { kernel: extent(1), ..k3 };
    for (problem, methods) in [
        (k3, [true, true, true]),
        (padded, [true, true, true]),
        (strided, [true, false, false]),
        (k5, [true, true, false]),
        (k1, [true, true, false]),
    ] {
        for (method, can) in Method::ALL.into_iter().zip(methods) {
            assert_eq!(method.or_direct(&problem) == method, can, "{method} {problem}");
        }
    }
    for (variant, problem, can) in [
        (fft(4, 6, 8), k3, true),
        (fft(4, 4, 4), k5, false),
        (fft(4, 5, 4), k3, false),
        (fft(4, 6, 8), padded, true),
        (Variant::WholeFft, strided, false),
        (winograd(2, 4, 2), k3, true),
        (winograd(2, 4, 2), padded, true),
        (winograd(1, 4, 4), k3, false),
        (winograd(3, 4, 4), k3, false),
        (winograd(2, 2, 2), strided, false),
    ] {
        let expected = if can { variant } else { Variant::Direct };
        assert_eq!(variant.or_direct(&problem), expected, "{problem}");
        assert_eq!(Decision::all(variant).or_direct(&problem), Decision::all(expected));
    }
    let hosts = Hosts::new();
    let tools = hosts.variants().next().expect("a variant").tools;
    for problem in super::reference::strided() {
        for method in Method::ALL {
            let decision = of_method(method, &problem, Passes::Training, tools);
            for &pass in Passes::Training.list() {
                assert_eq!(decision.of(pass).method(), method.or_direct(&problem), "{problem}");
            }
        }
    }
}

/// A decision for another problem does no harm either.
#[test]
fn what_does_not_fit_is_computed_directly() {
    let hosts = Hosts::new();
    let direct = hosts.variants().find(|variant| variant.method == Method::Direct).expect("a variant");
    for (problem, seed) in strided().into_iter().zip(80..) {
        let case = Case::random(problem, seed);
        let expected = SingleLayer::new(direct, problem, Layout::PLAIN).run(&case);
        for variant in [fft(8, 8, 8), Variant::WholeFft, winograd(4, 1, 4)] {
            if variant.or_direct(&problem) == variant {
                continue;
            }
            let found = SingleLayer::by(Decision::all(variant), direct, problem, Layout::PLAIN).run(&case);
            assert!(found == expected, "{variant} of {problem}");
        }
    }
}

#[test]
fn passes_may_have_different_variants() {
    let problem = |maps: [usize; 2], input: [usize; 3], dilation: [usize; 3]| {
        Problem::valid(maps[0], maps[1], input.into(), Extent::new(3, 3, 3), dilation.into())
    };
    let decisions = [
        [Variant::Direct, fft(6, 8, 10), fft(6, 8, 10)],
        [fft(8, 6, 4), Variant::Direct, fft(8, 6, 4)],
        [fft(8, 6, 4), fft(8, 6, 4), winograd(2, 2, 2)],
        [winograd(2, 4, 2), winograd(2, 2, 2), fft(10, 10, 10)],
        [Variant::WholeFft, fft(8, 8, 8), Variant::WholeFft],
        [winograd(4, 4, 4), winograd(2, 4, 4), winograd(4, 2, 2)],
    ];
    let hosts = Hosts::new();
    for (problem, seed) in
        [problem([3, 5], [9, 10, 19], [1; 3]), problem([20, 17], [8, 9, 12], [1, 2, 3])].into_iter().zip(90..)
    {
        let case = Case::random(problem, seed);
        let (y, dx, dw) = (case.forward(), case.backward_data(), case.backward_weights());
        for host in hosts.variants().filter(|variant| variant.method == Method::Winograd) {
            for [forward, backward_data, backward_weights] in decisions {
                let decision = Decision { forward, backward_data, backward_weights };
                let mut layer = SingleLayer::by(decision, host, problem, Layout::PLAIN);
                for step in 0..2 {
                    let found = layer.run(&case);
                    let what = |pass| format!("{pass} of {problem} by {decision:?} {host:?}, step {step}");
                    let tolerance = |norm: f64| 2.0 * tolerance(Method::Winograd) * norm;
                    assert_close(&found.y, &y.values, tolerance(y.norm), &what("forward"));
                    assert_close(&found.dx, &dx.values, tolerance(dx.norm), &what("backward_data"));
                    assert_close(&found.dw, &dw.values, tolerance(dw.norm), &what("backward_weights"));
                }
            }
        }
    }
}

/// The variants whose weights are transformed.
const TRANSFORMING: [Variant; 3] =
    [Variant::WholeFft, Variant::TiledFft(Extent::new(6, 6, 8)), Variant::Winograd(Extent::new(2, 4, 2))];

/// A task of the plan spoils the weights after they were used: the next step only finds what it needs if it does not read
/// them again.
#[test]
fn frozen_layers_transform_their_weights_once() {
    let extent = Extent::new(7, 8, 9);
    let problem = Problem::valid(3, 4, extent, Extent::new(3, 3, 3), Extent::ONE);
    let case = Case::random(problem, 7);
    let expected = case.forward();
    let hosts = Hosts::new();
    let host = hosts.variants().next().expect("a variant");
    for variant in TRANSFORMING {
        for frozen in [true, false] {
            let mut plan = PlanBuilder::new(host.pool.threads(), false);
            let name: Arc<str> = Arc::from("layer");
            let weights = plan.persistent(problem.c_out, problem.c_in * problem.kernel.len());
            let x = plan.persistent(problem.c_in, extent.len());
            let y = plan.persistent(problem.c_out, problem.output().len());
            let layer = Layer { name: name.clone(), problem, weights, frozen };
            let to = Destination { y, accumulate: false, bias: None, transfer: Transfer::IDENTITY };
            begin(Decision::all(variant), layer, host.tools).expect("an algorithm").forward(&mut plan, x, to);
            let (read, write) = (plan.whole(y), plan.whole(weights));
            plan.task(Label::new(&name, "spoil"), 0.0).read(read).write(write).run(|views| {
                let [mut weights] = views.writes.take();
                weights.contiguous().fill(0.0);
            });
            let mut plan = plan.build(host.pool, host.tools.kernels);
            plan.buffer_mut(x).expect("no task failed").copy_from_slice(&case.x);
            plan.buffer_mut(weights).expect("no task failed").copy_from_slice(&case.weights);
            for step in 0..3 {
                plan.step(&[], &mut []).expect("a step");
                let y = plan.buffer(y).expect("no task failed");
                let what = format!("step {step} by {variant}, frozen {frozen}");
                if frozen || step == 0 {
                    assert_close(y, &expected.values, 3.0 * TOLERANCE * expected.norm, &what);
                } else {
                    assert!(y.iter().all(|&value| value == 0.0), "{what}");
                }
            }
        }
    }
}

/// Without the backward passes there are no spectra to keep for them.
#[test]
fn inference_takes_less_memory_than_training() {
    let problem = Problem::valid(6, 7, Extent::new(16, 17, 18), Extent::new(3, 3, 3), Extent::ONE);
    let hosts = Hosts::new();
    let host = hosts.variants().next().expect("a variant");
    for variant in TRANSFORMING {
        let bytes = |passes: Passes| {
            let mut plan = PlanBuilder::new(host.pool.threads(), false);
            let weights = plan.persistent(problem.c_out, problem.c_in * problem.kernel.len());
            let x = plan.persistent(problem.c_in, problem.input.len());
            let y = plan.persistent(problem.c_out, problem.output().len());
            let dx = plan.persistent(problem.c_in, problem.input.len());
            let layer = Layer { name: Arc::from("layer"), problem, weights, frozen: passes.is_frozen() };
            let mut algorithm = begin(Decision::all(variant), layer, host.tools).expect("an algorithm");
            for pass in passes.list() {
                match pass {
                    Pass::Forward => {
                        let to =
                            Destination { y, accumulate: false, bias: None, transfer: Transfer::IDENTITY };
                        algorithm.forward(&mut plan, x, to);
                    }
                    Pass::BackwardData => algorithm.backward_data(&mut plan, y, dx, false),
                    Pass::BackwardWeights => drop(algorithm.backward_weights(&mut plan, x, y)),
                }
            }
            plan.bytes(1)
        };
        let (inference, training) = (bytes(Passes::Inference), bytes(Passes::Training));
        assert!(inference < training, "{variant}: {inference} of {training}");
    }
}
