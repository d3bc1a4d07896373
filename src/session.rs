//! A network on plain arrays.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::conv::Choice;
use crate::engine::Engine;
use crate::infer::{InferError, Predictor};
use crate::network::model_file::{self, ModelFileError};
use crate::network::spec::{self, SpecError};
use crate::network::weights_file::{self, WeightsFileError};
use crate::network::{Frame, Network, NodeId, Parameters, ShapeError};
use crate::plan::PlanError;
use crate::train::{
    Clip, FileNames, Optimiser, Outcome, Settings, StepError, StepOptions, TrainingStep, Wanted, natural_loss,
};
use crate::volume::{Extent, Tensor};

/// A [`Session`] cannot do what was asked.
///
/// ```
/// use std::sync::Arc;
/// use znn::{Engine, EngineOptions, Extent, Session, SessionError};
///
/// # let engine = Arc::new(Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?);
/// let session = Session::load(&engine, "examples/networks/hello.znn".as_ref(), 1)?;
/// // The field of view is 5 x 9 x 9 voxels.
/// let error = session.output_extent(Extent::new(4, 12, 12)).unwrap_err();
/// assert!(matches!(error, SessionError::TooSmall { .. }), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A model file cannot be read.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// A network's text cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A weights file cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsFileError),
    /// The network has several inputs or outputs.
    #[error(
        "the network has {inputs} inputs and {outputs} outputs, but a session takes one array and gives one: \
         see znn::infer::Predictor and znn::train::TrainingStep"
    )]
    Ends {
        /// Input nodes.
        inputs: usize,
        /// Output nodes.
        outputs: usize,
    },
    /// The sizes do not fit the network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The image is smaller than the field of view.
    #[error("the image has extent {image} (z,y,x), but the network's field of view is {fov}")]
    TooSmall {
        /// The image.
        image: Extent,
        /// The field of view.
        fov: Extent,
    },
    /// An array is too short or too long.
    #[error("{array} has {found} floats, expected {maps} maps of {extent} voxels (z,y,x)")]
    Length {
        /// Which one.
        array: &'static str,
        /// Its length.
        found: usize,
        /// Maps.
        maps: usize,
        /// Voxels of a map.
        extent: Extent,
    },
    /// A value of [`Training`] makes no sense.
    #[error("{argument} is {found}, expected {expected}")]
    Training {
        /// Which one.
        argument: &'static str,
        /// The value.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The network cannot be applied.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The network cannot be trained.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A task panicked.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// How a [`Session`] trains.
///
/// ```
/// use znn::Training;
/// use znn::train::{Clip, Optimiser};
///
/// let adam = Optimiser::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true };
/// let training = Training {
///     rate: 1e-3,
///     weight_decay: 1e-4,
///     optimiser: adam,
///     batch: 4,
///     clip: Clip { norm: Some(1.0), ..Clip::default() },
///     ..Training::default()
/// };
/// assert_eq!(training.momentum, 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// The learning rate of groups without one of their own; not negative.
    pub rate: f32,
    /// Momentum of groups without one of their own, in [0, 1). Adam has none.
    pub momentum: f32,
    /// Weight decay of groups without one of their own, in [0, 1].
    pub weight_decay: f32,
    /// How parameters follow their gradients.
    pub optimiser: Optimiser,
    /// The calls whose gradients are averaged for one update, 1 to 65536: the last of them updates the parameters.
    pub batch: usize,
    /// How far gradients may go.
    pub clip: Clip,
}

impl Training {
    /// The most calls of a batch: their gradients are added in single precision.
    pub const MAX_BATCH: usize = 1 << 16;

