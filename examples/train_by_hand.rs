//! Training without a network file: two convolutions, their gradients and the updates in a loop of one's own.
//! `cargo run --release --example train_by_hand`
//!
//! The layers learn the difference of Gaussians of noise, which two small kernels with a ReLU between them can only
//! approximate.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem, Transfer};

const BATCH: usize = 2;
const HIDDEN: usize = 8;
const ITERATIONS: usize = 200;
const RATE: f32 = 0.02;
const MOMENTUM: f32 = 0.9;

/// A convolution with its parameters.
struct Layer {
    conv: Conv3d,
    weights: Vec<f32>,
    bias: Vec<f32>,
    velocity: Vec<f32>,
}

impl Layer {
    fn new(engine: &Engine, problem: Problem, transfer: Transfer, rng: &mut ChaCha8Rng) -> Self {
        let options = Conv3dOptions { batch: BATCH, transfer, ..Default::default() };
        let conv = Conv3d::new(engine, problem, &options).expect("a layer that fits");
        let deviation = (6.0 / (problem.c_in * problem.kernel.len()) as f32).sqrt();
        let weights: Vec<f32> =
            (0..conv.weights_len()).map(|_| rng.random_range(-deviation..deviation)).collect();
        Self { velocity: vec![0.0; weights.len()], bias: vec![0.0; problem.c_out], weights, conv }
    }

    fn forward(&mut self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.conv.output_len()];
        self.conv.forward(x, &self.weights, Some(&self.bias), &mut y).expect("arrays that fit");
        y
    }

    /// Updates the parameters, and returns the gradient by the input: by the weights before the update.
    fn backward(&mut self, x: &[f32], y: &[f32], dy: &mut [f32]) -> Vec<f32> {
        let (mut db, mut dw) = (vec![0.0; self.bias.len()], vec![0.0; self.weights.len()]);
        let mut dx = vec![0.0; self.conv.input_len()];
        self.conv.backward_transfer(y, dy, &mut db).expect("arrays that fit");
        self.conv.backward_data(dy, &self.weights, &mut dx).expect("arrays that fit");
        self.conv.backward_weights(x, dy, &mut dw).expect("arrays that fit");
        for ((weight, velocity), dw) in self.weights.iter_mut().zip(&mut self.velocity).zip(&dw) {
            *velocity = MOMENTUM * *velocity - RATE * dw;
            *weight += *velocity;
        }
        self.bias.iter_mut().zip(&db).for_each(|(bias, db)| *bias -= RATE * db);
        dx
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(&EngineOptions::default())?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let kernel = Extent::new(3, 3, 3);
    let first = Problem::valid(1, HIDDEN, Extent::new(16, 16, 16), kernel, Extent::ONE);
    let second = Problem::valid(HIDDEN, 1, first.output(), kernel, Extent::ONE);
    let [mut a, mut b] = [(first, Transfer::RectifyLinear), (second, Transfer::IDENTITY)]
        .map(|(problem, transfer)| Layer::new(&engine, problem, transfer, &mut rng));

    // What is to be learned, computed by the same engine: a fixed kernel of 5 x 5 x 5.
    let wanted = Problem::valid(1, 1, first.input, Extent::new(5, 5, 5), Extent::ONE);
    let mut teacher = Conv3d::new(&engine, wanted, &Conv3dOptions { batch: BATCH, ..Default::default() })?;
    let taps: Vec<f32> = (0..125)
        .map(|i| {
            let [z, y, x] = [i / 25, i / 5 % 5, i % 5].map(|at| at as f32 - 2.0);
            let square = z * z + y * y + x * x;
            0.3 * (-square / 1.5).exp() - 0.1 * (-square / 4.0).exp()
        })
        .collect();

    let mut losses = Vec::new();
    for iteration in 0..ITERATIONS {
        let x: Vec<f32> = (0..BATCH * first.input.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut target = vec![0.0; teacher.output_len()];
        teacher.forward(&x, &taps, None, &mut target)?;

        let hidden = a.forward(&x);
        let y = b.forward(&hidden);
        let scale = 2.0 / y.len() as f32;
        let mut dy: Vec<f32> = y.iter().zip(&target).map(|(y, t)| scale * (y - t)).collect();
        losses.push(y.iter().zip(&target).map(|(y, t)| (y - t).powi(2)).sum::<f32>() / y.len() as f32);
        let mut gradient = b.backward(&hidden, &y, &mut dy);
        a.backward(&x, &hidden, &mut gradient);
        if iteration % 25 == 0 || iteration + 1 == ITERATIONS {
            println!("iteration {iteration:3}: loss {:.5}", losses[iteration]);
        }
    }
    let last = losses[ITERATIONS - 10..].iter().sum::<f32>() / 10.0;
    assert!(last < losses[0] / 5.0, "from {} to {last}", losses[0]);
    Ok(())
}
