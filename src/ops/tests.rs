//! Each operation's passes against their definitions, and against each other.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_kernels::{Isa, Kernels, Transfer};

use super::copy::{copy, crop, uncrop};
use super::dropout::{Mask, dropout};
use super::loss::{self, Loss, Operands, Outcome};
use super::pool::{self, Maximum};
use super::update::{self, Rule, Target, settings};
use super::{Maps, Site, maxout, repeat, transfer};
use crate::conv::WeightGradient;
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::pool::{Pool, PoolOptions};
use crate::volume::{Extent, Tensor};

/// Runs the tasks that `build` adds once, on buffers of the content of `given`; returns what these hold then. Gives the
/// same bits for one thread, for several, and in deterministic mode, or fails.
fn run(given: &[Tensor], build: impl Fn(&mut PlanBuilder, &Site, &[Maps])) -> Vec<Tensor> {
    let kernels = Kernels::new(Isa::best()).expect("the tier of this machine");
    let site = Site { name: Arc::from("op"), kernels };
    let mut results: Vec<Vec<Tensor>> = [(1, false), (3, false), (2, true)]
        .into_iter()
        .map(|(threads, deterministic)| {
            let options = PoolOptions { threads: Some(threads), pin: false, ..PoolOptions::default() };
            let pool = Pool::new(options).expect("a pool");
            let mut plan = PlanBuilder::new(threads, deterministic);
            let maps: Vec<Maps> = given
                .iter()
                .map(|tensor| {
                    let (count, extent) = (tensor.channels(), tensor.extent());
                    Maps { buffer: plan.persistent(count, extent.len()), count, extent }
                })
                .collect();
            build(&mut plan, &site, &maps);
            let mut plan = plan.build(&pool, kernels);
            for (maps, tensor) in maps.iter().zip(given) {
                plan.buffer_mut(maps.buffer).expect("nothing failed").copy_from_slice(tensor.data());
            }
            plan.step(&[], &mut []).expect("a step");
            maps.iter()
                .map(|maps| {
                    let data = plan.buffer(maps.buffer).expect("nothing failed");
                    Tensor::from_slice(maps.count, maps.extent, data)
                })
                .collect()
        })
        .collect();
    let first = results.swap_remove(0);
    for other in results {
        for (buffer, (a, b)) in first.iter().zip(&other).enumerate() {
            let same = a.data().iter().zip(b.data()).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "buffer {buffer} depends on the number of threads");
        }
    }
    first
}

fn random(rng: &mut ChaCha8Rng, maps: usize, extent: Extent) -> Tensor {
    Tensor::from_fn(maps, extent, |_| rng.random_range(-1.0f32..1.0))
}

/// What a buffer holds that is to be overwritten.
fn stale(maps: usize, extent: Extent) -> Tensor {
    Tensor::from_fn(maps, extent, |_| 1e9)
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn plus(a: &Tensor, b: &Tensor) -> Tensor {
    Tensor::from_fn(a.channels(), a.extent(), |i| a.data()[i] + b.data()[i])
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found}, expected {expected} +- {tolerance:e}");
}

fn voxels(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.z)
        .flat_map(move |z| (0..extent.y).flat_map(move |y| (0..extent.x).map(move |x| Extent::new(z, y, x))))
}

/// One map, many, and images that are worth several tasks.
const SHAPES: [(usize, Extent); 4] = [
    (1, Extent::new(1, 1, 1)),
    (3, Extent::new(2, 5, 7)),
    (20, Extent::new(3, 9, 11)),
    (2, Extent::new(6, 70, 90)),
];

#[test]
fn copies() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (maps, extent) in SHAPES {
        let (from, to) = (random(&mut rng, maps, extent), random(&mut rng, maps, extent));
        for accumulate in [false, true] {
            let given = [from.clone(), to.clone()];
            let found = run(&given, |plan, site, maps| copy(plan, site, maps[0], maps[1], accumulate));
            assert_eq!(found[1], if accumulate { plus(&to, &from) } else { from.clone() });
        }
    }
}

