//! The layers against those of burn: configurations, parameters, records and a network that learns.

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use znn_burn::nn::conv::{
    Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d,
    ConvTranspose3dConfig,
};
use znn_burn::plans;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("32-bit floats")
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3_f32, |largest, value| largest.max(value.abs()));
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error <= 2e-5 * largest, "{error} of {largest}");
}

/// A layer of each kind gives what burn's gives, both ways of conversion and by a record.
macro_rules! layer {
    ($test:ident, $Layer:ident, $Config:ident, $x:expr, $config:expr) => {
        #[test]
        fn $test() {
            let device = Device::flex();
            let x = Tensor::random($x, Distribution::Normal(0.0, 1.0), &device);
            let config: fn($Config) -> $Config = $config;
            let layer = config($Config::new([$x[1], 4], [3; $x.len() - 2])).init(&device);
            let y = values(layer.forward(x.clone()));
            assert!(plans().iter().any(|plan| plan.problem.c_in == $x[1] || plan.problem.c_out == $x[1]));

            let of_burn = burn::nn::conv::$Layer::from(layer.clone());
            assert_close(&y, &values(of_burn.forward(x.clone())));
            assert_eq!(y, values($Layer::from(of_burn.clone()).forward(x.clone())));

            let other = config($Config::new([$x[1], 4], [3; $x.len() - 2])).init(&device);
            assert_ne!(y, values(other.forward(x.clone())));
            let loaded = other.load_record(of_burn.into_record());
            assert_eq!(y, values(loaded.forward(x)));
        }
    };
}

layer!(flat, Conv2d, Conv2dConfig, [2, 3, 9, 11], |config| config.with_stride([2, 1]));
layer!(flat_same, Conv2d, Conv2dConfig, [2, 13, 9, 11], |config| {
    Conv2dConfig { kernel_size: [4, 5], ..config }
        .with_padding(burn::nn::PaddingConfig2d::Same)
        .with_stride([1, 2])
});
layer!(flat_apart, Conv2d, Conv2dConfig, [1, 23, 9, 11], |config| {
    config.with_padding(burn::nn::PaddingConfig2d::Explicit(0, 1, 2, 3)).with_bias(false)
});
layer!(volume, Conv3d, Conv3dConfig, [1, 33, 5, 6, 7], |config| config.with_dilation([1, 2, 1]));
layer!(volume_same, Conv3d, Conv3dConfig, [1, 43, 5, 7, 9], |config| {
    config.with_padding(burn::nn::PaddingConfig3d::Same).with_stride([1, 2, 2])
});
layer!(flat_transposed, ConvTranspose2d, ConvTranspose2dConfig, [2, 53, 5, 6], |config| {
    config.with_stride([2, 2]).with_padding([1, 1]).with_padding_out([1, 0])
});
layer!(volume_transposed, ConvTranspose3d, ConvTranspose3dConfig, [1, 63, 3, 4, 5], |config| config
    .with_stride([1, 2, 2]));

#[test]
#[should_panic(expected = "groups")]
fn channels_that_groups_do_not_divide_are_refused() {
    Conv3dConfig::new([3, 4], [3; 3]).with_groups(2).init(&Device::flex());
}

/// A small network over the layers of `nn`: convolutions, batch normalisation, rectifiers, pooling, a transposed convolution.
macro_rules! network {
    ($name:ident, $nn:path) => {
        mod $name {
            use super::*;
            use $nn as nn;

            #[derive(Module, Debug)]
            pub struct Network {
                pub first: nn::conv::Conv3d,
                pub norm: nn::BatchNorm,
                pub deep: nn::conv::Conv3d,
                pub pool: nn::pool::AdaptiveAvgPool3d,
                pub up: nn::conv::ConvTranspose3d,
                pub last: nn::conv::Conv3d,
            }

            impl Network {
                pub fn new(device: &Device) -> Self {
                    let padding = nn::PaddingConfig3d::Explicit(1, 1, 1);
                    let conv = |channels| {
                        nn::conv::Conv3dConfig::new(channels, [3; 3]).with_padding(padding.clone())
                    };
                    Self {
                        first: conv([1, 6]).init(device),
                        norm: nn::BatchNormConfig::new(6).init(device),
                        deep: conv([6, 8]).init(device),
                        pool: nn::pool::AdaptiveAvgPool3dConfig::new([4; 3]).init(),
                        up: nn::conv::ConvTranspose3dConfig::new([8, 6], [2; 3])
                            .with_stride([2; 3])
                            .init(device),
                        last: conv([6, 1]).init(device),
                    }
                }

                fn forward(&self, x: Tensor<5>) -> Tensor<5> {
                    let x = relu(self.norm.forward(self.first.forward(x)));
                    let x = self.pool.forward(relu(self.deep.forward(x)));
                    self.last.forward(relu(self.up.forward(x)))
                }

                /// The losses of some steps.
                pub fn learn(mut self, x: &Tensor<5>, wanted: &Tensor<5>) -> Vec<f32> {
                    let mut optimiser = SgdConfig::new().init();
                    let step = |_| {
                        let loss = (self.forward(x.clone()) - wanted.clone()).powi_scalar(2).mean();
                        let gradients = GradientsParams::from_grads(loss.backward(), &self);
                        self = optimiser.step(0.1, self.clone(), gradients);
                        loss.into_scalar()
                    };
                    (0..30).map(step).collect()
                }
            }
        }
    };
}

network!(ours, znn_burn::nn);
network!(of_burn, burn::nn);

#[test]
fn a_network_learns_as_with_burn() {
    let device = Device::flex().autodiff();
    // Blocks of voxels of one value each, which survive the pooling.
    let block = |i: usize| {
        [i / 512, i / 128 % 4, i / 16 % 4, i / 2 % 4].into_iter().fold(0, |all, axis| 4 * all + axis)
    };
    let values: Vec<f32> = (0..2 * 512).map(|i| (block(i) * 37 % 97) as f32 / 48.0 - 1.0).collect();
    let x = Tensor::<5>::from_data(TensorData::new(values, [2, 1, 8, 8, 8]), &device);
    let wanted = x.clone() * -0.5 + 0.25;
    let network = of_burn::Network::new(&device);
    let same = ours::Network::new(&device).load_record(network.clone().into_record());
    let (found, expected) = (same.learn(&x, &wanted), network.learn(&x, &wanted));
    assert!(expected[29] < 0.9 * expected[0], "{expected:?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-4 * expected, "{found} for {expected}");
    }
}

#[test]
fn a_layer_is_frozen_by_its_parameters() {
    let device = Device::flex().autodiff();
    let layer = Conv3dConfig::new([2, 3], [3; 3]).init(&device).no_grad();
    assert!(!Param::val(&layer.weight).is_require_grad());
    let x = Tensor::<5>::ones([1, 2, 5, 5, 5], &device).require_grad();
    let gradients = layer.forward(x.clone()).sum().backward();
    assert!(x.grad(&gradients).is_some() && layer.weight.val().grad(&gradients).is_none());
}
