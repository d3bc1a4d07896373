//! Each operation's passes against their definitions, and against each other.

mod copy;
mod dropout;
mod joins;
mod loss;
mod maxout;
mod pool;
mod transfer;
mod update;

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use znn_kernels::{Isa, Kernels};

use super::{Maps, Site};
use crate::plan::PlanBuilder;
use crate::pool::{Pool, PoolOptions};
use crate::volume::{Extent, Tensor};

/// Runs the tasks that `build` adds once, on buffers of the content of `given`; returns what these hold then. Gives the
/// same bits for one thread, for several, and in deterministic mode, or fails.
fn run(given: &[Tensor], build: impl Fn(&mut PlanBuilder, &Site, &[Maps])) -> Vec<Tensor> {
    let kernels = Kernels::new(Isa::best()).expect("the tier of this machine");
    let site = Site { name: Arc::from("op"), kernels };
    let mut results: Vec<Vec<Tensor>> = [(1, false), (3, false), (2, true)]
        .into_iter()
        .map(|(threads, deterministic)| {
            let options = PoolOptions { threads: Some(threads), pin: false, ..PoolOptions::default() };
            let pool = Pool::new(options).expect("a pool");
            let mut plan = PlanBuilder::new(threads, deterministic);
            let maps: Vec<Maps> = given
                .iter()
                .map(|tensor| {
                    let (count, extent) = (tensor.channels(), tensor.extent());
                    Maps { buffer: plan.persistent(count, extent.len()), count, extent }
                })
                .collect();
            build(&mut plan, &site, &maps);
            let mut plan = plan.build(&pool, kernels);
            for (maps, tensor) in maps.iter().zip(given) {
                plan.buffer_mut(maps.buffer).expect("nothing failed").copy_from_slice(tensor.data());
            }
            plan.step(&[], &mut []).expect("a step");
            maps.iter()
                .map(|maps| {
                    let data = plan.buffer(maps.buffer).expect("nothing failed");
                    Tensor::from_slice(maps.count, maps.extent, data)
                })
                .collect()
        })
        .collect();
    let first = results.swap_remove(0);
    for other in results {
        for (buffer, (a, b)) in first.iter().zip(&other).enumerate() {
            let same = a.data().iter().zip(b.data()).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "buffer {buffer} depends on the number of threads");
        }
    }
    first
}

fn random(rng: &mut ChaCha8Rng, maps: usize, extent: Extent) -> Tensor {
    Tensor::from_fn(maps, extent, |_| rng.random_range(-1.0f32..1.0))
}

/// What a buffer holds that is to be overwritten.
fn stale(maps: usize, extent: Extent) -> Tensor {
    Tensor::from_fn(maps, extent, |_| 1e9)
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn plus(a: &Tensor, b: &Tensor) -> Tensor {
    Tensor::from_fn(a.channels(), a.extent(), |i| a.data()[i] + b.data()[i])
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found}, expected {expected} +- {tolerance:e}");
}

fn voxels(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.z)
        .flat_map(move |z| (0..extent.y).flat_map(move |y| (0..extent.x).map(move |x| Extent::new(z, y, x))))
}

/// One map, many, and images that are worth several tasks.
const SHAPES: [(usize, Extent); 4] = [
    (1, Extent::new(1, 1, 1)),
    (3, Extent::new(2, 5, 7)),
    (20, Extent::new(3, 9, 11)),
    (2, Extent::new(6, 70, 90)),
];