#[test]
fn crops_and_their_adjoints() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let e = Extent::new;
    for (maps, small, offset, rest) in [
        (3, e(1, 1, 1), e(0, 0, 0), e(0, 0, 0)),
        (5, e(2, 3, 4), e(1, 2, 3), e(1, 2, 3)),
        (2, e(3, 40, 50), e(0, 3, 1), e(2, 0, 1)),
    ] {
        let large = small + offset + rest;
        let (x, y) = (random(&mut rng, maps, large), random(&mut rng, maps, small));
        let (dy, dx) = (random(&mut rng, maps, small), random(&mut rng, maps, large));
        let forward = |accumulate, y: &Tensor| {
            run(&[x.clone(), y.clone()], |plan, site, m| crop(plan, site, m[0], offset, m[1], accumulate))
                .swap_remove(1)
        };
        let backward = |accumulate, dx: &Tensor| {
            run(&[dy.clone(), dx.clone()], |plan, site, m| uncrop(plan, site, m[0], offset, m[1], accumulate))
                .swap_remove(1)
        };
        assert_eq!(forward(false, &stale(maps, small)), x.crop(offset, small));
        assert_eq!(forward(true, &y), plus(&y, &x.crop(offset, small)));
        let mut put = Tensor::zeros(maps, large);
        put.paste(&dy, offset);
        assert_eq!(backward(false, &stale(maps, large)), put);
        assert_eq!(backward(true, &dx), plus(&dx, &put));
        let products = (dot(&forward(false, &y), &dy), dot(&x, &backward(false, &dx)));
        assert_close(products.0, products.1, 1e-6 * (x.data().len() as f64));
    }
}

fn key_of(key: u64) -> Tensor {
    Tensor::from_slice(1, Extent::new(1, 1, 2), &[key as u32, (key >> 32) as u32].map(f32::from_bits))
}

#[test]
fn dropout_draws_one_mask_for_both_passes() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (maps, extent) in SHAPES {
        for keep in [0.5, 0.9, 1.0] {
            let ones = Tensor::from_fn(maps, extent, |_| 1.0);
            let (g, before) = (random(&mut rng, maps, extent), random(&mut rng, maps, extent));
            let draw = |from: &Tensor, to: &Tensor, accumulate, key: u64, stream| {
                run(&[from.clone(), to.clone(), key_of(key)], |plan, site, m| {
                    dropout(plan, site, m[0], m[1], accumulate, Mask { keep, key: m[2].buffer, stream });
                })
                .swap_remove(1)
            };
            let garbage = stale(maps, extent);
            let mask = draw(&ones, &garbage, false, 77, 1);
            assert!(mask.data().iter().all(|&m| m == 0.0 || m == 1.0 / keep), "zero, or divided by keep");
            let dropped = draw(&g, &garbage, false, 77, 1);
            let expected =
                Tensor::from_fn(
                    maps,
                    extent,
                    |i| if mask.data()[i] == 0.0 { 0.0 } else { g.data()[i] / keep },
                );
            let error = plus(&dropped, &Tensor::from_fn(maps, extent, |i| -expected.data()[i]));
            assert!(error.data().iter().all(|e| e.abs() <= 1e-6), "the same mask for other values");
            assert_eq!(draw(&g, &before, true, 77, 1), plus(&before, &dropped));

            let count = mask.data().len() as f64;
            let kept = mask.data().iter().filter(|&&m| m != 0.0).count() as f64;
            let deviation = (count * f64::from(keep) * (1.0 - f64::from(keep))).sqrt();
            assert_close(kept, count * f64::from(keep), 5.0 * deviation);
            if keep == 0.5 && count > 100.0 {
                for (key, stream) in [(78, 1), (77 | 1 << 40, 1), (77, 2)] {
                    let other = draw(&ones, &garbage, false, key, stream);
                    let equal = mask.data().iter().zip(other.data()).filter(|(a, b)| a == b).count() as f64;
                    assert_close(equal, 0.5 * count, 5.0 * 0.5 * count.sqrt());
                }
                assert_ne!(mask.channel(0), mask.channel(1), "each map has a mask of its own");
            }
        }
    }
}

