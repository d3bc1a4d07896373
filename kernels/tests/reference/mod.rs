//! The three passes of a convolution as their definitions say, in f64, and problems to run them on.

use znn_kernels::conv::Geometry;

/// A seeded generator (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The edges: single channels and odd ones, kernels of one tap, 2D kernels, images below a vector, mixed dilations,
/// kernels as large as the image, images beyond one panel, run or slab, strides beyond the kernel, padding beyond the
/// image.
pub fn edge_cases() -> Vec<Geometry> {
    let case = Geometry::valid;
    vec![
        case(1, 1, [1, 1, 1], [1, 1, 1], [1, 1, 1]),
        case(1, 5, [3, 3, 3], [3, 3, 3], [1, 1, 1]),
        case(5, 1, [3, 4, 5], [3, 3, 3], [1, 1, 1]),
        case(3, 20, [4, 5, 6], [1, 1, 1], [1, 1, 1]),
        case(33, 3, [2, 3, 40], [1, 1, 1], [1, 1, 1]),
        case(20, 33, [4, 7, 9], [2, 2, 2], [1, 1, 1]),
        case(33, 20, [5, 6, 7], [3, 3, 3], [2, 2, 2]),
        case(5, 3, [9, 9, 9], [2, 2, 2], [4, 4, 4]),
        case(3, 5, [9, 10, 30], [3, 3, 3], [4, 2, 1]),
        case(5, 5, [3, 11, 13], [2, 3, 3], [1, 4, 2]),
        case(2, 7, [5, 14, 40], [3, 2, 5], [2, 1, 4]),
        case(6, 6, [1, 24, 24], [1, 7, 7], [1, 1, 1]),
        case(4, 3, [1, 22, 64], [1, 20, 40], [1, 1, 1]),
        case(3, 4, [6, 1, 1], [3, 1, 1], [2, 1, 1]),
        case(3, 4, [1, 9, 1], [1, 4, 1], [1, 2, 1]),
        case(1, 20, [6, 34, 34], [3, 3, 3], [1, 1, 1]),
        case(40, 40, [4, 14, 14], [3, 3, 3], [1, 1, 1]),
        case(2, 2, [2, 70, 90], [1, 3, 3], [1, 1, 1]),
        case(1, 2, [1, 3, 1500], [1, 2, 3], [1, 1, 7]),
        case(130, 9, [3, 18, 20], [3, 3, 3], [1, 1, 1]),
        case(8, 8, [3, 18, 34], [1, 3, 3], [1, 1, 1]),
        case(8, 24, [3, 6, 16], [1, 1, 1], [1, 1, 1]),
        case(70, 65, [4, 5, 6], [3, 3, 3], [1, 1, 1]),
        case(3, 5, [7, 24, 16], [3, 1, 1], [1, 1, 1]),
        case(9, 40, [12, 8, 8], [3, 3, 3], [1, 1, 1]),
        case(20, 6, [5, 42, 43], [2, 5, 6], [1, 1, 1]),
        case(2, 3, [2, 160, 200], [2, 3, 5], [1, 1, 1]),
        case(2, 3, [2, 100, 70], [2, 3, 3], [1, 1, 1]),
        case(4, 3, [3, 30, 5], [1, 9, 2], [1, 3, 1]),
        case(24, 40, [6, 10, 10], [3, 3, 3], [1, 1, 1]),
        case(20, 24, [9, 12, 12], [3, 3, 3], [2, 2, 2]),
        case(64, 64, [4, 5, 6], [3, 3, 3], [1, 1, 1]),
        strided(1, 3, [1, 1, 1], [1, 1, 1], [1, 1, 1], [2, 2, 2], [[0; 3]; 2]),
        strided(16, 40, [8, 11, 9], [3, 3, 3], [1, 1, 1], [2, 2, 1], [[1, 1, 1], [1, 2, 0]]),
        strided(3, 5, [6, 8, 37], [3, 3, 3], [1, 1, 1], [1, 1, 1], [[1; 3]; 2]),
        strided(5, 3, [8, 9, 34], [2, 2, 2], [1, 1, 1], [2, 2, 2], [[0; 3]; 2]),
        strided(20, 8, [7, 8, 9], [3, 3, 3], [1, 1, 1], [2, 2, 2], [[1; 3]; 2]),
        strided(8, 20, [5, 6, 7], [1, 1, 1], [1, 1, 1], [2, 2, 2], [[0; 3]; 2]),
        strided(2, 3, [5, 12, 40], [2, 3, 4], [1, 2, 3], [2, 3, 4], [[1, 2, 5], [0, 3, 1]]),
        strided(3, 2, [2, 3, 3], [3, 3, 3], [1, 1, 1], [3, 3, 3], [[4, 5, 20], [6, 3, 20]]),
        strided(33, 3, [1, 20, 20], [1, 5, 5], [1, 1, 1], [1, 1, 1], [[0, 2, 2]; 2]),
    ]
}

