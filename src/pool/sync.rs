//! The one module through which the pool gets atomics, threads and locks: `std`, or under `--cfg loom` the model
//! checker's, which runs the same code through every interleaving.

#[cfg(not(loom))]
pub(super) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

/// How often a waiting thread looks again before it parks. The model checker explores waiting by itself.
pub(super) const SPINS: u32 = if cfg!(loom) || cfg!(miri) { 0 } else { 64 };

/// How often an idle worker, after [`SPINS`], yields its core and looks again before it parks.
pub(super) const YIELDS: u32 = if cfg!(loom) || cfg!(miri) { 0 } else { 16 };

/// `std`'s cell with the closures of `loom`'s, which checks in each that no other access overlaps.
#[cfg(not(loom))]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Keeps a value on cache lines of its own: two lines, because the adjacent-line prefetcher of x86 moves them in
/// pairs.
#[repr(align(128))]
pub(super) struct CachePadded<T>(pub(super) T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Locks; a panic of a holder is no reason to stop, because every value under the pool's locks is whole at each
/// moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
