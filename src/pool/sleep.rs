//! Workers that sleep, and how they are woken: no wake-up is lost, and none is made when nobody sleeps.

use std::sync::OnceLock;

use super::sync::CachePadded;
use super::sync::atomic::{AtomicU64, Ordering::*, fence};
use super::sync::thread::{self, Thread};

const WORD_BITS: usize = u64::BITS as usize;

/// Who of a pool sleeps.
///
/// The protocol is Dekker's (`README.md`, "The lost wake-up"): a sleeper announces itself, *then* looks for work once
/// more; a pusher publishes the work, *then* looks for sleepers. Each has a SeqCst fence between its two accesses, so at
/// least one of them sees the other.
pub(super) struct Sleepers {
    /// Bit w of the words: worker w sleeps or is about to. Who clears the bit wakes the worker: only one does.
    asleep: Box<[CachePadded<AtomicU64>]>,
    threads: Box<[OnceLock<Thread>]>,
}

impl Sleepers {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            asleep: (0..workers.div_ceil(WORD_BITS)).map(|_| CachePadded(AtomicU64::new(0))).collect(),
            threads: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The calling thread is `worker`. Once, before its first [`Sleepers::sleep`].
    pub(super) fn register(&self, worker: usize) {
        let fresh = self.threads[worker].set(thread::current()).is_ok();
        debug_assert!(fresh, "worker {worker} registers twice");
    }

    /// Puts the calling `worker` to sleep until it is woken, unless `has_work` says, after the announcement, that there
    /// is some.
    pub(super) fn sleep(&self, worker: usize, has_work: impl FnOnce() -> bool) {
        let (word, bit) = (&self.asleep[worker / WORD_BITS], 1 << (worker % WORD_BITS));
        // Relaxed: the fence orders it before the look for work. Pairs with the fence in `wake`.
        word.fetch_or(bit, Relaxed);
        fence(SeqCst);
        if has_work() {
            // Relaxed: nothing is passed on. If a waker was faster, its unpark makes the next `park` return at once,
            // where the bit is looked at again.
            word.fetch_and(!bit, Relaxed);
            return;
        }
        // Acquire: with the Release in `wake`.
        while word.load(Acquire) & bit != 0 {
            thread::park();
        }
    }

    /// Wakes up to `count` sleepers, those whose numbers follow `near` first. Called after the work was published.
    #[inline]
    pub(super) fn wake(&self, count: usize, near: usize) {
        // Orders the publication before the loads of the announcements. Pairs with the fence in `sleep`.
        fence(SeqCst);
        // Relaxed: see the fence.
        if self.asleep.iter().any(|word| word.load(Relaxed) != 0) {
            self.wake_sleepers(count, near);
        }
    }

    /// Wakes `worker` if it sleeps. Called after its work was published.
    pub(super) fn wake_worker(&self, worker: usize) {
        // As in `wake`.
        fence(SeqCst);
        let (word, bit) = (&self.asleep[worker / WORD_BITS], 1 << (worker % WORD_BITS));
        // Release: with the Acquire in `sleep`.
        if word.load(Relaxed) & bit != 0
            && word.fetch_and(!bit, Release) & bit != 0
            && let Some(thread) = self.threads[worker].get()
        {
            thread.unpark();
        }
    }

    #[cold]
    fn wake_sleepers(&self, mut count: usize, near: usize) {
        let n = self.asleep.len();
        let (first, split) = (near / WORD_BITS, near % WORD_BITS);
        // The word of `near` from its bit up, the words after it, and its lower bits at last.
        for step in 0..=n {
            let index = (first + step) % n;
            let mask = match step {
                0 => u64::MAX << split,
                _ if step == n => !(u64::MAX << split),
                _ => u64::MAX,
            };
            loop {
                let sleepers = self.asleep[index].load(Relaxed) & mask;
                if count == 0 || sleepers == 0 {
                    break;
                }
                let bit = sleepers & sleepers.wrapping_neg();
                // Release: with the Acquire in `sleep`. The bit decides who of several wakers wakes the sleeper.
                if self.asleep[index].fetch_and(!bit, Release) & bit != 0 {
                    count -= 1;
                    let worker = index * WORD_BITS + bit.trailing_zeros() as usize;
                    if let Some(thread) = self.threads[worker].get() {
                        thread.unpark();
                    }
                }
            }
        }
    }
}
