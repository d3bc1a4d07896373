//! The sliding-window maximum: `y[p] = max_m x[p + m * step]`, "valid".
//!
//! Lanes run along x. Forward compares and selects several vectors of one output row side by side, for one
//! window offset after the other, so that the chains of dependent comparisons overlap. Backward gathers: each
//! voxel of `dx` adds the gradients of the windows that it won, in the order of the offsets; nothing is
//! scattered, planes are independent, and every tier and every split adds in the same order.

use core::ops::Range;

use super::Window;
use crate::Kernels;
use crate::vector::Vector;
use crate::words::{Words, load_bytes_within};

/// A max filter of one feature map.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    window: Window,
    input: [usize; 3],
    output: [usize; 3],
}

impl Shape {
    fn new(window: Window, input: [usize; 3]) -> Self {
        Self { window, input, output: window.output(input) }
    }

    fn input_plane(&self) -> usize {
        self.input[1] * self.input[2]
    }

    fn output_plane(&self) -> usize {
        self.output[1] * self.output[2]
    }
}

impl Kernels {
    /// Planes `planes` of the sliding-window maximum of one feature map.
    ///
    /// `x` is the whole map of `input` voxels; `y` and `winners` hold the planes of the range alone, each
    /// `w.output(input)` voxels in y and x. With winners the window has at most [`Window::MAX_VOLUME`] voxels.
    /// Ties and NaN: see [`crate::pool`].
    pub fn max_filter_forward(
        &self,
        w: Window,
        input: [usize; 3],
        x: &[f32],
        planes: Range<usize>,
        y: &mut [f32],
        winners: Option<&mut [u8]>,
    ) {
        let shape = Shape::new(w, input);
        assert_eq!(x.len(), input.iter().product());
        assert!(planes.start <= planes.end && planes.end <= shape.output[0]);
        assert_eq!(y.len(), planes.len() * shape.output_plane());
        let winners = winners.map_or(core::ptr::null_mut(), |winners| {
            assert!(w.volume() <= Window::MAX_VOLUME, "{w:?} has offsets beyond a byte");
            assert_eq!(winners.len(), y.len());
            winners.as_mut_ptr()
        });
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe { (self.table().max_filter_forward)(shape, x.as_ptr(), planes, y.as_mut_ptr(), winners) }
    }

    /// Planes `planes` of the gradient by the *input* of [`Kernels::max_filter_forward`].
    ///
    /// `dy` and `winners` are whole maps of `w.output(input)` voxels; `dx` holds the planes of the range alone
    /// and is overwritten, or added to with `accumulate`. Ranges of one map can run in any order and at once.
    #[expect(clippy::too_many_arguments, reason = "the shape, two maps and the part to compute")]
    pub fn max_filter_backward(
        &self,
        w: Window,
        input: [usize; 3],
        dy: &[f32],
        winners: &[u8],
        planes: Range<usize>,
        accumulate: bool,
        dx: &mut [f32],
    ) {
        let shape = Shape::new(w, input);
        assert!(w.volume() <= Window::MAX_VOLUME, "{w:?} has offsets beyond a byte");
        assert_eq!(dy.len(), shape.output.iter().product());
        assert_eq!(winners.len(), dy.len());
        assert!(planes.start <= planes.end && planes.end <= input[0]);
        assert_eq!(dx.len(), planes.len() * shape.input_plane());
        // SAFETY: the tier exists, as `self` proves; the lengths are those of the shape.
        unsafe {
            (self.table().max_filter_backward)(
                shape,
                dy.as_ptr(),
                winners.as_ptr(),
                planes,
                accumulate,
                dx.as_mut_ptr(),
            )
        }
    }
}

/// Vectors of a row that are compared side by side.
const ABREAST: usize = 4;

/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for the input, `y` for `planes` of the output, and
/// so is `winners` unless it is null; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn forward<V: Vector>(
    shape: Shape,
    x: *const f32,
    planes: Range<usize>,
    y: *mut f32,
    winners: *mut u8,
) {
    // SAFETY: the caller's contract.
    unsafe {
        if winners.is_null() {
            sweep::<V, false>(shape, x, planes, y, winners)
        } else {
            sweep::<V, true>(shape, x, planes, y, winners)
        }
    }
}

