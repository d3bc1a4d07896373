//! Models for `loom`: each runs the pool's own code through every interleaving of a few threads, up to a bound on
//! preemptions. How to run them is in `README.md`.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use loom::thread;

use super::buffers::{Accumulate, Buffers};
use super::graph::{Class, Graph, GraphBuilder, TaskId};
use super::latch::Latch;
use super::policy::Policy;
use super::pool::Shared;
use super::queue::RankQueue;
use super::recorder::{Activity, Event, Ring};
use super::run::{Hand, Run};
use super::sleep::Sleepers;
use super::sum::ConvergentSum;
use super::turn::Turn;
use super::worker::WorkerId;

/// Plain memory of the tasks: `loom` fails a model in which two accesses are not ordered.
struct Cells(Vec<UnsafeCell<usize>>);

// SAFETY: whether all accesses are ordered is what the models are about; `loom` checks each.
#[allow(unsafe_code)]
unsafe impl Sync for Cells {}
// SAFETY: plain numbers.
#[allow(unsafe_code)]
unsafe impl Send for Cells {}

#[allow(unsafe_code)]
impl Cells {
    fn new(len: usize) -> Arc<Self> {
        Arc::new(Self((0..len).map(|_| UnsafeCell::new(0)).collect()))
    }

    fn get(&self, i: usize) -> usize {
        // SAFETY: `loom` checks that no write overlaps.
        self.0[i].with(|cell| unsafe { *cell })
    }

    fn add(&self, i: usize, value: usize) {
        // SAFETY: `loom` checks that no access overlaps.
        self.0[i].with_mut(|cell| unsafe { *cell += value });
    }
}

fn pop_all(queue: &RankQueue, restored: &AtomicUsize) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop(200, || _ = restored.fetch_add(1, Relaxed))).collect()
}

/// Each task pushed is taken by exactly one of two thieves or is still found by the owner afterwards, with what its
/// pusher wrote.
#[test]
fn queue_loses_and_doubles_nothing() {
    loom::model(|| {
        let queue = Arc::new(RankQueue::new(200));
        let cells = Cells::new(2);
        let restored = Arc::new(AtomicUsize::new(0));
        queue.push(3);
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let (queue, cells, restored) =
                    (Arc::clone(&queue), Arc::clone(&cells), Arc::clone(&restored));
                thread::spawn(move || {
                    let taken = pop_all(&queue, &restored);
                    // Rank 5 hands cell 0 over, rank 70 cell 1.
                    taken.iter().for_each(|&rank| match rank {
                        5 => cells.add(0, 1),
                        70 => cells.add(1, 1),
                        _ => {}
                    });
                    taken
                })
            })
            .collect();
        cells.add(0, 1);
        queue.push(5);
        cells.add(1, 1);
        queue.push(70);
        let mut all: Vec<u32> = thieves.into_iter().flat_map(|thief| thief.join().unwrap()).collect();
        all.extend(pop_all(&queue, &restored));
        all.sort_unstable();
        assert_eq!(all, [3, 5, 70]);
    });
}

/// "The hidden word": whoever looks while a word is hidden is told afterwards that it was.
#[test]
fn a_hidden_word_is_announced() {
    loom::model(|| {
        let queue = Arc::new(RankQueue::new(64));
        // Leaves the mark of an empty word behind.
        queue.push(1);
        assert_eq!(queue.pop(64, || {}), Some(1));
        let announced = Arc::new(AtomicUsize::new(0));
        let thief = {
            let (queue, announced) = (Arc::clone(&queue), Arc::clone(&announced));
            thread::spawn(move || queue.pop(64, || _ = announced.fetch_add(1, Relaxed)))
        };
        queue.push(2);
        let seen = queue.first();
        let taken = thief.join().unwrap();
        // A push that has returned is seen, or was taken, or has been announced again.
        assert!(seen == Some(2) || taken == Some(2) || announced.load(Relaxed) > 0);
        assert_eq!(taken.or(queue.pop(64, || {})), Some(2));
    });
}

