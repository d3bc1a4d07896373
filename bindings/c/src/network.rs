//! Networks.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::train::{Clip, Optimiser};
use engine::{Extent, Session, SessionError, Training};

use crate::engine::{Engine, give};
use crate::memory::{free, path, put, reference, slice, slice_mut};
use crate::status::{Failure, Status, guard};

/// A network with its parameters: one input, one output.
pub struct Network(Mutex<Session>);

impl Network {
    fn lock(&self) -> MutexGuard<'_, Session> {
        // A session can be used again after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        use engine::infer::InferError;
        use engine::train::StepError;
        let status = match error {
            SessionError::Model(_) | SessionError::Spec(_) | SessionError::Weights(_) => Status::File,
            SessionError::Infer(InferError::Memory { .. } | InferError::Tile { .. })
            | SessionError::Step(StepError::Memory { .. }) => Status::OutOfMemory,
            SessionError::Plan(_) => Status::Internal,
            _ => Status::InvalidArgument,
        };
        Failure::new(status, error)
    }
}

/// Reads a model: a .safetensors file, an HDF5 file of the original ZNN, the folder of a training run, or the text of a
/// network (.znn), whose parameters are then drawn by `seed`. `*network` becomes the handle.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_load(
    engine: *const Engine,
    file: *const c_char,
    seed: u64,
    network: *mut *mut Network,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        let (engine, file) = unsafe { (reference("engine", engine)?, path("file", file)?) };
        let session = Session::load(&engine.0, &file, seed)?;
        // SAFETY: as above.
        unsafe { give("network", network, Network(Mutex::new(session))) }
    })
}

/// Writes the model with its momentum as a .safetensors file, at once or not at all.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_save(network: *const Network, file: *const c_char) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        let (network, file) = unsafe { (reference("network", network)?, path("file", file)?) };
        Ok(network.lock().save(&file)?)
    })
}

/// Ends a network.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_free(network: *mut Network) {
    guard(|| {
        // SAFETY: the caller's handle, see the preamble.
        unsafe { free(network) };
        Ok(())
    });
}

/// Tells the maps of input and output.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_maps(
    network: *const Network,
    input: *mut usize,
    output: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        unsafe {
            let network = reference("network", network)?.lock();
            put("input", input, network.input_maps())?;
            put("output", output, network.output_maps())
        }
    })
}

/// Tells the voxels of an output map of znn_network_forward for an image of extent `image`: its own, less the field of
/// view, plus one.
///
/// cbindgen:ptrs-as-arrays=[[image;3], [output;3]]
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_output_extent(
    network: *const Network,
    image: *const usize,
    output: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        unsafe {
            let (network, image) = (reference("network", network)?.lock(), extent("image", image)?);
            put("output", output.cast(), network.output_extent(image)?.to_array())
        }
    })
}

/// Applies the network around every voxel of `x`, `[map][z][y][x]` of extent `image`, whose field of view lies inside; `y`
/// is `[map][z][y][x]` of znn_network_output_extent. A plan is made when an extent differs from that of the call before.
///
/// cbindgen:ptrs-as-arrays=[[image;3]]
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_forward(
    network: *const Network,
    x: *const f32,
    image: *const usize,
    y: *mut f32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble; the lengths are those of the header.
        unsafe {
            let (mut network, image) = (reference("network", network)?.lock(), extent("image", image)?);
            let output = network.output_extent(image)?;
            let x = slice("x", x, floats(network.input_maps(), image)?)?;
            let y = slice_mut("y", y, floats(network.output_maps(), output)?, &[x])?;
            Ok(network.forward(x, image, y)?)
        }
    })
}

/// Tells the voxels of an image from which the network, with its pooling as it is, makes an output of extent `output`:
/// what znn_network_train_step takes.
///
/// cbindgen:ptrs-as-arrays=[[image;3], [output;3]]
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_training_extent(
    network: *const Network,
    output: *const usize,
    image: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble.
        unsafe {
            let (network, output) = (reference("network", network)?.lock(), extent("output", output)?);
            put("image", image.cast(), network.training_extent(output)?.to_array())
        }
    })
}

/// Gradient descent with momentum.
pub const ZNN_OPTIMISER_SGD: u32 = 0;
/// Gradient descent with momentum that looks ahead.
pub const ZNN_OPTIMISER_NESTEROV: u32 = 1;
/// Adam, with the weight decay as a part of the gradient.
pub const ZNN_OPTIMISER_ADAM: u32 = 2;
/// Adam, with the weight decay apart from the gradient.
pub const ZNN_OPTIMISER_ADAMW: u32 = 3;