/// [`forward`], which keeps the winners or has none.
///
/// # Safety
/// As [`forward`].
#[inline(always)]
unsafe fn sweep<V: Vector, const KEEP: bool>(
    shape: Shape,
    x: *const f32,
    planes: Range<usize>,
    y: *mut f32,
    winners: *mut u8,
) {
    let [_, rows, cols] = shape.output;
    let first = planes.start;
    for z in planes {
        for row in 0..rows {
            // SAFETY: the row lies within the range of planes, and its windows within the input; a window
            // that starts at an output voxel of this row ends within the input by the definition of `output`.
            unsafe {
                let x = x.add(z * shape.input_plane() + row * shape.input[2]);
                let to = (z - first) * shape.output_plane() + row * cols;
                let mut col = 0;
                while col < cols {
                    let (x, left, y) = (x.add(col), cols - col, y.add(to + col));
                    let winners = if KEEP { winners.add(to + col) } else { winners };
                    col += match left.div_ceil(V::LANES) {
                        1 => maxima::<V, 1, KEEP>(shape, x, left, y, winners),
                        2 => maxima::<V, 2, KEEP>(shape, x, left, y, winners),
                        3 => maxima::<V, 3, KEEP>(shape, x, left, y, winners),
                        _ => maxima::<V, ABREAST, KEEP>(shape, x, left.min(ABREAST * V::LANES), y, winners),
                    };
                }
            }
        }
    }
}

/// The maxima of `cols <= N * LANES` neighbouring windows, the first of which starts at `x`. Returns `cols`.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `x` is valid for the windows, `y`, and to `KEEP` them `winners`,
/// for `cols` voxels; `cols > (N - 1) * LANES`.
#[inline(always)]
unsafe fn maxima<V: Vector, const N: usize, const KEEP: bool>(
    shape: Shape,
    x: *const f32,
    cols: usize,
    y: *mut f32,
    winners: *mut u8,
) -> usize {
    let Window { size, step } = shape.window;
    // SAFETY: the caller's contract; all vectors but the last are whole, the last one has its mask.
    unsafe {
        let last = V::first(cols - (N - 1) * V::LANES);
        let mut best = [V::splat(f32::NEG_INFINITY); N];
        let mut winner = [V::Words::splat(0); N];
        let mut offset = V::Words::splat(0);
        let one = V::Words::splat(1);
        for mz in 0..size[0] {
            for my in 0..size[1] {
                let x = x.add(mz * step[0] * shape.input_plane() + my * step[1] * shape.input[2]);
                for mx in 0..size[2] {
                    for n in 0..N {
                        let candidate = load::<V, N>(x.add(mx * step[2]), n, last);
                        let wins = candidate.exceeds(best[n]);
                        best[n] = candidate.select(wins, best[n]);
                        if KEEP {
                            winner[n] = offset.select(wins, winner[n]);
                        }
                    }
                    offset = offset.add(one);
                }
            }
        }
        for n in 0..N {
            let at = n * V::LANES;
            if n + 1 < N {
                best[n].store(y.add(at))
            } else {
                best[n].store_masked(y.add(at), last)
            }
            if KEEP {
                winner[n].store_bytes(winners.add(at), cols - at);
            }
        }
    }
    cols
}

/// Vector `n` of `N` from `x` on, the last of them masked.
///
/// # Safety
/// The tier of `V` is enabled in the caller; the vector, or its chosen lanes, must be readable.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize>(x: *const f32, n: usize, last: V::Mask) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let x = x.add(n * V::LANES);
        if n + 1 < N { V::load(x) } else { V::load_masked(x, last) }
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller; `dy` and `winners` are valid for the output, `dx` for `planes` of
/// the input; nothing overlaps.
#[inline(always)]
pub(crate) unsafe fn backward<V: Vector>(
    shape: Shape,
    dy: *const f32,
    winners: *const u8,
    planes: Range<usize>,
    accumulate: bool,
    dx: *mut f32,
) {
    let [_, rows, cols] = shape.input;
    let first = planes.start;
    for z in planes {
        for row in 0..rows {
            for col in (0..cols).step_by(V::LANES) {
                // SAFETY: the vector lies within the range of planes, cut off at the end of the row.
                unsafe {
                    let dx = dx.add((z - first) * shape.input_plane() + row * cols + col);
                    let n = cols - col;
                    let start = if accumulate { V::load_first(dx, n) } else { V::zero() };
                    won::<V>(shape, dy, winners, [z, row, col], start).store_first(dx, n);
                }
            }
        }
    }
}

