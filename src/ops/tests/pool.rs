//! Maxima over windows.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{assert_close, plus, random, run, stale, voxels};
use crate::ops::pool::{self, Maximum};
use crate::ops::{Maps, Site};
use crate::plan::PlanBuilder;
use crate::volume::{Extent, Tensor};

/// The places of a window's voxels in an image of extent `input`, its first one at `at`.
fn window(maximum: Maximum, at: Extent, input: Extent) -> Vec<Extent> {
    match maximum {
        Maximum::Strided { size, step, pad } => voxels(size)
            .filter_map(|k| (at * step + k).checked_sub(pad))
            .filter(|v| v.all(input, |v, n| v < n))
            .collect(),
        Maximum::Filter { size, dilation } => voxels(size).map(|k| at + k * dilation).collect(),
        Maximum::Pool { size } => voxels(size).map(|k| at * size + k).collect(),
    }
}

#[test]
fn maxima_and_their_gradients() {
    let e = Extent::new;
    let filter = |size, dilation| Maximum::Filter { size, dilation };
    let pool = |size| Maximum::Pool { size };
    let strided = |size, step, pad| Maximum::Strided { size, step, pad };
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
        (2, strided(e(3, 3, 3), e(2, 2, 2), e(1, 1, 1)), e(3, 4, 5), 1),
        (3, strided(e(1, 2, 3), e(1, 3, 1), e(0, 0, 1)), e(1, 4, 7), 1),
        (1, strided(e(2, 3, 2), e(2, 1, 3), e(0, 1, 0)), e(3, 5, 4), 1),
        (2, strided(e(9, 7, 5), e(3, 2, 1), e(4, 3, 2)), e(3, 4, 6), 3),
        // Maps that are divided by planes, with planes whose winners fill no whole floats.
        (1, filter(e(2, 2, 2), e(1, 1, 1)), e(26, 41, 43), 1),
        (1, pool(e(2, 1, 2)), e(26, 41, 43), 1),
    ] {
        let input = match maximum {
            Maximum::Filter { size, dilation } => output + (size - Extent::ONE) * dilation,
            Maximum::Pool { size } => output * size,
            // One voxel more than is needed, where there is one that belongs to no window.
            Maximum::Strided { size, step, pad } => {
                (output - Extent::ONE) * step + size - pad - pad
                    + step.zip(Extent::ONE, |step, one| usize::from(step > one))
            }
        };
        assert_eq!(maximum.stages().len(), stages, "{maximum:?}");
        assert_eq!(maximum.output(input), output, "{maximum:?}");
        let x = random(&mut rng, maps, input);
        let (dy, before) = (random(&mut rng, maps, output), random(&mut rng, maps, input));
        let mut expected = (Tensor::zeros(maps, output), Tensor::zeros(maps, input));
        for map in 0..maps {
            for at in voxels(output) {
                let place = |v: Extent| input.index(v.z, v.y, v.x);
                let values =
                    window(maximum, at, input).into_iter().map(|v| (x.channel(map)[place(v)], place(v)));
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