/// The places of a window's voxels, its first one at `at`.
fn window(maximum: Maximum, at: Extent) -> Vec<Extent> {
    match maximum {
        Maximum::Filter { size, dilation } => voxels(size).map(|k| at + k * dilation).collect(),
        Maximum::Pool { size } => voxels(size).map(|k| at * size + k).collect(),
    }
}

#[test]
fn maxima_and_their_gradients() {
    let e = Extent::new;
    let filter = |size, dilation| Maximum::Filter { size, dilation };
    let pool = |size| Maximum::Pool { size };
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for (maps, maximum, output, stages) in [
        (3, filter(e(1, 1, 1), e(1, 1, 1)), e(2, 3, 4), 1),
        (2, filter(e(2, 3, 2), e(1, 2, 4)), e(3, 4, 21), 1),
        (1, filter(e(16, 4, 4), e(1, 1, 1)), e(2, 3, 5), 1),
        (1, filter(e(1, 256, 1), e(1, 1, 1)), e(2, 3, 5), 1),
        (2, filter(e(7, 7, 7), e(1, 2, 1)), e(3, 2, 9), 3),
        (2, filter(e(1, 17, 16), e(1, 1, 2)), e(2, 5, 20), 2),
        (2, filter(e(5, 1, 60), e(2, 1, 1)), e(2, 5, 7), 2),
        (3, pool(e(2, 2, 2)), e(3, 4, 9), 1),
        (1, pool(e(1, 1, 3)), e(1, 1, 5), 1),
        (2, pool(e(8, 8, 5)), e(2, 1, 3), 3),
        (2, pool(e(1, 20, 14)), e(2, 2, 3), 2),
    ] {
        let input = match maximum {
            Maximum::Filter { size, dilation } => output + (size - Extent::ONE) * dilation,
            Maximum::Pool { size } => output * size,
        };
        assert_eq!(maximum.stages().len(), stages, "{maximum:?}");
        assert_eq!(maximum.output(input), output, "{maximum:?}");
        let x = random(&mut rng, maps, input);
        let (dy, before) = (random(&mut rng, maps, output), random(&mut rng, maps, input));
        let mut expected = (Tensor::zeros(maps, output), Tensor::zeros(maps, input));
        for map in 0..maps {
            for at in voxels(output) {
                let place = |v: Extent| input.index(v.z, v.y, v.x);
                let values = window(maximum, at).into_iter().map(|v| (x.channel(map)[place(v)], place(v)));
                let (value, winner) = values.max_by(|a, b| a.0.total_cmp(&b.0)).expect("a window of voxels");
                let out = output.index(at.z, at.y, at.x);
                expected.0.channel_mut(map)[out] = value;
                expected.1.channel_mut(map)[winner] += dy.channel(map)[out];
            }
        }
        for (accumulate, dx_before) in [(false, stale(maps, input)), (true, before)] {
            let given = [x.clone(), stale(maps, output), dy.clone(), dx_before.clone()];
            let found = run(&given, |plan, site, m| both_passes(plan, site, maximum, m, accumulate));
            assert_eq!(found[1], expected.0, "{maximum:?}");
            let dx = if accumulate { plus(&dx_before, &expected.1) } else { expected.1.clone() };
            for (found, expected) in found[3].data().iter().zip(dx.data()) {
                assert_close(f64::from(*found), f64::from(*expected), 1e-5);
            }
        }
        // Without winners, as in inference.
        let found = run(&[x.clone(), stale(maps, output)], |plan, site, m| {
            let mut from = m[0];
            let stages = maximum.stages();
            for (i, &stage) in stages.iter().enumerate() {
                let to = if i + 1 == stages.len() { m[1] } else { between(plan, from, stage) };
                pool::forward(plan, site, stage, from, to, None);
                from = to;
            }
        });
        assert_eq!(found[1], expected.0, "{maximum:?} without winners");
    }
}