fn strided(
    c_in: usize,
    c_out: usize,
    input: [usize; 3],
    kernel: [usize; 3],
    dilation: [usize; 3],
    stride: [usize; 3],
    padding: [[usize; 3]; 2],
) -> Geometry {
    Geometry { stride, padding, ..Geometry::valid(c_in, c_out, input, kernel, dilation) }
}

/// A small geometry of any kind.
pub fn random_geometry(random: &mut Random) -> Geometry {
    const CHANNELS: [usize; 14] = [1, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 33];
    let mut geometry =
        Geometry::valid(random.choose(&CHANNELS), random.choose(&CHANNELS), [0; 3], [0; 3], [0; 3]);
    for axis in 0..3 {
        geometry.kernel[axis] = random.choose(&[1, 1, 2, 3, 3, 4, 5]);
        geometry.dilation[axis] = random.choose(&[1, 1, 1, 2, 3, 4]);
        let largest = [5, 9, 24][axis];
        geometry.input[axis] =
            (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1 + random.below(largest);
    }
    if random.below(2) == 0 {
        geometry.stride = [0; 3].map(|_| random.choose(&[1, 2, 2, 3]));
    }
    if random.below(2) == 0 {
        geometry.padding = [[0; 3]; 2].map(|side| side.map(|_| random.choose(&[0, 1, 1, 2, 7])));
    }
    geometry
}

/// A geometry with its operands.
pub struct Problem {
    pub geometry: Geometry,
    /// `[c_in][z][y][x]`
    pub x: Vec<f32>,
    /// `[c_out][c_in][kz][ky][kx]`
    pub weights: Vec<f32>,
    /// `[c_out][z][y][x]`
    pub dy: Vec<f32>,
}

impl Problem {
    pub fn random(geometry: Geometry, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut floats = |len| (0..len).map(|_| random.float()).collect();
        Self {
            geometry,
            x: floats(geometry.c_in * geometry.input_len()),
            weights: floats(geometry.weights_len()),
            dy: floats(geometry.c_out * geometry.output_len()),
        }
    }

    /// Calls `term` with the indices (y, w, x) of every product.
    fn each_term(&self, mut term: impl FnMut(usize, usize, usize)) {
        let Geometry { c_in, c_out, input, kernel, dilation, stride, padding: [before, _] } = self.geometry;
        let output = self.geometry.output();
        let index = |size: [usize; 3], channel, [z, y, x]: [usize; 3]| {
            ((channel * size[0] + z) * size[1] + y) * size[2] + x
        };
        let voxels = |size: [usize; 3]| {
            (0..size[0])
                .flat_map(move |z| (0..size[1]).flat_map(move |y| (0..size[2]).map(move |x| [z, y, x])))
        };
        for o in 0..c_out {
            for i in 0..c_in {
                for k in voxels(kernel) {
                    let w = index(kernel, o * c_in + i, k);
                    for p in voxels(output) {
                        let at = [0, 1, 2].map(|axis| p[axis] * stride[axis] + k[axis] * dilation[axis]);
                        if (0..3).all(|axis| (before[axis]..before[axis] + input[axis]).contains(&at[axis])) {
                            let q = [0, 1, 2].map(|axis| at[axis] - before[axis]);
                            term(index(output, o, p), w, index(input, i, q));
                        }
                    }
                }
            }
        }
    }

    /// `y`, and the root of the largest number of terms of one of its elements.
    pub fn forward(&self) -> (Vec<f64>, f64) {
        let mut y = vec![0.0; self.dy.len()];
        self.each_term(|p, w, q| y[p] += f64::from(self.weights[w]) * f64::from(self.x[q]));
        (y, ((self.geometry.c_in * self.geometry.taps()) as f64).sqrt())
    }

    /// `dx`, and the root of the largest number of terms of one of its elements.
    pub fn backward_data(&self) -> (Vec<f64>, f64) {
        let mut dx = vec![0.0; self.x.len()];
        self.each_term(|p, w, q| dx[q] += f64::from(self.weights[w]) * f64::from(self.dy[p]));
        (dx, ((self.geometry.c_out * self.geometry.taps()) as f64).sqrt())
    }

    /// `dw`, and the root of the number of terms of one of its elements.
    pub fn backward_weights(&self) -> (Vec<f64>, f64) {
        let mut dw = vec![0.0; self.weights.len()];
        self.each_term(|p, w, q| dw[w] += f64::from(self.dy[p]) * f64::from(self.x[q]));
        (dw, (self.geometry.output_len() as f64).sqrt())
    }
}
