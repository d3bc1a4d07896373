//! The micro-kernel of backward-weights: R rows of the gradient x N shifted rows of the input.

use super::family::MAX_VECTORS;
use crate::vector::{MAX_LANES, Vector};
use core::array::from_fn;

/// Accumulators of the largest register tile.
const MAX_SUMS: usize = 25;

/// The operands of one call: `target[r][n] += sum over lines and positions of gradient[r][..] * source[n][..]`.
#[derive(Debug)]
pub(crate) struct Reduction {
    /// The first float of the first of the R rows.
    pub gradient: *const f32,
    /// Distance between the rows.
    pub gradient_stride: usize,
    /// What `sources` counts from.
    pub source: *const f32,
    /// The first float of each of the N shifted rows.
    pub sources: [usize; MAX_VECTORS],
    /// What is summed, of the gradient and of the source alike.
    pub extent: Extent,
    /// `[R][N]` sums.
    pub target: *mut f32,
    /// Distance between rows of the target.
    pub target_stride: usize,
}

/// The floats that a reduction visits: lines of whole vectors, or one line of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Lines that are summed, at least one.
    pub lines: usize,
    /// Distance between lines of the gradient and of the source.
    pub line_steps: [usize; 2],
    /// Floats of a line, at least one; a multiple of the lanes where there are several lines.
    pub length: usize,
}

/// # Safety
/// The tier of `V` is enabled in the caller. All `length` floats of every line are readable in R rows of the gradient
/// and N of the source; R x N floats of the target are writable and initialised.
#[inline(always)]
pub(crate) unsafe fn reduce<V: Vector, const R: usize, const N: usize>(run: &Reduction) {
    // SAFETY: the last vector of the last line is masked, all others are whole, by the contract.
    unsafe {
        let Extent { lines, line_steps, length } = run.extent;
        let gradient: [_; R] = from_fn(|r| run.gradient.add(r * run.gradient_stride));
        let source: [_; N] = from_fn(|n| run.source.add(run.sources[n]));
        let whole = (length - 1) / V::LANES * V::LANES;
        let mask = V::first(length - whole);
        let last = line_steps.map(|step| (lines - 1) * step + whole);
        let x: [V; N] = from_fn(|n| V::load_masked(source[n].add(last[1]), mask));
        let mut sum = [[V::zero(); N]; R];
        for r in 0..R {
            let dy = V::load_masked(gradient[r].add(last[0]), mask);
            for n in 0..N {
                sum[r][n] = x[n].mul(dy);
            }
        }
        // One loop over all vectors rather than one over lines around another: where two loops meet, the compiler
        // would move all accumulators through memory.
        let vectors = whole / V::LANES + 1;
        let gaps = line_steps.map(|step| step.wrapping_sub(vectors * V::LANES));
        let (mut d, mut s) = (0, 0);
        let mut of_line = vectors;
        let mut left = lines * vectors - 1;
        while left > 0 {
            let x: [V; N] = from_fn(|n| V::load(source[n].add(s)));
            for r in 0..R {
                let dy = V::load(gradient[r].add(d));
                for n in 0..N {
                    sum[r][n] = x[n].mul_add(dy, sum[r][n]);
                    d = sum[r][n].then(d);
                }
            }
            d += V::LANES;
            s += V::LANES;
            left -= 1;
            of_line -= 1;
            if of_line == 0 {
                of_line = vectors;
                d = d.wrapping_add(gaps[0]);
                s = s.wrapping_add(gaps[1]);
            }
        }
        let mut totals = [0.0; MAX_SUMS + MAX_LANES];
        add_lanes::<V, R, N>(&sum, totals.as_mut_ptr());
        for (r, row) in totals[..R * N].chunks_exact(N).enumerate() {
            let target = run.target.add(r * run.target_stride);
            for (n, total) in row.iter().enumerate() {
                *target.add(n) += total;
            }
        }
    }
}

/// Adds the lanes of each vector; the sums are stored one after the other, and zeros behind them up to a whole vector.
///
/// Each step halves the vectors by adding neighbouring lanes of two of them into one, so that the lanes of a vector are
/// always added in the same order, whatever its place.
///
/// # Safety
/// The tier of `V` is enabled in the caller, and R * N floats, rounded up to whole vectors, are writable.
#[inline(always)]
unsafe fn add_lanes<V: Vector, const R: usize, const N: usize>(sum: &[[V; N]; R], totals: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut vectors = [V::zero(); MAX_SUMS + 1];
        for (i, vector) in vectors[..R * N].iter_mut().enumerate() {
            *vector = sum[i / N][i % N];
        }
        let mut count = R * N;
        let mut width = V::LANES;
        while width > 1 {
            count = count.div_ceil(2);
            for i in 0..count {
                let (even, odd) = vectors[2 * i].unzip(vectors[2 * i + 1]);
                vectors[i] = even.add(odd);
            }
            vectors[count] = V::zero();
            width /= 2;
        }
        for (i, vector) in vectors[..count].iter().enumerate() {
            vector.store(totals.add(i * V::LANES));
        }
    }
}
