//! The three passes of a layer as their definitions say, in f64.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::conv::Problem;
use crate::volume::Extent;

/// A problem with its operands.
#[derive(Clone)]
pub struct Case {
    pub problem: Problem,
    /// `[c_in][z][y][x]`
    pub x: Vec<f32>,
    /// `[c_out][c_in][kz][ky][kx]`
    pub weights: Vec<f32>,
    /// `[c_out][z][y][x]`
    pub dy: Vec<f32>,
}

/// What a pass should give, and how large its terms are.
pub struct Expected {
    pub values: Vec<f64>,
    /// The root of the largest sum of squared terms of one element: what rounding errors are measured by.
    pub norm: f64,
}

impl Case {
    pub fn random(problem: Problem, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut floats = |len| (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        Self {
            problem,
            x: floats(problem.c_in * problem.input.len()),
            weights: floats(problem.weights()),
            dy: floats(problem.c_out * problem.output().len()),
        }
    }

    /// Calls `row` with the places (y, w, x) of the first of so many products whose places in `y` and `x` run on.
    fn each_row(&self, mut row: impl FnMut(usize, usize, usize, usize)) {
        let Problem { c_in, c_out, input, kernel, dilation, .. } = self.problem;
        let output = self.problem.output();
        for o in 0..c_out {
            for i in 0..c_in {
                for (k, tap) in voxels(kernel).enumerate() {
                    for z in 0..output.z {
                        for y in 0..output.y {
                            row(
                                o * output.len() + output.index(z, y, 0),
                                (o * c_in + i) * kernel.len() + k,
                                i * input.len()
                                    + input.index(
                                        z + tap.z * dilation.z,
                                        y + tap.y * dilation.y,
                                        tap.x * dilation.x,
                                    ),
                                output.x,
                            );
                        }
                    }
                }
            }
        }
    }

    pub fn forward(&self) -> Expected {
        let mut sums = Sums::new(self.dy.len());
        self.each_row(|y, w, x, len| {
            for n in 0..len {
                sums.add(y + n, self.weights[w], self.x[x + n]);
            }
        });
        sums.finish()
    }

    pub fn backward_data(&self) -> Expected {
        let mut sums = Sums::new(self.x.len());
        self.each_row(|y, w, x, len| {
            for n in 0..len {
                sums.add(x + n, self.weights[w], self.dy[y + n]);
            }
        });
        sums.finish()
    }

    pub fn backward_weights(&self) -> Expected {
        let mut sums = Sums::new(self.weights.len());
        self.each_row(|y, w, x, len| {
            for n in 0..len {
                sums.add(w, self.dy[y + n], self.x[x + n]);
            }
        });
        sums.finish()
    }
}

struct Sums {
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(len: usize) -> Self {
        Self { values: vec![0.0; len], squares: vec![0.0; len] }
    }

    fn add(&mut self, to: usize, a: f32, b: f32) {
        let term = f64::from(a) * f64::from(b);
        self.values[to] += term;
        self.squares[to] += term * term;
    }

    fn finish(self) -> Expected {
        let norm = self.squares.iter().fold(0.0, |max: f64, &square| max.max(square)).sqrt();
        Expected { values: self.values, norm }
    }
}

/// All voxels of an image in the order of memory.
pub fn voxels(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.z)
        .flat_map(move |z| (0..extent.y).flat_map(move |y| (0..extent.x).map(move |x| Extent::new(z, y, x))))
}

/// The edges: single maps and odd numbers of them, kernels of one tap and as large as the image, wide 2D images (which
/// the direct method takes as stacks of rows) and narrow ones, mixed dilations, and images of so many voxels that the
/// gradient of the weights is a sum over several tasks.
pub fn edge_cases() -> Vec<Problem> {
    let case = |c_in, c_out, input: [usize; 3], kernel: [usize; 3], dilation: [usize; 3]| {
        Problem::valid(c_in, c_out, input.into(), kernel.into(), dilation.into())
    };
    vec![
        case(1, 1, [1, 1, 1], [1, 1, 1], [1, 1, 1]),
        case(5, 3, [3, 4, 5], [3, 4, 5], [1, 1, 1]),
        case(3, 1, [1, 4, 66], [1, 4, 66], [1, 1, 1]),
        case(33, 20, [2, 3, 9], [1, 1, 1], [1, 1, 1]),
        case(3, 20, [1, 5, 130], [1, 1, 1], [1, 1, 1]),
        case(1, 20, [1, 12, 64], [1, 4, 4], [1, 1, 1]),
        case(3, 5, [1, 11, 70], [1, 3, 5], [1, 2, 3]),
        case(33, 5, [1, 6, 65], [1, 2, 2], [1, 1, 1]),
        case(5, 33, [1, 13, 17], [1, 3, 3], [1, 1, 1]),
        case(1, 3, [6, 1, 70], [3, 1, 1], [2, 1, 1]),
        case(5, 5, [9, 9, 12], [3, 2, 3], [4, 3, 2]),
        case(33, 33, [3, 5, 8], [2, 2, 2], [1, 1, 1]),
        case(20, 3, [4, 9, 9], [1, 3, 3], [1, 4, 4]),
        case(3, 1, [4, 5, 30], [1, 1, 3], [5, 3, 2]),
        case(1, 3, [10, 34, 34], [3, 3, 3], [1, 1, 1]),
        case(1, 1, [20, 40, 40], [2, 1, 1], [1, 1, 1]),
        case(1, 1, [1, 90, 160], [1, 2, 2], [1, 1, 1]),
    ]
}

/// A small problem of any kind.
pub fn random(rng: &mut ChaCha8Rng) -> Problem {
    const CHANNELS: [usize; 5] = [1, 3, 5, 20, 33];
    let mut choose = |from: &[usize]| from[rng.random_range(0..from.len())];
    let (c_in, c_out) = (choose(&CHANNELS), choose(&CHANNELS));
    let mut kernel = Extent::from([0; 3].map(|_| choose(&[1, 2, 3])));
    let dilation = Extent::from([0; 3].map(|_| choose(&[1, 1, 2, 3])));
    let flat = choose(&[0, 1]) == 1;
    let mut more = Extent::new(choose(&[1, 2, 4]), choose(&[1, 3, 6]), choose(&[1, 7, 16, 33]));
    if flat {
        (kernel.z, more.z) = (1, 1);
        more.x = choose(&[5, 16, 64, 75]);
    }
    let reach = kernel.zip(dilation, |k, d| (k - 1) * d);
    Problem::valid(c_in, c_out, more + reach, kernel, dilation)
}
