//! Every edge of random graphs is respected, in thousands of iterations, on any number of workers.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Mutex;

use super::*;

/// A builder's graph with what the test needs to know of it.
struct Case {
    builder: GraphBuilder,
    before: Vec<Vec<usize>>,
    carried_before: Vec<Vec<usize>>,
    deferred: Vec<bool>,
}

/// Tasks in layers of random width, with random edges to later ones; deferred ones among them, held to the iteration by
/// carried edges to a predecessor or to a task before that.
fn random_case(rng: &mut Rng, len: usize) -> Case {
    let mut builder = GraphBuilder::new();
    let (mut before, mut carried_before) = (vec![vec![]; len], vec![vec![]; len]);
    let deferred: Vec<bool> = (0..len).map(|task| task > len / 3 && rng.below(3) == 0).collect();
    let class = |deferred| if deferred { Class::Deferred } else { Class::Gated };
    let tasks: Vec<_> =
        deferred.iter().map(|&deferred| builder.task(rng.below(1000) as u32, class(deferred))).collect();
    for after in 1..len {
        let wanted = rng.below(4).max(usize::from(deferred[after]));
        for _ in 0..wanted {
            let task = rng.below(after);
            // Gated tasks after deferred ones would make those gated.
            if deferred[after] || !deferred[task] {
                before[after].push(task);
                builder.edge(tasks[task], tasks[after]);
            }
        }
        if deferred[after] && before[after].is_empty() {
            before[after].push(0);
            builder.edge(tasks[0], tasks[after]);
        }
    }
    for task in (0..len).filter(|&task| deferred[task]) {
        for &predecessor in &before[task] {
            let mut to = predecessor;
            while rng.below(2) == 0 && !before[to].is_empty() {
                to = before[to][rng.below(before[to].len())];
            }
            carried_before[to].push(task);
            builder.carried(tasks[task], tasks[to]);
        }
    }
    Case { builder, before, carried_before, deferred }
}

/// How often each task has run, not atomic: a run that is not ordered with those it reads is a data race, which Miri and
/// ThreadSanitizer see, and a wrong count.
struct Runs(Vec<UnsafeCell<u32>>);

// SAFETY: the edges order all accesses to one cell; that they do is what the tests are about.
unsafe impl Sync for Runs {}
// SAFETY: plain numbers.
unsafe impl Send for Runs {}

impl Runs {
    fn new(len: usize) -> Arc<Self> {
        Arc::new(Self((0..len).map(|_| UnsafeCell::new(0)).collect()))
    }

    fn get(&self, task: usize) -> u32 {
        // SAFETY: see above.
        unsafe { *self.0[task].get() }
    }

    fn run(&self, task: usize) {
        // SAFETY: see above.
        unsafe { *self.0[task].get() += 1 }
    }
}

/// Runs the case; each task checks that every predecessor has run as often as it must have, no more and no less.
fn check(case: Case, pool: &Pool, steps: u32, rng: &mut Rng) {
    let len = case.before.len();
    let runs = Runs::new(len);
    let (before, carried_before) = (case.before, case.carried_before);
    let graph = case.builder.build().unwrap();
    let seen = Arc::clone(&runs);
    let mut executor = executor(pool, graph, move |task, _| {
        let task = task.index();
        let run = seen.get(task);
        for &p in &before[task] {
            assert_eq!(seen.get(p), run + 1, "run {run} of {task} after {p}");
        }
        for &p in &carried_before[task] {
            assert_eq!(seen.get(p), run, "run {run} of {task} after that of {p} before");
        }
        seen.run(task);
    });
    for step in 1..=steps {
        executor.step().unwrap();
        for task in (0..len).filter(|&task| !case.deferred[task]) {
            assert_eq!(runs.get(task), step, "gated {task} after step {step}");
        }
        if rng.below(16) == 0 {
            executor.finish().unwrap();
            assert!((0..len).all(|task| runs.get(task) == step));
        }
    }
    executor.finish().unwrap();
    assert!((0..len).all(|task| runs.get(task) == steps));
}

#[test]
fn random_graphs() {
    let (threads, cases, steps, len): (&[usize], _, _, _) =
        if cfg!(miri) { (&[1, 3], 2, 8, 12) } else { (&[1, 2, 3, 4, 8], 12, 150, 80) };
    for &threads in threads {
        let pool = pool(threads);
        for seed in 0..cases {
            let rng = &mut Rng(seed * 100 + threads as u64);
            let len = 1 + rng.below(len);
            check(random_case(rng, len), &pool, steps, rng);
        }
    }
}

#[test]
fn random_graphs_by_every_policy() {
    let (threads, steps, len): (&[usize], _, _) =
        if cfg!(miri) { (&[2], 4, 12) } else { (&[1, 2, 4], 60, 80) };
    for policy in Policy::ALL {
        for &threads in threads {
            let options =
                PoolOptions { threads: Some(threads), pin: false, policy, ..PoolOptions::default() };
            let pool = Pool::new(options).unwrap();
            for seed in 0..4 {
                let rng = &mut Rng(seed * 10 + threads as u64);
                let len = 1 + rng.below(len);
                check(random_case(rng, len), &pool, steps, rng);
            }
        }
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert!("best".parse::<Policy>().unwrap_err().contains("priority, fifo"));
}

#[test]
fn thousands_of_iterations() {
    let rng = &mut Rng(7);
    check(random_case(rng, 20), &pool(3), if cfg!(miri) { 10 } else { 5000 }, rng);
}

/// With a single source nothing depends on timing.
#[test]
fn the_order_of_one_worker_is_that_of_the_ranks() {
    let rng = &mut Rng(4);
    for _ in 0..10 {
        let mut builder = GraphBuilder::new();
        let first = builder.task(1, Class::Gated);
        for i in 0..100 {
            let task = builder.task(rng.below(50) as u32, Class::Gated);
            builder.edge(first, task);
            if i % 5 == 0 {
                let update = builder.task(rng.below(50) as u32, Class::Deferred);
                builder.edge(task, update);
                builder.carried(update, first);
            }
        }
        let graph = builder.build().unwrap();
        let mut expected = vec![];
        graph.run_serial(|task| expected.push(task));
        let order = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&order);
        let mut executor = executor(&pool(1), graph, move |task, _| log.lock().unwrap().push(task));
        for _ in 0..3 {
            executor.step().unwrap();
            executor.finish().unwrap();
            assert_eq!(std::mem::take(&mut *order.lock().unwrap()), expected);
        }
    }
}

#[test]
fn an_empty_graph_runs() {
    let graph = GraphBuilder::new().build().unwrap();
    assert!(graph.is_empty());
    let mut executor = executor(&pool(2), graph, |_, _| unreachable!());
    executor.step().unwrap();
    executor.finish().unwrap();
}
