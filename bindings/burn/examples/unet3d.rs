//! Trains a small 3D U-Net to find blobs in noise, first with burn's convolutions, then with those of this crate:
//!
//! ```text
//! cargo run --release --example unet3d
//! ```
//!
//! The two networks differ in the line that says where `nn` comes from.

use std::time::Instant;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Voxels along each axis.
const SIZE: usize = 32;
const STEPS: usize = 40;

macro_rules! unet {
    ($name:ident, $nn:path) => {
        mod $name {
            use super::*;
            // The line.
            use $nn as nn;

            /// Two convolutions, each followed by a rectifier.
            #[derive(Module, Debug)]
            pub struct Block {
                first: nn::conv::Conv3d,
                second: nn::conv::Conv3d,
            }

            impl Block {
                fn new(c_in: usize, c_out: usize, device: &Device) -> Self {
                    let conv = |c_in| {
                        nn::conv::Conv3dConfig::new([c_in, c_out], [3; 3])
                            .with_padding(nn::PaddingConfig3d::Same)
                            .init(device)
                    };
                    Self { first: conv(c_in), second: conv(c_out) }
                }

                fn forward(&self, x: Tensor<5>) -> Tensor<5> {
                    relu(self.second.forward(relu(self.first.forward(x))))
                }
            }

            #[derive(Module, Debug)]
            pub struct UNet {
                fine: Block,
                down: nn::conv::Conv3d,
                coarse: Block,
                up: nn::conv::ConvTranspose3d,
                merged: Block,
                last: nn::conv::Conv3d,
            }

            impl UNet {
                pub fn new(device: &Device) -> Self {
                    Self {
                        fine: Block::new(1, 12, device),
                        down: nn::conv::Conv3dConfig::new([12, 24], [2; 3]).with_stride([2; 3]).init(device),
                        coarse: Block::new(24, 24, device),
                        up: nn::conv::ConvTranspose3dConfig::new([24, 12], [2; 3])
                            .with_stride([2; 3])
                            .init(device),
                        merged: Block::new(24, 12, device),
                        last: nn::conv::Conv3dConfig::new([12, 1], [1; 3]).init(device),
                    }
                }

                /// How likely each voxel is one of a blob.
                fn forward(&self, image: Tensor<5>) -> Tensor<5> {
                    let fine = self.fine.forward(image);
                    let coarse = self.coarse.forward(relu(self.down.forward(fine.clone())));
                    let up = relu(self.up.forward(coarse));
                    sigmoid(self.last.forward(self.merged.forward(Tensor::cat(vec![fine, up], 1))))
                }

                /// Trains it and gives the loss of each step.
                pub fn train(mut self, device: &Device) -> Vec<f32> {
                    let mut optimiser = AdamConfig::new().init();
                    let mut draw = ChaCha8Rng::seed_from_u64(1);
                    let mut losses = Vec::new();
                    for _ in 0..STEPS {
                        let (image, wanted) = sample(&mut draw, device);
                        let loss = (self.forward(image) - wanted).powi_scalar(2).mean();
                        let gradients = GradientsParams::from_grads(loss.backward(), &self);
                        self = optimiser.step(2e-3, self, gradients);
                        losses.push(loss.into_scalar());
                    }
                    losses
                }
            }
        }
    };
}

unet!(with_burn, burn::nn);
unet!(with_znn, znn_burn::nn);

/// An image of blobs in noise, and where they are.
fn sample(draw: &mut ChaCha8Rng, device: &Device) -> (Tensor<5>, Tensor<5>) {
    let mut unit = || draw.next_u32() as f32 / u32::MAX as f32;
    let blobs: Vec<[f32; 4]> = (0..6)
        .map(|_| [unit() * SIZE as f32, unit() * SIZE as f32, unit() * SIZE as f32, 3.0 + 3.0 * unit()])
        .collect();
    let (mut image, mut wanted) = (Vec::new(), Vec::new());
    for voxel in 0..SIZE.pow(3) {
        let place = [voxel / SIZE.pow(2), voxel / SIZE % SIZE, voxel % SIZE].map(|axis| axis as f32);
        let inside = blobs.iter().any(|[z, y, x, radius]| {
            let distance = (place[0] - z).powi(2) + (place[1] - y).powi(2) + (place[2] - x).powi(2);
            distance < radius * radius
        });
        wanted.push(f32::from(u8::from(inside)));
        image.push(wanted[voxel] + unit() + unit() - 1.0);
    }
    let tensor = |values| Tensor::from_data(TensorData::new(values, [1, 1, SIZE, SIZE, SIZE]), device);
    (tensor(image), tensor(wanted))
}

/// Tells how the training went.
fn report(name: &str, seconds: f64, losses: &[f32]) {
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..5]), mean(&losses[STEPS - 5..]));
    println!("{name:<20} {seconds:6.2} s for {STEPS} steps, loss from {first:.4} to {last:.4}");
}

fn main() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let network = with_burn::UNet::new(&device);
    let same = with_znn::UNet::new(&device).load_record(network.clone().into_record());

    let start = Instant::now();
    let losses = network.train(&device);
    report("burn", start.elapsed().as_secs_f64(), &losses);

    let start = Instant::now();
    let losses = same.clone().train(&device);
    report("znn, the first time", start.elapsed().as_secs_f64(), &losses);
    // Which algorithms are the fastest is known now.
    let start = Instant::now();
    let losses = same.train(&device);
    report("znn", start.elapsed().as_secs_f64(), &losses);

    for plan in znn_burn::plans() {
        println!(
            "  {}: {} / {} / {}",
            plan.problem, plan.decision.forward, plan.decision.backward_data, plan.decision.backward_weights
        );
    }
}
