//! Products of spectra, frequency by frequency: the arithmetic of FFT convolution between the transforms.
//!
//! A spectrum is a row of complex numbers, interleaved as FFTW leaves them (real, imaginary, real, ...); lanes
//! run along the frequency, so any number of maps will do. With `X`, `W` and `Y` the spectra of input, weights
//! and output of a **cross-correlation** `y[p] = sum_k w[k] x[p + k]`, and `D` the gradients:
//!
//! | pass | product | call |
//! |---|---|---|
//! | forward | `Y[o] = sum_i conj(W[o][i]) X[i]` | multiply, `matrix` = W, [`Conjugate::First`] |
//! | backward_data | `DX[i] = sum_o W[o][i] DY[o]` | multiply, `matrix` = W, [`Conjugate::Neither`] |
//! | backward_weights | `DW[o][i] = conj(DY[o]) X[i]` | outer, [`Conjugate::First`] |
//!
//! Complex products are taken apart as `first * re(second)` and `first * im(second)`, summed separately and
//! put together once at the end, which leaves two multiply-adds and no shuffle of `first` in the inner loop.

use core::ops::Range;

use crate::vector::Vector;
use crate::{Kernels, Rows, RowsMut};

/// Which factor of a complex product is conjugated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conjugate {
    /// `a b`.
    Neither,
    /// `conj(a) b`.
    First,
    /// `a conj(b)`.
    Second,
}

/// The operands of [`Kernels::spectral_multiply`] in floats: a row of `out` is `cols` long.
pub(crate) struct Multiply<'a> {
    conjugate: Conjugate,
    matrix: Rows<'a>,
    strides: [usize; 2],
    vector: Rows<'a>,
    accumulate: bool,
    out_rows: usize,
    out_stride: usize,
}

/// The operands of [`Kernels::spectral_outer`] in floats.
pub(crate) struct Outer<'a> {
    conjugate: Conjugate,
    first: Rows<'a>,
    second: Rows<'a>,
    accumulate: bool,
    out_stride: usize,
}

impl Kernels {
    /// `out[a] = sum_b matrix[a][b] vector[b]` at every frequency, or `+=` with `accumulate`; `conjugate` names
    /// the matrix first and the vector second.
    ///
    /// All views have one number of columns, twice the number of frequencies. `matrix[a][b]` is row
    /// `a * strides[0] + b * strides[1]`, so that weights stored as `[c_out][c_in]` serve forward with
    /// `[c_in, 1]` and backward_data with `[1, c_in]`. A part of the frequencies or of the rows of `out` is a
    /// part of the views.
    pub fn spectral_multiply(
        &self,
        conjugate: Conjugate,
        matrix: Rows<'_>,
        strides: [usize; 2],
        vector: Rows<'_>,
        accumulate: bool,
        out: &mut RowsMut<'_>,
    ) {
        assert!(out.cols().is_multiple_of(2), "complex rows have an even number of floats");
        assert_eq!(vector.cols(), out.cols());
        assert_eq!(matrix.cols(), out.cols());
        if out.rows() == 0 {
            return;
        }
        if vector.rows() == 0 {
            if !accumulate {
                (0..out.rows()).for_each(|row| out.row_mut(row).fill(0.0));
            }
            return;
        }
        let last = (out.rows() - 1) * strides[0] + (vector.rows() - 1) * strides[1];
        assert!(last < matrix.rows(), "the matrix has {} rows, the strides reach row {last}", matrix.rows());
        let (out_rows, out_stride) = (out.rows(), out.stride());
        let problem = Multiply { conjugate, matrix, strides, vector, accumulate, out_rows, out_stride };
        // SAFETY: the tier exists, as `self` proves; the shapes agree.
        unsafe { (self.table().spectral_multiply)(&problem, out.as_mut_ptr()) }
    }

    /// `out[a][b] = first[a] second[b]` at every frequency, or `+=` with `accumulate`.
    ///
    /// All views have one number of columns, twice the number of frequencies; `out[a][b]` is row
    /// `a * second.rows() + b`.
    pub fn spectral_outer(
        &self,
        conjugate: Conjugate,
        first: Rows<'_>,
        second: Rows<'_>,
        accumulate: bool,
        out: &mut RowsMut<'_>,
    ) {
        assert!(out.cols().is_multiple_of(2), "complex rows have an even number of floats");
        assert_eq!(first.cols(), out.cols());
        assert_eq!(second.cols(), out.cols());
        assert_eq!(out.rows(), first.rows() * second.rows());
        let problem = Outer { conjugate, first, second, accumulate, out_stride: out.stride() };
        // SAFETY: the tier exists, as `self` proves; the shapes agree.
        unsafe { (self.table().spectral_outer)(&problem, out.as_mut_ptr()) }
    }
}

