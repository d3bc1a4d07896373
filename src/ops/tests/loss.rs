//! Losses.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_kernels::{Isa, Kernels};

use super::{assert_close, run, stale};
use crate::ops::loss::{self, Loss, Operands, Outcome};
use crate::volume::{Extent, Tensor};

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
    let stats = Tensor::zeros(1, Extent::new(1, 1, loss::stats_len(maps, extent)));
    let given = [x.clone(), target.clone(), weight.clone(), stale(maps, extent), stale(maps, extent), stats];
    let mut found = run(&given, |plan, site, m| {
        let [target, weight, gradient, prediction, stats] = [1, 2, 3, 4, 5].map(|i: usize| m[i].buffer);
        loss::loss(
            plan,
            site,
            loss,
            m[0],
            Operands { target, weight, emphasis: None, gradient, prediction, stats, factor: 1.0 },
        );
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
