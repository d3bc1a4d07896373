//! Updates of parameters.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{assert_close, random, run, stale};
use crate::conv::WeightGradient;
use crate::ops::update::{Clip, Optimiser, REPORT_ROWS, Rule, Shared, Target, Updates, settings};
use crate::ops::{Maps, Site, repeat};
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::{Extent, Tensor};

const ADAM: Optimiser = Optimiser::Adam { beta1: 0.9, beta2: 0.75, epsilon: 1e-3, decoupled: false };
const ADAM_W: Optimiser = Optimiser::Adam { beta1: 0.9, beta2: 0.75, epsilon: 1e-3, decoupled: true };

/// What an update has to do with, as the content of buffers.
struct Given {
    values: Tensor,
    momentum: Tensor,
    variance: Tensor,
    gradient: Tensor,
    /// The sum over the batch before this patch.
    total: Tensor,
    settings: Tensor,
    guard: f32,
    clip: Clip,
    rule: Rule,
    blocks: usize,
}

/// The buffers afterwards.
struct Found {
    values: Tensor,
    momentum: Tensor,
    variance: Tensor,
    kept: Tensor,
    total: Tensor,
    report: Tensor,
    norm: Tensor,
}

fn row(values: &[f32]) -> Tensor {
    Tensor::from_slice(1, Extent::new(1, 1, values.len()), values)
}

impl Given {
    fn new(rng: &mut ChaCha8Rng, rows: usize, cols: usize, rule: Rule) -> Self {
        let mut draw = || random(rng, rows, Extent::new(1, 1, cols));
        let (values, momentum, mut variance) = (draw(), draw(), draw());
        variance.data_mut().iter_mut().for_each(|value| *value = value.abs());
        let (gradient, total) = (draw(), draw());
        let mut settings = vec![0.0; settings::LEN];
        settings[settings::ETA] = 0.1;
        settings[settings::FACTOR] = 0.7;
        settings[settings::FIRST] = 1.0;
        settings[settings::LAST] = 1.0;
        let corrections = rule.optimiser.corrections(3).map(|factor| factor as f32);
        settings[settings::CORRECTIONS].copy_from_slice(&corrections);
        let (settings, guard, clip) = (row(&settings), 1.0, Clip::default());
        Self { values, momentum, variance, gradient, total, settings, guard, clip, rule, blocks: 1 }
    }

    fn run(
        &self,
        has_total: bool,
        build: impl Fn(&mut PlanBuilder, &Site, &mut Updates, Maps, Target),
    ) -> Found {
        let like = &self.values;
        let given = [
            self.values.clone(),
            self.momentum.clone(),
            self.variance.clone(),
            self.gradient.clone(),
            stale(like.channels(), like.extent()),
            self.total.clone(),
            self.settings.clone(),
            row(&[self.guard]),
            Tensor::zeros(REPORT_ROWS, Extent::new(1, 1, self.blocks)),
            row(&[0.0; 2]),
        ];
        let mut found = run(&given, |plan, site, m| {
            let b = |i: usize| m[i].buffer;
            let target = Target {
                values: b(0),
                momentum: b(1),
                variance: self.rule.optimiser.has_variance().then_some(b(2)),
                gradient: Some(b(4)),
                total: has_total.then_some(b(5)),
                rule: self.rule,
            };
            let shared = Shared { settings: b(6), guard: b(7), report: b(8), norm: b(9), clip: self.clip };
            let mut updates = Updates::new(shared);
            build(plan, site, &mut updates, m[3], target);
            updates.finish(plan, site);
        });
        let mut take = |i: usize| std::mem::replace(&mut found[i], Tensor::zeros(1, Extent::ONE));
        Found {
            values: take(0),
            momentum: take(1),
            variance: take(2),
            kept: take(4),
            total: take(5),
            report: take(8),
            norm: take(9),
        }
    }

    fn weights(&self, kernel: Extent, blocks: Extent, has_total: bool) -> Found {
        self.run(has_total, |plan, site, updates, gradient, target| {
            let gradients = weight_gradients(plan, gradient.buffer, gradient.count, kernel.len());
            updates.weights(plan, site, gradients, target, kernel, blocks);
        })
    }

    fn biases(&self, has_total: bool) -> Found {
        self.run(has_total, |plan, site, updates, gradient, target| {
            updates.biases(plan, site, gradient.buffer, target);
        })
    }

