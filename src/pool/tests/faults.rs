//! Panics in tasks, and executors that go away early.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::*;

#[test]
fn a_panic_is_the_error_of_the_step_and_no_more() {
    for threads in [1, 3] {
        let pool = pool(threads);
        let (graph, tasks) = chain(5);
        let bad = Arc::new(AtomicBool::new(true));
        let (count, counted) = counter();
        let (is_bad, middle) = (Arc::clone(&bad), tasks[2]);
        let mut executor = executor(&pool, graph, move |task, _| {
            assert!(task != middle || !is_bad.load(SeqCst), "number {}", 7);
            count.fetch_add(1, SeqCst);
        });
        for _ in 0..3 {
            bad.store(true, SeqCst);
            let before = counted();
            let error = executor.step().unwrap_err();
            assert_eq!(error, TaskPanic { task: middle, message: "number 7".into() });
            assert_eq!(error.to_string(), "task 2 panicked: number 7");
            assert_eq!(counted() - before, 2, "the tasks after it are skipped");
            bad.store(false, SeqCst);
            executor.step().unwrap();
            executor.step().unwrap();
            executor.finish().unwrap();
            assert_eq!(counted() - before, 12);
        }
    }
}

#[test]
fn a_panic_of_a_deferred_task_is_the_error_of_a_later_call() {
    let mut builder = GraphBuilder::new();
    let forward = builder.task(1, Class::Gated);
    let update = builder.task(1, Class::Deferred);
    builder.edge(forward, update);
    builder.carried(update, forward);
    let (count, counted) = counter();
    let mut executor = executor(&pool(2), builder.build().unwrap(), move |task, _| {
        if task == update {
            std::thread::sleep(Duration::from_millis(5));
            std::panic::panic_any(3.5);
        }
        count.fetch_add(1, SeqCst);
    });
    executor.step().unwrap();
    let error = executor.step().unwrap_err();
    assert_eq!(error.task, update);
    assert_eq!(counted(), 1, "the step that waits for the update does not run");
    executor.step().unwrap();
    assert_eq!(executor.finish().unwrap_err().task, update);
    executor.finish().unwrap();
    assert_eq!(counted(), 2);
}

/// Its work, and what that owns, is gone when the drop returns, and the pool goes on.
#[test]
fn dropped_while_deferred_tasks_run() {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let pool = pool(3);
    let (drops, dropped) = counter();
    for round in 1..=10 {
        let mut builder = GraphBuilder::new();
        let first = builder.task(1, Class::Gated);
        let updates: Vec<_> = (0..4).map(|_| builder.task(1, Class::Deferred)).collect();
        for &update in &updates {
            builder.edge(first, update);
            builder.carried(update, first);
        }
        let guard = Guard(Arc::clone(&drops));
        let (count, counted) = counter();
        let mut executor = executor(&pool, builder.build().unwrap(), move |task, _| {
            let _owned = &guard;
            if task != first {
                std::thread::sleep(Duration::from_millis(1));
            }
            count.fetch_add(1, SeqCst);
        });
        executor.step().unwrap();
        drop(executor);
        assert_eq!((dropped(), counted()), (round, 5));
    }
}

#[test]
fn dropped_after_a_panic_or_unused() {
    let pool = pool(2);
    let (graph, tasks) = chain(3);
    let mut failing = executor(&pool, graph.clone(), move |task, _| assert!(task != tasks[0], "no"));
    assert_eq!(failing.step().unwrap_err().message, "no");
    drop(failing);
    drop(executor(&pool, graph.clone(), |_, _| {}));
    let (count, counted) = counter();
    executor(&pool, graph, move |_, _| _ = count.fetch_add(1, SeqCst)).step().unwrap();
    assert_eq!(counted(), 3);
}

#[test]
fn a_task_must_not_use_an_executor_of_its_own_pool() {
    let pool = pool(2);
    let (graph, _) = chain(1);
    let inner = std::sync::Mutex::new(executor(&pool, graph.clone(), |_, _| {}));
    let inner = Arc::new(inner);
    let used = Arc::clone(&inner);
    let mut outer = executor(&pool, graph.clone(), move |_, _| {
        let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| used.lock().unwrap().step()));
        std::panic::resume_unwind(step.unwrap_err());
    });
    assert!(outer.step().unwrap_err().message.contains("must not use an executor of the pool"));
    drop(outer);
    // Of another pool, it may.
    let mut other = executor(&self::pool(1), graph, move |_, _| {
        inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner).step().unwrap();
    });
    other.step().unwrap();
}
