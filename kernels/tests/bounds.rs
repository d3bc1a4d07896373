//! Every operand ends where memory ends, then starts where it starts: a stray access is a fault.
#![cfg(target_os = "linux")]

mod guard;

use guard::{Guarded, Side};
use znn_kernels::tile_fft::product::Spectral;
use znn_kernels::tile_fft::{Patch, Store, TileShape};
use znn_kernels::{Adam, Affine, Conjugate, Isa, Kernels, Loss, Rows, RowsMut, Sgd, Transfer, Window};

fn each(mut test: impl FnMut(Kernels, Side)) {
    for kernels in Isa::ALL.into_iter().filter_map(Kernels::new) {
        for side in [Side::End, Side::Start] {
            test(kernels, side);
        }
    }
}

/// `len` floats in `0..1` that repeat after a while.
fn floats(len: usize, side: Side) -> Guarded {
    Guarded::new(&(0..len).map(|i| (i * 37 % 101) as f32 / 101.0).collect::<Vec<_>>(), side)
}

/// Bytes at the same border.
struct Bytes(Guarded, usize, Side);

impl Bytes {
    fn new(len: usize, side: Side) -> Self {
        Self(Guarded::new(&vec![0.0; len.div_ceil(4)], side), len, side)
    }

    fn get(&mut self) -> &mut [u8] {
        let Self(floats, len, side) = self;
        // SAFETY: any bits are bytes; `&mut self` makes the slice unique.
        let all =
            unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast::<u8>(), floats.len() * 4) };
        let start = if matches!(side, Side::End) { all.len() - *len } else { 0 };
        &mut all[start..][..*len]
    }
}

#[test]
fn pointwise_kernels_stay_within_their_rows() {
    each(|kernels, side| {
        for len in 0..=70 {
            let (a, b, w) = (floats(len, side), floats(len, side), floats(len, side));
            let (mut to, mut winners) = (floats(len, side), Bytes::new(len, side));
            for t in [Transfer::RectifyLinear, Transfer::Tanh { amplitude: 1.0, slope: 1.0 }] {
                kernels.bias_transfer(t, 0.1, &mut to);
                kernels.transfer_backward(t, &a, &mut to);
            }
            kernels.scale(&mut to, 0.5);
            kernels.add(&mut to, &a);
            kernels.max_merge(1, &a, &mut to, winners.get());
            kernels.max_merge_backward(1, winners.get(), &a, true, &mut to);
            kernels.dropout(1, 2, 0.5, &a, &mut to);
            let step = Sgd { rate: 0.1, scale: 1.0, momentum: 0.5, decay: 0.1, nesterov: true };
            let mut velocity = floats(len, side);
            kernels.sgd(step, &mut to, Some(&mut velocity), &a);
            kernels.multiply(&mut to, &a);
            kernels.scaled(0.5, &a, true, &mut to);
            let affine = Affine { centre: 0.5, factor: 2.0, addend: 0.1 };
            kernels.affine_transfer(Transfer::SoftSign, affine, Some(&a), &mut to);
            kernels.affine_transfer(Transfer::SoftSign, affine, None, &mut to);
            kernels.affine_gradient(0.5, affine, &a, &mut to);
            kernels.rectify(0.5, 0.1, Some(&a), &mut to);
            kernels.rectify(0.5, 0.1, None, &mut to);
            kernels.rectify_backward(0.5, 0.1, &a, &mut to);
            assert!(kernels.deviations(&a, 0.5)[1] >= 0.0 && kernels.centred_dot(&a, &b, 0.0) >= 0.0);
            let (beta1, beta2, epsilon) = (0.9, 0.99, 1e-3);
            let (rate, scale, correction, decay, shrink) = (0.1, 1.0, 1.0, 0.1, 0.1);
            let step = Adam { rate, scale, beta1, beta2, correction, epsilon, decay, shrink };
            let mut variance = floats(len, side);
            kernels.adam(step, &mut to, &mut velocity, &mut variance, &a);
            kernels.clamp(&mut velocity, 0.5);
            assert!(
                kernels.is_finite(&velocity) && kernels.sum_of_squares(&velocity, 1.0) <= len as f64 / 4.0
            );
            let mut to = floats(len, side);
            for loss in [Loss::Square, Loss::SquareSquare { margin: 0.2 }, Loss::BinomialCrossEntropy] {
                let with = kernels.loss(loss, &a, &b, Some(&w), &mut to);
                let without = kernels.loss(loss, &a, &b, None, &mut to);
                assert!(with <= without);
            }
        }
    });
}

