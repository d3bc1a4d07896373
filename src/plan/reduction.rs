//! Adding up what several tasks contribute to one.
#![allow(unsafe_code)]

use std::sync::Arc;

use aligned_vec::AVec;
use znn_kernels::Kernels;

use super::arena::Arena;
use crate::pool::{Accumulate, Buffers, ConvergentSum};

/// A sum of a plan. The order of the tasks is the plan's: all contributions come before the collection, which comes
/// before those of the next iteration.
pub(super) enum Reduction {
    /// A single contribution is the sum.
    One(Contributions),
    /// In the order in which they come.
    Convergent { sum: ConvergentSum<Addend>, bytes: usize },
    /// Pairwise in a fixed order, so that the bits do not depend on who comes first.
    Fixed { contributions: Contributions, kernels: Kernels },
}

/// A slice for each contribution.
pub(super) struct Contributions {
    memory: Arena,
    len: usize,
    count: usize,
}

pub(super) struct Addend {
    values: AVec<f32>,
    kernels: Kernels,
}

impl Accumulate for Addend {
    fn accumulate(&mut self, other: &Self) {
        self.kernels.add(&mut self.values, &other.values);
    }
}

impl Contributions {
    fn new(len: usize, count: usize) -> Self {
        Self { memory: Arena::new(len * count), len, count }
    }

    /// # Safety
    /// Nobody else may reach slice `index` for `'a`.
    #[allow(clippy::mut_from_ref, reason = "the slices are disjoint, and the caller answers for each")]
    unsafe fn slice(&self, index: usize) -> &mut [f32] {
        assert!(index < self.count);
        // SAFETY: within the memory, which is initialised; the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.memory.at(index * self.len), self.len) }
    }
}

impl Reduction {
    pub fn new(
        len: usize,
        contributions: usize,
        workers: usize,
        deterministic: bool,
        kernels: Kernels,
    ) -> Self {
        match contributions {
            1 => Self::One(Contributions::new(len, 1)),
            _ if deterministic => {
                Self::Fixed { contributions: Contributions::new(len, contributions), kernels }
            }
            _ => {
                let count = Self::slices(contributions, workers, deterministic);
                let make = || Addend { values: AVec::from_iter(64, std::iter::repeat_n(0.0, len)), kernels };
                let sum = ConvergentSum::new(contributions, Arc::new(Buffers::new(count, make)));
                Self::Convergent { sum, bytes: count * len * size_of::<f32>() }
            }
        }
    }

    /// How many slices of the sum's length are kept.
    pub fn slices(contributions: usize, workers: usize, deterministic: bool) -> usize {
        match contributions {
            1 => 1,
            _ if deterministic => contributions,
            _ => ConvergentSum::<Addend>::buffers_needed(workers, 1).min(contributions),
        }
    }

    /// Runs `work`, which overwrites its slice with contribution number `index`.
    pub fn contribute(&self, index: usize, work: impl FnOnce(&mut [f32])) {
        match self {
            Self::One(contributions) | Self::Fixed { contributions, .. } => {
                // SAFETY: each contribution has an index of its own, and the plan runs its task once before the
                // collection, and after that of the iteration before.
                work(unsafe { contributions.slice(index) });
            }
            Self::Convergent { sum, .. } => {
                let mut buffer =
                    sum.buffers().take().expect("a buffer for each contribution, or two for each worker");
                work(&mut buffer.values);
                // The collection is a task of its own, which this one releases.
                if let Some(total) = sum.add(buffer) {
                    sum.keep(total);
                }
            }
        }
    }

    /// Runs `work` on the sum.
    pub fn collect(&self, work: impl FnOnce(&mut [f32])) {
        match self {
            // SAFETY: the plan runs the collection after the contribution, and before the next one.
            Self::One(contributions) => work(unsafe { contributions.slice(0) }),
            Self::Fixed { contributions, kernels } => {
                let mut step = 1;
                while step < contributions.count {
                    for index in (0..contributions.count - step).step_by(2 * step) {
                        // SAFETY: two different slices; no contribution runs now, as above.
                        let (to, from) =
                            unsafe { (contributions.slice(index), contributions.slice(index + step)) };
                        kernels.add(to, from);
                    }
                    step *= 2;
                }
                // SAFETY: as above.
                work(unsafe { contributions.slice(0) });
            }
            Self::Convergent { sum, .. } => {
                let mut total = sum.take().expect("all contributions come before the collection");
                work(&mut total.values);
            }
        }
    }

    /// Forgets what an abandoned iteration contributed. No task may be running.
    pub fn reset(&self) {
        if let Self::Convergent { sum, .. } = self {
            sum.reset();
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::One(contributions) | Self::Fixed { contributions, .. } => contributions.memory.bytes(),
            Self::Convergent { bytes, .. } => *bytes,
        }
    }
}
