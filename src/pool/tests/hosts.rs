//! Several executors, pools and calling threads; idleness; growth.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;

/// A forward task and a slow deferred one: something is left running after each step.
fn lingering() -> Graph {
    let mut builder = GraphBuilder::new();
    let forward = builder.task(1, Class::Gated);
    let update = builder.task(1, Class::Deferred);
    builder.edge(forward, update);
    builder.carried(update, forward);
    builder.build().unwrap()
}

fn steps() -> usize {
    if cfg!(miri) { 5 } else { 200 }
}

#[test]
fn two_executors_of_one_pool_alternate() {
    let pool = pool(2);
    let (one, ones) = counter();
    let (two, twos) = counter();
    // Each checks that the other has nothing running.
    let running = Arc::new([const { std::sync::atomic::AtomicUsize::new(0) }; 2]);
    let make = |me: usize, count: Arc<std::sync::atomic::AtomicUsize>| {
        let running = Arc::clone(&running);
        executor(&pool, lingering(), move |_, _| {
            running[me].fetch_add(1, SeqCst);
            assert_eq!(running[1 - me].load(SeqCst), 0, "two graphs at a time");
            std::thread::yield_now();
            count.fetch_add(1, SeqCst);
            running[me].fetch_sub(1, SeqCst);
        })
    };
    let (mut a, mut b) = (make(0, one), make(1, two));
    for step in 0..steps() {
        a.step().unwrap();
        b.step().unwrap();
        assert_eq!(ones(), 2 * (step + 1), "the second waits for all of the first");
        if step % 3 == 0 {
            b.step().unwrap();
        }
        if step % 5 == 0 {
            a.finish().unwrap();
        }
    }
    let expected = steps() + steps().div_ceil(3);
    drop(a);
    b.finish().unwrap();
    assert_eq!(twos(), 2 * expected);
}

#[test]
fn executors_of_one_pool_in_several_host_threads() {
    let pool = pool(3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let (count, counted) = counter();
                    let work = move |_: TaskId, _: WorkerId| _ = count.fetch_add(1, SeqCst);
                    let mut executor = executor(&pool, fan(10), work);
                    for step in 1..=steps() / 4 {
                        executor.step().unwrap();
                        assert_eq!(counted(), 12 * step);
                    }
                }
            });
        }
    });
}

#[test]
fn one_executor_moves_between_host_threads() {
    let (count, counted) = counter();
    let mut executor = executor(&pool(2), lingering(), move |_, _| _ = count.fetch_add(1, SeqCst));
    for step in 1..=steps() / 10 {
        executor = std::thread::spawn(move || {
            executor.step().unwrap();
            executor
        })
        .join()
        .unwrap();
        if step % 4 == 0 {
            executor.finish().unwrap();
            assert_eq!(counted(), 2 * step);
        }
    }
}

#[test]
fn pools_are_independent_and_outlive_their_handle() {
    let (mut executors, counts): (Vec<_>, Vec<_>) = (1..4)
        .map(|threads| {
            let (count, counted) = counter();
            let pool = pool(threads);
            assert_eq!((pool.threads(), pool.cpus().len()), (threads, threads));
            // The handle of the pool goes here; the executor keeps the workers.
            let work = move |_: TaskId, worker: WorkerId| {
                assert!(worker.index() < threads);
                count.fetch_add(1, SeqCst);
            };
            (executor(&pool, fan(20), work), counted)
        })
        .unzip();
    for _ in 0..steps() {
        executors.iter_mut().for_each(|executor| executor.step().unwrap());
    }
    drop(executors);
    assert!(counts.iter().all(|counted| counted() == 22 * steps()));
}

/// All workers take part when there is enough to do: a barrier of all of them opens.
#[test]
fn every_worker_is_woken() {
    for threads in [2, 5] {
        let pool = pool(threads);
        let barrier = std::sync::Barrier::new(threads);
        let mut executor = executor(&pool, independent(threads), move |_, _| _ = barrier.wait());
        for _ in 0..20 {
            executor.step().unwrap();
            // Long enough for the workers to fall asleep now and then.
            std::thread::sleep(Duration::from_micros(if cfg!(miri) { 0 } else { 500 }));
        }
    }
}

/// Also by a task in the middle: one worker releases what keeps the others busy.
#[test]
fn workers_are_woken_by_tasks() {
    let threads = 4;
    let barrier = std::sync::Barrier::new(threads);
    let mut executor = executor(&pool(threads), fan(threads), move |task, _| match task.index() {
        0 => std::thread::sleep(Duration::from_millis(1)),
        1 => {}
        _ => _ = barrier.wait(),
    });
    for _ in 0..if cfg!(miri) { 3 } else { 50 } {
        executor.step().unwrap();
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn an_idle_pool_uses_no_processor_time() {
    /// User and system time of the threads of this process named as the workers of a pool are, in clock ticks, for
    /// threads that were there the first time.
    fn ticks(tids: &[String]) -> u64 {
        tids.iter()
            .filter_map(|tid| std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok())
            .map(|stat| {
                let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
                fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
            })
            .sum()
    }
    let tids = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let seen = Arc::clone(&tids);
    let barrier = std::sync::Barrier::new(3);
    let mut executor = executor(&pool(3), independent(3), move |_, _| {
        barrier.wait();
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        seen.lock().unwrap().insert(link.file_name().unwrap().to_string_lossy().into_owned());
    });
    executor.step().unwrap();
    let tids: Vec<String> = tids.lock().unwrap().iter().cloned().collect();
    assert_eq!(tids.len(), 3);
    std::thread::sleep(Duration::from_millis(50));
    let before = ticks(&tids);
    std::thread::sleep(Duration::from_millis(300));
    // Workers that spin would use most of 30 ticks on each core.
    assert!(ticks(&tids) < before + 5);
}
