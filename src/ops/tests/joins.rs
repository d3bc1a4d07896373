//! What joins and divides groups of maps, and blocks of voxels.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{SHAPES, assert_close, dot, plus, random, run, stale};
use crate::ops::{Maps, blocks, copy, dropout, product, scale};
use crate::plan::Label;
use crate::volume::{Extent, Tensor};

#[track_caller]
fn assert_same(found: &Tensor, expected: &Tensor, tolerance: f64) {
    for (a, b) in found.data().iter().zip(expected.data()) {
        assert_close(f64::from(*a), f64::from(*b), tolerance);
    }
}

#[test]
fn products_of_several_groups() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (maps, extent) in SHAPES {
        for count in 1..=4 {
            let factors: Vec<Tensor> = (0..count).map(|_| random(&mut rng, maps, extent)).collect();
            let before = random(&mut rng, maps, extent);
            let expected =
                Tensor::from_fn(maps, extent, |i| factors.iter().map(|factor| factor.data()[i]).product());
            for (accumulate, y) in [(false, stale(maps, extent)), (true, before.clone())] {
                let given: Vec<Tensor> = factors.iter().cloned().chain([y.clone()]).collect();
                let found = run(&given, |plan, site, m| {
                    product::product(plan, site, &m[..count], m[count], accumulate);
                });
                let expected = if accumulate { plus(&y, &expected) } else { expected.clone() };
                assert_same(&found[count], &expected, 1e-6);
            }
        }
    }
}

#[test]
fn some_of_the_maps() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let extent = Extent::new(2, 30, 41);
    for (from_first, to_first, count) in [(0, 0, 3), (2, 0, 4), (1, 3, 1), (5, 0, 2)] {
        let (from, to) = (random(&mut rng, 7, extent), random(&mut rng, 4, extent));
        for accumulate in [false, true] {
            let found = run(&[from.clone(), to.clone()], |plan, site, m| {
                copy::copy_maps(plan, site, (m[0], from_first), (m[1], to_first), count, accumulate);
            });
            for map in 0..4 {
                let source = (map >= to_first && map < to_first + count).then(|| map - to_first + from_first);
                for (i, (found, before)) in found[1].channel(map).iter().zip(to.channel(map)).enumerate() {
                    let expected = match source {
                        Some(source) if accumulate => before + from.channel(source)[i],
                        Some(source) => from.channel(source)[i],
                        None => *before,
                    };
                    assert_eq!(*found, expected, "map {map}");
                }
            }
        }
        let found = run(std::slice::from_ref(&to), |plan, site, m| copy::scale(plan, site, m[0], -0.5));
        assert_eq!(found[0], Tensor::from_fn(4, extent, |i| -0.5 * to.data()[i]));
        let found = run(std::slice::from_ref(&to), |plan, site, m| copy::clear(plan, site, m[0]));
        assert_eq!(found[0], Tensor::zeros(4, extent));
    }
}

#[test]
fn blocks_are_summed_and_spread() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let e = Extent::new;
    for (maps, size, small) in
        [(1, e(1, 1, 1), e(2, 3, 4)), (3, e(1, 2, 2), e(2, 5, 7)), (2, e(3, 1, 4), e(1, 6, 3))]
    {
        let large = small * size;
        let (x, dy) = (random(&mut rng, maps, large), random(&mut rng, maps, small));
        let (y, dx) = (random(&mut rng, maps, small), random(&mut rng, maps, large));
        let sum = |accumulate, y: &Tensor| {
            run(&[x.clone(), y.clone()], |plan, site, m| {
                blocks::sum(plan, site, m[0], m[1], 0.75, accumulate)
            })
            .swap_remove(1)
        };
        let spread = |accumulate, dx: &Tensor| {
            run(&[dy.clone(), dx.clone()], |plan, site, m| {
                blocks::spread(plan, site, m[0], m[1], 0.75, accumulate)
            })
            .swap_remove(1)
        };
        let mut expected = Tensor::zeros(maps, small);
        for map in 0..maps {
            for (i, value) in x.channel(map).iter().enumerate() {
                let (z, y, x) = (i / (large.y * large.x), i / large.x % large.y, i % large.x);
                let at = small.index(z / size.z, y / size.y, x / size.x);
                expected.channel_mut(map)[at] += 0.75 * value;
            }
        }
        assert_same(&sum(false, &stale(maps, small)), &expected, 1e-5);
        assert_same(&sum(true, &y), &plus(&y, &expected), 1e-5);
        let back = spread(false, &stale(maps, large));
        assert_same(&spread(true, &dx), &plus(&dx, &back), 1e-6);
        assert_close(dot(&expected, &dy), dot(&x, &back), 1e-5 * x.data().len() as f64);
    }
}

