//! What is to be run when: the counters of a graph and its ready tasks. The workers go through it, and so does the
//! simulation ([`simulate`](super::simulate)), which therefore follows the same policy by the same code.

use super::graph::Graph;
use super::policy::Policy;
use super::ready::{Found, Ready};
use super::sync::atomic::{AtomicU32, Ordering::*};

pub(super) struct Schedule {
    graph: Graph,
    /// By rank: how many predecessors of the task's next run have not finished.
    missing: Box<[AtomicU32]>,
    ready: Ready,
    workers: usize,
}

impl Schedule {
    pub(super) fn new(graph: Graph, workers: usize, policy: Policy) -> Self {
        Self {
            missing: graph.first_waits.iter().map(|&waits| AtomicU32::new(waits)).collect(),
            ready: Ready::new(policy, workers, graph.len()),
            workers,
            graph,
        }
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether a task waits for one worker, so that no other needs to be woken for it.
    pub(super) fn is_static(&self) -> bool {
        self.ready.is_static()
    }

    /// Begins an iteration: the step counts as one predecessor of every source. From the thread that has the turn,
    /// after the gate of the iteration before.
    pub(super) fn begin(&self) {
        let mut to = 0;
        for &source in &self.graph.sources {
            // AcqRel: see `complete`. What the caller wrote before the step is released to the sources.
            if self.missing[source as usize].fetch_sub(1, AcqRel) == 1 {
                // In turn, so that all workers begin with the most urgent tasks.
                self.ready.push(source, to);
                to = (to + 1) % self.workers;
            }
        }
    }

    /// Takes the task that `worker` should run next; see [`Ready::find`].
    #[inline]
    pub(super) fn find(&self, worker: usize, victims: &[usize], more: impl Fn()) -> Option<Found> {
        self.ready.find(&self.graph, worker, victims, more)
    }

    /// Whether there seems to be a task that `worker` may take.
    pub(super) fn has_some_for(&self, worker: usize) -> bool {
        self.ready.has_some_for(worker)
    }

    /// A task that was taken begins.
    #[inline]
    pub(super) fn start(&self, rank: u32) {
        let slot = rank as usize;
        // Relaxed, and no addition: no predecessor of the next run can have finished before this run has (the graph was
        // checked for it), and those that do are ordered after this by the counters on the way.
        self.missing[slot].store(self.graph.waits[slot], Relaxed);
    }

    /// A task that `worker` has run releases what waited for it. Calls `pushed` with the owner of each queue that gets a
    /// task; returns the task that the worker should run next if one that was released is better than all in its queue.
    #[inline]
    pub(super) fn complete(&self, rank: u32, worker: usize, mut pushed: impl FnMut(usize)) -> Option<u32> {
        let mut push = |rank: u32| pushed(self.ready.push(rank, worker));
        let keeps = self.ready.keeps_the_best();
        let mut next: Option<u32> = None;
        for &successor in self.graph.successors_of(rank) {
            // Release: what this task wrote goes to whoever decrements to 0, which acquires it from all predecessors
            // (they form one release sequence), and from there to the successor, in this thread or by the queue.
            if self.missing[successor as usize].fetch_sub(1, AcqRel) != 1 {
                continue;
            }
            // A deferred task is not kept: a gated one may wait in another queue.
            let (kept, other) = match next {
                _ if !keeps || successor >= self.graph.n_gated => (next, successor),
                None => {
                    next = Some(successor);
                    continue;
                }
                Some(best) => (Some(best.min(successor)), best.max(successor)),
            };
            next = kept;
            push(other);
        }
        if let (Some(kept), Some(first)) = (next, self.ready.first_of(worker))
            && first < kept
        {
            next = None;
            push(kept);
        }
        next
    }
}
