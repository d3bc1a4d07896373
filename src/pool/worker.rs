//! The loop of a worker.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::pool::Shared;
use super::recorder::{Activity, Event, Recorder};
use super::run::{Hand, Run, WAKE_FANOUT};
use super::sync::atomic::Ordering::*;
use super::sync::{SPINS, YIELDS, spin_loop, thread};

/// A worker of a pool, from 0 below [`Pool::threads`](super::Pool::threads): the index of what a task keeps per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u32);

impl WorkerId {
    pub(super) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// The number.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

thread_local! {
    /// The pool to which this thread belongs as a worker, as a number.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Whether the calling thread is a worker of the pool.
pub(super) fn is_worker_of(shared: &Shared) -> bool {
    POOL.get() == identity(shared)
}

fn identity(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}

/// Runs tasks until the pool stops. States: *working*, *searching* (spinning, then yielding), *sleeping*.
pub(super) fn main(shared: &Shared, worker: WorkerId) {
    POOL.set(identity(shared));
    shared.sleepers.register(worker.index());
    let sleepers = &shared.sleepers;
    let victims = &shared.steal_order[worker.index()][..];
    let hand = Hand { worker, victims, sleepers, recorder: shared.recorder.as_ref() };
    let mut idle = Idle { recorder: hand.recorder, worker, since: None };
    let mut epoch = 0;
    let mut current: Option<Arc<Run>> = None;
    let mut searches = 0;
    loop {
        if let Some(run) = &current {
            while let Some(found) = run.find(&hand) {
                searches = 0;
                idle.end(Activity::Search);
                let mut next = Some(found);
                while let Some(found) = next {
                    next = run.execute(found, &hand);
                }
            }
        }
        // Acquire: with the Release of the change. The graph before it had drained: no task of it is left behind.
        if shared.epoch.load(Acquire) != epoch {
            (epoch, current) = shared.current_run();
            continue;
        }
        // Acquire: with the Release in the drop of the pool. No executor is left then.
        if shared.stop.load(Acquire) {
            return;
        }
        idle.begin();
        searches += 1;
        if searches <= SPINS {
            // Longer from search to search, so as not to disturb the queues of those who work.
            (0..searches).for_each(|_| spin_loop());
        } else if searches <= SPINS + YIELDS {
            thread::yield_now();
        } else {
            idle.end(Activity::Search);
            idle.begin();
            sleepers.sleep(worker.index(), || {
                // Relaxed: the fence between the announcement and these loads orders them.
                shared.stop.load(Relaxed)
                    || shared.epoch.load(Relaxed) != epoch
                    || current.as_ref().is_some_and(|run| run.has_ready(worker))
            });
            idle.end(Activity::Sleep);
            searches = 0;
            // The waker wakes a few and leaves it to them to wake the rest.
            if shared.epoch.load(Acquire) != epoch {
                (epoch, current) = shared.current_run();
            }
            if current.as_ref().is_some_and(|run| run.has_ready(worker)) {
                sleepers.wake(WAKE_FANOUT, worker.index());
            }
        }
    }
}

/// The times in which a worker has no task, where they are recorded.
struct Idle<'a> {
    recorder: Option<&'a Recorder>,
    worker: WorkerId,
    since: Option<u64>,
}

impl Idle<'_> {
    #[inline]
    fn begin(&mut self) {
        if let (None, Some(recorder)) = (self.since, self.recorder) {
            self.since = Some(recorder.now());
        }
    }

    #[inline]
    fn end(&mut self, activity: Activity) {
        if let (Some(start), Some(recorder)) = (self.since.take(), self.recorder) {
            recorder.record(self.worker.index(), Event { start, end: recorder.now(), activity });
        }
    }
}
