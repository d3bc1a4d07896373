//! One battery for the direct convolution, run over every tier of this machine against a plain f64 reference.

#[cfg(target_os = "linux")]
mod guard;
mod reference;

use reference::{Problem, Random, edge_cases, random_geometry};
use std::ops::Range;
use znn_kernels::conv::{BackwardData, BackwardWeights, Epilogue, Forward, Geometry};
use znn_kernels::{Isa, Kernels, Rows, RowsMut, Transfer};

fn tiers() -> Vec<Kernels> {
    let tiers: Vec<_> = Isa::ALL.into_iter().filter_map(Kernels::new).collect();
    println!("tiers: {tiers:?}");
    assert!(tiers.iter().any(|kernels| kernels.isa() == Isa::Scalar));
    tiers
}

/// Edge cases and random ones, the same for every test and tier.
fn geometries() -> Vec<Geometry> {
    let mut random = Random::new(20);
    let mut geometries = edge_cases();
    geometries.extend((0..120).map(|_| random_geometry(&mut random)));
    geometries
}

/// Memory whose ends are guarded by canaries, and which starts at any alignment.
struct Canaries {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

const CANARY: f32 = -77.25;
const GUARD: usize = 64;

impl Canaries {
    fn new(len: usize, offset: usize, value: f32) -> Self {
        let mut memory = vec![CANARY; len + 2 * GUARD + offset];
        let start = GUARD + offset;
        memory[start..start + len].fill(value);
        Self { memory, start, len }
    }

    fn get(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..self.start + self.len]
    }

    fn into_checked(mut self) -> Vec<f32> {
        let after = self.memory.split_off(self.start + self.len);
        assert!(self.memory[..self.start].iter().chain(&after).all(|&v| v == CANARY), "written outside");
        self.memory.split_off(self.start)
    }
}

/// Scratch memory that holds what no result may depend on.
fn scratch(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

fn weights<'a>(problem: &'a Problem) -> Rows<'a> {
    Rows::new(&problem.weights, problem.geometry.c_in * problem.geometry.taps())
}

fn forward(kernels: &Kernels, problem: &Problem, epilogue: &Epilogue<'_>, y: &mut [f32]) {
    let geometry = problem.geometry;
    let [depth, height, _] = geometry.output();
    let pass = Forward::new(*kernels, geometry);
    pass.run(
        input_slab(&pass, &geometry, Rows::new(&problem.x, geometry.input_len()), &(0..depth * height)),
        weights(problem),
        epilogue,
        0..geometry.c_out,
        0..depth * height,
        RowsMut::new(y, geometry.output_len()),
        &mut scratch(pass.scratch_len()),
    );
}

/// Some planes of images that have planes of so many voxels.
fn slab<'a>(images: Rows<'a>, planes: Range<usize>, plane: usize) -> Rows<'a> {
    images.part(0..images.rows(), planes.start * plane..planes.end * plane)
}

fn input_slab<'a>(pass: &Forward, geometry: &Geometry, x: Rows<'a>, rows: &Range<usize>) -> Rows<'a> {
    slab(x, pass.reads(rows), geometry.input[1..].iter().product())
}

fn output_slab<'a>(pass: &BackwardData, geometry: &Geometry, dy: Rows<'a>, rows: &Range<usize>) -> Rows<'a> {
    slab(dy, pass.reads(rows), geometry.output()[1..].iter().product())
}

fn backward_data(kernels: &Kernels, problem: &Problem, accumulate: bool, dx: &mut [f32]) {
    let geometry = problem.geometry;
    let [depth, height, _] = geometry.input;
    let pass = BackwardData::new(*kernels, geometry);
    pass.run(
        output_slab(&pass, &geometry, Rows::new(&problem.dy, geometry.output_len()), &(0..depth * height)),
        weights(problem),
        accumulate,
        0..depth * height,
        RowsMut::new(dx, geometry.input_len()),
        &mut scratch(pass.scratch_len()),
    );
}

