//! What a user of the pool can see, and the parts on one thread. The models of the parts on several threads are in
//! `models.rs`.

mod faults;
mod graphs;
mod hosts;
mod order;
mod placement;
mod queues;
mod recording;
mod simulation;
mod stress;
mod sums;

use std::sync::Arc;

use super::*;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn pool(threads: usize) -> Pool {
    // More workers than cores: the tests want interleavings, not speed.
    Pool::new(PoolOptions { threads: Some(threads), pin: false, ..PoolOptions::default() }).unwrap()
}

fn executor(pool: &Pool, graph: Graph, work: impl Fn(TaskId, WorkerId) + Send + Sync + 'static) -> Executor {
    Executor::new(pool, graph, Box::new(work))
}

/// A graph of gated tasks, one after another.
fn chain(len: usize) -> (Graph, Vec<TaskId>) {
    let mut builder = GraphBuilder::new();
    let tasks: Vec<_> = (0..len).map(|_| builder.task(100, Class::Gated)).collect();
    tasks.windows(2).for_each(|pair| builder.edge(pair[0], pair[1]));
    (builder.build().unwrap(), tasks)
}

/// Gated tasks without edges.
fn independent(len: usize) -> Graph {
    let mut builder = GraphBuilder::new();
    for _ in 0..len {
        builder.task(100, Class::Gated);
    }
    builder.build().unwrap()
}

/// A fan of `width` gated tasks between two.
fn fan(width: usize) -> Graph {
    let mut builder = GraphBuilder::new();
    let first = builder.task(100, Class::Gated);
    let last = builder.task(100, Class::Gated);
    for _ in 0..width {
        let task = builder.task(100, Class::Gated);
        builder.edge(first, task);
        builder.edge(task, last);
    }
    builder.build().unwrap()
}

/// Counts how often it is called.
fn counter() -> (Arc<std::sync::atomic::AtomicUsize>, impl Fn() -> usize) {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let reader = Arc::clone(&count);
    (count, move || reader.load(std::sync::atomic::Ordering::SeqCst))
}
