//! The maximum of several groups of maps.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{SHAPES, random, run, stale};
use crate::ops::{maxout, pool};
use crate::volume::Tensor;

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