/// `sum` plus the gradients of the windows that the `LANES` input voxels from `at` on have won.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `dy` and `winners` are valid for the output.
#[inline(always)]
unsafe fn won<V: Vector>(shape: Shape, dy: *const f32, winners: *const u8, at: [usize; 3], mut sum: V) -> V {
    let Window { size, step } = shape.window;
    let [planes, rows, cols] = shape.output;
    let len = planes * rows * cols;
    for mz in 0..size[0] {
        let z = at[0].wrapping_sub(mz * step[0]);
        if z >= planes {
            continue;
        }
        for my in 0..size[1] {
            let y = at[1].wrapping_sub(my * step[1]);
            if y >= rows {
                continue;
            }
            let row = (z * rows + y) * cols;
            for mx in 0..size[2] {
                let shift = mx * step[2];
                // the lanes whose window lies within the row: shift <= at + lane < shift + cols
                let start = shift.saturating_sub(at[2]);
                let end = (shift + cols).saturating_sub(at[2]);
                if start >= V::LANES || end == 0 {
                    continue;
                }
                let from = (row + at[2]).wrapping_sub(shift);
                // SAFETY: lanes outside the row are masked; `from` may lie before the map only if they exist.
                unsafe {
                    let gradient = if start == 0 && end >= V::LANES {
                        V::load(dy.add(from))
                    } else {
                        V::load_masked(dy.wrapping_add(from), V::between(start, end))
                    };
                    // a masked lane has a gradient of zero, whatever byte stands for its winner
                    let winner: V::Words = load_bytes_within(winners, len, from);
                    let offset = V::Words::splat(((mz * size[1] + my) * size[2] + mx) as u32);
                    sum = sum.add_masked(winner.equal(offset), gradient);
                }
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
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
                for range in [0..cut, cut..planes] {
                    let part = range.start * rows * cols..range.end * rows * cols;
                    let (to, bytes) = (&mut actual[part.clone()], &mut actual_winners[part.clone()]);
                    kernels.max_filter_forward(w, input, &x, range.clone(), to, Some(bytes));
                    kernels.max_filter_forward(w, input, &x, range, &mut values[part], None);
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
                let (mut written, mut added) = (vec![9.0; len], before.clone());
                for range in [cut..input[0], 0..cut] {
                    let part = range.start * input[1] * input[2]..range.end * input[1] * input[2];
                    let to = &mut written[part.clone()];
                    kernels.max_filter_backward(w, input, &dy, &winners, range.clone(), false, to);
                    kernels.max_filter_backward(w, input, &dy, &winners, range, true, &mut added[part]);
                }
                for i in 0..len {
                    assert!(
                        (f64::from(written[i]) - expected[i]).abs() < 2e-6,
                        "{kernels:?} {w:?} {input:?}"
                    );
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
            kernels.max_filter_forward(w, input, &x, planes.clone(), &mut y, Some(&mut winners));
            let g = random.floats(out);
            let mut dx = vec![0.0; x.len()];
            kernels.max_filter_backward(w, input, &g, &winners, 0..input[0], false, &mut dx);
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
                kernels.max_filter_forward(w, input, &x, 0..1, &mut y, Some(&mut winners));
                assert_eq!(winners, expected_winners);
                assert!(y.iter().any(|y| y.is_nan()));
                let bits = |y: &[f32]| {
                    y.iter().map(|y| if y.is_nan() { 1 } else { y.to_bits() }).collect::<Vec<_>>()
                };
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
            kernels.max_filter_forward(w, input, &x, 0..1, &mut actual, Some(&mut actual_winners));
            assert_eq!((&actual, &actual_winners), (&y, &winners), "{kernels:?}");
        }
    }

    #[test]
    #[should_panic(expected = "beyond a byte")]
    fn a_larger_window_cannot_have_winners() {
        let w = Window { size: [1, 1, 257], step: [1; 3] };
        let x = [0.0; 257];
        Kernels::best().max_filter_forward(w, [1, 1, 257], &x, 0..1, &mut [0.0], Some(&mut [0]));
    }
}