    /// Whether the values make sense.
    fn check(&self) -> Result<(), SessionError> {
        let check = |ok: bool, argument, found: &dyn fmt::Display, expected| match ok {
            true => Ok(()),
            false => Err(SessionError::Training { argument, found: found.to_string(), expected }),
        };
        let Self { rate, momentum, weight_decay, optimiser, batch, clip } = *self;
        check(rate.is_finite() && rate >= 0.0, "rate", &rate, "a number, not negative")?;
        check((0.0..1.0).contains(&momentum), "momentum", &momentum, "a number from 0 to below 1")?;
        check((0.0..=1.0).contains(&weight_decay), "weight_decay", &weight_decay, "a number from 0 to 1")?;
        if let Optimiser::Adam { beta1, beta2, epsilon, .. } = optimiser {
            for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
                check((0.0..1.0).contains(&beta), name, &beta, "a number from 0 to below 1")?;
            }
            check(epsilon.is_finite() && epsilon > 0.0, "epsilon", &epsilon, "a number above 0")?;
        }
        check((1..=Self::MAX_BATCH).contains(&batch), "batch", &batch, "a number from 1 to 65536")?;
        for (name, limit) in [("clip_value", clip.value), ("clip_norm", clip.norm)] {
            let limit = limit.unwrap_or(1.0);
            check(limit.is_finite() && limit > 0.0, name, &limit, "a number above 0")?;
        }
        Ok(())
    }
}

impl Default for Training {
    /// Gradient descent with a rate of 0.01, an update at each call.
    fn default() -> Self {
        Self {
            rate: 0.01,
            momentum: 0.0,
            weight_decay: 0.0,
            optimiser: Optimiser::SGD,
            batch: 1,
            clip: Clip::default(),
        }
    }
}

/// A network with its parameters, applied to and trained on arrays of one's own: one input, one output. What it plans for
/// an image size serves all calls with that size.
///
/// ```
/// use std::sync::Arc;
/// use znn::conv::Choice;
/// use znn::network::{Parameters, spec};
/// use znn::{Engine, EngineOptions, Extent, Session, Training};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Arc::new(Engine::new(&EngineOptions { threads: Some(2), ..Default::default() })?);
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let parameters = Parameters::init(&network, 1);
/// // Without measurements, for an example that is quick.
/// let mut session = Session::new(&engine, network, parameters)?.with_algorithm(Choice::Estimate);
///
/// let image = Extent::new(6, 12, 12);
/// assert_eq!(session.fov(), Extent::new(5, 9, 9));
/// let output = session.output_extent(image)?;
/// assert_eq!(output, Extent::new(2, 4, 4));
/// let x = vec![0.5; session.input_maps() * image.len()];
/// let mut y = vec![0.0; session.output_maps() * output.len()];
/// session.forward(&x, image, &mut y)?;
///
/// let target = vec![1.0; y.len()];
/// let training = Training { rate: 0.1, momentum: 0.9, ..Training::default() };
/// let before = session.train_step(&x, &target, output, training)?.mean_loss();
/// let after = session.train_step(&x, &target, output, training)?.mean_loss();
/// assert!(after < before);
/// // The network has no padding and no pooling: it is trained on images of the size that it is applied to.
/// assert_eq!(session.training_extent(output)?, image);
///
/// let edge = session.network().find_edge("first").expect("an edge");
/// assert_eq!(session.parameters()?.edge(edge).expect("weights").values().len(), 12 * 3 * 5 * 5);
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// session.save(&path)?;
/// assert_eq!(Session::load(&engine, &path, 0)?.output_maps(), 2);
/// # Ok(())
/// # }
/// ```
pub struct Session {
    engine: Arc<Engine>,
    network: Arc<Network>,
    dense: Arc<Network>,
    parameters: Parameters,
    input: NodeId,
    output: NodeId,
    frame: Frame,
    algorithm: Choice,
    /// For images of one extent.
    predictor: Option<(Extent, Predictor)>,
    /// The predictor has parameters of before the last training step.
    is_stale: bool,
    step: Option<Step>,
    /// Iterations so far: the seed of dropout masks.
    iteration: u64,
}

/// The training step for outputs of one extent. It has the latest parameters.
struct Step {
    output: Extent,
    /// But for the rate, which may change from call to call.
    training: Training,
    step: TrainingStep,
}

impl Session {
    /// A session of `network`.
    ///
    /// # Errors
    /// Where the network has several inputs or outputs, or its branches do not fit.
    pub fn new(engine: &Arc<Engine>, network: Network, parameters: Parameters) -> Result<Self, SessionError> {
        let ends = (network.inputs().collect::<Vec<_>>(), network.outputs().collect::<Vec<_>>());
        let (&[input], &[output]) = (&ends.0[..], &ends.1[..]) else {
            return Err(SessionError::Ends { inputs: ends.0.len(), outputs: ends.1.len() });
        };
        let dense = network.to_dense();
        let frame = dense.frame()?;
        Ok(Self {
            engine: Arc::clone(engine),
            network: Arc::new(network),
            dense: Arc::new(dense),
            parameters,
            input,
            output,
            frame,
            algorithm: Choice::Measure,
            predictor: None,
            is_stale: false,
            step: None,
            iteration: 0,
        })
    }

