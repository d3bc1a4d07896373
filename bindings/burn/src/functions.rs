//! The functions on tensors.

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Device, Tensor, module};

use crate::case::Case;
use crate::operation::Convolution;

/// [`burn::tensor::module::conv2d`], computed by the engine where it can.
///
/// `x` is `[batch, c_in, y, x]`, `weight` `[c_out, c_in / groups, ky, kx]`, `bias` `[c_out]`; gives
/// `[batch, c_out, y, x]`.
///
/// # Panics
/// Where burn's function does; where there is not enough memory for the plan of the convolution.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: impl Into<ConvOptions<2>>,
) -> Tensor<4> {
    let options = options.into();
    match Case::convolution(x.dims(), weight.dims(), &options) {
        Some(case) if takes(&x, &weight, bias.as_ref(), case) => convolve(x, weight, bias, case),
        _ => module::conv2d(x, weight, bias, options),
    }
}

/// [`burn::tensor::module::conv3d`], computed by the engine where it can.
///
/// `x` is `[batch, c_in, z, y, x]`, `weight` `[c_out, c_in / groups, kz, ky, kx]`, `bias` `[c_out]`; gives
/// `[batch, c_out, z, y, x]`. Where the engine computes it, padding may differ between the two sides of an axis.
///
/// ```
/// use burn::tensor::{Device, Tensor, ops::ConvOptions};
///
/// let device = Device::flex();
/// let x = Tensor::<5>::ones([2, 3, 8, 8, 8], &device);
/// let weight = Tensor::<5>::ones([4, 3, 3, 3, 3], &device);
/// let y = znn_burn::conv3d(x, weight, None, ConvOptions::new([1; 3], [1; 3], [1; 3], 1));
/// assert_eq!(y.dims(), [2, 4, 8, 8, 8]);
/// assert_eq!(y.max().into_scalar::<f32>(), 81.0);
/// ```
///
/// # Panics
/// As [`conv2d`].
pub fn conv3d(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: impl Into<ConvOptions<3>>,
) -> Tensor<5> {
    let options = options.into();
    match Case::convolution(x.dims(), weight.dims(), &options) {
        Some(case) if takes(&x, &weight, bias.as_ref(), case) => convolve(x, weight, bias, case),
        _ => module::conv3d(x, weight, bias, options),
    }
}

/// [`burn::tensor::module::conv_transpose2d`], computed by the engine where it can.
///
/// `x` is `[batch, c_in, y, x]`, `weight` `[c_in, c_out / groups, ky, kx]`, `bias` `[c_out]`; gives
/// `[batch, c_out, y, x]`.
///
/// # Panics
/// As [`conv2d`].
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<2>,
) -> Tensor<4> {
    match Case::transposed(x.dims(), weight.dims(), &options) {
        Some(case) if takes(&x, &weight, bias.as_ref(), case) => {
            let y = convolve(x, weight, None, case);
            bias.into_iter().fold(y, |y, bias| y + bias.reshape([1, -1, 1, 1]))
        }
        _ => module::conv_transpose2d(x, weight, bias, options),
    }
}

/// [`burn::tensor::module::conv_transpose3d`], computed by the engine where it can.
///
/// `x` is `[batch, c_in, z, y, x]`, `weight` `[c_in, c_out / groups, kz, ky, kx]`, `bias` `[c_out]`; gives
/// `[batch, c_out, z, y, x]`.
///
/// # Panics
/// As [`conv2d`].
pub fn conv_transpose3d(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<3>,
) -> Tensor<5> {
    match Case::transposed(x.dims(), weight.dims(), &options) {
        Some(case) if takes(&x, &weight, bias.as_ref(), case) => {
            let y = convolve(x, weight, None, case);
            bias.into_iter().fold(y, |y, bias| y + bias.reshape([1, -1, 1, 1, 1]))
        }
        _ => module::conv_transpose3d(x, weight, bias, options),
    }
}

fn convolve<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<D>,
    bias: Option<Tensor<1>>,
    case: Case,
) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::convolve_biased(x, weight, bias.into_dispatch(), case),
        None => Dispatch::convolve(x, weight, case),
    })
}

/// Whether the operands are single precision on the CPU, and the bias fits.
fn takes<const D: usize>(x: &Tensor<D>, weight: &Tensor<D>, bias: Option<&Tensor<1>>, case: Case) -> bool {
    is_ours(x) && is_ours(weight) && bias.is_none_or(|bias| is_ours(bias) && bias.dims() == [case.c_out()])
}

fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_flex(&tensor.device())
}

fn is_flex(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        // What other features of burn bring.
        #[allow(unreachable_patterns)]
        _ => false,
    }
}
