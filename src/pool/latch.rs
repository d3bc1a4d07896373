//! What a caller waits on: a count of arrivals and the thread to wake.
#![allow(unsafe_code)]

use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use super::sync::thread::{self, Thread};
use super::sync::{SPINS, UnsafeCell, spin_loop};

/// Counts arrivals down and wakes one waiter. Used again and again by one thread at a time on the waiting side.
///
/// The waiter itself is one of those expected, from the start. So the count cannot reach 0 while nobody waits, and it
/// reaches 0 exactly once for each wait (`README.md`, "The latch that opened early").
pub(super) struct Latch {
    missing: AtomicUsize,
    open: AtomicBool,
    waiter: UnsafeCell<Option<Thread>>,
}

// SAFETY: `waiter` is the only field that is not `Sync`. The waiting thread writes it before its own arrival and takes
// its hands off; the thread of the last arrival takes it after its decrement, which acquires all earlier arrivals; and
// the waiting thread goes on only after it has seen `open`, which is released after that. The users of the waiting side
// are ordered by the owner of the latch (`Turn`).
unsafe impl Sync for Latch {}

impl Latch {
    pub(super) fn new() -> Self {
        Self { missing: AtomicUsize::new(1), open: AtomicBool::new(false), waiter: UnsafeCell::new(None) }
    }

    /// Expects `count` arrivals more. Only from the waiting side, and before any of them can happen.
    pub(super) fn expect(&self, count: usize) {
        // Relaxed: the arrivals are released by the counters of the tasks, after this; and as an atomic
        // read-modify-write it continues the release sequences of the arrivals before.
        self.missing.fetch_add(count, Relaxed);
    }

    /// One arrival. What was done before it is visible to the waiter.
    #[inline]
    pub(super) fn arrive(&self) {
        // Release: with the Acquire of the last arrival, which passes it on to the waiter by `open`.
        if self.missing.fetch_sub(1, AcqRel) == 1 {
            self.open();
        }
    }

    #[cold]
    fn open(&self) {
        // SAFETY: the last arrival has come, this is its thread: the waiting side wrote the cell before its own arrival
        // and does not touch it until it sees `open`.
        let waiter = self.waiter.with_mut(|waiter| unsafe { (*waiter).take() });
        // Release: with the Acquire of the load in `wait`.
        self.open.store(true, Release);
        if let Some(waiter) = waiter {
            waiter.unpark();
        }
    }

    /// Waits for all expected arrivals: a short spin, then parked. Only from the waiting side.
    pub(super) fn wait(&self) {
        // SAFETY: the own arrival is still missing, so the count is above 0 and no thread is in `open`; that of the
        // wait before has left the cell before it set `open`, which that wait has seen.
        self.waiter.with_mut(|waiter| unsafe { *waiter = Some(thread::current()) });
        // Relaxed: the own arrival, a release, comes after.
        self.open.store(false, Relaxed);
        self.arrive();
        let mut spins = 0;
        // Acquire: with the Release in `open`.
        while !self.open.load(Acquire) {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                thread::park();
            }
        }
        // Relaxed: nobody else touches the count until `expect` and a release of tasks follow.
        self.missing.store(1, Relaxed);
    }
}
