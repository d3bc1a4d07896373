//! Far more workers than cores, for a long time.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

/// Pools of many workers beside each other, with updates that run into the next iteration, panics now and then, and
/// executors that come and go.
#[test]
fn oversubscribed() {
    let (threads, steps) = if cfg!(miri) { (4, 6) } else { (64, 60) };
    std::thread::scope(|scope| {
        for policy in [Policy::Priority, Policy::RandomStealing, Policy::Static] {
            scope.spawn(move || {
                let options =
                    PoolOptions { threads: Some(threads), pin: false, policy, ..PoolOptions::default() };
                let pool = Pool::new(options).unwrap();
                for round in 0..3 {
                    serve(&pool, threads, steps, round);
                }
            });
        }
    });
}

/// Three layers of as many tasks as workers, each after its neighbours of the layer before, and an update of each.
fn serve(pool: &Pool, width: usize, steps: usize, round: usize) {
    let mut builder = GraphBuilder::new();
    let layers = [0; 3].map(|_| (0..width).map(|_| builder.task(10, Class::Gated)).collect::<Vec<_>>());
    let updates: Vec<TaskId> = (0..width).map(|_| builder.task(10, Class::Deferred)).collect();
    for i in 0..width {
        for pair in layers.windows(2) {
            builder.edge(pair[0][i], pair[1][i]);
            builder.edge(pair[0][i], pair[1][(i + 1) % width]);
        }
        builder.edge(layers[2][i], updates[i]);
        builder.carried(updates[i], layers[0][i]);
        builder.carried(updates[i], layers[0][(i + width - 1) % width]);
    }
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..4 * width).map(|_| AtomicUsize::new(0)).collect());
    let log = Arc::clone(&counts);
    let bad = layers[1][width / 2];
    let mut executor = executor(pool, builder.build().unwrap(), move |task, _| {
        let run = log[task.index()].fetch_add(1, SeqCst);
        if task == bad && run == 5 {
            std::panic::resume_unwind(Box::new("now and then"));
        }
        if run.is_multiple_of(7) {
            std::thread::yield_now();
        }
    });
    let failed = (0..steps).filter(|_| executor.step().is_err()).count();
    assert_eq!(failed, usize::from(steps > 5), "round {round}");
    executor.finish().unwrap();
    for (task, count) in counts.iter().enumerate() {
        let missed = steps - count.load(SeqCst);
        assert!(missed <= failed, "task {task} missed {missed} of {steps} steps");
    }
    // Its updates may be running still.
    executor.step().unwrap();
}
