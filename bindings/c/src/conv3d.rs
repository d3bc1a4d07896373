//! Planned convolutions.
#![allow(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::conv::{Choice, Method, Passes};
use engine::{Conv3dError, Extent, Problem, Strides, Transfer};

use crate::engine::{Engine, give};
use crate::memory::{free, put, reference, slice, slice_mut};
use crate::status::{Failure, Status, guard};

/// A planned convolution.
pub struct Conv3d(Mutex<engine::Conv3d>);

/// All passes.
pub const ZNN_PASSES_TRAINING: u32 = 0;
/// Forward alone.
pub const ZNN_PASSES_INFERENCE: u32 = 1;
/// Forward and backward-weights: a layer on the input of a network.
pub const ZNN_PASSES_FIRST_LAYER: u32 = 2;

/// Whichever algorithm measures fastest, on the plan's own sizes.
pub const ZNN_ALGORITHM_MEASURE: u32 = 0;
/// Whichever a model of the work says is fastest; the same on every run.
pub const ZNN_ALGORITHM_ESTIMATE: u32 = 1;
/// Direct convolution.
pub const ZNN_ALGORITHM_DIRECT: u32 = 2;
/// Products of spectra; direct convolution where there is stride or padding.
pub const ZNN_ALGORITHM_FFT: u32 = 3;
/// Winograd tiles; direct convolution where the kernel has axes of neither 1 nor 3 taps.
pub const ZNN_ALGORITHM_WINOGRAD: u32 = 4;

/// `f(x) = x`.
pub const ZNN_TRANSFER_IDENTITY: u32 = 0;
/// `max(x, 0)`.
pub const ZNN_TRANSFER_RELU: u32 = 1;
/// `1 / (1 + exp(-x))`.
pub const ZNN_TRANSFER_LOGISTIC: u32 = 2;
/// The hyperbolic tangent.
pub const ZNN_TRANSFER_TANH: u32 = 3;

/// A convolution: `y[n][o][p] = transfer(bias[o] + sum over i, k of w[o][i][k] x[n][i][p * stride + k * dilation -
/// padding_before])`, where x is 0 outside. Sizes are in the order z, y, x. Begin with znn_conv3d_options_init.
#[repr(C)]
pub struct Conv3dOptions {
    /// Images of a call.
    pub batch: usize,
    /// Input maps.
    pub c_in: usize,
    /// Output maps.
    pub c_out: usize,
    /// Voxels of an input map.
    pub input: [usize; 3],
    /// Taps of the kernel.
    pub kernel: [usize; 3],
    /// Distance of neighbouring taps.
    pub dilation: [usize; 3],
    /// Distance in the input between two neighbours of the output.
    pub stride: [usize; 3],
    /// Zeros before the input.
    pub padding_before: [usize; 3],
    /// Zeros behind the input.
    pub padding_after: [usize; 3],
    /// Floats from an image of x and dx to the next, and from a map to the next of its image; both 0: contiguous.
    pub x_strides: [usize; 2],
    /// The same for y and dy.
    pub y_strides: [usize; 2],
    /// One of ZNN_PASSES_*: what will be called.
    pub passes: u32,
    /// One of ZNN_ALGORITHM_*.
    pub algorithm: u32,
    /// One of ZNN_TRANSFER_*.
    pub transfer: u32,
}

impl Conv3dOptions {
    fn problem(&self) -> Problem {
        Problem {
            c_in: self.c_in,
            c_out: self.c_out,
            input: self.input.into(),
            kernel: self.kernel.into(),
            dilation: self.dilation.into(),
            stride: self.stride.into(),
            padding: [self.padding_before.into(), self.padding_after.into()],
        }
    }

