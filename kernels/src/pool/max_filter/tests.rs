//! Both passes against the definition.

use super::*;
use crate::testing::{Random, tiers};
use std::vec;
use std::vec::Vec;

/// Values and winners by the definition.
fn reference(w: Window, input: [usize; 3], x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let [planes, rows, cols] = w.output(input);
    let (mut y, mut winners) = (Vec::new(), Vec::new());
    for (z, row, col) in indices([planes, rows, cols]) {
        let (mut best, mut winner) = (f32::NEG_INFINITY, 0);
        for (offset, (mz, my, mx)) in indices(w.size).enumerate() {
            let at = [z + mz * w.step[0], row + my * w.step[1], col + mx * w.step[2]];
            let value = x[(at[0] * input[1] + at[1]) * input[2] + at[2]];
            if value > best || value.is_nan() {
                (best, winner) = (value, offset);
            }
        }
        y.push(best);
        winners.push(winner as u8);
    }
    (y, winners)
}

/// Scratch memory of no more than what is asked for, with something in it.
fn scratch(kernels: Kernels, w: Window, input: [usize; 3]) -> Vec<f32> {
    vec![f32::NAN; kernels.max_filter_scratch(w, input)]
}

fn indices([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
}

fn random_case(random: &mut Random) -> (Window, [usize; 3]) {
    let size: [usize; 3] = core::array::from_fn(|_| random.within(1, 4));
    let step: [usize; 3] = core::array::from_fn(|_| random.within(1, 3));
    let w = Window { size, step };
    let beyond = [random.within(1, 4), random.within(1, 5), random.within(1, 70)];
    (w, core::array::from_fn(|axis| w.reach()[axis] + beyond[axis]))
}

#[test]
fn forward_finds_the_first_largest_voxel_on_any_range_of_planes() {
    let mut random = Random::new(3);
    for case in 0..150 {
        let (w, input) = random_case(&mut random);
        let len = input.iter().product();
        let x = if case % 2 == 0 { random.ties(len) } else { random.floats(len) };
        let (y, winners) = reference(w, input, &x);
        let [planes, rows, cols] = w.output(input);
        for kernels in tiers() {
            let cut = random.within(0, planes);
            let (mut actual, mut actual_winners) = (vec![9.0; y.len()], vec![255; y.len()]);
            let mut values = actual.clone();
            let scratch = &mut scratch(kernels, w, input);
            for range in [0..cut, cut..planes] {
                let part = range.start * rows * cols..range.end * rows * cols;
                let (to, bytes) = (&mut actual[part.clone()], &mut actual_winners[part.clone()]);
                kernels.max_filter_forward(w, input, &x, range.clone(), to, Some(bytes), scratch);
                kernels.max_filter_forward(w, input, &x, range, &mut values[part], None, scratch);
            }
            assert_eq!(actual, y, "{kernels:?} {w:?} {input:?}");
            assert_eq!(actual_winners, winners, "{kernels:?} {w:?} {input:?}");
            assert_eq!(values, y, "{kernels:?} {w:?} {input:?}");
        }
    }
}

#[test]
fn backward_gives_each_gradient_to_its_winner_on_any_range_of_planes() {
    let mut random = Random::new(4);
    for _ in 0..150 {
        let (w, input) = random_case(&mut random);
        let len = input.iter().product();
        let (_, winners) = reference(w, input, &random.ties(len));
        let dy = random.floats(winners.len());
        let before = random.floats(len);
        let mut expected = vec![0.0f64; len];
        for ((z, y, x), (&g, &m)) in indices(w.output(input)).zip(dy.iter().zip(&winners)) {
            let (mz, my, mx) = indices(w.size).nth(usize::from(m)).unwrap();
            let at = [z + mz * w.step[0], y + my * w.step[1], x + mx * w.step[2]];
            expected[(at[0] * input[1] + at[1]) * input[2] + at[2]] += f64::from(g);
        }
        let mut of_portable: Option<Vec<f32>> = None;
        for kernels in tiers() {
            let cut = random.within(0, input[0]);
            let scratch = &mut scratch(kernels, w, input);
            let (mut written, mut added) = (vec![9.0; len], before.clone());
            for range in [cut..input[0], 0..cut] {
                let part = range.start * input[1] * input[2]..range.end * input[1] * input[2];
                let to = &mut written[part.clone()];
                kernels.max_filter_backward(w, input, &dy, &winners, range.clone(), false, to, scratch);
                kernels.max_filter_backward(w, input, &dy, &winners, range, true, &mut added[part], scratch);
            }
            for i in 0..len {
                assert!((f64::from(written[i]) - expected[i]).abs() < 2e-6, "{kernels:?} {w:?} {input:?}");
                assert!((f64::from(added[i]) - expected[i] - f64::from(before[i])).abs() < 4e-6);
            }
            assert_eq!(*of_portable.get_or_insert(written.clone()), written, "{kernels:?}");
        }
    }
}

#[test]
fn backward_is_the_adjoint_of_the_choice_that_forward_made() {
    let mut random = Random::new(5);
    let (w, input) = (Window { size: [2, 3, 3], step: [2, 1, 3] }, [5, 9, 41]);
    let x = random.floats(input.iter().product());
    let out: usize = w.output(input).iter().product();
    let planes = 0..w.output(input)[0];
    for kernels in tiers() {
        let (mut y, mut winners) = (vec![0.0; out], vec![0; out]);
        let scratch = &mut scratch(kernels, w, input);
        kernels.max_filter_forward(w, input, &x, planes.clone(), &mut y, Some(&mut winners), scratch);
        let g = random.floats(out);
        let mut dx = vec![0.0; x.len()];
        kernels.max_filter_backward(w, input, &g, &winners, 0..input[0], false, &mut dx, scratch);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        // the filter is linear as long as the winners stay: <y, g> = <x, dx>
        assert!((dot(&y, &g) - dot(&x, &dx)).abs() < 1e-4, "{kernels:?}");
    }
}

#[test]
fn infinities_are_values_and_a_nan_reaches_every_window_that_holds_it() {
    let w = Window { size: [1, 2, 2], step: [1, 1, 2] };
    let input = [1, 3, 40];
    for kernels in tiers() {
        for at in 0..120 {
            let mut x = vec![f32::NEG_INFINITY; 120];
            x[at] = f32::NAN;
            x[(at + 7) % 120] = f32::INFINITY;
            let (expected, expected_winners) = reference(w, input, &x);
            let (mut y, mut winners) = (vec![0.0; 76], vec![9; 76]);
            kernels.max_filter_forward(
                w,
                input,
                &x,
                0..1,
                &mut y,
                Some(&mut winners),
                &mut scratch(kernels, w, input),
            );
            assert_eq!(winners, expected_winners);
            assert!(y.iter().any(|y| y.is_nan()));
            let bits =
                |y: &[f32]| y.iter().map(|y| if y.is_nan() { 1 } else { y.to_bits() }).collect::<Vec<_>>();
            assert_eq!(bits(&y), bits(&expected), "{kernels:?}");
        }
    }
}

#[test]
fn a_window_of_256_voxels_fits_the_byte() {
    let (w, input) = (Window { size: [4, 8, 8], step: [1; 3] }, [4, 9, 30]);
    let mut x: Vec<f32> = (0..4 * 9 * 30).map(|i| i as f32).collect();
    x[0] = 1e9;
    let (y, winners) = reference(w, input, &x);
    assert_eq!((winners[0], winners[1]), (0, 255));
    for kernels in tiers() {
        let (mut actual, mut actual_winners) = (vec![0.0; y.len()], vec![0; y.len()]);
        kernels.max_filter_forward(
            w,
            input,
            &x,
            0..1,
            &mut actual,
            Some(&mut actual_winners),
            &mut scratch(kernels, w, input),
        );
        assert_eq!((&actual, &actual_winners), (&y, &winners), "{kernels:?}");
    }
}

#[test]
#[should_panic(expected = "beyond a byte")]
fn a_larger_window_cannot_have_winners() {
    let w = Window { size: [1, 1, 257], step: [1; 3] };
    let x = [0.0; 257];
    Kernels::best().max_filter_forward(
        w,
        [1, 1, 257],
        &x,
        0..1,
        &mut [0.0],
        Some(&mut [0]),
        &mut [0.0; 4096],
    );
}