fn between(plan: &mut PlanBuilder, from: Maps, stage: Maximum) -> Maps {
    let extent = stage.output(from.extent);
    Maps { buffer: plan.transient(from.count, extent.len()), count: from.count, extent }
}

/// All stages of a maximum, from `m[0]` to `m[1]`, and back from `m[2]` to `m[3]`.
fn both_passes(plan: &mut PlanBuilder, site: &Site, maximum: Maximum, m: &[Maps], accumulate: bool) {
    let stages = maximum.stages();
    let mut from = m[0];
    let mut passed = Vec::new();
    for (i, &stage) in stages.iter().enumerate() {
        let to = if i + 1 == stages.len() { m[1] } else { between(plan, from, stage) };
        let winners = pool::winners(plan, to);
        pool::forward(plan, site, stage, from, to, Some(winners));
        passed.push((stage, from, winners));
        from = to;
    }
    let mut dy = m[2];
    for (i, &(stage, input, winners)) in passed.iter().enumerate().rev() {
        let (dx, accumulate) = match i {
            0 => (m[3], accumulate),
            _ => (Maps { buffer: plan.transient(input.count, input.extent.len()), ..input }, false),
        };
        pool::backward(plan, site, stage, dy, winners, dx, accumulate);
        dy = dx;
    }
}

#[test]
fn maxout_of_three_groups() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (maps, extent) in SHAPES {
        let xs: Vec<Tensor> = (0..3).map(|_| random(&mut rng, maps, extent)).collect();
        let (dy, before) = (random(&mut rng, maps, extent), random(&mut rng, maps, extent));
        let winner = |i: usize| {
            (0..3).max_by(|&a, &b| xs[a].data()[i].total_cmp(&xs[b].data()[i])).expect("three groups")
        };
        for accumulate in [false, true] {
            let mut given = xs.clone();
            given.extend([stale(maps, extent), dy.clone()]);
            given.extend((0..3).map(|_| if accumulate { before.clone() } else { stale(maps, extent) }));
            let found = run(&given, |plan, site, m| {
                let winners = pool::winners(plan, m[3]);
                for index in 0..3u8 {
                    maxout::merge(plan, site, m[usize::from(index)], index, m[3], winners);
                }
                for index in 0..3u8 {
                    maxout::backward(plan, site, m[4], winners, index, m[5 + usize::from(index)], accumulate);
                }
            });
            for i in 0..dy.data().len() {
                assert_eq!(found[3].data()[i], xs[winner(i)].data()[i]);
                for index in 0..3 {
                    let own = if winner(i) == index { dy.data()[i] } else { 0.0 };
                    let earlier = if accumulate { before.data()[i] } else { 0.0 };
                    assert_eq!(found[5 + index].data()[i], earlier + own, "gradient of group {index}");
                }
            }
        }
    }
}

type Function = fn(f64) -> f64;

/// The functions and their derivatives; `None` where the backward pass is not to be one.
const FUNCTIONS: [(Transfer, Function, Option<Function>); 6] = [
    (Transfer::Linear { scale: -0.5, shift: 2.0 }, |x| 2.0 - 0.5 * x, Some(|_| -0.5)),
    (Transfer::RectifyLinear, |x| x.max(0.0), Some(|x| if x > 0.0 { 1.0 } else { 0.0 })),
    (
        Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 },
        |x| 1.7159 * (0.6666 * x).tanh(),
        Some(|x| 1.7159 * 0.6666 / (0.6666 * x).cosh().powi(2)),
    ),
    (Transfer::SoftSign, |x| x / (1.0 + x.abs()), Some(|x| (1.0 + x.abs()).powi(-2))),
    (Transfer::Logistic, |x| 1.0 / (1.0 + (-x).exp()), Some(|x| 0.25 / (0.5 * x).cosh().powi(2))),
    (Transfer::ForwardLogistic, |x| 1.0 / (1.0 + (-x).exp()), None),
];