/// "The lost wake-up", and two wakers at one sleeper.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let sleepers = Arc::new(Sleepers::new(1));
        let queue = Arc::new(RankQueue::new(64));
        let worker = {
            let (sleepers, queue) = (Arc::clone(&sleepers), Arc::clone(&queue));
            thread::spawn(move || {
                sleepers.register(0);
                let mut taken = 0;
                while taken < 2 {
                    match queue.pop(64, || {}) {
                        Some(_) => taken += 1,
                        None => sleepers.sleep(0, || queue.first().is_some()),
                    }
                }
            })
        };
        let other = {
            let (sleepers, queue) = (Arc::clone(&sleepers), Arc::clone(&queue));
            thread::spawn(move || {
                queue.push(1);
                sleepers.wake(1, 0);
            })
        };
        queue.push(0);
        sleepers.wake(1, 0);
        other.join().unwrap();
        // A deadlock, which loom reports, if the worker sleeps beside a task.
        worker.join().unwrap();
    });
}

/// "The latch that opened early": two waits in a row, the second with arrivals that come before it.
#[test]
fn latch_opens_after_all_arrivals() {
    loom::model(|| {
        let latch = Arc::new(Latch::new());
        let cells = Cells::new(2);
        latch.expect(2);
        let threads: Vec<_> = (0..2)
            .map(|i| {
                let (latch, cells) = (Arc::clone(&latch), Arc::clone(&cells));
                thread::spawn(move || {
                    cells.add(i, 1);
                    latch.arrive();
                })
            })
            .collect();
        latch.wait();
        assert_eq!((cells.get(0), cells.get(1)), (1, 1));
        latch.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The turn excludes, and lets everyone in at last, by the fast path and by the queue.
#[test]
fn turns_exclude_each_other() {
    loom::model(|| {
        let turn = Arc::new(Turn::new());
        let cells = Cells::new(1);
        let visit = |turn: &Turn, cells: &Cells, id: usize| {
            turn.enter(id);
            cells.add(0, 1);
            turn.leave(id, id);
        };
        let other = {
            let (turn, cells) = (Arc::clone(&turn), Arc::clone(&cells));
            thread::spawn(move || visit(&turn, &cells, 2))
        };
        visit(&turn, &cells, 1);
        visit(&turn, &cells, 1);
        other.join().unwrap();
        assert!([1, 2].contains(&turn.enter(3)));
        assert_eq!(cells.get(0), 3);
    });
}

/// Runs `steps` iterations of a graph with `workers` threads on the pool's own counters, queues, latches and sleepers.
fn run_graph(graph: Graph, workers: usize, steps: usize, work: impl Fn(TaskId) + Send + Sync + 'static) {
    let sleepers = Arc::new(Sleepers::new(workers));
    let run = Arc::new(Run::new(graph, workers, Policy::Priority, 1, Box::new(move |task, _| work(task))));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..workers)
        .map(|index| {
            let (sleepers, run, stop) = (Arc::clone(&sleepers), Arc::clone(&run), Arc::clone(&stop));
            let victims: Vec<usize> = (0..workers).filter(|&other| other != index).collect();
            thread::spawn(move || {
                let worker = WorkerId::new(index);
                sleepers.register(index);
                let hand = Hand { worker, victims: &victims, sleepers: &sleepers, recorder: None };
                loop {
                    let mut next = run.find(&hand);
                    if next.is_none() {
                        if stop.load(Acquire) {
                            return;
                        }
                        sleepers.sleep(index, || stop.load(Relaxed) || run.has_ready(worker));
                    }
                    while let Some(found) = next {
                        next = run.execute(found, &hand);
                    }
                }
            })
        })
        .collect();
    for _ in 0..steps {
        run.begin(&sleepers);
        run.wait_gate();
    }
    run.wait_drain();
    drop(run.take_work());
    stop.store(true, Release);
    sleepers.wake(usize::MAX, 0);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// "The update registered late", the original's race: the forward task of a step must see the update of the step before,
/// and the update must have run before it, once.
#[test]
fn the_next_step_waits_for_the_update() {
    loom::model(|| {
        let mut builder = GraphBuilder::new();
        let forward = builder.task(1, Class::Gated);
        let update = builder.task(1, Class::Deferred);
        builder.edge(forward, update);
        builder.carried(update, forward);
        let cells = Cells::new(2);
        let seen = Arc::clone(&cells);
        run_graph(builder.build().unwrap(), 1, 2, move |task| {
            let (forwards, updates) = (seen.get(0), seen.get(1));
            if task == forward {
                assert_eq!(forwards, updates, "the weights are those of the step before");
                seen.add(0, 1);
            } else {
                assert_eq!(forwards, updates + 1, "the gradient is that of this step");
                seen.add(1, 1);
            }
        });
        assert_eq!((cells.get(0), cells.get(1)), (2, 2));
    });
}

/// Two workers, two tasks that converge on one, which hands over to a deferred one; the caller sees what all did.
///
/// The calling thread is one of the workers here: a third thread would make the model too large.
#[test]
fn a_task_waits_for_all_its_predecessors() {
    loom::model(|| {
        let mut builder = GraphBuilder::new();
        let parts = [builder.task(1, Class::Gated), builder.task(1, Class::Gated)];
        let whole = builder.task(1, Class::Gated);
        let update = builder.task(1, Class::Deferred);
        parts.iter().for_each(|&part| builder.edge(part, whole));
        builder.edge(whole, update);
        builder.carried(update, whole);
        let cells = Cells::new(4);
        let seen = Arc::clone(&cells);
        let work = move |task: TaskId, _| match task.index() {
            part @ (0 | 1) => seen.add(part, 1),
            2 => seen.add(2, seen.get(0) + seen.get(1)),
            _ => seen.add(3, seen.get(2)),
        };
        let run = Arc::new(Run::new(builder.build().unwrap(), 2, Policy::Priority, 1, Box::new(work)));
        let sleepers = Arc::new(Sleepers::new(2));
        let serve = |run: &Run, sleepers: &Sleepers, index: usize| {
            let worker = WorkerId::new(index);
            let hand = Hand { worker, victims: &[1 - index], sleepers, recorder: None };
            while let Some(found) = run.find(&hand) {
                let mut next = Some(found);
                while let Some(found) = next {
                    next = run.execute(found, &hand);
                }
            }
        };
        run.begin(&sleepers);
        let other = {
            let (run, sleepers) = (Arc::clone(&run), Arc::clone(&sleepers));
            thread::spawn(move || serve(&run, &sleepers, 1))
        };
        serve(&run, &sleepers, 0);
        run.wait_gate();
        assert_eq!(cells.get(2), 2);
        run.wait_drain();
        assert_eq!(cells.get(3), 2);
        other.join().unwrap();
    });
}

struct Number(usize);

impl Accumulate for Number {
    fn accumulate(&mut self, other: &Self) {
        self.0 += other.0;
    }
}

/// Exactly one of three contributions completes the sum, which contains all, in two rounds with the buffers that are said
/// to be enough.
#[test]
fn a_sum_is_complete_once() {
    loom::model(|| {
        const THREADS: usize = 3;
        let buffers = Buffers::new(ConvergentSum::<Number>::buffers_needed(THREADS, 1), || Number(0));
        let sum = Arc::new(ConvergentSum::new(THREADS, Arc::new(buffers)));
        let contribute = |sum: &ConvergentSum<Number>, value: usize| {
            let mut buffer = sum.buffers().take().expect("enough buffers");
            buffer.0 = value;
            sum.add(buffer).map(|total| total.0)
        };
        let threads: Vec<_> = (1..THREADS)
            .map(|i| {
                let sum = Arc::clone(&sum);
                thread::spawn(move || contribute(&sum, 10_usize.pow(i as u32)))
            })
            .collect();
        let mut totals = vec![contribute(&sum, 1)];
        totals.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        assert_eq!(totals.into_iter().flatten().collect::<Vec<_>>(), [111]);
        // The sum is ready for the next round.
        assert_eq!([2, 3, 4].map(|value| contribute(&sum, value)), [None, None, Some(9)]);
    });
}

/// The loop of a worker itself: it finds the first graph, falls asleep beside it or not, finds the next one, and ends.
/// Nothing of the first is run after the second has begun.
#[test]
fn a_worker_changes_graphs_and_ends() {
    loom::model(|| {
        let single = |cells: &Arc<Cells>, expected: usize| {
            let mut builder = GraphBuilder::new();
            builder.task(1, Class::Gated);
            let cells = Arc::clone(cells);
            let work = move |_: TaskId, _| {
                assert_eq!(cells.get(0), expected);
                cells.add(0, 1);
            };
            Arc::new(Run::new(builder.build().unwrap(), 1, Policy::Priority, 1, Box::new(work)))
        };
        let cells = Cells::new(1);
        let shared = Arc::new(Shared::new(vec![[].into()].into(), Policy::Priority, None));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || super::worker::main(&shared, WorkerId::new(0)))
        };
        for step in 0..2 {
            let run = single(&cells, step);
            shared.set_current(Some(Arc::clone(&run)));
            run.begin(&shared.sleepers);
            run.wait_gate();
            assert_eq!(cells.get(0), step + 1);
            run.wait_drain();
            drop(run.take_work());
        }
        shared.stop.store(true, Release);
        shared.sleepers.wake(usize::MAX, 0);
        worker.join().unwrap();
    });
}

/// A worker that only one queue concerns is woken for it, and by name.
#[test]
fn no_wake_up_by_name_is_lost() {
    loom::model(|| {
        let sleepers = Arc::new(Sleepers::new(2));
        let queue = Arc::new(RankQueue::new(64));
        let worker = {
            let (sleepers, queue) = (Arc::clone(&sleepers), Arc::clone(&queue));
            thread::spawn(move || {
                sleepers.register(1);
                while queue.pop(64, || {}).is_none() {
                    sleepers.sleep(1, || queue.first().is_some());
                }
            })
        };
        queue.push(7);
        sleepers.wake_worker(1);
        worker.join().unwrap();
    });
}

/// Whoever reads a ring beside its writer gets whole events, the newest that were complete when it began, in order.
#[test]
fn recorded_events_are_whole() {
    loom::model(|| {
        let ring = Arc::new(Ring::new(2));
        let event = |n: u64| Event { start: n, end: 10 * n, activity: Activity::Sleep };
        ring.push(&event(1));
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (2..4).for_each(|n| ring.push(&event(n))))
        };
        let (events, lost) = ring.events();
        for (seen, n) in events.iter().zip(lost + 1..) {
            assert_eq!(*seen, event(n));
        }
        writer.join().unwrap();
        assert_eq!(ring.events(), (vec![event(2), event(3)], 1));
    });
}

