//! The micro-kernels of backward-weights for small images: transposition into columns, and their products with the
//! gradient.

use crate::vector::{self, MAX_LANES, Vector};
use core::array::from_fn;

/// The operands of one call: `target[p][i] = source[i][p]` for the positions `p` and as many `i` as there are lanes.
#[derive(Debug)]
pub(crate) struct Transposition {
    /// What `sources` counts from.
    pub source: *const f32,
    /// The first float of each source.
    pub sources: [usize; MAX_LANES],
    /// Positions.
    pub length: usize,
    /// A vector for each position.
    pub target: *mut f32,
    /// Distance between the vectors of two positions.
    pub step: usize,
}

/// # Safety
/// The tier of `V` is enabled in the caller. `length` floats, rounded up to whole vectors, of each of `V::LANES`
/// sources are readable, and as many vectors of the target are writable.
#[inline(always)]
pub(crate) unsafe fn transpose<V: Vector>(run: &Transposition) {
    // SAFETY: the positions of whole vectors, by the contract.
    unsafe {
        for first in (0..run.length).step_by(V::LANES) {
            let mut rows = [V::zero(); MAX_LANES];
            for (row, source) in rows[..V::LANES].iter_mut().zip(run.sources) {
                *row = V::load(run.source.add(source + first));
            }
            vector::transpose(&mut rows);
            for (i, row) in rows[..V::LANES].iter().enumerate() {
                row.store(run.target.add((first + i) * run.step));
            }
        }
    }
}

/// The operands of one call: `target[r][..] (+)= sum over positions p of gradient[r][p] * columns[p][..]`.
#[derive(Debug)]
pub(crate) struct Product {
    /// The first float of the first of the R rows.
    pub gradient: *const f32,
    /// Distance between the rows.
    pub gradient_stride: usize,
    /// `[positions][N]` vectors.
    pub columns: *const f32,
    /// Positions that are summed.
    pub positions: usize,
    /// Lanes of the last vector that exist in the target.
    pub last: usize,
    /// Whether to add to the former value of the target.
    pub accumulate: bool,
    /// `[R][N]` vectors of sums.
    pub target: *mut f32,
    /// Distance between rows of the target.
    pub target_stride: usize,
}

/// # Safety
/// The tier of `V` is enabled in the caller. All positions are readable in R rows of the gradient and N vectors of the
/// columns; R rows of N vectors of the target, of the last one `last` lanes, are writable, and initialised where they
/// are added to.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, const R: usize, const N: usize>(product: &Product) {
    // SAFETY: the loops visit the positions and vectors of the contract.
    unsafe {
        let gradient: [_; R] = from_fn(|r| product.gradient.add(r * product.gradient_stride));
        let mut sum = [[V::zero(); N]; R];
        let mut column = product.columns;
        let mut p = 0;
        while p < product.positions {
            let x: [V; N] = from_fn(|n| V::load(column.add(n * V::LANES)));
            for r in 0..R {
                let dy = V::splat(*gradient[r].add(p));
                for n in 0..N {
                    sum[r][n] = x[n].mul_add(dy, sum[r][n]);
                    p = sum[r][n].then(p);
                }
            }
            column = column.add(N * V::LANES);
            p += 1;
        }
        for (r, row) in sum.iter().enumerate() {
            for (n, value) in row.iter().enumerate() {
                let to = product.target.add(r * product.target_stride + n * V::LANES);
                let lanes = if n + 1 < N { V::LANES } else { product.last };
                let former = if product.accumulate { V::load_first(to, lanes) } else { V::zero() };
                value.add(former).store_first(to, lanes);
            }
        }
    }
}
