//! The simulation against what is known of schedules.

use super::*;

fn alone(time: f64) -> Load {
    Load { time, bytes: 0.0 }
}

fn flat(workers: usize) -> Machine {
    Machine::flat(workers, Overheads::default())
}

#[test]
fn independent_tasks_divide_and_chains_do_not() {
    for policy in Policy::ALL {
        for (workers, time) in [(1, 1200.0), (3, 400.0), (5, 300.0), (100, 100.0)] {
            let simulated = simulate(&independent(12), |_| alone(100.0), &flat(workers), policy);
            assert_eq!(simulated.step, time, "{policy} on {workers}");
            let simulated = simulate(&chain(7).0, |_| alone(10.0), &flat(workers), policy);
            assert!((simulated.step - 70.0).abs() < 1e-9, "{policy} on {workers}");
        }
    }
}

/// Greedy schedules without overhead: no faster than T_1 / P and T_inf, no slower than their sum (Brent, Graham).
#[test]
fn brents_bound_holds() {
    let rng = &mut Rng(11);
    for case in 0..if cfg!(miri) { 2 } else { 40 } {
        let mut builder = GraphBuilder::new();
        let len = 1 + rng.below(60);
        let times: Vec<f64> = (0..len).map(|_| 1.0 + rng.below(1000) as f64).collect();
        let tasks: Vec<_> = times.iter().map(|&time| builder.task(time as u32, Class::Gated)).collect();
        for after in 1..len {
            for _ in 0..rng.below(3) {
                builder.edge(tasks[rng.below(after)], tasks[after]);
            }
        }
        let graph = builder.build().unwrap();
        let total: f64 = times.iter().sum();
        let (longest, _) = graph.longest_path(|task| times[task.index()]);
        for policy in [Policy::Priority, Policy::Fifo, Policy::Lifo, Policy::RandomStealing] {
            for workers in [1, 2, 7, 64] {
                let step = simulate(&graph, |task| alone(times[task.index()]), &flat(workers), policy).step;
                let (least, most) = ((total / workers as f64).max(longest), total / workers as f64 + longest);
                assert!(
                    step >= least - 1e-6 && step <= most + 1e-6,
                    "case {case}, {policy}: {step}, {least}..{most}"
                );
            }
        }
    }
}

/// The update runs beside the next iteration: two workers hide it, one cannot.
#[test]
fn deferred_tasks_overlap_the_next_iteration() {
    let mut builder = GraphBuilder::new();
    let [first, last] = [0; 2].map(|_| builder.task(1, Class::Gated));
    let update = builder.task(1, Class::Deferred);
    builder.edge(first, last);
    builder.edge(first, update);
    builder.carried(update, first);
    let graph = builder.build().unwrap();
    let time = |task: TaskId| alone(if task == last { 50.0 } else { 20.0 });
    assert_eq!(simulate(&graph, time, &flat(2), Policy::Priority).step, 70.0);
    assert_eq!(simulate(&graph, time, &flat(1), Policy::Priority).step, 90.0);
}

#[test]
fn cores_and_memory_are_shared() {
    let tasks = independent(8);
    let machine = Machine { cores: 2, threads_per_core: 2, smt: vec![1.0, 1.5], ..flat(1) };
    let simulated = simulate(&tasks, |_| alone(30.0), &machine, Policy::Priority);
    assert!((simulated.step - 80.0).abs() < 1e-9, "8 tasks of 30 at twice 1.5: {simulated:?}");
    // Each moves 2 bytes in a nanosecond; there are 4 for all.
    let machine = Machine { bandwidth: Some(4.0), ..flat(4) };
    let simulated = simulate(&tasks, |_| Load { time: 30.0, bytes: 60.0 }, &machine, Policy::Priority);
    assert!((simulated.step - 120.0).abs() < 1e-9, "{simulated:?}");
}

#[test]
fn overheads_are_counted() {
    let overheads = Overheads { dispatch: 1.0, step: 10.0, ..Overheads::default() };
    let machine = Machine::flat(1, overheads);
    assert_eq!(simulate(&independent(4), |_| alone(5.0), &machine, Policy::Priority).step, 34.0);
    let overheads = Overheads { steal: 3.0, wake: 100.0, patience: 50.0, ..Overheads::default() };
    // The second worker sleeps while the first task runs, and steals one of the two that this releases.
    let machine = Machine::flat(2, overheads);
    let simulated = simulate(&fan(2), |_| alone(60.0), &machine, Policy::Priority);
    assert!(simulated.step > 180.0 && simulated.stolen > 0.0, "{simulated:?}");
}
