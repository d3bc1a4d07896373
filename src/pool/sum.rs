//! The almost wait-free sum of what several tasks contribute to one node.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::buffers::{Accumulate, Buffer, Buffers};
use super::sync::atomic::{AtomicUsize, Ordering::*};

/// The slot holds no buffer. A buffer is held as its index + 1.
const EMPTY: usize = 0;

/// Adds the buffers that tasks contribute, each in the thread that brings it, with nobody waiting for another's addition.
///
/// After Zlateski, Lee, Seung, "ZNN - A Fast and Scalable Algorithm for Training 3D Convolutional Networks on Multi-core
/// and Many-core Shared Memory Machines" (2016), whose slot is exchanged under a mutex; here by atomic operations. A
/// contribution goes into the slot if that is empty. If not, the buffer in the slot is taken out and added to the
/// contribution, which tries again. So only an index is ever exchanged, and all additions are outside. The order of the
/// additions varies, and with it the rounding.
///
/// **Invariant**: every contribution begun and not lost in the slot is part of exactly one buffer, which is in the slot or
/// in the hands of a thread inside [`ConvergentSum::add`] that has not counted yet. A thread counts after it has put its
/// buffer into the slot. So when all have counted nobody holds a buffer, and the slot holds the sum.
pub struct ConvergentSum<T> {
    buffers: Arc<Buffers<T>>,
    slot: AtomicUsize,
    missing: AtomicUsize,
    contributions: usize,
}

impl<T: Accumulate> ConvergentSum<T> {
    /// A sum of `contributions` buffers out of `buffers`, which several sums may share. Panics if `contributions` is 0.
    pub fn new(contributions: usize, buffers: Arc<Buffers<T>>) -> Self {
        assert!(contributions > 0, "a sum of nothing is never complete");
        Self {
            buffers,
            slot: AtomicUsize::new(EMPTY),
            missing: AtomicUsize::new(contributions),
            contributions,
        }
    }

    /// How many buffers `sums` sums need that `workers` threads contribute to, if nobody keeps a complete sum beyond the
    /// task that completed it: two for each thread (its own and the one it adds), and one in each slot but the one last
    /// emptied.
    pub const fn buffers_needed(workers: usize, sums: usize) -> usize {
        if sums == 0 { 0 } else { 2 * workers + sums - 1 }
    }

    /// Where the buffers of contributions come from.
    pub fn buffers(&self) -> &Buffers<T> {
        &self.buffers
    }

    /// Adds a contribution. The call that completes the sum gets it, and the next round begins: whoever contributes to
    /// that must be ordered after this call. Panics where the buffer is not of [`ConvergentSum::buffers`].
    pub fn add<'a>(&'a self, mut buffer: Buffer<'a, T>) -> Option<Buffer<'a, T>> {
        assert!(buffer.is_of(&self.buffers), "the buffer belongs to another sum");
        let mut index = buffer.into_index();
        // Release: what is in the buffer goes to whoever swaps it out. Relaxed on failure: the swap will acquire.
        while self.slot.compare_exchange(EMPTY, index + 1, Release, Relaxed).is_err() {
            // SAFETY: the index is this thread's: it comes from the contribution, or from the line below.
            buffer = unsafe { self.buffers.at(index) };
            if let Some(other) = self.take_slot() {
                buffer.accumulate(&other);
            }
            index = buffer.into_index();
        }
        // AcqRel: after all contributions have been put into the slot by threads that released them here, the one that
        // counts last sees the slot as the last of them left it.
        if self.missing.fetch_sub(1, AcqRel) != 1 {
            return None;
        }
        // Relaxed: the contributors of the next round are ordered after this by the caller.
        self.missing.store(self.contributions, Relaxed);
        self.take_slot()
    }

    /// Leaves a complete sum for [`take`](ConvergentSum::take) by a task that is ordered after this one.
    pub fn keep(&self, total: Buffer<'_, T>) {
        assert!(total.is_of(&self.buffers), "the buffer belongs to another sum");
        // Release: with the Acquire of the swap in `take`. Nobody else uses the slot of a complete sum.
        self.slot.store(total.into_index() + 1, Release);
    }

    /// The sum that was left by [`keep`](ConvergentSum::keep), if any.
    pub fn take(&self) -> Option<Buffer<'_, T>> {
        self.take_slot()
    }

    /// Forgets a partial sum, so that the next round begins. After an iteration that ended early, with no thread inside
    /// [`ConvergentSum::add`].
    pub fn reset(&self) {
        drop(self.take_slot());
        self.missing.store(self.contributions, Relaxed);
    }

    fn take_slot(&self) -> Option<Buffer<'_, T>> {
        // Acquire: with the Release of the exchange that put the buffer in. Emptying publishes nothing.
        let held = self.slot.swap(EMPTY, Acquire);
        // SAFETY: whoever put the index in gave the buffer away with it, and the swap gives it to one thread only.
        (held != EMPTY).then(|| unsafe { self.buffers.at(held - 1) })
    }
}