    fn options(&self) -> Result<engine::Conv3dOptions, Failure> {
        let unknown = |what, value| Failure::argument(format!("{value} is no {what}"));
        let strides = |[image, map]: [usize; 2]| ([image, map] != [0, 0]).then_some(Strides { image, map });
        Ok(engine::Conv3dOptions {
            batch: self.batch,
            passes: match self.passes {
                ZNN_PASSES_TRAINING => Passes::Training,
                ZNN_PASSES_INFERENCE => Passes::Inference,
                ZNN_PASSES_FIRST_LAYER => Passes::FirstLayer,
                other => return Err(unknown("value of ZNN_PASSES", other)),
            },
            algorithm: match self.algorithm {
                ZNN_ALGORITHM_MEASURE => Choice::Measure,
                ZNN_ALGORITHM_ESTIMATE => Choice::Estimate,
                ZNN_ALGORITHM_DIRECT => Choice::Fixed(Method::Direct),
                ZNN_ALGORITHM_FFT => Choice::Fixed(Method::Fft),
                ZNN_ALGORITHM_WINOGRAD => Choice::Fixed(Method::Winograd),
                other => return Err(unknown("value of ZNN_ALGORITHM", other)),
            },
            transfer: match self.transfer {
                ZNN_TRANSFER_IDENTITY => Transfer::IDENTITY,
                ZNN_TRANSFER_RELU => Transfer::RectifyLinear,
                ZNN_TRANSFER_LOGISTIC => Transfer::Logistic,
                ZNN_TRANSFER_TANH => Transfer::Tanh { amplitude: 1.0, slope: 1.0 },
                other => return Err(unknown("value of ZNN_TRANSFER", other)),
            },
            input: strides(self.x_strides),
            output: strides(self.y_strides),
        })
    }
}

impl From<Conv3dError> for Failure {
    fn from(error: Conv3dError) -> Self {
        let status = match error {
            Conv3dError::Memory(_) => Status::OutOfMemory,
            Conv3dError::Plan(_) => Status::Internal,
            _ => Status::InvalidArgument,
        };
        Failure::new(status, error)
    }
}

impl Conv3d {
    fn lock(&self) -> MutexGuard<'_, engine::Conv3d> {
        // A plan can be used again after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets `*options` to one image, a kernel of one tap, stride and dilation 1, no padding, contiguous arrays, all passes,
/// the algorithm measured, no transfer function. Maps and image sizes are 0 and must be set.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_options_init(options: *mut Conv3dOptions) -> Status {
    guard(|| {
        let (zeros, ones) = (Extent::ZERO.to_array(), Extent::ONE.to_array());
        let default = Conv3dOptions {
            batch: 1,
            c_in: 0,
            c_out: 0,
            input: zeros,
            kernel: ones,
            dilation: ones,
            stride: ones,
            padding_before: zeros,
            padding_after: zeros,
            x_strides: [0, 0],
            y_strides: [0, 0],
            passes: ZNN_PASSES_TRAINING,
            algorithm: ZNN_ALGORITHM_MEASURE,
            transfer: ZNN_TRANSFER_IDENTITY,
        };
        // SAFETY: the caller's pointer, see the preamble.
        unsafe { put("options", options, default) }
    })
}

/// Plans a convolution, which `*conv` becomes. Measuring takes a fraction of a second the first time that an engine meets
/// a problem.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_new(
    engine: *const Engine,
    options: *const Conv3dOptions,
    conv: *mut *mut Conv3d,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        let (engine, options) = unsafe { (reference("engine", engine)?, reference("options", options)?) };
        let made = engine::Conv3d::new(&engine.0, options.problem(), &options.options()?)?;
        // SAFETY: as above.
        unsafe { give("conv", conv, Conv3d(Mutex::new(made))) }
    })
}

/// Ends a plan.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_free(conv: *mut Conv3d) {
    guard(|| {
        // SAFETY: the caller's handle, see the preamble.
        unsafe { free(conv) };
        Ok(())
    });
}

/// Tells the voxels of an output map.
///
/// cbindgen:ptrs-as-arrays=[[output;3]]
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_output_extent(conv: *const Conv3d, output: *mut usize) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        let extent = unsafe { reference("conv", conv) }?.lock().problem().output();
        // SAFETY: as above.
        unsafe { put("output", output.cast(), extent.to_array()) }
    })
}

