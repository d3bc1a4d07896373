//! An iteration allocates nothing, and nothing is left of pools, executors and plans that are gone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use znn::plan::{Label, Plan};
use znn::pool::{Class, Executor, GraphBuilder, Policy, Pool, PoolOptions};
use znn::{Engine, EngineOptions};

/// The system's allocator, counted.
struct Counted;

static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Fifty tasks on two layers with twenty updates after them.
fn executor(pool: &Pool) -> Executor {
    let mut builder = GraphBuilder::new();
    let first: Vec<_> = (0..20).map(|_| builder.task(1000, Class::Gated)).collect();
    let last: Vec<_> = (0..30).map(|_| builder.task(1000, Class::Gated)).collect();
    for (i, &task) in first.iter().enumerate() {
        last.iter().skip(i % 3).step_by(3).for_each(|&after| builder.edge(task, after));
        let update = builder.task(500, Class::Deferred);
        builder.edge(task, update);
        builder.carried(update, task);
    }
    let graph = builder.build().expect("a graph of layers");
    Executor::new(pool, graph, Box::new(|task, _| _ = std::hint::black_box(task)))
}

/// Tasks that write, add up and collect.
fn plan(engine: &Engine) -> Plan {
    let mut builder = engine.plan();
    let (image, total) = (builder.transient(16, 256), builder.persistent(1, 256));
    let sum = builder.sum(256, 16);
    let label = |stage| Label::new(&"layer".into(), stage);
    for row in 0..16 {
        let region = builder.rows(image, row..row + 1);
        builder.task(label("write"), 6000.0).write(region.clone()).run(move |views| {
            let [mut to] = views.writes.take();
            to.row_mut(0).fill(row as f32);
        });
        builder.task(label("add"), 6000.0).read(region).contribute(sum).deferred().run(|views| {
            let [from] = views.reads.take();
            views.sum.copy_from_slice(from.row(0));
        });
    }
    let region = builder.whole(total);
    builder.task(label("collect"), 6000.0).write(region).collect(sum).deferred().run(|views| {
        let [mut to] = views.writes.take();
        to.row_mut(0).copy_from_slice(views.sum);
    });
    builder.build(engine.pool(), engine.kernels())
}

fn ten_thousand_iterations_allocate_nothing() {
    for policy in Policy::ALL {
        for events in [None, Some(1000)] {
            let options = EngineOptions { threads: Some(3), policy, events, ..EngineOptions::default() };
            let engine = Engine::new(&options).unwrap();
            let (mut executor, mut plan) = (executor(engine.pool()), plan(&engine));
            let mut step = |times: usize| {
                for _ in 0..times {
                    executor.step().unwrap();
                }
                executor.finish().unwrap();
                for _ in 0..times {
                    plan.step(&[], &mut []).unwrap();
                }
                plan.finish().unwrap();
            };
            // Threads make what is theirs alone when they first need it.
            step(100);
            let before = (CALLS.load(Relaxed), LIVE.load(Relaxed));
            step(10_000);
            assert_eq!((CALLS.load(Relaxed), LIVE.load(Relaxed)), before, "{policy}, {events:?}");
        }
    }
}

fn nothing_is_left_of_what_is_gone() {
    let round = || {
        let options = PoolOptions { threads: Some(4), pin: false, ..PoolOptions::default() };
        let pool = Pool::new(options).unwrap();
        let (mut one, mut two) = (executor(&pool), executor(&pool));
        for _ in 0..5 {
            one.step().unwrap();
            two.step().unwrap();
        }
        let engine = Engine::new(&EngineOptions { threads: Some(2), ..EngineOptions::default() }).unwrap();
        let mut plan = plan(&engine);
        plan.step(&[], &mut []).unwrap();
        // The engine goes while updates of its plan may run.
        drop(engine);
    };
    round();
    let before = LIVE.load(Relaxed);
    for _ in 0..200 {
        round();
    }
    // What threads keep may vary by a few small blocks.
    let grown = LIVE.load(Relaxed) - before;
    assert!(grown.abs() < 4096, "{grown} bytes are left of 200 rounds");
}

/// Without the harness of tests, whose own threads and messages would be counted too.
fn main() {
    ten_thousand_iterations_allocate_nothing();
    nothing_is_left_of_what_is_gone();
    println!("pool_memory: ok");
}
