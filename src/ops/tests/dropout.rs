//! Dropout.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{SHAPES, assert_close, plus, random, run, stale};
use crate::ops::dropout::{Mask, dropout};
use crate::volume::{Extent, Tensor};

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
                    dropout(
                        plan,
                        site,
                        m[0],
                        m[1],
                        accumulate,
                        Mask { keep, key: m[2].buffer, stream, by_map: false },
                    );
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