/// How a network is trained. Begin with znn_training_options_init.
#[repr(C)]
pub struct TrainingOptions {
    /// The learning rate of groups without one of their own; not negative. It may change from call to call; with other
    /// values of the rest, the next step is planned anew.
    pub rate: f32,
    /// Momentum of ZNN_OPTIMISER_SGD and ZNN_OPTIMISER_NESTEROV, from 0 to below 1.
    pub momentum: f32,
    /// Weight decay, from 0 to 1.
    pub weight_decay: f32,
    /// One of ZNN_OPTIMISER_*.
    pub optimiser: u32,
    /// Adam: the parts of the mean gradient and of the mean squared gradient that stay, from 0 to below 1.
    pub betas: [f64; 2],
    /// Adam: added to the root of the mean squared gradient; above 0.
    pub epsilon: f64,
    /// The calls whose gradients are averaged for one update, which the last of them makes; 1 to 65536.
    pub batch: usize,
    /// Gradients are brought within minus this and this; 0: they are not.
    pub clip_value: f32,
    /// All gradients are shortened by one factor where the root of the sum of their squares is above this; 0: they are not.
    pub clip_norm: f32,
}

impl TrainingOptions {
    fn default() -> Self {
        let Training { rate, weight_decay, batch, .. } = Training::default();
        Self {
            rate,
            momentum: 0.9,
            weight_decay,
            optimiser: ZNN_OPTIMISER_SGD,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            batch,
            clip_value: 0.0,
            clip_norm: 0.0,
        }
    }

    fn training(&self) -> Result<Training, Failure> {
        let adam = |decoupled| {
            let ([beta1, beta2], epsilon) = (self.betas, self.epsilon);
            Optimiser::Adam { beta1, beta2, epsilon, decoupled }
        };
        let optimiser = match self.optimiser {
            ZNN_OPTIMISER_SGD => Optimiser::SGD,
            ZNN_OPTIMISER_NESTEROV => Optimiser::Sgd { nesterov: true },
            ZNN_OPTIMISER_ADAM => adam(false),
            ZNN_OPTIMISER_ADAMW => adam(true),
            other => return Err(Failure::argument(format!("{other} is no value of ZNN_OPTIMISER"))),
        };
        let Self { rate, momentum, weight_decay, batch, .. } = *self;
        let limit = |limit: f32| (limit != 0.0).then_some(limit);
        let clip = Clip { value: limit(self.clip_value), norm: limit(self.clip_norm) };
        Ok(Training { rate, momentum, weight_decay, optimiser, batch, clip })
    }
}

/// Sets `*options` to gradient descent with a rate of 0.01 and a momentum of 0.9, without weight decay and clipping, an update
/// at each call; for Adam, betas of 0.9 and 0.999 and an epsilon of 1e-8.
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_training_options_init(options: *mut TrainingOptions) -> Status {
    // SAFETY: the caller's pointer, see the preamble.
    guard(|| unsafe { put("options", options, TrainingOptions::default()) })
}

/// One iteration of training on an image `x` of znn_network_training_extent and what the network should make of it, `target`
/// of extent `output`; both `[map][z][y][x]`. The loss is the squared error, the binomial cross-entropy for forward_logistics
/// outputs, or the cross-entropy for a softmax; `*loss`, unless NULL, becomes its mean over the values before the update.
/// Where it or a gradient is not finite, nothing is updated. `options` may be NULL: those of znn_training_options_init.
///
/// cbindgen:ptrs-as-arrays=[[output;3]]
///
/// # Safety
/// See the preamble of the header.
// SAFETY: no other symbol of this name is linked: the prefix is the library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn znn_network_train_step(
    network: *const Network,
    x: *const f32,
    target: *const f32,
    output: *const usize,
    options: *const TrainingOptions,
    loss: *mut f64,
) -> Status {
    guard(|| {
        // SAFETY: the caller's pointers, see the preamble; the lengths are those of the header.
        unsafe {
            let (mut network, output) = (reference("network", network)?.lock(), extent("output", output)?);
            let training = match options.is_null() {
                true => TrainingOptions::default().training()?,
                false => reference("options", options)?.training()?,
            };
            let image = network.training_extent(output)?;
            let x = slice("x", x, floats(network.input_maps(), image)?)?;
            let target = slice("target", target, floats(network.output_maps(), output)?)?;
            let outcome = network.train_step(x, target, output, training)?;
            if loss.is_null() { Ok(()) } else { put("loss", loss, outcome.mean_loss()) }
        }
    })
}

/// A size along z, y and x.
///
/// # Safety
/// The pointer is null, or valid for reads of three values.
unsafe fn extent(name: &str, pointer: *const usize) -> Result<Extent, Failure> {
    // SAFETY: the caller's contract; an array of three has the layout of three values.
    unsafe { reference(name, pointer.cast::<[usize; 3]>()) }.map(|&extent| extent.into())
}

/// Floats of some maps; an error where they cannot be in memory.
fn floats(maps: usize, extent: Extent) -> Result<usize, Failure> {
    let len = extent.to_array().iter().try_fold(maps, |len: usize, &size| len.checked_mul(size));
    len.filter(|&len| len <= isize::MAX as usize / size_of::<f32>()).ok_or_else(|| {
        Failure::argument(format!("{maps} maps of {extent} voxels are more than memory can hold"))
    })
}