#[test]
fn transfer_functions_their_gradients_and_those_of_biases() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (maps, extent) in SHAPES {
        let x = Tensor::from_fn(maps, extent, |_| rng.random_range(-3.0f32..3.0));
        let bias = random(&mut rng, 1, Extent::new(1, 1, maps));
        let dy = random(&mut rng, maps, extent);
        for (function, f, derivative) in FUNCTIONS {
            let given = [x.clone(), bias.clone(), dy.clone(), stale(1, Extent::new(1, 1, maps))];
            let found = run(&given, |plan, site, m| {
                transfer::forward(plan, site, m[0], m[1].buffer, function);
                transfer::backward(plan, site, m[0], m[2], m[3].buffer, function);
            });
            for map in 0..maps {
                let mut sum = 0.0;
                for (i, &x) in x.channel(map).iter().enumerate() {
                    let argument = f64::from(x) + f64::from(bias.data()[map]);
                    assert_close(f64::from(found[0].channel(map)[i]), f(argument), 1e-6);
                    let slope = derivative.map_or(1.0, |derivative| derivative(argument));
                    let g = f64::from(found[2].channel(map)[i]);
                    assert_close(g, f64::from(dy.channel(map)[i]) * slope, 2e-6);
                    sum += g;
                }
                let tolerance = 1e-6 * (extent.len() as f64).sqrt().max(1.0);
                assert_close(f64::from(found[3].data()[map]), sum, tolerance);
            }
        }
    }
}

/// The loss and the gradient of one value by its definition.
fn judge(loss: Loss, p: f64, t: f64) -> (f64, f64) {
    match loss {
        Loss::SQUARE => ((p - t).powi(2), 2.0 * (p - t)),
        Loss::SQUARE_SQUARE if (p - t).abs() <= f64::from(0.2f32) => (0.0, 0.0),
        Loss::SQUARE_SQUARE => ((p - t).powi(2), 2.0 * (p - t)),
        Loss::BINOMIAL_CROSS_ENTROPY => (-t * p.ln() - (1.0 - t) * (1.0 - p).ln(), p - t),
        other => panic!("{other:?} does not judge values by themselves"),
    }
}

/// Loss, gradient, prediction and outcome of what `operands` say.
fn evaluate(loss: Loss, x: &Tensor, target: &Tensor, weight: &Tensor) -> (Tensor, Tensor, Outcome) {
    let (maps, extent) = (x.channels(), x.extent());
    let stats = Tensor::zeros(1, Extent::new(1, 1, loss::stats_len(extent)));
    let given = [x.clone(), target.clone(), weight.clone(), stale(maps, extent), stale(maps, extent), stats];
    let mut found = run(&given, |plan, site, m| {
        let [target, weight, gradient, prediction, stats] = [1, 2, 3, 4, 5].map(|i: usize| m[i].buffer);
        loss::loss(plan, site, loss, m[0], Operands { target, weight, gradient, prediction, stats });
    });
    let outcome = loss::total(found[5].data());
    (found.swap_remove(3), found.swap_remove(4), outcome)
}

#[test]
fn losses_of_values() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    // The last image has more voxels than one task judges.
    let shapes = [(1, Extent::ONE), (3, Extent::new(2, 5, 7)), (2, Extent::new(3, 80, 75))];
    for (maps, extent) in shapes {
        for loss in [Loss::SQUARE, Loss::SQUARE_SQUARE, Loss::BINOMIAL_CROSS_ENTROPY] {
            let x = Tensor::from_fn(maps, extent, |_| rng.random_range(0.02f32..0.98));
            let target = Tensor::from_fn(maps, extent, |_| f32::from(u8::from(rng.random::<bool>())));
            let weight = Tensor::from_fn(maps, extent, |_| [0.0, 0.5, 1.0, 3.0][rng.random_range(0..4)]);
            let (gradient, prediction, outcome) = evaluate(loss, &x, &target, &weight);
            assert_eq!(prediction, x);
            let (mut total, mut size, mut errors, mut counted) = (0.0, 0.0, 0.0, 0.0);
            for i in 0..x.data().len() {
                let [p, t, w, g] =
                    [&x, &target, &weight, &gradient].map(|tensor| f64::from(tensor.data()[i]));
                let (error, slope) = judge(loss, p, t);
                assert_close(g, w * slope, 1e-6 * w);
                total += w * error;
                size += (w * error).abs();
                if w > 0.0 {
                    counted += 1.0;
                    errors += f64::from(u8::from((p > 0.5) != (t > 0.5)));
                }
            }
            assert_close(outcome.loss, total, 1e-6 * size);
            assert_eq!((outcome.errors, outcome.counted), (errors, counted), "{loss:?} of {extent}");
            assert_close(outcome.pixel_error(), errors / f64::max(counted, 1.0), 1e-12);
            assert_close(outcome.mean_loss(), total / f64::max(counted, 1.0), 1e-6 * size);

            let kernels = Kernels::new(Isa::best()).expect("the tier of this machine");
            let (whole, prediction) = loss::of_tensors(kernels, loss, &x, &target, Some(&weight));
            assert_close(whole.loss, outcome.loss, 1e-6 * size);
            assert_eq!((whole.errors, whole.counted), (errors, counted));
            assert_eq!(prediction, x);
        }
    }
}

