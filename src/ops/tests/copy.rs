//! Copies and crops.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{SHAPES, assert_close, dot, plus, random, run, stale};
use crate::ops::copy::{copy, crop, uncrop};
use crate::volume::{Extent, Tensor};

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
