//! Against the discrete Fourier transform as it is defined, in f64.

use super::*;
use crate::testing::{Random, assert_close, tiers};
use std::vec;
use std::vec::Vec;

/// Coefficient (kz, ky, kx) of the transform of a tile of lengths `size`.
fn coefficient(tile: &[f64], size: [usize; 3], k: [usize; 3]) -> [f64; 2] {
    let mut sum = [0.0; 2];
    for (i, value) in tile.iter().enumerate() {
        let at = [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        let turns: f64 = (0..3).map(|a| (at[a] * k[a] % size[a]) as f64 / size[a] as f64).sum();
        let (sin, cos) = (2.0 * core::f64::consts::PI * turns).sin_cos();
        sum = [sum[0] + value * cos, sum[1] - value * sin];
    }
    sum
}

/// The coefficients in the order of the spectra.
fn frequencies([depth, height, width]: [usize; 3]) -> Vec<[usize; 3]> {
    let mut columns = Vec::new();
    let mut real = vec![0];
    if width > 1 {
        real.push(width / 2);
    }
    for &kx in &real {
        columns.extend((0..=height / 2).map(|ky| [ky, kx]));
    }
    for kx in 1..(width / 2).max(1) {
        columns.extend((0..height).map(|ky| [ky, kx]));
    }
    columns.iter().flat_map(|&[ky, kx]| (0..depth).map(move |kz| [kz, ky, kx])).collect()
}

/// Tiles in an image, for as many lanes as there may be; some lanes have none.
struct Case {
    shape: TileShape,
    image: Vec<f32>,
    steps: [usize; 3],
    patches: Vec<Patch>,
}

impl Case {
    fn new(random: &mut Random, size: [usize; 3], lanes: usize, whole: bool) -> Self {
        let shape = TileShape::new(size).expect("lengths of SIZES");
        let step = [1, 1, 2, 3][random.within(0, 3)];
        let steps = [size[1] * size[2] * step + 5, size[2] * step + 1, step];
        let patches: Vec<Patch> = (0..random.within(1, lanes))
            .map(|_| Patch {
                offset: random.within(0, 40),
                extent: if whole { size } else { size.map(|n| random.within(0, n)) },
            })
            .collect();
        let len = patches.iter().map(|patch| patch.end(steps)).max().unwrap_or(0);
        Self { shape, image: random.floats(len), steps, patches }
    }

    fn place(&self, patch: &Patch, i: usize) -> Option<usize> {
        let [_, height, width] = self.shape.size;
        let at = [i / (height * width), i / width % height, i % width];
        (0..3)
            .all(|a| at[a] < patch.extent[a])
            .then(|| patch.offset + at.iter().zip(self.steps).map(|(at, step)| at * step).sum::<usize>())
    }

    fn tile(&self, lane: usize) -> Vec<f64> {
        let len = self.shape.size.iter().product();
        let Some(patch) = self.patches.get(lane) else { return vec![0.0; len] };
        (0..len).map(|i| self.place(patch, i).map_or(0.0, |at| f64::from(self.image[at]))).collect()
    }

    fn spectra(&self, kernels: &Kernels, stride: usize) -> Vec<f32> {
        let mut spectra = vec![f32::NAN; self.shape.frequencies() * stride];
        // Of undefined content.
        let mut scratch = vec![f32::NAN; kernels.tile_scratch_len(self.shape)];
        let mut rows = RowsMut::new(&mut spectra, stride);
        let rows = rows.part(0..self.shape.frequencies(), 0..2 * kernels.lanes());
        kernels.tile_forward(self.shape, &self.image, self.steps, &self.patches, rows, &mut scratch);
        spectra
    }
}

fn sizes() -> Vec<[usize; 3]> {
    let mut sizes: Vec<[usize; 3]> = SIZES.iter().map(|&n| [1, n, 2]).collect();
    sizes.extend(SIZES.iter().map(|&n| [n, 1, 1]));
    sizes.extend(SIZES.iter().filter(|&n| *n == 1 || n % 2 == 0).map(|&n| [1, 2, n]));
    sizes.extend([[4, 6, 8], [6, 9, 10], [12, 8, 4], [1, 16, 18], [8, 8, 8], [1, 1, 1]]);
    sizes
}

#[test]
fn spectra_are_twice_the_transform() {
    let mut random = Random::new(1706);
    for size in sizes() {
        for kernels in tiers() {
            let lanes = kernels.lanes();
            let case = Case::new(&mut random, size, lanes, false);
            let stride = 2 * lanes + random.within(0, 1) * 2 * lanes;
            let spectra = case.spectra(&kernels, stride);
            let order = frequencies(size);
            assert_eq!(order.len(), case.shape.frequencies());
            for lane in [0, case.patches.len() / 2, lanes - 1] {
                let tile = case.tile(lane);
                for (f, &k) in order.iter().enumerate() {
                    let expected = coefficient(&tile, size, k).map(|part| 2.0 * part);
                    let found = [spectra[f * stride + lane], spectra[f * stride + lanes + lane]];
                    assert_close(&found, &expected, 4e-6, &(kernels, size, lane, k));
                }
            }
            for gap in spectra.chunks(stride).flat_map(|row| &row[2 * lanes..]) {
                assert!(gap.is_nan(), "{kernels:?} wrote between rows");
            }
        }
    }
}

#[test]
fn inverse_stores_boxes_as_it_is_told() {
    let mut random = Random::new(1510);
    for size in sizes() {
        for kernels in tiers() {
            let lanes = kernels.lanes();
            let case = Case::new(&mut random, size, lanes, true);
            let spectra = case.spectra(&kernels, 2 * lanes);
            // Other boxes elsewhere, which overlap.
            let mut to = Case::new(&mut random, size, lanes, false);
            to.patches.truncate(case.patches.len());
            let scale = 1.0 / (2 * size.iter().product::<usize>()) as f32;
            let (bias, accumulate) = (random.float(-1.0, 1.0), true);
            let store = Store { scale, bias, accumulate, floor: f32::NEG_INFINITY };
            let mut expected: Vec<f64> = to.image.iter().map(|&v| f64::from(v)).collect();
            for (lane, patch) in to.patches.iter().enumerate() {
                for (i, value) in case.tile(lane).into_iter().enumerate() {
                    if let Some(at) = to.place(patch, i) {
                        expected[at] += value + f64::from(bias);
                    }
                }
            }
            let mut scratch = vec![f32::NAN; kernels.tile_scratch_len(case.shape)];
            let rows = Rows::new(&spectra, 2 * lanes);
            let shape = case.shape;
            let mut image = to.image.clone();
            kernels.tile_inverse(shape, rows, &store, &mut image, to.steps, &to.patches, &mut scratch);
            assert_close(&image, &expected, 4e-6, &(kernels, size));

            let patches = &to.patches[..1];
            let store = Store { accumulate: false, floor: 0.0, ..store };
            let mut image = to.image.clone();
            kernels.tile_inverse(shape, rows, &store, &mut image, to.steps, patches, &mut scratch);
            let mut expected: Vec<f64> = to.image.iter().map(|&v| f64::from(v)).collect();
            for (i, value) in case.tile(0).into_iter().enumerate() {
                if let Some(at) = to.place(&patches[0], i) {
                    expected[at] = (value + f64::from(bias)).max(0.0);
                }
            }
            assert_close(&image, &expected, 4e-6, &(kernels, size));
        }
    }
}

/// A product per frequency of random matrices, in every form that the passes need.
#[test]
fn products_agree_with_their_definition() {
    use crate::Conjugate;
    use product::Spectral;
    let mut random = Random::new(1809);
    for case in 0..60 {
        let [conjugate, left_transposed, right_transposed] = [case % 3, case / 3 % 3, case / 9 % 2];
        let conjugate = [Conjugate::Neither, Conjugate::First, Conjugate::Second][conjugate];
        let (left_transposed, right_transposed) = (left_transposed == 1, right_transposed == 1);
        if left_transposed && right_transposed {
            continue;
        }
        let (rows, columns) = (random.within(1, 20), random.within(1, 40));
        let depth = if case % 5 == 0 { random.within(60, 140) } else { random.within(1, 40) };
        let (frequencies, accumulate) = (random.within(1, 3), case % 4 == 1);
        for kernels in tiers() {
            let lanes = kernels.lanes();
            let mut matrix = |rows: usize, columns: usize, transposed: bool| {
                let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
                let stride = rows * kernels.spectral_row_len(columns);
                (random.floats(frequencies * stride), rows, columns, stride, transposed)
            };
            let left = matrix(rows, depth, left_transposed);
            let right = matrix(depth, columns, right_transposed);
            let mut out = matrix(rows, columns, false);
            let at = |m: &(Vec<f32>, usize, usize, usize, bool), f: usize, r: usize, c: usize| {
                let [r, c] = if m.4 { [c, r] } else { [r, c] };
                let place = f * m.3 + r * kernels.spectral_row_len(m.2) + c / lanes * 2 * lanes + c % lanes;
                [f64::from(m.0[place]), f64::from(m.0[place + lanes])]
            };
            let mut expected = Vec::new();
            for f in 0..frequencies {
                for r in 0..rows {
                    for c in 0..columns {
                        let mut sum = if accumulate { at(&out, f, r, c) } else { [0.0; 2] };
                        for k in 0..depth {
                            let ([a, mut b], [x, mut y]) = (at(&left, f, r, k), at(&right, f, k, c));
                            match conjugate {
                                Conjugate::Neither => {}
                                Conjugate::First => b = -b,
                                Conjugate::Second => y = -y,
                            }
                            sum = [sum[0] + a * x - b * y, sum[1] + a * y + b * x];
                        }
                        expected.push(sum);
                    }
                }
            }
            let [left_view, right_view] = [&left, &right].map(|m| Spectral {
                view: Rows::new(&m.0, m.3),
                rows: m.1,
                columns: m.2,
                transposed: m.4,
            });
            let mut scratch = vec![f32::NAN; kernels.spectral_scratch_len(columns)];
            let stride = out.3;
            let to = RowsMut::new(&mut out.0, stride);
            kernels.spectral_product(conjugate, left_view, right_view, accumulate, to, &mut scratch);
            let mut expected = expected.into_iter();
            for f in 0..frequencies {
                for row in 0..rows {
                    for column in 0..columns {
                        let found = at(&out, f, row, column).map(|part| part as f32);
                        let expected = expected.next().expect("one for each");
                        let place = (kernels, case, f, row, column);
                        assert_close(&found, &expected, 2e-5, &place);
                    }
                }
            }
        }
    }
}
