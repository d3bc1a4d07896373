//! A graph in execution: counters, queues, latches. What the workers of a pool share about it.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::executor::TaskPanic;
use super::graph::{Exit, Graph, TaskId};
use super::latch::Latch;
use super::policy::Policy;
use super::ready::Found;
use super::recorder::{Activity, Event, Recorder};
use super::schedule::Schedule;
use super::sleep::Sleepers;
use super::sync::atomic::{AtomicBool, Ordering::*};
use super::sync::{CachePadded, Mutex, UnsafeCell, lock};
use super::worker::WorkerId;

/// What a task does. Called by any worker, of several tasks at once.
pub(super) type Work = Box<dyn Fn(TaskId, WorkerId) + Send + Sync>;

/// A pusher wakes at most so many sleepers; each of them, once it runs and still sees work, wakes as many again. So
/// waking many workers takes a logarithmic number of wake-up times and no thread is busy with it for long.
pub(super) const WAKE_FANOUT: usize = 2;

/// What a worker has at hand while it serves a run.
#[derive(Clone, Copy)]
pub(super) struct Hand<'a> {
    pub(super) worker: WorkerId,
    /// The other workers, nearest first.
    pub(super) victims: &'a [usize],
    pub(super) sleepers: &'a Sleepers,
    pub(super) recorder: Option<&'a Recorder>,
}

pub(super) struct Run {
    schedule: Schedule,
    /// The number of the executor.
    executor: usize,
    /// All gated tasks of the iteration are done.
    gate: CachePadded<Latch>,
    /// All deferred tasks of all iterations begun are done.
    drain: CachePadded<Latch>,
    gate_exits: usize,
    drain_exits: usize,
    /// A task has panicked: the others are counted but not run, until the caller has been told.
    skipping: AtomicBool,
    panic: Mutex<Option<TaskPanic>>,
    work: UnsafeCell<Option<Work>>,
}

// SAFETY: `work` is the only field that is not `Sync`. Workers only read it, and only between the release of a task and
// its arrival (or its successors') at a latch; `take_work` is called after both latches have opened with no iteration
// begun since, hence after all such reads. The closure itself is `Send + Sync`.
unsafe impl Sync for Run {}

impl Run {
    pub(super) fn new(graph: Graph, workers: usize, policy: Policy, executor: usize, work: Work) -> Self {
        Self {
            executor,
            gate: CachePadded(Latch::new()),
            drain: CachePadded(Latch::new()),
            gate_exits: graph.exit_count(Exit::Gate),
            drain_exits: graph.exit_count(Exit::Drain),
            skipping: AtomicBool::new(false),
            panic: Mutex::new(None),
            work: UnsafeCell::new(Some(work)),
            schedule: Schedule::new(graph, workers, policy),
        }
    }

    pub(super) fn graph(&self) -> &Graph {
        self.schedule.graph()
    }

    /// Begins an iteration. From the thread that has the turn, after the gate of the iteration before.
    pub(super) fn begin(&self, sleepers: &Sleepers) {
        self.gate.expect(self.gate_exits);
        self.drain.expect(self.drain_exits);
        self.schedule.begin();
        sleepers.wake(if self.schedule.is_static() { usize::MAX } else { WAKE_FANOUT }, 0);
    }

    /// Waits for the gated tasks of the iteration. From the thread that began it.
    pub(super) fn wait_gate(&self) {
        self.gate.wait();
    }

    /// Waits for the deferred tasks. From the thread that has the turn, after the gate.
    pub(super) fn wait_drain(&self) {
        self.drain.wait();
    }

    /// Whether a task has panicked since [`Run::take_panic`].
    pub(super) fn is_skipping(&self) -> bool {
        // Relaxed: the caller asks after the gate, which makes visible what the tasks before it have seen.
        self.skipping.load(Relaxed)
    }

    /// The first panic, if there was one, and tasks run again. After [`Run::wait_drain`].
    pub(super) fn take_panic(&self) -> Option<TaskPanic> {
        // Relaxed: released to the workers with the next iteration.
        self.skipping.store(false, Relaxed);
        lock(&self.panic).take()
    }

    /// The work, to be dropped by the caller. Nothing may run or be begun any more: both latches have opened.
    pub(super) fn take_work(&self) -> Option<Work> {
        // SAFETY: see the `Sync` above; the caller has waited for both latches and begins no iteration.
        self.work.with_mut(|work| unsafe { (*work).take() })
    }

    /// Whether there seems to be a task that `worker` may take.
    pub(super) fn has_ready(&self, worker: WorkerId) -> bool {
        self.schedule.has_some_for(worker.index())
    }

    /// Takes the task that the worker should run next.
    #[inline]
    pub(super) fn find(&self, hand: &Hand<'_>) -> Option<Found> {
        let worker = hand.worker.index();
        self.schedule.find(worker, hand.victims, || hand.sleepers.wake(WAKE_FANOUT, worker))
    }

    /// Runs a task that the worker has taken, and releases what waited for it. Returns the task to run next if one that
    /// was released is better than all in the own queue.
    #[inline]
    pub(super) fn execute(&self, found: Found, hand: &Hand<'_>) -> Option<Found> {
        let Found { rank, .. } = found;
        self.schedule.start(rank);
        match hand.recorder {
            None => self.call(rank, hand.worker),
            Some(recorder) => self.call_recorded(found, hand.worker, recorder),
        }
        let worker = hand.worker.index();
        let mut pushed = 0;
        let next = self.schedule.complete(rank, worker, |owner| {
            pushed += 1;
            if self.schedule.is_static() {
                hand.sleepers.wake_worker(owner);
            }
        });
        if pushed > 0 && !self.schedule.is_static() {
            hand.sleepers.wake(pushed.min(WAKE_FANOUT), worker);
        }
        match self.graph().exits[rank as usize] {
            Exit::None => {}
            Exit::Gate => self.gate.arrive(),
            Exit::Drain => self.drain.arrive(),
        }
        next.map(Found::own)
    }

    #[inline(never)]
    fn call_recorded(&self, found: Found, worker: WorkerId, recorder: &Recorder) {
        let start = recorder.now();
        self.call(found.rank, worker);
        let task = self.graph().task_at(found.rank);
        let executor = self.executor as u32;
        let activity = Activity::Task { executor, task, stolen_from: found.stolen_from };
        recorder.record(worker.index(), Event { start, end: recorder.now(), activity });
    }

    /// Calls the work of a task: the one place where tasks run.
    #[inline]
    fn call(&self, rank: u32, worker: WorkerId) {
        // Relaxed: skipping early or late by a task makes no difference.
        if self.skipping.load(Relaxed) {
            return;
        }
        let task = self.graph().task_at(rank);
        let result = self.work.with(|work| {
            // SAFETY: this task has been released and has not arrived, so `take_work` has not been called.
            let work = unsafe { &*work }.as_ref();
            catch_unwind(AssertUnwindSafe(|| {
                if let Some(work) = work {
                    work(task, worker);
                }
            }))
        });
        if let Err(payload) = result {
            self.record_panic(task, payload);
        }
    }

    #[cold]
    fn record_panic(&self, task: TaskId, payload: Box<dyn Any + Send>) {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic whose payload is not text".to_owned(),
        };
        // A payload may panic when it is dropped; that must not take the worker down.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        lock(&self.panic).get_or_insert(TaskPanic { task, message });
        // Relaxed: the caller sees it after the latch at which this task or one behind it arrives.
        self.skipping.store(true, Relaxed);
    }
}