/// Rows of `out` whose sums are kept in registers: two vectors each, which fits 16 registers.
const ROWS: usize = 4;
/// Addends of such a sum taken in one walk along the frequencies. `ROWS * DEPTH` rows of the matrix are then
/// read at once, about as many streams as hardware prefetchers follow.
const DEPTH: usize = 4;
/// Floats of a row walked at once: a block of `out` stays in the first cache between two walks, and that part
/// of the vector in the second.
const CHUNK: usize = 1024;

/// The product out of its two sums: of `first * re(second)` and of `first * im(second)`.
#[inline(always)]
fn join<V: Vector>(conjugate: Conjugate, with_re: V, with_im: V) -> V {
    let crossed = with_im.swap_pairs();
    match conjugate {
        Conjugate::Neither => with_re.sub_add(crossed),
        Conjugate::First => crossed.add_sub(with_re),
        Conjugate::Second => with_re.add_sub(crossed),
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the views agree as [`Kernels::spectral_multiply`] demands; `out`
/// is valid for the rows of the problem and overlaps nothing.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector>(problem: &Multiply<'_>, out: *mut f32) {
    let cols = problem.vector.cols();
    let depth = problem.vector.rows();
    for from in (0..cols).step_by(CHUNK) {
        let part = from..cols.min(from + CHUNK);
        for row in (0..problem.out_rows).step_by(ROWS) {
            for b in (0..depth).step_by(DEPTH) {
                let terms = b..depth.min(b + DEPTH);
                // SAFETY: the caller's contract; rows, terms and columns lie within the views.
                unsafe {
                    match problem.out_rows - row {
                        1 => multiply_block::<V, 1>(problem, row, terms, part.clone(), out),
                        2 => multiply_block::<V, 2>(problem, row, terms, part.clone(), out),
                        3 => multiply_block::<V, 3>(problem, row, terms, part.clone(), out),
                        _ => multiply_block::<V, ROWS>(problem, row, terms, part.clone(), out),
                    }
                }
            }
        }
    }
}

/// The `terms` of rows `row .. row + N`, over the columns of `part`.
///
/// # Safety
/// As [`multiply`]; rows, terms and columns lie within the views.
#[inline(always)]
unsafe fn multiply_block<V: Vector, const N: usize>(
    problem: &Multiply<'_>,
    row: usize,
    terms: Range<usize>,
    part: Range<usize>,
    out: *mut f32,
) {
    let whole = part.end - part.len() % V::LANES;
    // SAFETY: the caller's contract.
    unsafe {
        for col in (part.start..whole).step_by(V::LANES) {
            multiply_column::<V, N>(problem, row, terms.clone(), col, V::LANES, out);
        }
        if whole < part.end {
            multiply_column::<V, N>(problem, row, terms, whole, part.end - whole, out);
        }
    }
}

/// The `terms` of rows `row .. row + N` at the `count` columns from `col` on.
///
/// # Safety
/// As [`multiply_block`].
#[inline(always)]
unsafe fn multiply_column<V: Vector, const N: usize>(
    problem: &Multiply<'_>,
    row: usize,
    terms: Range<usize>,
    col: usize,
    count: usize,
    out: *mut f32,
) {
    let add = problem.accumulate || terms.start > 0;
    let across = problem.strides[0] * problem.matrix.stride();
    let along = problem.strides[1] * problem.matrix.stride();
    // SAFETY: the caller's contract; no column beyond `count` is touched.
    unsafe {
        let matrix = problem.matrix.as_ptr().add(row * across + col);
        let out = out.add(row * problem.out_stride + col);
        let (mut with_re, mut with_im) = ([V::zero(); N], [V::zero(); N]);
        for b in terms {
            let second = V::load_first(problem.vector.as_ptr().add(b * problem.vector.stride() + col), count);
            let (re, im) = (second.even_twice(), second.odd_twice());
            for a in 0..N {
                let first = V::load_first(matrix.add(a * across + b * along), count);
                with_re[a] = first.mul_add(re, with_re[a]);
                with_im[a] = first.mul_add(im, with_im[a]);
            }
        }
        for a in 0..N {
            let out = out.add(a * problem.out_stride);
            let sum = join(problem.conjugate, with_re[a], with_im[a]);
            let sum = if add { V::load_first(out, count).add(sum) } else { sum };
            sum.store_first(out, count);
        }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; the views agree as [`Kernels::spectral_outer`] demands; `out` is
/// valid for the rows of the problem and overlaps nothing.
#[inline(always)]
pub(crate) unsafe fn outer<V: Vector>(problem: &Outer<'_>, out: *mut f32) {
    let Outer { conjugate, first, second, accumulate, out_stride } = *problem;
    let cols = first.cols();
    for from in (0..cols).step_by(CHUNK) {
        let end = cols.min(from + CHUNK);
        for row in 0..first.rows() * second.rows() {
            let (a, b) = (row / second.rows(), row % second.rows());
            for col in (from..end).step_by(V::LANES) {
                // SAFETY: the caller's contract; columns beyond the row are not touched.
                unsafe {
                    let n = end - col;
                    let out = out.add(row * out_stride + col);
                    let factor = V::load_first(second.as_ptr().add(b * second.stride() + col), n);
                    let other = V::load_first(first.as_ptr().add(a * first.stride() + col), n);
                    let (re, im) = (other.mul(factor.even_twice()), other.mul(factor.odd_twice()));
                    let product = join(conjugate, re, im);
                    let product = if accumulate { V::load_first(out, n).add(product) } else { product };
                    product.store_first(out, n);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, tiers};
    use std::vec;
    use std::vec::Vec;

    const ALL: [Conjugate; 3] = [Conjugate::Neither, Conjugate::First, Conjugate::Second];

    /// Complex number `f` of a row.
    fn at(row: &[f32], f: usize) -> [f64; 2] {
        [f64::from(row[2 * f]), f64::from(row[2 * f + 1])]
    }

    fn product(conjugate: Conjugate, [a, mut b]: [f64; 2], [c, mut d]: [f64; 2]) -> [f64; 2] {
        match conjugate {
            Conjugate::Neither => {}
            Conjugate::First => b = -b,
            Conjugate::Second => d = -d,
        }
        [a * c - b * d, a * d + b * c]
    }

    #[test]
    fn multiply_agrees_with_its_formula() {
        let mut random = Random::new(10);
        for case in 0..400 {
            let conjugate = ALL[case % 3];
            let (rows, depth) = (random.within(0, 9), random.within(0, 9));
            let frequencies = if case % 50 == 0 { random.within(500, 1100) } else { random.within(0, 40) };
            let cols = 2 * frequencies;
            let (transposed, accumulate) = (random.within(0, 1) == 1, random.within(0, 1) == 1);
            let strides = if transposed { [1, rows] } else { [depth, 1] };
            // rows lie further apart than they are long
            let pitch = cols + random.within(1, 9);
            let [matrix, vector, before] = [rows * depth, depth, rows].map(|n| random.floats(n * pitch + 1));
            let view = |data: &[f32], rows| -> Vec<Vec<f32>> {
                (0..rows).map(|r| data[r * pitch..r * pitch + cols].to_vec()).collect()
            };
            let (m, v, old) = (view(&matrix, rows * depth), view(&vector, depth), view(&before, rows));
            let mut expected = Vec::new();
            for (a, old) in old.iter().enumerate() {
                for f in 0..frequencies {
                    let mut sum = if accumulate { at(old, f) } else { [0.0; 2] };
                    for (b, v) in v.iter().enumerate() {
                        let [re, im] =
                            product(conjugate, at(&m[a * strides[0] + b * strides[1]], f), at(v, f));
                        sum = [sum[0] + re, sum[1] + im];
                    }
                    expected.extend(sum);
                }
            }
            for kernels in tiers() {
                let mut out = before.clone();
                // SAFETY: every row lies within its vector, which is borrowed as the view is used.
                let (matrix, vector, mut to) = unsafe {
                    (
                        Rows::from_raw(matrix.as_ptr(), rows * depth, cols, pitch),
                        Rows::from_raw(vector.as_ptr(), depth, cols, pitch),
                        RowsMut::from_raw(out.as_mut_ptr(), rows, cols, pitch),
                    )
                };
                kernels.spectral_multiply(conjugate, matrix, strides, vector, accumulate, &mut to);
                assert_close(&view(&out, rows).concat(), &expected, 3e-6, &(kernels, case));
                for row in 0..rows {
                    let gap = row * pitch + cols..(row + 1) * pitch;
                    assert_eq!(out[gap.clone()], before[gap], "{kernels:?} wrote between rows");
                }
            }
        }
    }

    #[test]
    fn outer_agrees_with_its_formula() {
        let mut random = Random::new(11);
        for case in 0..200 {
            let conjugate = ALL[case % 3];
            let (rows, columns) = (random.within(1, 7), random.within(1, 7));
            let frequencies = if case % 50 == 0 { random.within(500, 1100) } else { random.within(1, 40) };
            let cols = 2 * frequencies;
            let accumulate = random.within(0, 1) == 1;
            let [first, second, before] = [rows, columns, rows * columns].map(|n| random.floats(n * cols));
            let mut expected = Vec::new();
            for a in 0..rows {
                for b in 0..columns {
                    for f in 0..frequencies {
                        let old = at(&before[(a * columns + b) * cols..], f);
                        let new = product(conjugate, at(&first[a * cols..], f), at(&second[b * cols..], f));
                        expected.extend((0..2).map(|i| if accumulate { old[i] + new[i] } else { new[i] }));
                    }
                }
            }
            for kernels in tiers() {
                let mut out = before.clone();
                let (first, second) = (Rows::new(&first, cols), Rows::new(&second, cols));
                kernels.spectral_outer(
                    conjugate,
                    first,
                    second,
                    accumulate,
                    &mut RowsMut::new(&mut out, cols),
                );
                assert_close(&out, &expected, 1e-6, &(kernels, case));
            }
        }
    }

    /// The discrete Fourier transform of one short real signal, by its definition.
    fn transform(signal: &[f64]) -> Vec<[f64; 2]> {
        let n = signal.len();
        let angle = |f: usize, p: usize| -std::f64::consts::TAU * (f * p % n) as f64 / n as f64;
        (0..n)
            .map(|f| {
                signal.iter().enumerate().fold([0.0, 0.0], |[re, im], (p, &s)| {
                    [re + s * angle(f, p).cos(), im + s * angle(f, p).sin()]
                })
            })
            .collect()
    }

    #[test]
    fn the_table_of_passes_is_that_of_a_cross_correlation() {
        const N: usize = 16;
        const TAPS: usize = 3;
        let mut random = Random::new(12);
        let mut signal = |len: usize| -> Vec<f64> {
            let mut s: Vec<f64> = random.floats(len).into_iter().map(f64::from).collect();
            s.resize(N, 0.0);
            s
        };
        let (x, w, dy) = (signal(N), signal(TAPS), signal(N - TAPS + 1));
        let floats = |s: &[f64]| transform(s).iter().flatten().map(|&v| v as f32).collect::<Vec<f32>>();
        let [fx, fw, fdy] = [&x, &w, &dy].map(|s| floats(s));
        // circular sums; those of `y` and `dw` are the valid ones where they do not wrap
        let sum = |f: &dyn Fn(usize) -> f64| (0..N).map(f).sum::<f64>();
        let y: Vec<f64> = (0..N).map(|p| sum(&|k| w[k] * x[(p + k) % N])).collect();
        let dx: Vec<f64> = (0..N).map(|q| sum(&|k| w[k] * dy[(q + N - k) % N])).collect();
        let dw: Vec<f64> = (0..N).map(|k| sum(&|p| dy[p] * x[(p + k) % N])).collect();

        let kernels = Kernels::best();
        let row = |data| Rows::new(data, 2 * N);
        let mut out = vec![0.0; 2 * N];
        let flat = |s: &[f64]| transform(s).into_iter().flatten().collect::<Vec<f64>>();
        let to = &mut RowsMut::new(&mut out, 2 * N);
        kernels.spectral_multiply(Conjugate::First, row(&fw), [1, 1], row(&fx), false, to);
        assert_close(&out, &flat(&y), 1e-5, &"forward");
        let to = &mut RowsMut::new(&mut out, 2 * N);
        kernels.spectral_multiply(Conjugate::Neither, row(&fw), [1, 1], row(&fdy), false, to);
        assert_close(&out, &flat(&dx), 1e-5, &"backward_data");
        kernels.spectral_outer(
            Conjugate::First,
            row(&fdy),
            row(&fx),
            false,
            &mut RowsMut::new(&mut out, 2 * N),
        );
        assert_close(&out, &flat(&dw), 1e-5, &"backward_weights");
    }

    #[test]
    #[should_panic(expected = "the strides reach row 5")]
    fn the_matrix_has_all_rows_that_the_strides_reach() {
        let data = [0.0; 10];
        let (matrix, vector) = (Rows::new(&data, 2), Rows::new(&data[..6], 2));
        let mut out = [0.0; 4];
        let out = &mut RowsMut::new(&mut out, 2);
        Kernels::best().spectral_multiply(Conjugate::Neither, matrix, [3, 1], vector, false, out);
    }
}