    /// Parameters, momentum and variance by the rule in f64, of the batch's gradient `g`.
    fn expected(&self, g: &[f64]) -> [Vec<f64>; 3] {
        let settings = self.settings.data();
        let rate = match self.rule.eta {
            Some(own) => f64::from(own) * f64::from(settings[settings::FACTOR]),
            None => f64::from(settings[settings::ETA]),
        };
        let [momentum, decay, scale] = [self.rule.momentum, self.rule.decay, self.rule.scale].map(f64::from);
        let mut g: Vec<f64> = g.iter().map(|g| g * scale).collect();
        if let Some(bound) = self.clip.value.map(f64::from) {
            g.iter_mut().for_each(|g| *g = g.clamp(-bound, bound));
        }
        if let Some(limit) = self.clip.norm.map(f64::from) {
            let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            g.iter_mut().for_each(|g| *g *= (limit / norm).min(1.0));
        }
        let mut found = [(); 3].map(|()| Vec::new());
        for (i, g) in g.into_iter().enumerate() {
            let [w, m, v] =
                [&self.values, &self.momentum, &self.variance].map(|tensor| f64::from(tensor.data()[i]));
            let (w, m, v) = match self.rule.optimiser {
                Optimiser::Sgd { nesterov } => {
                    let change = -rate * (g + decay * w);
                    let m = momentum * m + change;
                    (w + if nesterov { momentum * m + change } else { m }, m, v)
                }
                Optimiser::Adam { beta1, beta2, epsilon, decoupled } => {
                    let g = if decoupled { g } else { g + decay * w };
                    let m = beta1 * m + (1.0 - beta1) * g;
                    let v = beta2 * v + (1.0 - beta2) * g * g;
                    let mean = m / (1.0 - beta1.powi(3));
                    let size = (v / (1.0 - beta2.powi(3))).sqrt() + epsilon;
                    let w = if decoupled { w - rate * decay * w } else { w };
                    (w - rate * mean / size, m, v)
                }
            };
            found[0].push(w);
            found[1].push(m);
            found[2].push(v);
        }
        found
    }
}

fn gradient(tensor: &Tensor) -> Vec<f64> {
    tensor.data().iter().map(|&g| f64::from(g)).collect()
}

#[track_caller]
fn all_close(found: &Tensor, expected: &[f64]) {
    for (&found, &expected) in found.data().iter().zip(expected) {
        assert_close(f64::from(found), expected, 2e-6);
    }
}

fn sgd(eta: Option<f32>, momentum: f32, decay: f32) -> Rule {
    Rule { optimiser: Optimiser::SGD, eta, momentum, decay, scale: 0.25 }
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
fn weights_follow_their_rule() {
    let kernel = Extent::new(2, 2, 4);
    let cols = 2 * kernel.len();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let nesterov = Optimiser::Sgd { nesterov: true };
    for (rule, blocks) in [
        (sgd(None, 0.0, 0.0), Extent::ONE),
        (sgd(None, 0.9, 0.01), Extent::ONE),
        (sgd(Some(0.3), 0.0, 0.02), Extent::new(1, 2, 2)),
        (sgd(Some(0.0), 0.0, 0.02), Extent::ONE),
        (sgd(Some(0.2), 0.5, 0.0), Extent::new(2, 1, 4)),
        (Rule { optimiser: nesterov, ..sgd(None, 0.9, 0.01) }, Extent::ONE),
        (Rule { optimiser: ADAM, ..sgd(None, 0.0, 0.02) }, Extent::ONE),
        (Rule { optimiser: ADAM_W, ..sgd(Some(0.2), 0.0, 0.02) }, Extent::new(1, 2, 2)),
    ] {
        let mut given = Given { blocks: 6, ..Given::new(&mut rng, 3, cols, rule) };
        repeat::average_blocks(given.values.data_mut(), kernel, blocks);
        if rule.momentum == 0.0 && !rule.optimiser.has_variance() {
            given.momentum.data_mut().fill(0.0);
        }
        let mut expected = given.expected(&gradient(&given.gradient));
        let mut values: Vec<f32> = expected[0].iter().map(|&value| value as f32).collect();
        repeat::average_blocks(&mut values, kernel, blocks);
        expected[0] = values.into_iter().map(f64::from).collect();
        // By way of a sum over the batch, the bits are the same.
        for has_total in [false, true] {
            let found = given.weights(kernel, blocks, has_total);
            all_close(&found.values, &expected[0]);
            if rule.momentum != 0.0 || rule.optimiser.has_variance() {
                all_close(&found.momentum, &expected[1]);
            }
            all_close(&found.variance, &expected[2]);
            assert_eq!(found.kept, given.gradient, "the gradient is kept as it is");
            assert!(found.report.data().iter().all(|&value| value == 0.0));
            if rule.eta == Some(0.0) {
                assert_eq!(found.values, given.values, "a rate of zero freezes the weights");
            }
        }
    }
}

#[test]
fn biases_follow_their_rule() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    for rule in [sgd(None, 0.8, 0.1), Rule { optimiser: ADAM_W, ..sgd(None, 0.0, 0.1) }] {
        for has_total in [false, true] {
            let given = Given::new(&mut rng, 1, 7, rule);
            let found = given.biases(has_total);
            let expected = given.expected(&gradient(&given.gradient));
            all_close(&found.values, &expected[0]);
            all_close(&found.momentum, &expected[1]);
            all_close(&found.variance, &expected[2]);
            assert_eq!(found.kept, given.gradient);
        }
    }
}

