//! Layers with parameters: those of burn, but for the function that computes them.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, PaddingConfig2d, PaddingConfig3d, conv};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor};

use crate::functions::{conv_transpose2d, conv_transpose3d, conv2d, conv3d};

/// Zeros before and behind an input of `input` voxels.
trait Zeros<const N: usize> {
    fn around(&self, input: [usize; N], kernel: [usize; N], stride: [usize; N]) -> [(usize, usize); N];
}

impl Zeros<2> for PaddingConfig2d {
    fn around(&self, input: [usize; 2], kernel: [usize; 2], stride: [usize; 2]) -> [(usize, usize); 2] {
        match *self {
            Self::Valid => [(0, 0); 2],
            Self::Same => same(input, kernel, stride),
            Self::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        }
    }
}

impl Zeros<3> for PaddingConfig3d {
    fn around(&self, input: [usize; 3], kernel: [usize; 3], stride: [usize; 3]) -> [(usize, usize); 3] {
        match *self {
            Self::Valid => [(0, 0); 3],
            Self::Same => same(input, kernel, stride),
            Self::Explicit(z, y, x) => [(z, z), (y, y), (x, x)],
        }
    }
}

/// The zeros with which a kernel without dilation gives an output voxel for every stride of the input. Where they are
/// odd, there is one more behind.
fn same<const N: usize>(input: [usize; N], kernel: [usize; N], stride: [usize; N]) -> [(usize, usize); N] {
    std::array::from_fn(|axis| {
        let last = input[axis].div_ceil(stride[axis]).saturating_sub(1);
        let zeros = (last * stride[axis] + kernel[axis]).saturating_sub(input[axis]);
        (zeros / 2, zeros - zeros / 2)
    })
}

/// A layer with the fields and the configuration of burn's: `$axes` axes of an image in tensors of `$rank`.
macro_rules! layer {
    (
        $Layer:ident, $Config:ident, $function:ident, axes $axes:tt, rank $rank:tt,
        distances $ones:tt, padding $Padding:ty = $padding:tt,
        others [$($other:ident $default:tt),*], kept [$($kept:ident),*]
    ) => {
        #[doc = concat!("How a [`", stringify!($Layer), "`] is made; as burn's own [`", stringify!($Config), "`](conv::", stringify!($Config), ").")]
        #[derive(Config, Debug)]
        pub struct $Config {
            /// Input and output channels.
            pub channels: [usize; 2],
            /// Taps of the kernel along each axis.
            pub kernel_size: [usize; $axes],
            /// Distance between neighbouring places of the kernel.
            #[config(default = $ones)]
            pub stride: [usize; $axes],
            /// Distance of neighbouring taps.
            #[config(default = $ones)]
            pub dilation: [usize; $axes],
            /// Groups of channels that are convolved apart. Several are left to burn.
            #[config(default = "1")]
            pub groups: usize,
            /// Zeros around the image to which the kernel is applied.
            #[config(default = $padding)]
            pub padding: $Padding,
            $(
                /// Voxels of the output beyond those that the kernel's last place reaches.
                #[config(default = $default)]
                pub $other: [usize; $axes],
            )*
            /// Whether output channels have a bias.
            #[config(default = true)]
            pub bias: bool,
            /// The first values of the parameters.
            #[config(default = "Initializer::KaimingUniform { gain: 1.0 / 3.0_f64.sqrt(), fan_out_only: false }")]
            pub initializer: Initializer,
        }

        impl $Config {
            /// A layer with parameters of its own.
            ///
            /// # Panics
            /// Where burn's does: for channels that the groups do not divide.
            pub fn init(&self, device: &Device) -> $Layer {
                let Self { channels, kernel_size, stride, dilation, groups, bias, .. } = *self;
                let (padding, initializer) = (self.padding.clone(), self.initializer.clone());
                $(let $other = self.$other;)*
                conv::$Config {
                    channels, kernel_size, stride, dilation, groups, padding, $($other,)* bias, initializer,
                }
                .init(device)
                .into()
            }
        }

        #[doc = concat!("The layer of [`", stringify!($function), "`](crate::", stringify!($function), "), made by a [`", stringify!($Config), "`].")]
        #[derive(Module, Debug)]
        pub struct $Layer {
            /// The weights.
            pub weight: Param<Tensor<$rank>>,
            /// A number for each output channel.
            pub bias: Option<Param<Tensor<1>>>,
            /// Distance between neighbouring places of the kernel.
            pub stride: [usize; $axes],
            /// Taps of the kernel along each axis.
            pub kernel_size: [usize; $axes],
            /// Distance of neighbouring taps.
            pub dilation: [usize; $axes],
            /// Groups of channels that are convolved apart.
            pub groups: usize,
            /// Zeros around the image to which the kernel is applied.
            #[module(skip)]
            pub padding: $Padding,
            $(
                /// Voxels of the output beyond those that the kernel's last place reaches.
                pub $other: [usize; $axes],
            )*
            $(
                /// Input and output channels.
                pub $kept: [usize; 2],
            )*
        }

        impl From<conv::$Layer> for $Layer {
            fn from(layer: conv::$Layer) -> Self {
                let conv::$Layer {
                    weight, bias, stride, kernel_size, dilation, groups, padding, $($other,)* $($kept,)*
                } = layer;
                Self { weight, bias, stride, kernel_size, dilation, groups, padding, $($other,)* $($kept,)* }
            }
        }

        impl From<$Layer> for conv::$Layer {
            fn from(layer: $Layer) -> Self {
                let $Layer {
                    weight, bias, stride, kernel_size, dilation, groups, padding, $($other,)* $($kept,)*
                } = layer;
                Self { weight, bias, stride, kernel_size, dilation, groups, padding, $($other,)* $($kept,)* }
            }
        }
    };
}

