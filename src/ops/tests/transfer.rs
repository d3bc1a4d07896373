//! Biases and transfer functions.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_kernels::Transfer;

use super::{SHAPES, assert_close, random, run, stale};
use crate::ops::transfer;
use crate::volume::{Extent, Tensor};

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