fn backward_weights(kernels: &Kernels, problem: &Problem, accumulate: bool, dw: &mut [f32]) {
    let geometry = problem.geometry;
    let pass = BackwardWeights::new(*kernels, geometry);
    pass.run(
        Rows::new(&problem.x, geometry.input_len()),
        Rows::new(&problem.dy, geometry.output_len()),
        0..geometry.c_out,
        0..geometry.c_in,
        0..geometry.output()[0],
        accumulate,
        dw,
        &mut scratch(pass.scratch_len()),
    );
}

/// Asserts that `values` are `expected` to within some roundings of the largest sum of magnitudes.
#[track_caller]
fn assert_close(values: &[f32], expected: &[f64], magnitude: f64, what: &str) {
    assert_eq!(values.len(), expected.len());
    let tolerance = 4e-6 * magnitude.max(1.0);
    for (i, (&value, &expected)) in values.iter().zip(expected).enumerate() {
        assert!((f64::from(value) - expected).abs() <= tolerance, "{what} at {i}: {value} for {expected}");
    }
}

#[test]
fn forward_matches_the_reference() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate() {
            let problem = Problem::random(geometry, seed as u64);
            let mut y = Canaries::new(problem.dy.len(), seed % 16, f32::NAN);
            forward(&kernels, &problem, &Epilogue::STORE, y.get());
            let (expected, magnitude) = problem.forward();
            assert_close(&y.into_checked(), &expected, magnitude, &format!("{kernels:?} {geometry:?}"));
        }
    }
}

#[test]
fn backward_data_matches_the_reference() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate() {
            let problem = Problem::random(geometry, seed as u64);
            let mut dx = Canaries::new(problem.x.len(), seed % 16, f32::NAN);
            backward_data(&kernels, &problem, false, dx.get());
            let (expected, magnitude) = problem.backward_data();
            assert_close(&dx.into_checked(), &expected, magnitude, &format!("{kernels:?} {geometry:?}"));
        }
    }
}

#[test]
fn backward_weights_matches_the_reference() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate() {
            let problem = Problem::random(geometry, seed as u64);
            let mut dw = Canaries::new(problem.weights.len(), seed % 16, f32::NAN);
            backward_weights(&kernels, &problem, false, dw.get());
            let (expected, magnitude) = problem.backward_weights();
            assert_close(&dw.into_checked(), &expected, magnitude, &format!("{kernels:?} {geometry:?}"));
        }
    }
}

#[test]
fn long_sums_of_backward_weights_stay_accurate() {
    for c_out in [1, 3, 8] {
        let geometry = Geometry::valid(1, c_out, [24, 50, 61], [1, 1, 2], [1; 3]);
        let mut problem = Problem::random(geometry, 5);
        // all products positive: a single f32 accumulator of these 72000 terms would lose 1e-4
        problem.x.iter_mut().chain(&mut problem.dy).for_each(|v| *v = v.abs() + 0.1);
        for kernels in tiers() {
            let mut dw = vec![0.0; problem.weights.len()];
            backward_weights(&kernels, &problem, false, &mut dw);
            for (&value, expected) in dw.iter().zip(problem.backward_weights().0) {
                let error = (f64::from(value) - expected).abs() / expected;
                assert!(error < 2e-6, "{kernels:?}: {value} for {expected}");
            }
        }
    }
}

