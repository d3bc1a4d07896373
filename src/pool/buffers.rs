//! A fixed number of buffers that threads take and give back.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::sync::UnsafeCell;
use super::sync::atomic::{AtomicU64, Ordering::*};

const WORD_BITS: usize = u64::BITS as usize;

/// What a [`ConvergentSum`](super::ConvergentSum) can add.
pub trait Accumulate {
    /// Adds `other` to `self`, element by element.
    fn accumulate(&mut self, other: &Self);
}

/// Buffers made beforehand, for threads to take and give back without a lock.
///
/// Free ones are the set bits of a bitmap: unlike with a linked list, no buffer can be confused with an earlier use of
/// itself.
pub struct Buffers<T> {
    cells: Box<[UnsafeCell<T>]>,
    free: Box<[AtomicU64]>,
}

// SAFETY: a cell is reached only through the one `Buffer` of its index, which exists while its bit is clear; whoever
// clears the bit next acquires what the last holder released with it. `Send` because a buffer moves between threads,
// `Sync` because a `Buffer` may be shared by reference.
unsafe impl<T: Send + Sync> Sync for Buffers<T> {}

impl<T> Buffers<T> {
    /// `count` buffers, each made by `make`.
    pub fn new(count: usize, mut make: impl FnMut() -> T) -> Self {
        let free = |word: usize| match count - word * WORD_BITS {
            left if left >= WORD_BITS => u64::MAX,
            left => (1 << left) - 1,
        };
        Self {
            cells: (0..count).map(|_| UnsafeCell::new(make())).collect(),
            free: (0..count.div_ceil(WORD_BITS)).map(|word| AtomicU64::new(free(word))).collect(),
        }
    }

    /// The number of buffers, taken or not.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// A free buffer with whatever it held last, or `None` if there is none. It is given back when it is dropped.
    pub fn take(&self) -> Option<Buffer<'_, T>> {
        for (index, word) in self.free.iter().enumerate() {
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                // Acquire: with the Release in `give_back`. The bit decides who of several takers has the buffer.
                bits = word.fetch_and(!(1 << bit), Acquire);
                if bits >> bit & 1 == 1 {
                    return Some(Buffer { buffers: self, index: index * WORD_BITS + bit as usize });
                }
            }
        }
        None
    }

    fn give_back(&self, index: usize) {
        // Release: with the Acquire in `take`.
        self.free[index / WORD_BITS].fetch_or(1 << (index % WORD_BITS), Release);
    }

    /// The buffer of an index that [`Buffer::into_index`] has returned.
    ///
    /// # Safety
    /// Once for each such return, and what happened to the buffer before it must be visible to this thread.
    pub(super) unsafe fn at(&self, index: usize) -> Buffer<'_, T> {
        Buffer { buffers: self, index }
    }
}

/// A buffer of [`Buffers`], given back when it is dropped.
pub struct Buffer<'a, T> {
    buffers: &'a Buffers<T>,
    index: usize,
}

impl<'a, T> Buffer<'a, T> {
    /// Whether it is one of `buffers`.
    pub(super) fn is_of(&self, buffers: &Buffers<T>) -> bool {
        std::ptr::eq(self.buffers, buffers)
    }

    /// Keeps the buffer taken, to be had again by [`Buffers::at`].
    pub(super) fn into_index(self) -> usize {
        ManuallyDrop::new(self).index
    }
}

impl<T> Deref for Buffer<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this is the only `Buffer` of the cell, and it is borrowed.
        self.buffers.cells[self.index].with(|cell| unsafe { &*cell })
    }
}

impl<T> DerefMut for Buffer<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the only `Buffer` of the cell, and it is borrowed mutably.
        self.buffers.cells[self.index].with_mut(|cell| unsafe { &mut *cell })
    }
}

impl<T> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        self.buffers.give_back(self.index);
    }
}
