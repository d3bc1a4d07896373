//! Updates of parameters.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{assert_close, random, run, stale};
use crate::conv::WeightGradient;
use crate::ops::repeat;
use crate::ops::update::{self, Rule, Target, settings};
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::{Extent, Tensor};

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
