//! Products of spectral matrices: a complex matrix product for each frequency.
//!
//! With `X`, `W` and `Y` the spectra of the tiles of input, weights and output of a cross-correlation `y[p] = sum over
//! k of w[k] x[p + k]`, and `D` the gradients:
//!
//! | pass | product | left factor | right factor |
//! |---|---|---|---|
//! | forward | `Y[o][t] = sum over i of conj W[i][o] X[i][t]` | W, transposed, conjugated | X |
//! | backward_data | `DX[i][t] = sum over o of W[i][o] DY[o][t]` | W | DY |
//! | backward_weights | `DW[i][o] = sum over t of X[i][t] conj DY[o][t]` | X | DY, transposed, conjugated |
//!
//! The micro-kernel holds R rows x N vectors of complex sums. For each term it loads N vectors of the right factor,
//! broadcasts R numbers of the left one, and does 4 R N multiply-adds. The right factor must have the lanes of the
//! result, hence the transposed one is rearranged first, block by block.

use crate::vector::{MAX_LANES, Vector, prefetch_far, prefetch_write, transpose};
use crate::{Conjugate, Kernels, Rows, RowsMut};

/// The most rows of a register tile.
pub(crate) const MAX_ROWS: usize = 6;
/// The most vectors of a row of a register tile.
pub(crate) const MAX_VECTORS: usize = 2;
/// Terms of a sum over the columns of the right factor that are rearranged, and added up, at once.
const BLOCK: usize = 64;

/// Spectral matrices: `rows x columns` complex numbers for each row of the view, which is
/// `[row][column / LANES][re, im][column % LANES]`. The lanes of columns that do not exist are numbers, too.
#[derive(Clone, Copy, Debug)]
pub struct Spectral<'a> {
    /// A row for each frequency.
    pub view: Rows<'a>,
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Whether it is the transposed matrix that is a factor.
    pub transposed: bool,
}

/// Floats of a cache line.
const LINE: usize = 16;

/// The operands of one product, in floats.
pub(crate) struct Product {
    pub micro: &'static [[[Micro; MAX_VECTORS]; MAX_ROWS]; 2],
    pub tile: [usize; 2],
    pub frequencies: usize,
    pub conjugate: Conjugate,
    pub left: *const f32,
    pub left_stride: usize,
    pub left_len: usize,
    pub left_row: usize,
    pub left_transposed: bool,
    pub right: *const f32,
    pub right_stride: usize,
    pub right_row: usize,
    pub right_transposed: bool,
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub accumulate: bool,
    pub out: *mut f32,
    pub out_stride: usize,
    pub scratch: *mut f32,
}

/// The operands of the micro-kernel, in floats. The terms come in groups: so many as lie in the lanes of a vector.
#[derive(Clone, Copy)]
pub(crate) struct MicroTile {
    /// The first number of each row of the left factor; the imaginary part lies a vector behind the real one.
    pub left: [*const f32; MAX_ROWS],
    /// From one term to the next, and from the first of one group to that of the next.
    pub left_steps: [usize; 2],
    /// N pairs of vectors of the right factor.
    pub right: *const f32,
    /// From one term to the next.
    pub right_step: usize,
    /// All terms, and those of a group.
    pub terms: usize,
    pub group: usize,
    /// N pairs of vectors of the first row of the result.
    pub out: *mut f32,
    /// From one row to the next.
    pub out_row: usize,
    /// Whether the former value is added.
    pub accumulate: bool,
    /// What imaginary parts of the sums are multiplied by: 1 or -1.
    pub sign: f32,
    /// A cache line to be fetched at each term, for the next frequency.
    pub ahead: *const f32,
}

/// A micro-kernel.
pub(crate) type Micro = unsafe fn(&MicroTile);

