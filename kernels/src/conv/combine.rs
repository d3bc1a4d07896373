//! Adds shifted rows: the last step of backward-data, in which the taps along x meet.

use super::table::Entry;
use crate::vector::{MAX_LANES, Vector, prefetch_write};
use core::mem::MaybeUninit;

/// Terms that are added in one pass over the rows.
const GROUP: usize = 14;
/// Vectors of a row that are computed one after the other, so that memory is written in its order.
const STRIPS: usize = 4;

/// A row of products with one tap, which is a part of a row of the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// Its first float, from the start of the channel's products.
    pub source: u32,
    /// How far to the right of the padded target's start the tap lies that its first float belongs to.
    pub shift: u32,
}

impl Entry for Term {}

/// `target[channel][row][c * stride + shift - before] (+)= source[channel][row][c]`, summed over the terms, for
/// all columns `c` of the source whose target exists; other columns of the target become zero unless they are added to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combine<'a> {
    pub terms: &'a [Term],
    pub source: *const f32,
    pub target: *mut f32,
    /// Channels and rows.
    pub counts: [usize; 2],
    pub source_steps: [usize; 2],
    pub target_steps: [usize; 2],
    /// Columns of the source and of the target.
    pub columns: [usize; 2],
    pub stride: usize,
    pub before: usize,
    pub accumulate: bool,
}

/// # Safety
/// The tier of `V` is enabled in the caller. The source is readable and the target writable (and readable), as
/// described.
#[inline(always)]
pub(crate) unsafe fn combine<V: Vector>(work: &Combine<'_>) {
    let columns = work.columns[1];
    if work.stride == 2 && columns > 1 && work.terms.len() <= GROUP {
        // SAFETY: the caller's contract.
        return unsafe { combine_pairs::<V>(work) };
    }
    for phase in 0..work.stride.min(columns) {
        // the target columns `phase + m * stride`, for which a term's source columns are neighbours
        let count = (columns - phase).div_ceil(work.stride);
        for first in (0..count).step_by(STRIPS * V::LANES) {
            let last = count.min(first + STRIPS * V::LANES);
            for group in (0..work.terms.len().max(1)).step_by(GROUP) {
                let terms = &work.terms[group..work.terms.len().min(group + GROUP)];
                let mut memory = [const { MaybeUninit::<Strip<V>>::uninit() }; STRIPS];
                let mut used = 0;
                for m in (first..last).step_by(V::LANES) {
                    // SAFETY: the tier is enabled.
                    let strip = unsafe { Strip::new(work, terms, phase + m * work.stride, count - m) };
                    memory[used].write(strip);
                    used += 1;
                }
                // SAFETY: so many were written.
                let strips = unsafe { core::slice::from_raw_parts(memory.as_ptr().cast::<Strip<V>>(), used) };
                let accumulate = work.accumulate || group > 0;
                for channel in 0..work.counts[0] {
                    for row in 0..work.counts[1] {
                        let from = channel * work.source_steps[0] + row * work.source_steps[1];
                        let to = channel * work.target_steps[0] + row * work.target_steps[1];
                        let to = work.target.wrapping_add(to);
                        for strip in strips {
                            // the lines of the next channel arrive meanwhile
                            prefetch_write(to.wrapping_add(strip.at + work.target_steps[0]));
                            // SAFETY: the caller's contract; the strip knows which lanes of a row exist.
                            unsafe { strip.add(from, to, work.stride, accumulate) }
                        }
                    }
                }
            }
        }
    }
}

/// [`combine`] for a stride of 2, the one that networks have, and one group of terms: the sums of even and of odd columns meet
/// in whole vectors of the target.
///
/// # Safety
/// As [`combine`].
#[inline(always)]
unsafe fn combine_pairs<V: Vector>(work: &Combine<'_>) {
    let columns = work.columns[1];
    let pairs = columns.div_ceil(2);
    for m in (0..pairs).step_by(V::LANES) {
        // SAFETY: the tier is enabled.
        let [even, odd] = [0, 1].map(|phase| unsafe {
            Strip::<V>::new(work, work.terms, 2 * m + phase, (columns - phase).div_ceil(2).saturating_sub(m))
        });
        let rest = columns - 2 * m;
        for channel in 0..work.counts[0] {
            for row in 0..work.counts[1] {
                let from = channel * work.source_steps[0] + row * work.source_steps[1];
                let to = channel * work.target_steps[0] + row * work.target_steps[1] + 2 * m;
                let to = work.target.wrapping_add(to);
                prefetch_write(to.wrapping_add(work.target_steps[0]));
                prefetch_write(to.wrapping_add(work.target_steps[0] + V::LANES));
                // SAFETY: the caller's contract; the strips know which lanes exist, `rest` how many columns do.
                unsafe {
                    let (low, high) = even.sum(from, V::zero()).zip(odd.sum(from, V::zero()));
                    put(low, to, rest, work.accumulate);
                    if rest > V::LANES {
                        put(high, to.add(V::LANES), rest - V::LANES, work.accumulate);
                    }
                }
            }
        }
    }
}

