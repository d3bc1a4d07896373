//! Whose turn it is to use a pool: executors take turns, one at a time.

use super::sync::atomic::{AtomicUsize, Ordering::*};
use super::sync::{Condvar, Mutex, lock};

/// Somebody has the turn.
const BUSY: usize = 1;
/// Somebody waits for the turn, so entering and leaving go through the lock.
const WAITED: usize = 2;
const ID_SHIFT: u32 = 2;

/// A lock that remembers who had it last.
///
/// Who comes back without another in between takes and leaves the turn by one compare-and-swap each. Others queue up
/// under a mutex, first come first served.
pub(super) struct Turn {
    /// The id of the last holder and the two flags. While `WAITED` is set it changes under the mutex only.
    word: AtomicUsize,
    tickets: Mutex<Tickets>,
    left: Condvar,
}

struct Tickets {
    next: usize,
    serving: usize,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicUsize::new(0),
            tickets: Mutex::new(Tickets { next: 0, serving: 0 }),
            left: Condvar::new(),
        }
    }

    /// Waits for the turn. Returns the id with which it was left last; 0 at the start.
    pub(super) fn enter(&self, id: usize) -> usize {
        // Acquire: with the Release of the `leave` before; the holder sees all that earlier holders did.
        if self.word.compare_exchange(id << ID_SHIFT, id << ID_SHIFT | BUSY, Acquire, Relaxed).is_ok() {
            return id;
        }
        let mut tickets = lock(&self.tickets);
        let ticket = tickets.next;
        tickets.next += 1;
        loop {
            // Acquire: as above. From here on the word changes under the mutex only.
            let word = self.word.fetch_or(WAITED, Acquire);
            if tickets.serving == ticket && word & BUSY == 0 {
                tickets.serving += 1;
                let waited = if tickets.serving == tickets.next { 0 } else { WAITED };
                // Relaxed: only this thread's `leave` publishes anything.
                self.word.store(id << ID_SHIFT | BUSY | waited, Relaxed);
                return word >> ID_SHIFT;
            }
            tickets = self.left.wait(tickets).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Ends the turn of `id`; `next` is what the next [`Turn::enter`] returns.
    pub(super) fn leave(&self, id: usize, next: usize) {
        // Release: with the Acquire in `enter`.
        if self.word.compare_exchange(id << ID_SHIFT | BUSY, next << ID_SHIFT, Release, Relaxed).is_err() {
            let _tickets = lock(&self.tickets);
            self.word.store(next << ID_SHIFT | WAITED, Release);
            self.left.notify_all();
        }
    }
}