/// The sum over the terms of `left * right`, or `conj(left) * right`, for R rows and N vectors.
///
/// # Safety
/// The tier of `V` is enabled in the caller; the operands are readable as described, the result writable.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "constant bounds keep the arrays in registers")]
pub(crate) unsafe fn multiply<V: Vector, const R: usize, const N: usize, const CONJUGATE: bool>(
    tile: &MicroTile,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let (mut re, mut im) = ([[V::zero(); N]; R], [[V::zero(); N]; R]);
        let mut left = tile.left;
        let mut right = tile.right;
        let mut terms = tile.terms;
        let mut ahead = tile.ahead;
        for r in 0..R {
            for v in 0..2 * N {
                prefetch_write(tile.out.wrapping_add(r * tile.out_row + v * V::LANES));
            }
        }
        while terms > 0 {
            let group = terms.min(tile.group);
            let mut offset = 0;
            for _ in 0..group {
                prefetch_far(ahead);
                ahead = ahead.wrapping_add(LINE);
                let (mut b_re, mut b_im) = ([V::zero(); N], [V::zero(); N]);
                for n in 0..N {
                    b_re[n] = V::load(right.add(2 * n * V::LANES));
                    b_im[n] = V::load(right.add((2 * n + 1) * V::LANES));
                }
                for r in 0..R {
                    let a_re = V::splat(*left[r].add(offset));
                    let a_im = V::splat(*left[r].add(offset + V::LANES));
                    for n in 0..N {
                        re[r][n] = a_re.mul_add(b_re[n], re[r][n]);
                        im[r][n] = a_re.mul_add(b_im[n], im[r][n]);
                    }
                    for n in 0..N {
                        if CONJUGATE {
                            re[r][n] = a_im.mul_add(b_im[n], re[r][n]);
                            im[r][n] = a_im.negative_mul_add(b_re[n], im[r][n]);
                        } else {
                            re[r][n] = a_im.negative_mul_add(b_im[n], re[r][n]);
                            im[r][n] = a_im.mul_add(b_re[n], im[r][n]);
                        }
                    }
                }
                offset += tile.left_steps[0];
                right = right.add(tile.right_step);
            }
            for left in &mut left {
                *left = left.wrapping_add(tile.left_steps[1]);
            }
            terms -= group;
        }
        let sign = V::splat(tile.sign);
        for r in 0..R {
            for n in 0..N {
                let to = tile.out.add(r * tile.out_row + 2 * n * V::LANES);
                let to_im = to.add(V::LANES);
                let (mut sum_re, mut sum_im) = (re[r][n], im[r][n].mul(sign));
                if tile.accumulate {
                    (sum_re, sum_im) = (V::load(to).add(sum_re), V::load(to_im).add(sum_im));
                }
                sum_re.store(to);
                sum_im.store(to_im);
            }
        }
    }
}

/// The rows of the next register tile: parts as equal as possible of what is left.
fn next_rows(left: usize, most: usize) -> usize {
    left.div_ceil(left.div_ceil(most))
}

/// # Safety
/// The tier of `V` is enabled in the caller, and that of the micro-kernels; the views agree as
/// [`Kernels::spectral_product`] demands.
#[inline(always)]
pub(crate) unsafe fn product<V: Vector>(p: &Product) {
    let pair = 2 * V::LANES;
    let [most_rows, most_vectors] = p.tile;
    let vectors = p.columns.div_ceil(V::LANES);
    // SAFETY: rows, terms and vectors lie within the views.
    unsafe {
        for f in 0..p.frequencies {
            let left = p.left.add(f * p.left_stride);
            let mut right = p.right.add(f * p.right_stride);
            let out = p.out.add(f * p.out_stride);
            let mut right_step = p.right_row;
            let mut start = 0;
            // How much of the next frequency is fetched already: of the left factor, then of the right one.
            let mut fetched = 0;
            let next = [left.wrapping_add(p.left_stride), right.wrapping_add(p.right_stride)];
            while start < p.depth {
                let terms = if p.right_transposed { BLOCK.min(p.depth - start) } else { p.depth };
                if p.right_transposed {
                    rearrange::<V>(p, right.add(start * 2), terms);
                    (right, right_step) = (p.scratch, vectors * pair);
                }
                let mut v = 0;
                while v < vectors {
                    let n = most_vectors.min(vectors - v);
                    let mut row = 0;
                    while row < p.rows {
                        let rows = next_rows(p.rows - row, most_rows);
                        let mut tile = MicroTile {
                            left: [left; MAX_ROWS],
                            left_steps: if p.left_transposed { [p.left_row, 0] } else { [1, pair] },
                            right: right.add(v * pair),
                            right_step,
                            terms,
                            group: if p.left_transposed { terms } else { V::LANES },
                            out: out.add((row * vectors + v) * pair),
                            out_row: vectors * pair,
                            accumulate: p.accumulate || start > 0,
                            ahead: if fetched < p.left_len {
                                next[0].wrapping_add(fetched)
                            } else {
                                next[1].wrapping_add(fetched - p.left_len)
                            },
                            sign: if p.conjugate == Conjugate::Second { -1.0 } else { 1.0 },
                        };
                        for (r, to) in tile.left.iter_mut().enumerate().take(rows) {
                            let row = row + r;
                            *to = left.add(if p.left_transposed {
                                row / V::LANES * pair + row % V::LANES + start * p.left_row
                            } else {
                                row * p.left_row + start * 2
                            });
                        }
                        (p.micro[usize::from(p.conjugate != Conjugate::Neither)][rows - 1][n - 1])(&tile);
                        fetched += terms * LINE;
                        row += rows;
                    }
                    v += n;
                }
                if p.right_transposed {
                    right = p.right.add(f * p.right_stride);
                }
                start += terms;
            }
        }
    }
}

