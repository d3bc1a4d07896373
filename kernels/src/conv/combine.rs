//! Adds shifted rows: the last step of backward-data, in which the taps along x meet.

use super::table::Entry;
use crate::vector::Vector;

/// Terms that are added in one pass over the rows.
const GROUP: usize = 8;
const MAX_LANES: usize = 16;

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
    let [source_columns, columns] = work.columns;
    for phase in 0..work.stride.min(columns) {
        // the target columns `phase + m * stride`, for which a term's source columns are neighbours
        let count = (columns - phase).div_ceil(work.stride);
        for m in (0..count).step_by(V::LANES) {
            let lanes = V::LANES.min(count - m);
            let at = phase + m * work.stride;
            let padded = at + work.before;
            // SAFETY: the caller's contract; `lanes` columns of the target exist from `at` on.
            unsafe {
                // divisions take their time, and strides are rare
                let mut terms = work.terms.iter().filter(|term| {
                    work.stride == 1 || padded % work.stride == term.shift as usize % work.stride
                });
                let mut accumulate = work.accumulate;
                loop {
                    let mut sources = [work.source; GROUP];
                    let mut masks = [V::first(0); GROUP];
                    let (mut found, mut whole) = (0, lanes == V::LANES);
                    for term in terms.by_ref() {
                        // may be negative: wrapping, and lanes to the left of the row are not touched
                        let shifted = padded as isize - term.shift as isize;
                        let column = if work.stride == 1 { shifted } else { shifted / work.stride as isize };
                        let start = (-column).clamp(0, V::LANES as isize) as usize;
                        let end = (source_columns as isize - column).clamp(0, lanes as isize) as usize;
                        if start >= end {
                            continue;
                        }
                        whole &= end - start == V::LANES;
                        masks[found] = V::between(start, end);
                        sources[found] =
                            work.source.wrapping_add(term.source as usize).wrapping_offset(column);
                        found += 1;
                        if found == GROUP {
                            break;
                        }
                    }
                    let strip = Strip::<V> {
                        sources: &sources[..found],
                        masks: &masks[..found],
                        at,
                        lanes,
                        accumulate,
                    };
                    if whole {
                        strip.add::<true>(work);
                    } else {
                        strip.add::<false>(work);
                    }
                    if found < GROUP {
                        break;
                    }
                    accumulate = true;
                }
            }
        }
    }
}

/// One vector of every row, and a group of terms.
struct Strip<'a, V: Vector> {
    sources: &'a [*const f32],
    masks: &'a [V::Mask],
    /// The first column.
    at: usize,
    lanes: usize,
    accumulate: bool,
}

impl<V: Vector> Strip<'_, V> {
    /// # Safety
    /// As [`combine`]; if `WHOLE`, all lanes of all sources and of the target exist.
    #[inline(always)]
    unsafe fn add<const WHOLE: bool>(&self, work: &Combine<'_>) {
        // SAFETY: the caller's contract.
        unsafe {
            for channel in 0..work.counts[0] {
                for row in 0..work.counts[1] {
                    let from = channel * work.source_steps[0] + row * work.source_steps[1];
                    let to = work
                        .target
                        .add(channel * work.target_steps[0] + row * work.target_steps[1] + self.at);
                    let vector = work.stride == 1;
                    let mut sum =
                        if vector && self.accumulate { V::load_first(to, self.lanes) } else { V::zero() };
                    for (source, &mask) in self.sources.iter().zip(self.masks) {
                        let source = source.wrapping_add(from);
                        sum = sum.add(if WHOLE { V::load(source) } else { V::load_masked(source, mask) });
                    }
                    if vector {
                        sum.store_first(to, self.lanes);
                        continue;
                    }
                    let mut values = [0.0; MAX_LANES];
                    sum.store(values.as_mut_ptr());
                    for (lane, value) in values[..self.lanes].iter().enumerate() {
                        let to = to.add(lane * work.stride);
                        *to = if self.accumulate { *to + value } else { *value };
                    }
                }
            }
        }
    }
}