/// Floats of x and dx, from the first to the last; 0 for NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_x_len(conv: *const Conv3d) -> usize {
    // SAFETY: the caller's pointer, see the preamble.
    unsafe { reference("conv", conv) }.map_or(0, |conv| conv.lock().input_len())
}

/// Floats of y and dy, from the first to the last; 0 for NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_y_len(conv: *const Conv3d) -> usize {
    // SAFETY: the caller's pointer, see the preamble.
    unsafe { reference("conv", conv) }.map_or(0, |conv| conv.lock().output_len())
}

/// Floats of the weights and their gradient; 0 for NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_weights_len(conv: *const Conv3d) -> usize {
    // SAFETY: the caller's pointer, see the preamble.
    unsafe { reference("conv", conv) }.map_or(0, |conv| conv.lock().weights_len())
}

/// `y = transfer(x * weights + bias)`. `bias` has `c_out` floats, or is NULL.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_forward(
    conv: *const Conv3d,
    x: *const f32,
    weights: *const f32,
    bias: *const f32,
    y: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, of the lengths that the plan tells; see the preamble.
        unsafe {
            let mut conv = reference("conv", conv)?.lock();
            let x = slice("x", x, conv.input_len())?;
            let weights = slice("weights", weights, conv.weights_len())?;
            let bias = match bias.is_null() {
                true => None,
                false => Some(slice("bias", bias, conv.problem().c_out)?),
            };
            let y = slice_mut("y", y, conv.output_len(), &[x, weights, bias.unwrap_or(&[])])?;
            Ok(conv.forward(x, weights, bias, y)?)
        }
    })
}

/// The gradient by the input. `dy` is the gradient before the transfer function, see znn_conv3d_backward_transfer.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_backward_data(
    conv: *const Conv3d,
    dy: *const f32,
    weights: *const f32,
    dx: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, of the lengths that the plan tells; see the preamble.
        unsafe {
            let mut conv = reference("conv", conv)?.lock();
            let dy = slice("dy", dy, conv.output_len())?;
            let weights = slice("weights", weights, conv.weights_len())?;
            let dx = slice_mut("dx", dx, conv.input_len(), &[dy, weights])?;
            Ok(conv.backward_data(dy, weights, dx)?)
        }
    })
}

/// The gradient by the weights, summed over the batch.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_backward_weights(
    conv: *const Conv3d,
    x: *const f32,
    dy: *const f32,
    dweights: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, of the lengths that the plan tells; see the preamble.
        unsafe {
            let mut conv = reference("conv", conv)?.lock();
            let x = slice("x", x, conv.input_len())?;
            let dy = slice("dy", dy, conv.output_len())?;
            let dw = slice_mut("dweights", dweights, conv.weights_len(), &[x, dy])?;
            Ok(conv.backward_weights(x, dy, dw)?)
        }
    })
}

/// The gradient by the bias: the sum of `dy` over the batch and the voxels of each map; `c_out` floats.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_backward_bias(
    conv: *const Conv3d,
    dy: *const f32,
    dbias: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, of the lengths that the plan tells; see the preamble.
        unsafe {
            let mut conv = reference("conv", conv)?.lock();
            let dy = slice("dy", dy, conv.output_len())?;
            let db = slice_mut("dbias", dbias, conv.problem().c_out, &[dy])?;
            Ok(conv.backward_bias(dy, db)?)
        }
    })
}

/// Takes the gradient back through the transfer function, in place: `dy *= transfer'`, where `y` is what the forward pass
/// gave; and gives the gradient by the bias, `c_out` floats.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_conv3d_backward_transfer(
    conv: *const Conv3d,
    y: *const f32,
    dy: *mut f32,
    dbias: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, of the lengths that the plan tells; see the preamble.
        unsafe {
            let mut conv = reference("conv", conv)?.lock();
            let y = slice("y", y, conv.output_len())?;
            let dy = slice_mut("dy", dy, conv.output_len(), &[y])?;
            let db = slice_mut("dbias", dbias, conv.problem().c_out, &[y, dy])?;
            Ok(conv.backward_transfer(y, dy, db)?)
        }
    })
}
