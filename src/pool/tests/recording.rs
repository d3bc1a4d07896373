//! What a pool records of its workers, and that every policy runs every graph.

use super::*;

fn recorded_pool(threads: usize, events: usize) -> Pool {
    let options =
        PoolOptions { threads: Some(threads), pin: false, events: Some(events), ..PoolOptions::default() };
    Pool::new(options).unwrap()
}

#[test]
fn every_task_is_recorded_once_in_an_iteration() {
    const STEPS: usize = 20;
    let pool = recorded_pool(3, 10_000);
    let graph = fan(30);
    let mut executor = executor(&pool, graph, |_, _| std::hint::spin_loop());
    let info = |task: TaskId| {
        Some(TaskInfo { layer: "layer".into(), stage: ["a", "b"][task.index() % 2], bytes: 1 })
    };
    executor.describe_tasks(info);
    for _ in 0..STEPS {
        executor.step().unwrap();
    }
    let recording = pool.recording().unwrap();
    assert_eq!((recording.workers.len(), recording.steps.len(), recording.lost), (3, STEPS, 0));
    let mut counts = [0; 32];
    for (worker, events) in recording.workers.iter().enumerate() {
        for pair in events.windows(2) {
            assert!(pair[0].start <= pair[0].end && pair[0].end <= pair[1].start, "{pair:?}");
        }
        for event in events {
            if let Activity::Task { task, stolen_from, .. } = event.activity {
                counts[task.index()] += 1;
                assert!(stolen_from.is_none_or(|victim| victim < 3 && victim as usize != worker));
                let within = |step: &&Event| step.start <= event.start && event.end <= step.end;
                assert_eq!(recording.steps.iter().filter(within).count(), 1, "{event:?}");
            }
        }
    }
    assert_eq!(counts, [STEPS; 32]);
    let [graph] = &recording.graphs[..] else { panic!("one graph") };
    assert_eq!(graph.tasks[3].as_ref().unwrap().stage, "b");
    assert_eq!(graph.graph.successors(graph.graph.task_ids().next().unwrap()).count(), 30);
    assert!(self::pool(1).recording().is_none());
}

#[test]
fn idle_workers_are_seen_to_sleep() {
    let pool = recorded_pool(2, 1000);
    let mut executor = executor(&pool, independent(2), |_, _| {});
    let slept = |event: &Event| event.activity == Activity::Sleep;
    // Until it happens, however busy the machine is.
    while !pool.recording().unwrap().workers.concat().iter().any(slept) {
        executor.step().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn longest_paths() {
    let mut builder = GraphBuilder::new();
    let [a, b, c, d] = [0; 4].map(|_| builder.task(1, Class::Gated));
    builder.edge(a, b);
    builder.edge(a, c);
    builder.edge(b, d);
    builder.edge(c, d);
    let graph = builder.build().unwrap();
    let times = [1.0, 2.0, 5.0, 1.5];
    assert_eq!(graph.longest_path(|task| times[task.index()]), (7.5, vec![a, c, d]));
    assert_eq!(GraphBuilder::new().build().unwrap().longest_path(|_| 1.0), (0.0, vec![]));
}