/// Columns of the right factor as rows of the scratch memory.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn rearrange<V: Vector>(p: &Product, from: *const f32, terms: usize) {
    let pair = 2 * V::LANES;
    let step = p.columns.div_ceil(V::LANES) * pair;
    // SAFETY: rows and columns lie within the matrix, or are zeros; the scratch memory holds `BLOCK` rows.
    unsafe {
        for column in (0..p.columns).step_by(V::LANES) {
            for term in (0..terms).step_by(V::LANES) {
                for part in 0..2 {
                    let mut block = [V::zero(); MAX_LANES];
                    let first = from.add(term * 2 + part * V::LANES);
                    if column + V::LANES <= p.columns {
                        for (i, row) in block.iter_mut().enumerate().take(V::LANES) {
                            *row = V::load(first.add((column + i) * p.right_row));
                        }
                    } else {
                        for (i, row) in block.iter_mut().enumerate().take(V::LANES) {
                            if column + i < p.columns {
                                *row = V::load(first.add((column + i) * p.right_row));
                            }
                        }
                    }
                    transpose(&mut block);
                    let to = p.scratch.add(term * step + column * 2 + part * V::LANES);
                    for (i, row) in block.iter().enumerate().take(V::LANES) {
                        row.store(to.add(i * step));
                    }
                }
            }
        }
    }
}

impl Kernels {
    /// Floats of scratch memory for a product whose transposed right factor has so many rows.
    pub fn spectral_scratch_len(&self, rows: usize) -> usize {
        BLOCK * self.spectral_row_len(rows)
    }

    /// Floats of a row of a spectral matrix of so many columns.
    pub fn spectral_row_len(&self, columns: usize) -> usize {
        2 * columns.next_multiple_of(self.lanes())
    }

    /// `out = left * right`, or `+=` with `accumulate`, at every frequency; `out` has rows of the columns of the right
    /// factor. The matrix of scratch memory is needed where the right factor is transposed.
    ///
    /// # Panics
    /// Where the shapes do not agree, or both factors are transposed.
    pub fn spectral_product(
        &self,
        conjugate: Conjugate,
        left: Spectral<'_>,
        right: Spectral<'_>,
        accumulate: bool,
        mut out: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let shape = |m: &Spectral<'_>| if m.transposed { [m.columns, m.rows] } else { [m.rows, m.columns] };
        for matrix in [&left, &right] {
            assert_eq!(matrix.view.cols(), matrix.rows * self.spectral_row_len(matrix.columns), "{matrix:?}");
            assert_eq!(matrix.view.rows(), out.rows(), "frequencies");
        }
        let ([rows, depth], [terms, columns]) = (shape(&left), shape(&right));
        assert_eq!(depth, terms, "terms");
        assert!(!(left.transposed && right.transposed), "both factors are transposed");
        assert_eq!(out.cols(), rows * self.spectral_row_len(columns), "columns of the product");
        assert!(!right.transposed || scratch.len() >= self.spectral_scratch_len(columns), "scratch memory");
        if out.rows() == 0 || rows == 0 || columns == 0 {
            return;
        }
        assert!(depth > 0, "a product of no terms");
        let (micro, tile) = self.spectral_micro();
        let product = Product {
            micro,
            tile,
            frequencies: out.rows(),
            conjugate,
            left: left.view.as_ptr(),
            left_stride: left.view.stride(),
            left_len: left.view.cols(),
            left_row: self.spectral_row_len(left.columns),
            left_transposed: left.transposed,
            right: right.view.as_ptr(),
            right_stride: right.view.stride(),
            right_row: self.spectral_row_len(right.columns),
            right_transposed: right.transposed,
            rows,
            depth,
            columns,
            accumulate,
            out_stride: out.stride(),
            out: out.as_mut_ptr(),
            scratch: scratch.as_mut_ptr(),
        };
        // SAFETY: the tier exists, as `self` proves; the shapes agree.
        unsafe { (self.table().spectral_product)(&product) }
    }
}
