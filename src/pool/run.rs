//! A graph in execution: counters, queues, latches. What the workers of a pool share about it.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::executor::TaskPanic;
use super::graph::{Exit, Graph, TaskId};
use super::latch::Latch;
use super::queue::RankQueue;
use super::sleep::Sleepers;
use super::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use super::sync::{CachePadded, Mutex, UnsafeCell, lock};
use super::worker::WorkerId;

/// What a task does. Called by any worker, of several tasks at once.
pub(super) type Work = Box<dyn Fn(TaskId, WorkerId) + Send + Sync>;

/// A pusher wakes at most so many sleepers; each of them, once it runs and still sees work, wakes as many again. So
/// waking many workers takes a logarithmic number of wake-up times and no thread is busy with it for long.
pub(super) const WAKE_FANOUT: usize = 2;

pub(super) struct Run {
    graph: Graph,
    /// By rank: how many predecessors of the task's next run have not finished.
    missing: Box<[AtomicU32]>,
    /// By worker.
    queues: Box<[CachePadded<RankQueue>]>,
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
    pub(super) fn new(graph: Graph, workers: usize, work: Work) -> Self {
        Self {
            missing: graph.first_waits.iter().map(|&waits| AtomicU32::new(waits)).collect(),
            queues: (0..workers).map(|_| CachePadded(RankQueue::new(graph.len()))).collect(),
            gate: CachePadded(Latch::new()),
            drain: CachePadded(Latch::new()),
            gate_exits: graph.exit_count(Exit::Gate),
            drain_exits: graph.exit_count(Exit::Drain),
            skipping: AtomicBool::new(false),
            panic: Mutex::new(None),
            work: UnsafeCell::new(Some(work)),
            graph,
        }
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Begins an iteration: the step counts as one predecessor of every source. From the thread that has the turn,
    /// after the gate of the iteration before.
    pub(super) fn begin(&self, sleepers: &Sleepers) {
        self.gate.expect(self.gate_exits);
        self.drain.expect(self.drain_exits);
        let mut to = 0;
        for &source in &self.graph.sources {
            // AcqRel: see `execute`. What the caller wrote before the step is released to the sources.
            if self.missing[source as usize].fetch_sub(1, AcqRel) == 1 {
                // In turn, so that all workers begin with the most urgent tasks.
                self.queues[to].push(source);
                to = (to + 1) % self.queues.len();
            }
        }
        sleepers.wake(WAKE_FANOUT, 0);
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

    /// Whether a task seems to be ready in any queue.
    pub(super) fn has_ready(&self) -> bool {
        self.queues.iter().any(|queue| queue.first().is_some())
    }

    /// The best ready task: a gated one of the own queue, or else of the nearest other queue that has one; or else a
    /// deferred one likewise.
    #[inline]
    pub(super) fn find(&self, worker: WorkerId, victims: &[usize], sleepers: &Sleepers) -> Option<u32> {
        let (gated, all) = (self.graph.n_gated, self.graph.len() as u32);
        let found = self.find_below(gated, worker, victims, sleepers);
        if found.is_some() || gated == all { found } else { self.find_below(all, worker, victims, sleepers) }
    }

    #[inline]
    fn find_below(
        &self,
        limit: u32,
        worker: WorkerId,
        victims: &[usize],
        sleepers: &Sleepers,
    ) -> Option<u32> {
        let wake = || sleepers.wake(WAKE_FANOUT, worker.index());
        if let Some(rank) = self.queues[worker.index()].pop(limit, wake) {
            return Some(rank);
        }
        victims.iter().map(|&victim| &self.queues[victim]).find_map(|queue| {
            let stolen = queue.pop(limit, wake)?;
            // The victim has more than it can do at once: others may help as well.
            if queue.first().is_some() {
                wake();
            }
            Some(stolen)
        })
    }

    /// Runs a task that this worker has taken, and releases what waited for it. Returns the task to run next if one
    /// that was released is better than all in the own queue.
    #[inline]
    pub(super) fn execute(&self, rank: u32, worker: WorkerId, sleepers: &Sleepers) -> Option<u32> {
        let slot = rank as usize;
        // Relaxed, and no addition: no predecessor of the next run can have finished before this run has (the graph was
        // checked for it), and those that do are ordered after this by the counters on the way.
        self.missing[slot].store(self.graph.waits[slot], Relaxed);
        self.call(rank, worker);

        let queue = &self.queues[worker.index()];
        let mut next: Option<u32> = None;
        let mut pushed = 0;
        for &successor in self.graph.successors_of(rank) {
            // Release: what this task wrote goes to whoever decrements to 0, which acquires it from all predecessors
            // (they form one release sequence), and from there to the successor, in this thread or by the queue.
            if self.missing[successor as usize].fetch_sub(1, AcqRel) != 1 {
                continue;
            }
            // A deferred task is not kept: a gated one may wait in another queue.
            let (kept, other) = match next {
                _ if successor >= self.graph.n_gated => (next, successor),
                None => {
                    next = Some(successor);
                    continue;
                }
                Some(best) => (Some(best.min(successor)), best.max(successor)),
            };
            next = kept;
            queue.push(other);
            pushed += 1;
        }
        if let (Some(kept), Some(first)) = (next, queue.first())
            && first < kept
        {
            next = None;
            queue.push(kept);
            pushed += 1;
        }
        if pushed > 0 {
            sleepers.wake(pushed.min(WAKE_FANOUT), worker.index());
        }
        match self.graph.exits[slot] {
            Exit::None => {}
            Exit::Gate => self.gate.arrive(),
            Exit::Drain => self.drain.arrive(),
        }
        next
    }

    /// Calls the work of a task. A trace records its begin and end here: the one place where tasks run.
    #[inline]
    fn call(&self, rank: u32, worker: WorkerId) {
        // Relaxed: skipping early or late by a task makes no difference.
        if self.skipping.load(Relaxed) {
            return;
        }
        let task = self.graph.task_at(rank);
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
