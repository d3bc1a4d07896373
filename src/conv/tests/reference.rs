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

    /// Calls `term` with the places (y, w, x) of every product.
    fn each_term(&self, mut term: impl FnMut(usize, usize, usize)) {
        let Problem { c_in, c_out, input, kernel, dilation, stride, padding: [before, _] } = self.problem;
        let output = self.problem.output();
        // where each tap reads each output voxel, the same for all maps
        let mut places = Vec::new();
        for (k, tap) in voxels(kernel).enumerate() {
            for (p, voxel) in voxels(output).enumerate() {
                let at = voxel * stride + tap * dilation;
                let inside = |at: usize, before: usize, size: usize| (before..before + size).contains(&at);
                if inside(at.z, before.z, input.z)
                    && inside(at.y, before.y, input.y)
                    && inside(at.x, before.x, input.x)
                {
                    places.push((p, k, input.index(at.z - before.z, at.y - before.y, at.x - before.x)));
                }
            }
        }
        for o in 0..c_out {
            for i in 0..c_in {
                for &(p, k, q) in &places {
                    term(o * output.len() + p, (o * c_in + i) * kernel.len() + k, i * input.len() + q);
                }
            }
        }
    }

    pub fn forward(&self) -> Expected {
        let mut sums = Sums::new(self.dy.len());
        self.each_term(|y, w, x| sums.add(y, self.weights[w], self.x[x]));
        sums.finish()
    }

    pub fn backward_data(&self) -> Expected {
        let mut sums = Sums::new(self.x.len());
        self.each_term(|y, w, x| sums.add(x, self.weights[w], self.dy[y]));
        sums.finish()
    }

    pub fn backward_weights(&self) -> Expected {
        let mut sums = Sums::new(self.weights.len());
        self.each_term(|y, w, x| sums.add(w, self.dy[y], self.x[x]));
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

/// Problems with strides and padding.
pub fn strided() -> Vec<Problem> {
    let case = |maps: [usize; 2],
                input: [usize; 3],
                kernel: [usize; 3],
                stride: [usize; 3],
                padding: [[usize; 3]; 2]| {
        let [c_in, c_out] = maps;
        let valid = Problem::valid(c_in, c_out, input.into(), kernel.into(), Extent::ONE);
        Problem { stride: stride.into(), padding: padding.map(Extent::from), ..valid }
    };
    vec![
        case([3, 5], [6, 8, 33], [3, 3, 3], [1, 1, 1], [[1; 3]; 2]),
        case([5, 20], [8, 9, 34], [2, 2, 2], [2, 2, 2], [[0; 3]; 2]),
        case([20, 3], [7, 8, 18], [3, 3, 3], [2, 2, 2], [[1; 3]; 2]),
        case([3, 3], [5, 12, 40], [2, 3, 4], [2, 3, 4], [[1, 2, 5], [0, 3, 1]]),
        case([5, 3], [1, 30, 70], [1, 5, 5], [1, 1, 1], [[0, 2, 2]; 2]),
        case([3, 5], [4, 12, 20], [3, 5, 7], [1, 1, 1], [[1, 2, 3], [2, 4, 3]]),
        case([33, 5], [1, 9, 9], [1, 1, 1], [1, 2, 2], [[0; 3]; 2]),
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