/// A panic is the outcome of its step; the counters are right for the next one.
#[test]
fn a_panic_is_counted_and_reported() {
    loom::model(|| {
        let mut builder = GraphBuilder::new();
        let tasks = [0; 2].map(|_| builder.task(1, Class::Gated));
        builder.edge(tasks[0], tasks[1]);
        let cells = Cells::new(2);
        let seen = Arc::clone(&cells);
        let work = move |task: TaskId, _| {
            seen.add(task.index(), 1);
            // Without the message of a panic, which the hook would print for each interleaving.
            if task == tasks[0] && seen.get(0) == 1 {
                std::panic::resume_unwind(Box::new("first"));
            }
        };
        let run = Arc::new(Run::new(builder.build().unwrap(), 1, Policy::Priority, 1, Box::new(work)));
        let sleepers = Arc::new(Sleepers::new(1));
        let worker = {
            let (run, sleepers) = (Arc::clone(&run), Arc::clone(&sleepers));
            thread::spawn(move || {
                sleepers.register(0);
                let worker = WorkerId::new(0);
                let hand = Hand { worker, victims: &[], sleepers: &sleepers, recorder: None };
                let mut done = 0;
                while done < 4 {
                    match run.find(&hand) {
                        None => sleepers.sleep(0, || run.has_ready(worker)),
                        Some(found) => {
                            let mut next = Some(found);
                            while let Some(found) = next {
                                next = run.execute(found, &hand);
                                done += 1;
                            }
                        }
                    }
                }
            })
        };
        for failing in [true, false] {
            run.begin(&sleepers);
            run.wait_gate();
            assert_eq!(run.is_skipping(), failing);
            run.wait_drain();
            assert_eq!(run.take_panic().map(|panic| panic.message), failing.then(|| "first".to_owned()));
        }
        worker.join().unwrap();
        assert_eq!((cells.get(0), cells.get(1)), (2, 1));
    });
}