#[test]
fn kernels_of_several_rows_stay_within_their_views() {
    each(|kernels, side| {
        for len in 1..=40 {
            let (x, t) = (floats(3 * len, side), floats(3 * len, side));
            let mut g = floats(3 * len, side);
            let (x, t) = (Rows::new(&x, len), Rows::new(&t, len));
            kernels.softmax_loss(x, t, Some(t), &mut RowsMut::new(&mut g, len));
            kernels.softmax(&mut RowsMut::new(&mut g, len));
            kernels.softmax_backward(x, &mut RowsMut::new(&mut g, len));

            let (w, v) = (floats(15 * 2 * len, side), floats(3 * 2 * len, side));
            let mut out = floats(5 * 2 * len, side);
            let (w, v) = (Rows::new(&w, 2 * len), Rows::new(&v, 2 * len));
            let rows = &mut RowsMut::new(&mut out, 2 * len);
            kernels.spectral_multiply(Conjugate::First, w, [3, 1], v, true, rows);
            let mut outer = floats(15 * 2 * len, side);
            let first = Rows::new(&out, 2 * len);
            kernels.spectral_outer(Conjugate::First, first, v, true, &mut RowsMut::new(&mut outer, 2 * len));
        }
    });
}

#[test]
fn maxima_over_windows_stay_within_their_maps() {
    each(|kernels, side| {
        for cols in 1..=40 {
            for (size, step) in [([2, 2, 2], [1, 1, 1]), ([1, 3, 3], [1, 1, 2]), ([1, 1, 5], [1, 1, 3])] {
                let w = Window { size, step };
                let input: [usize; 3] = std::array::from_fn(|axis| w.reach()[axis] + [2, 2, cols][axis]);
                let (x, out) = (floats(input.iter().product(), side), w.output(input).iter().product());
                let (mut y, mut winners) = (floats(out, side), Bytes::new(out, side));
                let mut scratch = floats(kernels.max_filter_scratch(w, input), side);
                kernels.max_filter_forward(w, input, &x, 0..2, &mut y, Some(winners.get()), &mut scratch);
                let mut dx = floats(x.len(), side);
                let planes = 0..input[0];
                kernels.max_filter_backward(w, input, &y, winners.get(), planes, true, &mut dx, &mut scratch);

                let input = [2 * size[0], 2 * size[1], cols * size[2]];
                let (x, out) = (floats(input.iter().product(), side), 4 * cols);
                let (mut y, mut winners) = (floats(out, side), Bytes::new(out, side));
                kernels.max_pool_forward(size, input, &x, &mut y, Some(winners.get()));
                let mut dx = floats(x.len(), side);
                kernels.max_pool_backward(size, input, &y, winners.get(), true, &mut dx);
            }
        }
    });
}

#[test]
fn tiles_stay_within_their_images_and_spectra() {
    each(|kernels, side| {
        let pair = 2 * kernels.lanes();
        for size in [[1, 1, 1], [1, 8, 12], [4, 9, 18], [6, 2, 2], [2, 10, 24]] {
            let shape = TileShape::new(size).expect("lengths of tiles");
            for step in [1, 3] {
                let steps = [step * size[1] * size[2], step * size[2], step];
                let len = (0..3).map(|axis| (size[axis] - 1) * steps[axis]).sum::<usize>() + 1;
                // The box that fills the image, and one voxel at its end.
                let patches = [Patch { offset: 0, extent: size }, Patch { offset: len - 1, extent: [1; 3] }];
                let mut image = floats(len, side);
                let mut spectra = floats(shape.frequencies() * pair, side);
                let mut scratch = floats(kernels.tile_scratch_len(shape), side);
                let to = RowsMut::new(&mut spectra, pair);
                kernels.tile_forward(shape, &image, steps, &patches, to, &mut scratch);
                for accumulate in [false, true] {
                    let store = Store { scale: 1.0, bias: 0.0, accumulate, floor: 0.0 };
                    let from = Rows::new(&spectra, pair);
                    kernels.tile_inverse(shape, from, &store, &mut image, steps, &patches, &mut scratch);
                }
            }
        }
    });
}

/// Floats of two frequencies, rows, columns, and floats of a frequency.
type Matrix = (Guarded, usize, usize, usize);

fn factor(m: &Matrix, transposed: bool) -> Spectral<'_> {
    Spectral { view: Rows::new(&m.0, m.3), rows: m.1, columns: m.2, transposed }
}

#[test]
fn spectral_products_stay_within_their_matrices() {
    each(|kernels, side| {
        for [rows, depth, columns] in [[1, 1, 1], [7, 5, 19], [20, 70, 33], [13, 16, 64]] {
            for (left_transposed, right_transposed) in [(false, false), (true, false), (false, true)] {
                let matrix = |rows: usize, columns: usize, transposed: bool| -> Matrix {
                    let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
                    let cols = rows * kernels.spectral_row_len(columns);
                    (floats(2 * cols, side), rows, columns, cols)
                };
                let left = matrix(rows, depth, left_transposed);
                let right = matrix(depth, columns, right_transposed);
                let (mut out, .., cols) = matrix(rows, columns, false);
                let (left, right) = (factor(&left, left_transposed), factor(&right, right_transposed));
                let mut scratch = floats(kernels.spectral_scratch_len(columns), side);
                let to = RowsMut::new(&mut out, cols);
                kernels.spectral_product(Conjugate::First, left, right, true, to, &mut scratch);
            }
        }
    });
}
