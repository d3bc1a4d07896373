//! What the workers of a pool did and when: a ring of events for each of them, made beforehand.
//!
//! A ring has one writer and is read at any time. Its words are atomics and its head is published after them, so that a
//! reader knows which events were overwritten while it read. Writing an event is four stores and one for the head.

use std::sync::Arc;
use std::time::Instant;

use super::graph::{Graph, TaskId};
use super::sync::atomic::{AtomicU64, Ordering::*, fence};
use super::sync::{CachePadded, Mutex, lock};

/// What a worker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It ran a task.
    Task {
        /// The executor, by its number within the pool, from 1.
        executor: u32,
        /// The task.
        task: TaskId,
        /// The worker from whose queue it was taken, if that was another one.
        stolen_from: Option<u32>,
    },
    /// It had no task and looked for one.
    Search,
    /// It slept.
    Sleep,
    /// Not a worker but the caller: an iteration, from its begin to the end of its gated tasks.
    Step {
        /// The executor.
        executor: u32,
    },
}

/// An activity and its time, in nanoseconds since the pool was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The beginning.
    pub start: u64,
    /// The end.
    pub end: u64,
    /// What was done.
    pub activity: Activity,
}

/// What is known of a task beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// What it works for, such as a layer.
    pub layer: Arc<str>,
    /// Its step of that work, such as a pass.
    pub stage: &'static str,
    /// The bytes that it reads and writes.
    pub bytes: u64,
}

/// A graph of which tasks were recorded.
#[derive(Clone, Debug)]
pub struct RecordedGraph {
    /// Its executor, by its number within the pool.
    pub executor: u32,
    /// The graph.
    pub graph: Graph,
    /// Its tasks; `None` for one that stands only between others.
    pub tasks: Vec<Option<TaskInfo>>,
}

/// What a pool has recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// For each worker what it did last, in the order of time.
    pub workers: Vec<Vec<Event>>,
    /// The steps of the callers.
    pub steps: Vec<Event>,
    /// The graphs that were made.
    pub graphs: Vec<RecordedGraph>,
    /// How many events there was no room for; they are older than those kept.
    pub lost: u64,
}

pub(super) struct Recorder {
    origin: Instant,
    /// By worker, and one for the callers, of whom only the one that has the turn writes.
    rings: Box<[CachePadded<Ring>]>,
    graphs: Mutex<Vec<RecordedGraph>>,
}

impl Recorder {
    /// With room for the last `events` of each worker.
    pub(super) fn new(workers: usize, events: usize) -> Self {
        Self {
            origin: Instant::now(),
            rings: (0..=workers).map(|_| CachePadded(Ring::new(events))).collect(),
            graphs: Mutex::new(Vec::new()),
        }
    }

    /// The time, in nanoseconds.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Records what `worker` did. From its own thread.
    #[inline]
    pub(super) fn record(&self, worker: usize, event: Event) {
        self.rings[worker].push(&event);
    }

    /// Records an iteration. From the thread that has the turn.
    pub(super) fn record_step(&self, start: u64, executor: usize) {
        let activity = Activity::Step { executor: executor as u32 };
        self.rings[self.rings.len() - 1].push(&Event { start, end: self.now(), activity });
    }

    pub(super) fn add_graph(&self, graph: RecordedGraph) {
        lock(&self.graphs).push(graph);
    }

    pub(super) fn recording(&self) -> Recording {
        let (mut workers, mut lost) = (Vec::with_capacity(self.rings.len()), 0);
        for ring in &self.rings {
            let (events, overwritten) = ring.events();
            workers.push(events);
            lost += overwritten;
        }
        let steps = workers.pop().unwrap_or_default();
        Recording { workers, steps, graphs: lock(&self.graphs).clone(), lost }
    }
}

const WORDS: usize = 4;

/// The last events of one writer.
pub(super) struct Ring {
    slots: Box<[[AtomicU64; WORDS]]>,
    /// How many events were begun to be written.
    claimed: AtomicU64,
    /// How many of them are complete.
    written: AtomicU64,
}

