//! The ready tasks of a graph, kept as the policy says.

use std::collections::VecDeque;

use super::graph::Graph;
use super::policy::Policy;
use super::queue::RankQueue;
use super::sync::atomic::{AtomicU32, Ordering::*};
use super::sync::{CachePadded, Mutex, lock};

/// A ready task that a worker has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rank: u32,
    /// The worker whose queue it was in, if that was not the own one.
    pub(super) stolen_from: Option<u32>,
}

impl Found {
    pub(super) fn own(rank: u32) -> Self {
        Self { rank, stolen_from: None }
    }
}

/// The queues of the workers. Room for all tasks is made at once.
pub(super) enum Ready {
    /// By worker.
    Priority(Box<[CachePadded<RankQueue>]>),
    /// By worker; a rank is in the queue of worker `rank % workers`.
    Static(Box<[CachePadded<RankQueue>]>),
    Shared {
        tasks: Mutex<VecDeque<u32>>,
        newest_first: bool,
    },
    /// By worker.
    Random(Box<[CachePadded<Stack>]>),
}

/// A worker's own stack, of which others take the other end. The policies to compare with need order, not speed: a lock.
pub(super) struct Stack {
    tasks: Mutex<VecDeque<u32>>,
    /// The state of the owner's random numbers; nobody else uses it.
    seed: AtomicU32,
}

impl Ready {
    pub(super) fn new(policy: Policy, workers: usize, len: usize) -> Self {
        let ranked = || (0..workers).map(|_| CachePadded(RankQueue::new(len))).collect();
        let room = || Mutex::new(VecDeque::with_capacity(len));
        match policy {
            Policy::Priority => Self::Priority(ranked()),
            Policy::Static => Self::Static(ranked()),
            Policy::Fifo => Self::Shared { tasks: room(), newest_first: false },
            Policy::Lifo => Self::Shared { tasks: room(), newest_first: true },
            Policy::RandomStealing => {
                let stack = |index| Stack { tasks: room(), seed: AtomicU32::new(index as u32 + 1) };
                Self::Random((0..workers).map(|index| CachePadded(stack(index))).collect())
            }
        }
    }

    /// Adds a task that `worker` has released. Returns the worker in whose queue it is.
    #[inline]
    pub(super) fn push(&self, rank: u32, worker: usize) -> usize {
        match self {
            Self::Priority(queues) => {
                queues[worker].push(rank);
                worker
            }
            Self::Static(queues) => {
                let owner = rank as usize % queues.len();
                queues[owner].push(rank);
                owner
            }
            Self::Shared { tasks, .. } => {
                lock(tasks).push_back(rank);
                worker
            }
            Self::Random(stacks) => {
                lock(&stacks[worker].tasks).push_back(rank);
                worker
            }
        }
    }

    /// Whether a released task may be run at once by the worker that released it, where it is the best that this one
    /// has.
    pub(super) fn keeps_the_best(&self) -> bool {
        matches!(self, Self::Priority(_))
    }

    /// Whether a task waits for one worker, so that no other needs to be woken for it.
    pub(super) fn is_static(&self) -> bool {
        matches!(self, Self::Static(_))
    }

    /// The best rank in the queue of `worker`. Only for [`Ready::keeps_the_best`].
    #[inline]
    pub(super) fn first_of(&self, worker: usize) -> Option<u32> {
        match self {
            Self::Priority(queues) => queues[worker].first(),
            _ => None,
        }
    }

    /// Takes the task that `worker` should run next; `victims` are the others, nearest first. Calls `more` where sleepers
    /// should be woken although nothing was pushed: see [`RankQueue::pop`]; and for a victim that has more than one task.
    #[inline]
    pub(super) fn find(
        &self,
        graph: &Graph,
        worker: usize,
        victims: &[usize],
        more: impl Fn(),
    ) -> Option<Found> {
        match self {
            Self::Priority(queues) => {
                let (gated, all) = (graph.n_gated, graph.len() as u32);
                let found = find_below(queues, gated, worker, victims, &more);
                if found.is_some() || gated == all {
                    found
                } else {
                    find_below(queues, all, worker, victims, &more)
                }
            }
            Self::Static(queues) => queues[worker].pop(graph.len() as u32, || {}).map(Found::own),
            Self::Shared { tasks, newest_first: true } => lock(tasks).pop_back().map(Found::own),
            Self::Shared { tasks, newest_first: false } => lock(tasks).pop_front().map(Found::own),
            Self::Random(stacks) => {
                let own = lock(&stacks[worker].tasks).pop_back();
                own.map(Found::own).or_else(|| steal_at_random(stacks, worker))
            }
        }
    }

    /// Whether there seems to be a task that `worker` may take.
    pub(super) fn has_some_for(&self, worker: usize) -> bool {
        match self {
            Self::Priority(queues) => queues.iter().any(|queue| queue.first().is_some()),
            Self::Static(queues) => queues[worker].first().is_some(),
            Self::Shared { tasks, .. } => !lock(tasks).is_empty(),
            Self::Random(stacks) => stacks.iter().any(|stack| !lock(&stack.tasks).is_empty()),
        }
    }
}

#[inline]
fn find_below(
    queues: &[CachePadded<RankQueue>],
    limit: u32,
    worker: usize,
    victims: &[usize],
    more: &impl Fn(),
) -> Option<Found> {
    if let Some(rank) = queues[worker].pop(limit, more) {
        return Some(Found::own(rank));
    }
    victims.iter().find_map(|&victim| {
        let rank = queues[victim].pop(limit, more)?;
        // The victim has more than it can do at once: others may help as well.
        if queues[victim].first().is_some() {
            more();
        }
        Some(Found { rank, stolen_from: Some(victim as u32) })
    })
}

/// The oldest task of the first worker that has one, from one drawn at random on.
fn steal_at_random(stacks: &[CachePadded<Stack>], worker: usize) -> Option<Found> {
    // Relaxed: only the owner uses it. Marsaglia's xorshift with shifts 13, 17, 5.
    let mut seed = stacks[worker].seed.load(Relaxed);
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    stacks[worker].seed.store(seed, Relaxed);
    let n = stacks.len();
    (0..n).map(|step| (seed as usize + step) % n).filter(|&victim| victim != worker).find_map(|victim| {
        let rank = lock(&stacks[victim].tasks).pop_front()?;
        Some(Found { rank, stolen_from: Some(victim as u32) })
    })
}