#[test]
fn the_softmax_loss() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (maps, extent) in [(2, Extent::ONE), (3, Extent::new(2, 5, 7)), (4, Extent::new(2, 70, 75))] {
        let x = Tensor::from_fn(maps, extent, |_| rng.random_range(-4.0f32..4.0));
        let mut target = Tensor::zeros(maps, extent);
        let mut weight = Tensor::zeros(maps, extent);
        for voxel in 0..extent.len() {
            target.channel_mut(rng.random_range(0..maps))[voxel] = 1.0;
            let shared = [0.0, 0.5, 2.0][rng.random_range(0..3)];
            (0..maps).for_each(|map| weight.channel_mut(map)[voxel] = shared);
        }
        let (gradient, prediction, outcome) = evaluate(Loss::Softmax, &x, &target, &weight);
        let (mut total, mut errors, mut counted) = (0.0, 0.0, 0.0);
        for voxel in 0..extent.len() {
            let at = |tensor: &Tensor, map: usize| f64::from(tensor.channel(map)[voxel]);
            let sum: f64 = (0..maps).map(|map| at(&x, map).exp()).sum();
            for map in 0..maps {
                let (q, t, w) = (at(&x, map).exp() / sum, at(&target, map), at(&weight, map));
                assert_close(at(&prediction, map), q, 1e-6);
                assert_close(at(&gradient, map), w * (q - t), 2e-6);
                total -= w * t * q.ln();
                if w > 0.0 {
                    counted += 1.0;
                    errors += f64::from(u8::from((q > 0.5) != (t > 0.5)));
                }
            }
        }
        assert_close(outcome.loss, total, 1e-6 * total.abs());
        assert_eq!((outcome.errors, outcome.counted), (errors, counted));
    }
}