#[test]
fn factors_of_maps_and_their_gradients() {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    for (maps, extent) in SHAPES {
        let [x, y, dy] = [(); 3].map(|()| random(&mut rng, maps, extent));
        let factors = random(&mut rng, maps, Extent::ONE);
        let scaled = Tensor::from_fn(maps, extent, |i| factors.data()[i / extent.len()] * x.data()[i]);
        for accumulate in [false, true] {
            let given =
                [x.clone(), factors.clone(), if accumulate { y.clone() } else { stale(maps, extent) }];
            let found = run(&given, |plan, site, m| {
                scale::scale(plan, site, m[0], m[1].buffer, m[2], accumulate);
            });
            let expected = if accumulate { plus(&y, &scaled) } else { scaled.clone() };
            assert_same(&found[2], &expected, 2e-7);
        }
        let given = [x.clone(), dy.clone(), stale(maps, Extent::ONE)];
        let found = run(&given, |plan, site, m| {
            let gradient = scale::backward_factors(plan, site, m[0], m[1]);
            assert_eq!((gradient.rows.len(), gradient.cols.len()), (maps, 1));
            let Maps { buffer, .. } = m[2];
            let write = plan.whole(buffer);
            plan.task(Label::new(&site.name, "collect"), 0.0).write(write).collect(gradient.sum).run(
                |views| {
                    let [mut to] = views.writes.take();
                    to.contiguous().copy_from_slice(views.sum);
                },
            );
        });
        for map in 0..maps {
            let products =
                x.channel(map).iter().zip(dy.channel(map)).map(|(&a, &b)| f64::from(a) * f64::from(b));
            assert_close(f64::from(found[2].data()[map]), products.sum(), 1e-6 * extent.len() as f64);
        }
    }
}

#[test]
fn whole_maps_are_dropped() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let (maps, extent) = (200, Extent::new(1, 3, 5));
    let (x, before) = (random(&mut rng, maps, extent), random(&mut rng, maps, extent));
    let key = Tensor::from_slice(1, Extent::new(1, 1, 2), &[7_u32, 9].map(f32::from_bits));
    let draw = |to: &Tensor, accumulate| {
        run(&[x.clone(), to.clone(), key.clone()], |plan, site, m| {
            let mask = dropout::Mask { keep: 0.25, key: m[2].buffer, stream: 3, by_map: true };
            dropout::dropout(plan, site, m[0], m[1], accumulate, mask);
        })
        .swap_remove(1)
    };
    let dropped = draw(&stale(maps, extent), false);
    let is_kept = |map: &usize| dropped.channel(*map)[0] != 0.0;
    for map in 0..maps {
        let factor = if is_kept(&map) { 4.0 } else { 0.0 };
        assert!(dropped.channel(map).iter().zip(x.channel(map)).all(|(y, x)| *y == factor * x), "map {map}");
    }
    let kept = (0..maps).filter(is_kept).count() as f64;
    assert_close(kept, 0.25 * maps as f64, 5.0 * (0.25 * 0.75 * maps as f64).sqrt());
    assert_same(&draw(&before, true), &plus(&before, &dropped), 1e-6);
}
