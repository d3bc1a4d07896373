//! Against the definition, pair by pair, and against the original system's numbers (`tests/golden/malis_zalis`).

use super::*;
use crate::volume::Extent;

/// Affinities that are all different, in an order that `seed` mixes; most are below one half.
fn random(size: Extent, seed: usize) -> Tensor {
    let len = 3 * size.len();
    let step = (0..).map(|i| 2 * (len / 3 + seed + i) + 1).find(|&step| gcd(step, len) == 1).expect("a step");
    Tensor::from_fn(3, size, |i| (((i * step + seed) % len + 1) as f32 / (len + 2) as f32).powi(2))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The maximin edge of two voxels: raises the threshold until they fall apart.
fn maximin(affinities: &Tensor, a: usize, b: usize) -> Option<Edge> {
    let mut all: Vec<Edge> = edges(affinities).filter(|edge| edge.affinity > 0.0).collect();
    all.sort_by(|a, b| b.affinity.total_cmp(&a.affinity));
    let mut sets = UnionFind::<usize>::new(affinities.extent().len());
    all.into_iter().find(|edge| {
        sets.union(edge.voxel as usize, edge.before as usize);
        sets.equiv(a, b)
    })
}

#[test]
fn every_pair_counts_at_its_maximin_edge() {
    let size = Extent::new(2, 3, 4);
    for seed in 0..8 {
        let affinities = random(size, seed);
        let segments: Vec<u32> = (0..size.len()).map(|v| ((v * 7 + seed) % 4) as u32).collect();
        let found = malis(&affinities, &segments, Window { high: 1.0, low: 0.0 }, false);
        let mut merger = Tensor::zeros(3, size);
        let mut splitter = merger.clone();
        for a in 0..size.len() {
            for b in 0..a {
                if segments[a] > 0 && segments[b] > 0 {
                    let edge = maximin(&affinities, a, b).expect("the image is connected");
                    let tensor = if segments[a] == segments[b] { &mut splitter } else { &mut merger };
                    tensor.channel_mut(edge.channel.into())[edge.voxel as usize] += 1.0;
                }
            }
        }
        assert_eq!((found.merger, found.splitter), (merger, splitter), "seed {seed}");
        let Counts { true_positive, true_negative, false_positive, false_negative, .. } = found.counts;
        let all = true_positive + true_negative + false_positive + false_negative;
        assert_eq!(all, found.counts.pairs() / 2.0);
        assert!(true_positive > 0.0 && true_negative > 0.0 && false_positive > 0.0 && false_negative > 0.0);
    }
}

#[test]
fn a_perfect_prediction_needs_no_correction_where_it_is_constrained() {
    let size = Extent::new(2, 4, 4);
    let labels: Vec<u32> = (0..size.len()).map(|v| 1 + (v % 4 / 2) as u32).collect();
    let target = {
        let mut target = Tensor::zeros(3, size);
        let found: Vec<Edge> = edges(&target).collect();
        for edge in found {
            let together = labels[edge.voxel as usize] == labels[edge.before as usize];
            target.channel_mut(edge.channel.into())[edge.voxel as usize] = f32::from(together);
        }
        target
    };
    let found = weights(&target, &target, Mode::Constrained).expect("there are pairs");
    assert_eq!(found.rand_error, 0.0);
    // Mergers need a false edge above one half; splitters are all above it and get 0.5, where they are right.
    let total: f32 = found.weights.data().iter().sum();
    assert!((total - 1.0).abs() < 1e-5, "the splitters' shares add up to one: {total}");
    assert!(weights(&target, &Tensor::zeros(3, size), Mode::Plain(Norm::None)).is_none(), "no pair");
}

#[test]
fn norms_scale_the_weights() {
    let size = Extent::new(1, 4, 4);
    let (prediction, target) = (random(size, 3), random(size, 11));
    let of = |norm| weights(&prediction, &target, Mode::Plain(norm)).expect("pairs").weights;
    let voxels = components(&target, HALF).iter().filter(|&&id| id > 0).count() as f32;
    let (plain, num, pair) = (of(Norm::None), of(Norm::Num), of(Norm::Pair));
    assert!(plain.data().iter().any(|&weight| weight > 0.0));
    for ((plain, num), pair) in plain.data().iter().zip(num.data()).zip(pair.data()) {
        assert!((plain / voxels - num).abs() <= 1e-6 * plain);
        assert!((num / (voxels - 1.0) - pair).abs() <= 1e-6 * num);
    }
}