impl Ring {
    pub(super) fn new(events: usize) -> Self {
        // Written here, so that no page is touched first when there is work to do.
        let slot = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            slots: (0..events.max(1)).map(slot).collect(),
            claimed: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&self, event: &Event) {
        // Relaxed: only this thread writes it, or another that this one is ordered after.
        let index = self.written.load(Relaxed);
        let slot = &self.slots[(index % self.slots.len() as u64) as usize];
        self.claimed.store(index + 1, Relaxed);
        // Whoever reads one of the words below sees that the slot was claimed; with the fence in `events`.
        fence(Release);
        for (to, word) in slot.iter().zip(pack(event)) {
            to.store(word, Relaxed);
        }
        // Release: with the Acquire in `events`, which then sees the words.
        self.written.store(index + 1, Release);
    }

    /// The events that are complete and not being overwritten, oldest first, and how many there were before them.
    pub(super) fn events(&self) -> (Vec<Event>, u64) {
        let len = self.slots.len() as u64;
        let end = self.written.load(Acquire);
        let words: Vec<[u64; WORDS]> = (end.saturating_sub(len)..end)
            .map(|index| self.slots[(index % len) as usize].each_ref().map(|word| word.load(Relaxed)))
            .collect();
        // With the fence in `push`: slots claimed again while they were read are known now.
        fence(Acquire);
        let first = self.claimed.load(Relaxed).saturating_sub(len);
        let overwritten = first.saturating_sub(end.saturating_sub(len));
        (words.into_iter().skip(overwritten as usize).filter_map(unpack).collect(), first.min(end))
    }
}

const TASK: u64 = 1;
const SEARCH: u64 = 2;
const SLEEP: u64 = 3;
const STEP: u64 = 4;

/// The words of an event: beginning, end, kind and executor, task and victim + 1.
#[inline]
fn pack(event: &Event) -> [u64; WORDS] {
    let (kind, executor, what) = match event.activity {
        Activity::Task { executor, task, stolen_from } => {
            let victim = stolen_from.map_or(0, |victim| u64::from(victim) + 1);
            (TASK, executor, victim << 32 | task.index() as u64)
        }
        Activity::Search => (SEARCH, 0, 0),
        Activity::Sleep => (SLEEP, 0, 0),
        Activity::Step { executor } => (STEP, executor, 0),
    };
    [event.start, event.end, kind << 32 | u64::from(executor), what]
}

fn unpack([start, end, kind, what]: [u64; WORDS]) -> Option<Event> {
    let executor = kind as u32;
    let activity = match kind >> 32 {
        TASK => {
            let stolen_from = (what >> 32).checked_sub(1).map(|victim| victim as u32);
            Activity::Task { executor, task: super::graph::task_id(what as u32 as usize), stolen_from }
        }
        SEARCH => Activity::Search,
        SLEEP => Activity::Sleep,
        STEP => Activity::Step { executor },
        _ => return None,
    };
    Some(Event { start, end, activity })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        let task = super::super::graph::task_id(n as usize);
        let stolen_from = (n % 2 == 1).then_some(n as u32 + 7);
        let activity = Activity::Task { executor: n as u32 % 3, task, stolen_from };
        Event { start: n, end: 2 * n, activity }
    }

    #[test]
    fn events_are_packed_without_loss() {
        for activity in [
            event(4).activity,
            event(5).activity,
            Activity::Search,
            Activity::Sleep,
            Activity::Step { executor: 9 },
        ] {
            let event = Event { start: u64::MAX, end: 1 << 40, activity };
            assert_eq!(unpack(pack(&event)), Some(event));
        }
        assert_eq!(unpack([0; WORDS]), None);
    }

    #[test]
    fn a_ring_keeps_the_last_events() {
        let ring = Ring::new(4);
        assert_eq!(ring.events(), (vec![], 0));
        (0..3).for_each(|n| ring.push(&event(n)));
        assert_eq!(ring.events(), ((0..3).map(event).collect(), 0));
        (3..10).for_each(|n| ring.push(&event(n)));
        assert_eq!(ring.events(), ((6..10).map(event).collect(), 6));
    }

    #[test]
    fn what_is_read_beside_the_writer_is_whole() {
        const EVENTS: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let ring = Ring::new(16);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..EVENTS).for_each(|n| ring.push(&event(n))));
            loop {
                let (events, lost) = ring.events();
                for (i, seen) in events.iter().enumerate() {
                    assert_eq!(*seen, event(seen.start));
                    assert!(i == 0 || seen.start == events[i - 1].start + 1);
                }
                if lost >= EVENTS - 16 {
                    return;
                }
            }
        });
        assert_eq!(ring.events().0.len(), 16);
    }
}