layer!(
    Conv2d, Conv2dConfig, conv2d, axes 2, rank 4,
    distances "[1, 1]", padding PaddingConfig2d = "PaddingConfig2d::Valid", others [], kept []
);
layer!(
    Conv3d, Conv3dConfig, conv3d, axes 3, rank 5,
    distances "[1, 1, 1]", padding PaddingConfig3d = "PaddingConfig3d::Valid", others [], kept []
);
layer!(
    ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d, axes 2, rank 4,
    distances "[1, 1]", padding [usize; 2] = "[0, 0]", others [padding_out "[0, 0]"], kept [channels]
);
layer!(
    ConvTranspose3d, ConvTranspose3dConfig, conv_transpose3d, axes 3, rank 5,
    distances "[1, 1, 1]", padding [usize; 3] = "[0, 0, 0]", others [padding_out "[0, 0, 0]"], kept [channels]
);

macro_rules! convolution {
    ($Layer:ident, $function:ident, $rank:tt) => {
        impl $Layer {
            /// The convolution of images `[batch, c_in, ..]`, as `[batch, c_out, ..]`.
            ///
            /// # Panics
            #[doc = concat!("As [`", stringify!($function), "`](crate::", stringify!($function), ").")]
            pub fn forward(&self, input: Tensor<$rank>) -> Tensor<$rank> {
                let [_, _, voxels @ ..] = input.dims();
                let padding = self.padding.around(voxels, self.kernel_size, self.stride);
                let options = ConvOptions::new_with_padding(self.stride, padding, self.dilation, self.groups);
                $function(input, self.weight.val(), self.bias.as_ref().map(Param::val), options)
            }
        }
    };
}

convolution!(Conv2d, conv2d, 4);
convolution!(Conv3d, conv3d, 5);

macro_rules! transposed {
    ($Layer:ident, $function:ident, $rank:tt) => {
        impl $Layer {
            /// The transposed convolution of images `[batch, c_in, ..]`, as `[batch, c_out, ..]`.
            ///
            /// # Panics
            #[doc = concat!("As [`", stringify!($function), "`](crate::", stringify!($function), ").")]
            pub fn forward(&self, input: Tensor<$rank>) -> Tensor<$rank> {
                let Self { stride, padding, padding_out, dilation, groups, .. } = *self;
                let options = ConvTransposeOptions::new(stride, padding, padding_out, dilation, groups);
                $function(input, self.weight.val(), self.bias.as_ref().map(Param::val), options)
            }
        }
    };
}

transposed!(ConvTranspose2d, conv_transpose2d, 4);
transposed!(ConvTranspose3d, conv_transpose3d, 5);