#[test]
fn forward_and_its_adjoints_agree() {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(3) {
            let problem = Problem::random(geometry, 1000 + seed as u64);
            let mut y = vec![0.0; problem.dy.len()];
            let mut dx = vec![0.0; problem.x.len()];
            forward(&kernels, &problem, &Epilogue::STORE, &mut y);
            backward_data(&kernels, &problem, false, &mut dx);
            let (forward, data) = (dot(&y, &problem.dy), dot(&problem.x, &dx));
            let tolerance = 1e-5 * (dot(&y, &y) * dot(&problem.dy, &problem.dy)).sqrt() + 1e-6;
            assert!((forward - data).abs() <= tolerance, "{kernels:?} {geometry:?}: {forward}, {data}");
            if geometry.stride == [1; 3] && geometry.padding == [[0; 3]; 2] {
                let mut dw = vec![0.0; problem.weights.len()];
                backward_weights(&kernels, &problem, false, &mut dw);
                let weights = dot(&problem.weights, &dw);
                assert!((forward - weights).abs() <= tolerance, "{kernels:?} {geometry:?}: {weights}");
            }
        }
    }
}

#[test]
fn epilogue_adds_and_transfers() {
    type Function = fn(f64) -> f64;
    let functions: [(Transfer, Function); 5] = [
        (Transfer::IDENTITY, |x| x),
        (Transfer::Linear { scale: -0.5, shift: 2.0 }, |x| 2.0 - 0.5 * x),
        (Transfer::RectifyLinear, |x| x.max(0.0)),
        (Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 }, |x| 1.7159 * (0.6666 * x).tanh()),
        (Transfer::Logistic, |x| 1.0 / (1.0 + (-x).exp())),
    ];
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(5) {
            let problem = Problem::random(geometry, 2000 + seed as u64);
            let mut random = Random::new(seed as u64);
            let bias: Vec<f32> = (0..geometry.c_out).map(|_| random.float()).collect();
            let (sums, magnitude) = problem.forward();
            for accumulate in [false, true] {
                for bias in [None, Some(&bias[..])] {
                    for (transfer, f) in functions {
                        let before = if accumulate { 0.75 } else { f32::NAN };
                        let mut y = Canaries::new(sums.len(), seed % 16, before);
                        forward(&kernels, &problem, &Epilogue { accumulate, bias, transfer }, y.get());
                        let expected: Vec<f64> = sums
                            .iter()
                            .enumerate()
                            .map(|(i, sum)| {
                                let bias = bias.map_or(0.0, |bias| bias[i / geometry.output_len()]);
                                f(sum + f64::from(bias) + if accumulate { 0.75 } else { 0.0 })
                            })
                            .collect();
                        let what = format!("{kernels:?} {geometry:?} {transfer:?} {accumulate}");
                        assert_close(&y.into_checked(), &expected, magnitude + 2.0, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn rectify_linear_keeps_nan() {
    for kernels in tiers() {
        let geometry = Geometry::valid(1, 1, [1, 1, 5], [1; 3], [1; 3]);
        let mut problem = Problem::random(geometry, 0);
        problem.weights[0] = 1.0;
        problem.x.copy_from_slice(&[f32::NAN, 1.0, -1.0, 2.0, -2.0]);
        let mut y = [0.0; 5];
        let epilogue = Epilogue { accumulate: false, bias: None, transfer: Transfer::RectifyLinear };
        forward(&kernels, &problem, &epilogue, &mut y);
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [1.0, 0.0, 2.0, 0.0]);
    }
}

#[test]
fn backward_passes_accumulate() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(7) {
            let problem = Problem::random(geometry, 3000 + seed as u64);
            let what = format!("{kernels:?} {geometry:?}");
            let mut dx = Canaries::new(problem.x.len(), seed % 16, 0.5);
            backward_data(&kernels, &problem, true, dx.get());
            let (mut expected, magnitude) = problem.backward_data();
            expected.iter_mut().for_each(|v| *v += 0.5);
            assert_close(&dx.into_checked(), &expected, magnitude + 0.5, &what);
        }
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(7) {
            let problem = Problem::random(geometry, 3000 + seed as u64);
            let what = format!("{kernels:?} {geometry:?}");
            let mut dw = Canaries::new(problem.weights.len(), seed % 16, 0.5);
            backward_weights(&kernels, &problem, true, dw.get());
            let (mut expected, magnitude) = problem.backward_weights();
            expected.iter_mut().for_each(|v| *v += 0.5);
            assert_close(&dw.into_checked(), &expected, magnitude + 0.5, &what);
        }
    }
}

/// Cuts `0..len` into random ranges that start at multiples of `block`.
fn split(random: &mut Random, len: usize, block: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < len {
        let end = (start + block * (1 + random.below(3))).min(len);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

#[test]
fn tasks_give_the_bits_of_the_whole() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(2) {
            let geometry = &geometry;
            let problem = Problem::random(*geometry, 4000 + seed as u64);
            let mut random = Random::new(seed as u64);
            let (x, dy) =
                (Rows::new(&problem.x, geometry.input_len()), Rows::new(&problem.dy, geometry.output_len()));
            let mut whole = vec![0.0; problem.dy.len()];
            forward(&kernels, &problem, &Epilogue::STORE, &mut whole);
            let mut parts = vec![f32::NAN; whole.len()];
            let [depth, height, width] = geometry.output();
            let pass = Forward::new(kernels, *geometry);
            for rows in split(&mut random, depth * height, 1 + seed % height) {
                for channels in split(&mut random, geometry.c_out, 1) {
                    let mut y = RowsMut::new(&mut parts, geometry.output_len());
                    pass.run(
                        input_slab(&pass, geometry, x, &rows),
                        weights(&problem).part(channels.clone(), 0..geometry.c_in * geometry.taps()),
                        &Epilogue::STORE,
                        channels.clone(),
                        rows.clone(),
                        y.part(channels, rows.start * width..rows.end * width),
                        &mut scratch(pass.scratch_len()),
                    );
                }
            }
            assert_eq!(parts, whole, "forward {kernels:?} {geometry:?}");

            let mut whole = vec![0.0; problem.x.len()];
            backward_data(&kernels, &problem, false, &mut whole);
            let mut parts = vec![f32::NAN; whole.len()];
            let [depth, height, width] = geometry.input;
            let pass = BackwardData::new(kernels, *geometry);
            for rows in split(&mut random, depth * height, 1 + seed % height) {
                for channels in split(&mut random, geometry.c_in, 1) {
                    let mut dx = RowsMut::new(&mut parts, geometry.input_len());
                    let taps = channels.start * geometry.taps()..channels.end * geometry.taps();
                    pass.run(
                        output_slab(&pass, geometry, dy, &rows),
                        weights(&problem).part(0..geometry.c_out, taps),
                        false,
                        rows.clone(),
                        dx.part(channels, rows.start * width..rows.end * width),
                        &mut scratch(pass.scratch_len()),
                    );
                }
            }
            assert_eq!(parts, whole, "backward-data {kernels:?} {geometry:?}");
        }
    }
}

#[test]
fn tasks_of_backward_weights_give_the_bits_of_the_whole() {
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate().step_by(2) {
            let geometry = &geometry;
            let problem = Problem::random(*geometry, 4000 + seed as u64);
            let mut random = Random::new(seed as u64);
            let x = Rows::new(&problem.x, geometry.input_len());
            let dy = Rows::new(&problem.dy, geometry.output_len());
            let pass = BackwardWeights::new(kernels, *geometry);
            let mut scratch = scratch(pass.scratch_len());

            let mut whole = vec![0.0; problem.weights.len()];
            backward_weights(&kernels, &problem, false, &mut whole);
            let taps = geometry.taps();
            let mut parts = vec![f32::NAN; whole.len()];
            for out_channels in split(&mut random, geometry.c_out, 1) {
                for in_channels in split(&mut random, geometry.c_in, 1) {
                    let mut dw = vec![f32::NAN; out_channels.len() * in_channels.len() * taps];
                    let planes = 0..geometry.output()[0];
                    let (c_out, c_in) = (out_channels.clone(), in_channels.clone());
                    pass.run(x, dy, c_out, c_in, planes, false, &mut dw, &mut scratch);
                    for (o, dw) in out_channels.clone().zip(dw.chunks(in_channels.len() * taps)) {
                        let start = (o * geometry.c_in + in_channels.start) * taps;
                        parts[start..start + dw.len()].copy_from_slice(dw);
                    }
                }
            }
            assert_eq!(parts, whole, "backward-weights {kernels:?} {geometry:?}");

            // planes are summed one after the other, which rounds differently
            let mut parts = vec![f32::NAN; whole.len()];
            for (i, planes) in split(&mut random, geometry.output()[0], 1).into_iter().enumerate() {
                let (c_out, c_in) = (0..geometry.c_out, 0..geometry.c_in);
                pass.run(x, dy, c_out, c_in, planes, i > 0, &mut parts, &mut scratch);
            }
            let (expected, magnitude) = problem.backward_weights();
            assert_close(&parts, &expected, magnitude, &format!("{kernels:?} {geometry:?}"));
        }
    }
}

/// Every operand ends where memory ends, then starts where it starts: a stray access is a fault.
#[cfg(target_os = "linux")]
#[test]
fn nothing_beyond_the_views_is_touched() {
    use guard::{Guarded, Side};
    for kernels in tiers() {
        for (seed, geometry) in geometries().into_iter().enumerate() {
            let problem = Problem::random(geometry, 5000 + seed as u64);
            let side = if seed % 2 == 0 { Side::End } else { Side::Start };
            let place = |data: &[f32]| Guarded::new(data, side);
            let empty = |len: usize| Guarded::new(&vec![f32::NAN; len], side);
            let (x, dy, weights) = (place(&problem.x), place(&problem.dy), place(&problem.weights));
            let (x, dy) = (Rows::new(&x, geometry.input_len()), Rows::new(&dy, geometry.output_len()));
            let rows = Rows::new(&weights, geometry.c_in * geometry.taps());

            let mut expected = vec![0.0; problem.dy.len()];
            forward(&kernels, &problem, &Epilogue::STORE, &mut expected);
            let pass = Forward::new(kernels, geometry);
            let mut scratch = empty(pass.scratch_len());
            let mut y = empty(expected.len());
            let all = 0..geometry.output()[0] * geometry.output()[1];
            let x_slab = input_slab(&pass, &geometry, x, &all);
            let to = RowsMut::new(&mut y, geometry.output_len());
            pass.run(x_slab, rows, &Epilogue::STORE, 0..geometry.c_out, all, to, &mut scratch);
            assert_eq!(y[..], expected, "{kernels:?} {geometry:?}");

            let mut expected = vec![0.0; problem.x.len()];
            backward_data(&kernels, &problem, false, &mut expected);
            let pass = BackwardData::new(kernels, geometry);
            let mut scratch = empty(pass.scratch_len());
            let mut dx = empty(expected.len());
            let all = 0..geometry.input[0] * geometry.input[1];
            let dy_slab = output_slab(&pass, &geometry, dy, &all);
            pass.run(dy_slab, rows, false, all, RowsMut::new(&mut dx, geometry.input_len()), &mut scratch);
            assert_eq!(dx[..], expected, "{kernels:?} {geometry:?}");

            let mut expected = vec![0.0; problem.weights.len()];
            backward_weights(&kernels, &problem, false, &mut expected);
            let pass = BackwardWeights::new(kernels, geometry);
            let mut scratch = empty(pass.scratch_len());
            let mut dw = empty(expected.len());
            let (c_out, c_in, planes) = (0..geometry.c_out, 0..geometry.c_in, 0..geometry.output()[0]);
            pass.run(x, dy, c_out, c_in, planes, false, &mut dw, &mut scratch);
            assert_eq!(dw[..], expected, "{kernels:?} {geometry:?}");
        }
    }
}

#[test]
#[should_panic(expected = "does not fit")]
fn a_kernel_larger_than_the_image_is_refused() {
    Geometry::valid(1, 1, [4, 4, 4], [1, 1, 3], [1, 1, 2]).output();
}