/// Stores the first `n` lanes, or adds them.
///
/// # Safety
/// The tier of `V` is enabled in the caller; those floats are writable, and readable.
#[inline(always)]
unsafe fn put<V: Vector>(value: V, to: *mut f32, n: usize, accumulate: bool) {
    // SAFETY: the caller's contract.
    unsafe {
        let value = if accumulate { V::load_first(to, n).add(value) } else { value };
        value.store_first(to, n);
    }
}

/// One vector of a row of the target, and the terms that reach it.
struct Strip<V: Vector> {
    sources: [*const f32; GROUP],
    masks: [V::Mask; GROUP],
    /// Terms.
    count: usize,
    /// All lanes of all terms exist.
    whole: bool,
    /// The first column of the target.
    at: usize,
    /// Columns of the target.
    lanes: usize,
}

impl<V: Vector> Strip<V> {
    /// The strip from column `at` on, of which `left` columns exist.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller.
    #[inline(always)]
    unsafe fn new(work: &Combine<'_>, terms: &[Term], at: usize, left: usize) -> Self {
        let mut strip = Self {
            sources: [work.source; GROUP],
            // SAFETY: the caller's contract.
            masks: [unsafe { V::first(0) }; GROUP],
            count: 0,
            whole: left >= V::LANES,
            at,
            lanes: left.min(V::LANES),
        };
        let source_columns = work.columns[0] as isize;
        let padded = at + work.before;
        for term in terms {
            // divisions take their time, and strides are rare
            if work.stride > 1 && padded % work.stride != term.shift as usize % work.stride {
                continue;
            }
            // may be negative: wrapping, and lanes to the left of the row are not touched
            let shifted = padded as isize - term.shift as isize;
            let column = if work.stride == 1 { shifted } else { shifted / work.stride as isize };
            let start = (-column).clamp(0, V::LANES as isize) as usize;
            let end = (source_columns - column).clamp(0, strip.lanes as isize) as usize;
            if start >= end {
                continue;
            }
            strip.whole &= end - start == V::LANES;
            // SAFETY: as above.
            strip.masks[strip.count] = unsafe { V::between(start, end) };
            strip.sources[strip.count] =
                work.source.wrapping_add(term.source as usize).wrapping_offset(column);
            strip.count += 1;
        }
        strip
    }

    /// `start` and the terms, `from` floats further on.
    ///
    /// # Safety
    /// As [`combine`].
    #[inline(always)]
    unsafe fn sum(&self, from: usize, start: V) -> V {
        let mut sum = start;
        // SAFETY: the caller's contract; the masks choose the lanes that exist.
        unsafe {
            if self.whole {
                for source in &self.sources[..self.count] {
                    sum = sum.add(V::load(source.wrapping_add(from)));
                }
            } else {
                for (source, &mask) in self.sources[..self.count].iter().zip(&self.masks) {
                    sum = sum.add(V::load_masked(source.wrapping_add(from), mask));
                }
            }
        }
        sum
    }

    /// Adds the terms, `from` floats further on, to a row of the target.
    ///
    /// # Safety
    /// As [`combine`].
    #[inline(always)]
    unsafe fn add(&self, from: usize, to: *mut f32, stride: usize, accumulate: bool) {
        let vector = stride == 1;
        // SAFETY: the caller's contract; so many lanes exist.
        unsafe {
            let to = to.add(self.at);
            let start = if vector && accumulate { V::load_first(to, self.lanes) } else { V::zero() };
            let sum = self.sum(from, start);
            if vector {
                sum.store_first(to, self.lanes);
                return;
            }
            let mut values = [0.0; MAX_LANES];
            sum.store(values.as_mut_ptr());
            for (lane, value) in values[..self.lanes].iter().enumerate() {
                let to = to.add(lane * stride);
                *to = if accumulate { *to + value } else { *value };
            }
        }
    }
}