#[test]
fn the_patches_of_a_batch_are_added_before_the_update() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let kernel = Extent::new(1, 2, 3);
    let mut given = Given { blocks: 6, ..Given::new(&mut rng, 3, 12, sgd(None, 0.9, 0.01)) };
    let sum: Vec<f64> =
        gradient(&given.gradient).iter().zip(given.total.data()).map(|(g, &t)| g + f64::from(t)).collect();
    given.settings.data_mut()[settings::FIRST] = 0.0;
    let last = given.weights(kernel, Extent::ONE, true);
    all_close(&last.total, &sum);
    all_close(&last.values, &given.expected(&sum)[0]);
    given.settings.data_mut()[settings::LAST] = 0.0;
    let middle = given.weights(kernel, Extent::ONE, true);
    all_close(&middle.total, &sum);
    assert_eq!((&middle.values, &middle.momentum), (&given.values, &given.momentum));
    given.settings.data_mut()[settings::FIRST] = 1.0;
    let first = given.weights(kernel, Extent::ONE, true);
    assert_eq!((&first.total, &first.values), (&given.gradient, &given.values));
}

#[test]
fn gradients_are_clipped() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let kernel = Extent::new(1, 2, 3);
    for rule in [sgd(None, 0.9, 0.01), Rule { optimiser: ADAM, ..sgd(None, 0.0, 0.01) }] {
        for clip in [
            Clip { value: Some(0.1), norm: None },
            Clip { value: None, norm: Some(0.2) },
            Clip { value: None, norm: Some(100.0) },
            Clip { value: Some(0.1), norm: Some(0.2) },
        ] {
            let given = Given { blocks: 6, clip, ..Given::new(&mut rng, 3, 12, rule) };
            let expected = given.expected(&gradient(&given.gradient));
            let found = given.weights(kernel, Extent::ONE, clip.norm.is_some());
            all_close(&found.values, &expected[0]);
            all_close(&found.momentum, &expected[1]);
            let length = |bound: Option<f32>| {
                let bound = bound.map_or(f64::INFINITY, f64::from);
                let scaled =
                    given.gradient.data().iter().map(|&g| (0.25 * f64::from(g)).clamp(-bound, bound));
                scaled.map(|g| g * g).sum::<f64>().sqrt()
            };
            match clip.norm {
                Some(limit) => {
                    let length = length(clip.value);
                    assert_close(f64::from(found.norm.data()[0]), length, 1e-6);
                    assert_close(f64::from(found.norm.data()[1]), (f64::from(limit) / length).min(1.0), 1e-6);
                }
                None => assert_eq!(found.norm.data(), [0.0; 2]),
            }
            let biases = Given { clip, ..Given::new(&mut rng, 1, 12, rule) };
            let expected = biases.expected(&gradient(&biases.gradient));
            all_close(&biases.biases(clip.norm.is_some()).values, &expected[0]);
        }
    }
}

#[test]
fn nothing_follows_a_gradient_that_is_not_finite_or_a_guard_that_forbids() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let kernel = Extent::new(1, 2, 3);
    let rule = Rule { optimiser: ADAM, ..sgd(None, 0.0, 0.01) };
    for norm in [None, Some(0.5)] {
        let clip = Clip { value: Some(0.5), norm };
        let mut given = Given { blocks: 6, clip, ..Given::new(&mut rng, 3, 12, rule) };
        let before = given.values.clone();
        given.guard = 0.0;
        let found = given.weights(kernel, Extent::ONE, norm.is_some());
        assert_eq!(
            (&found.values, &found.momentum, &found.variance),
            (&before, &given.momentum, &given.variance)
        );
        assert!(found.report.channel(0).iter().all(|&fault| fault == 0.0));
        given.guard = 1.0;
        for bad in [f32::NAN, f32::INFINITY] {
            // In the second of the six blocks.
            given.gradient.data_mut()[7] = bad;
            let found = given.weights(kernel, Extent::ONE, norm.is_some());
            assert_eq!(found.report.channel(0), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
            assert_eq!(found.values.data()[6..12], before.data()[6..12]);
            if norm.is_some() {
                assert_eq!(found.values, before, "with a common norm, nothing changes");
                assert!(found.norm.data()[0].is_nan());
            }
        }
    }
}