    /// Reads a model: a `.safetensors` file, an HDF5 file of the original ZNN, the folder of a training run, or the text
    /// of a network (`.znn`), whose parameters are then drawn by `seed`.
    ///
    /// # Errors
    /// Where the file cannot be read, and as [`Session::new`].
    pub fn load(engine: &Arc<Engine>, path: &Path, seed: u64) -> Result<Self, SessionError> {
        if path.extension().is_some_and(|extension| extension == "znn") {
            let network = spec::read(path)?.network;
            let parameters = Parameters::init(&network, seed);
            return Self::new(engine, network, parameters);
        }
        let file = if path.is_dir() { path.join(FileNames::MODEL) } else { path.to_owned() };
        let model = model_file::load(&file)?.model;
        Self::new(engine, model.network, model.parameters)
    }

    /// How convolutions are computed, where the network's file does not say; measured, unless something else is asked
    /// for here.
    pub fn with_algorithm(self, algorithm: Choice) -> Self {
        Self { algorithm, ..self }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Maps of the input.
    pub fn input_maps(&self) -> usize {
        self.network[self.input].size
    }

    /// Maps of the output.
    pub fn output_maps(&self) -> usize {
        self.network[self.output].size
    }

    /// The voxels of the input that one voxel of the output depends on, for a network without padding: how much larger
    /// than the output an image is, plus one.
    pub fn fov(&self) -> Extent {
        self.frame.margin + Extent::ONE
    }

    /// The extent of what [`forward`](Session::forward) gives for an image: that of the image less the field of view,
    /// plus one.
    ///
    /// # Errors
    /// Where the image is smaller than the field of view.
    pub fn output_extent(&self, image: Extent) -> Result<Extent, SessionError> {
        match image.checked_sub(self.frame.margin) {
            Some(output) if !output.is_empty() => {
                // The network's own error says which sizes work.
                self.dense.shapes(output)?;
                Ok(output)
            }
            _ => Err(SessionError::TooSmall { image, fov: self.fov() }),
        }
    }

    /// Applies the network around every voxel of `x`, `[map][z][y][x]` of extent `image`, whose field of view lies inside:
    /// `y` is `[map][z][y][x]` of [`output_extent`](Session::output_extent). Max pooling is read as max filtering
    /// followed by dilated operations.
    ///
    /// # Errors
    /// Where an array has not the right length, the image is too small, or the memory is too little.
    pub fn forward(&mut self, x: &[f32], image: Extent, y: &mut [f32]) -> Result<(), SessionError> {
        let output = self.output_extent(image)?;
        check("x", x.len(), self.input_maps(), image)?;
        check("y", y.len(), self.output_maps(), output)?;
        if self.predictor.as_ref().is_none_or(|(extent, _)| *extent != image) {
            self.store()?;
            // The memory of the old one goes before the new one takes its own.
            self.predictor = None;
            let made = Predictor::new(&self.engine, &self.dense, &self.parameters, output, self.algorithm)?;
            self.predictor = Some((image, made));
        } else if self.is_stale {
            self.store()?;
        }
        let (_, predictor) = self.predictor.as_mut().expect("made above");
        if std::mem::take(&mut self.is_stale) {
            predictor.load(&self.parameters)?;
        }
        Ok(predictor.apply(&[x], &mut [y])?)
    }

    /// The extent of the image of which the network (with its pooling as it is) makes an output of extent `output`.
    ///
    /// # Errors
    /// Where the sizes do not fit the network.
    pub fn training_extent(&self, output: Extent) -> Result<Extent, SessionError> {
        Ok(self.network.shapes(output)?[self.input].extent)
    }

    /// One iteration of training: the image `x` of [`training_extent`](Session::training_extent), what the network should
    /// make of it as `target` of extent `output`, both `[map][z][y][x]`. The loss is the one natural for the network's
    /// output: the squared error, the binomial cross-entropy for logistic ones, or the cross-entropy for a softmax. Gradients
    /// are means over the voxels of the output and the calls of a batch. Where a loss or a gradient is not finite, nothing is
    /// updated.
    ///
    /// Another `output` or `training`, but for its rate, makes a new plan, and drops the gradients of a batch that is not
    /// complete; another optimiser begins without momentum.
    ///
    /// # Errors
    /// Where a value of `training` makes no sense, an array has not the right length, the sizes do not fit, or the memory is
    /// too little.
    pub fn train_step(
        &mut self,
        x: &[f32],
        target: &[f32],
        output: Extent,
        training: Training,
    ) -> Result<Outcome, SessionError> {
        training.check()?;
        let image = self.training_extent(output)?;
        check("x", x.len(), self.input_maps(), image)?;
        check("target", target.len(), self.output_maps(), output)?;
        let rate = training.rate;
        let fits = |step: &Step| step.output == output && Training { rate, ..step.training } == training;
        let mut step = match self.step.take_if(|step| fits(step)) {
            Some(step) => step,
            None => {
                self.store()?;
                let optimiser = training.optimiser;
                let is_other = self.step.take().is_some_and(|step| step.training.optimiser != optimiser);
                // Those of a file, whose optimiser nobody told.
                if is_other || self.parameters.has_variance() != optimiser.has_variance() {
                    self.parameters.forget_updates();
                }
                let loss = natural_loss(&self.network);
                let options = StepOptions {
                    loss,
                    momentum: training.momentum,
                    weight_decay: training.weight_decay,
                    optimiser: training.optimiser,
                    batch: training.batch,
                    clip: training.clip,
                    algorithm: self.algorithm,
                    ..StepOptions::default()
                };
                let mut step = TrainingStep::new(&self.engine, &self.network, output, &options)?;
                step.load(&self.parameters)?;
                Step { output, training, step }
            }
        };
        self.is_stale = true;
        let image = Tensor::from_slice(self.input_maps(), image, x);
        let target = Tensor::from_slice(self.output_maps(), output, target);
        let settings = Settings { eta: rate, factor: 1.0, key: self.iteration };
        let outcome = step.step.run(&[&image], &[Wanted { target: &target, weight: None }], settings);
        self.step = Some(step);
        self.iteration += 1;
        Ok(outcome?)
    }

    /// The parameters after all training steps.
    ///
    /// # Errors
    /// Where a task of the last training step failed.
    pub fn parameters(&mut self) -> Result<&Parameters, SessionError> {
        self.store()?;
        Ok(&self.parameters)
    }

    /// The parameters after all training steps as `.safetensors` files have them: names such as `EDGES.weight` and
    /// `NODES.bias`, shapes, and values in row-major order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let options = znn::EngineOptions { threads: Some(1), ..Default::default() };
    /// # let engine = std::sync::Arc::new(znn::Engine::new(&options)?);
    /// let mut session = znn::Session::load(&engine, "examples/networks/hello.znn".as_ref(), 1)?;
    /// for (name, shape, values) in session.tensors()? {
    ///     assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where a task of the last training step failed.
    pub fn tensors(&mut self) -> Result<impl Iterator<Item = (String, Vec<usize>, &[f32])>, SessionError> {
        self.store()?;
        Ok(weights_file::tensors(&self.network, &self.parameters))
    }

    /// Writes the model with its momentum as a `.safetensors` file, at once or not at all.
    ///
    /// # Errors
    /// Where the file system fails, or training has brought forth values that are not finite.
    pub fn save(&mut self, path: &Path) -> Result<(), SessionError> {
        self.store()?;
        Ok(weights_file::save(path, &self.network, &self.parameters, &Default::default(), true)?)
    }

    /// Takes over what training has learned.
    fn store(&mut self) -> Result<(), PlanError> {
        match &mut self.step {
            Some(step) => step.step.store(&mut self.parameters),
            None => Ok(()),
        }
    }
}

fn check(array: &'static str, found: usize, maps: usize, extent: Extent) -> Result<(), SessionError> {
    let expected = extent.to_array().iter().try_fold(maps, |len: usize, &size| len.checked_mul(size));
    if expected == Some(found) { Ok(()) } else { Err(SessionError::Length { array, found, maps, extent }) }
}