/// One group of parameters, updated twice by the rule in f64 and by the plan.
#[test]
fn updates_follow_their_rule() {
    let kernel = Extent::new(2, 2, 4);
    let (c_out, c_in) = (3, 2);
    let cols = c_in * kernel.len();
    let shape = Extent::new(1, c_out, cols);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (own_eta, momentum, decay, blocks) in [
        (None, 0.0, 0.0, Extent::ONE),
        (None, 0.9, 0.01, Extent::ONE),
        (Some(0.3), 0.0, 0.02, Extent::new(1, 2, 2)),
        (Some(0.0), 0.0, 0.02, Extent::ONE),
        (Some(0.2), 0.5, 0.0, Extent::new(2, 1, 4)),
    ] {
        let rule = Rule { eta: own_eta, momentum, decay, scale: 0.25 };
        let mut w = random(&mut rng, 1, shape);
        repeat::average_blocks(w.data_mut(), kernel, blocks);
        let (mut v, g) = (random(&mut rng, 1, shape), random(&mut rng, 1, shape));
        if momentum == 0.0 {
            v = Tensor::zeros(1, shape);
        }
        let (eta, factor) = (0.1, 0.7);
        let mut step = Tensor::zeros(1, Extent::new(1, 1, settings::LEN));
        step.data_mut()[settings::ETA] = eta;
        step.data_mut()[settings::FACTOR] = factor;
        let as_rows = |tensor: &Tensor| Tensor::from_slice(c_out, Extent::new(1, 1, cols), tensor.data());
        let given = [as_rows(&w), as_rows(&v), as_rows(&g), stale(c_out, Extent::new(1, 1, cols)), step];
        let found = run(&given, |plan, site, m| {
            let target = Target {
                values: m[0].buffer,
                momentum: m[1].buffer,
                gradient: Some(m[3].buffer),
                rule,
                settings: m[4].buffer,
            };
            let gradients = weight_gradients(plan, m[2].buffer, c_out, kernel.len());
            update::weights(plan, site, gradients, target, kernel, blocks);
        });
        let rate = own_eta.map_or(f64::from(eta), |own| f64::from(own) * f64::from(factor));
        let mut expected: Vec<f32> = Vec::new();
        for i in 0..w.data().len() {
            let [w, v, g] = [&w, &v, &g].map(|tensor| f64::from(tensor.data()[i]));
            let v = f64::from(momentum) * v - rate * f64::from(rule.scale) * g - rate * f64::from(decay) * w;
            expected.push((w + v) as f32);
        }
        repeat::average_blocks(&mut expected, kernel, blocks);
        for (found, expected) in found[0].data().iter().zip(&expected) {
            assert_close(f64::from(*found), f64::from(*expected), 1e-6);
        }
        assert_eq!(found[3], given[2], "the gradient is kept as it is");
        if own_eta == Some(0.0) {
            assert_eq!(found[0], given[0], "a rate of zero freezes the weights");
        }
    }
}

/// The gradient `g` as the sums of a backward pass: a block for each output map and each of two input maps, each the
/// sum of two halves.
fn weight_gradients(plan: &mut PlanBuilder, g: Buffer, c_out: usize, taps: usize) -> Vec<WeightGradient> {
    let mut gradients = Vec::new();
    for row in 0..c_out {
        for input in 0..2 {
            let cols = input * taps..(input + 1) * taps;
            let sum = plan.sum(taps, 2);
            for _ in 0..2 {
                let read = plan.region(g, row..row + 1, cols.clone());
                plan.task(Label::new(&Arc::from("op"), "half"), 0.0)
                    .read(read)
                    .contribute(sum)
                    .deferred()
                    .run(|views| {
                        let [g] = views.reads.take();
                        views.sum.iter_mut().zip(g.row(0)).for_each(|(sum, g)| *sum = 0.5 * g);
                    });
            }
            gradients.push(WeightGradient { rows: row..row + 1, cols, sum });
        }
    }
    gradients
}

#[test]
fn biases_follow_their_rule() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let row = Extent::new(1, 1, 7);
    let rule = Rule { eta: None, momentum: 0.8, decay: 0.1, scale: 0.5 };
    let (b, v, g) = (random(&mut rng, 1, row), random(&mut rng, 1, row), random(&mut rng, 1, row));
    let mut step = Tensor::zeros(1, Extent::new(1, 1, settings::LEN));
    step.data_mut()[settings::ETA] = 0.1;
    let found = run(&[b.clone(), v.clone(), g.clone(), stale(1, row), step], |plan, site, m| {
        let [values, momentum, gradient, kept, settings] = [0, 1, 2, 3, 4].map(|i: usize| m[i].buffer);
        update::biases(
            plan,
            site,
            gradient,
            Target { values, momentum, gradient: Some(kept), rule, settings },
        );
    });
    for i in 0..row.len() {
        let [b, v, g] = [&b, &v, &g].map(|tensor| f64::from(tensor.data()[i]));
        let v = 0.8 * v - 0.1 * 0.5 * g - 0.1 * 0.1 * b;
        assert_close(f64::from(found[1].data()[i]), v, 1e-6);
        assert_close(f64::from(found[0].data()[i]), b + v, 1e-6);
    }
    assert_eq!(found[3], g);
}
