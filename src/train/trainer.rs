//! A training run: samples, iterations, validation, checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hdf5_run;
use super::job::{Job, JobError, LossKind};
use super::report::{Observer, ReportError, TrainStep, Validation};
use super::step::{Outcome, Settings, StepError, StepOptions, TrainingStep, Wanted};
use super::validation::Validator;
use crate::atomic_file;
use crate::data::{
    Augment, DataError, LabelWarning, Prefetcher, Sample, Sampler, SamplerOptions, Target, TrainingVolume,
    check_finite, synthetic, volume_file,
};
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::infer::InferError;
use crate::network::model_file::{self, ModelFileError};
use crate::network::weights_file::{self, Model, WeightsFileError};
use crate::network::{Network, Parameters, ShapeError, spec};
use crate::ops::loss::Loss;
use crate::plan::PlanError;
use crate::trace::TraceFile;
use crate::volume::{Extent, Tensor};

/// The names of the files in the folder of a run that resuming needs.
pub struct FileNames;

impl FileNames {
    /// Network, weights, momentum and how far training has come, in one file that is replaced as a whole.
    pub const MODEL: &str = "model.safetensors";
    /// The job.
    pub const JOB: &str = "job.toml";
}

/// Notes in the weights file.
pub mod notes {
    /// Iterations done.
    pub const ITERATION: &str = "iteration";
    /// Seconds of training.
    pub const SECONDS: &str = "seconds";
    /// The loss: `softmax` means that a prediction is the softmax of the outputs.
    pub const LOSS: &str = "loss";
    /// How images are normalised.
    pub const PREPROCESS: &str = "preprocess";
    /// What was learned: `boundary`, `affinity`, ...
    pub const TARGET: &str = "target";
}

/// The network of the demo.
const DEMO_NETWORK: &str = include_str!("../../examples/networks/membranes3d.znn");

/// Training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The job is wrong.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network's file is wrong.
    #[error(transparent)]
    Network(#[from] spec::SpecError),
    /// Images or labels are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The sizes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The iteration cannot be planned.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The validation cannot be planned or run.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// An iteration failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] WeightsFileError),
    /// A model in another format cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The folder of the run cannot be made or tidied.
    #[error("{}: cannot {action} the folder of the run: {source}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A run is there already.
    #[error("{}: there is a trained model already: go on with it (--resume), or choose another folder (--out)", path.display())]
    Occupied {
        /// Its file.
        path: PathBuf,
    },
    /// The network has the wrong number of outputs for the target.
    #[error(
        "the network ends in {found}, but training with the target `{target}` needs one output group of {expected} \
         maps (--target)"
    )]
    Outputs {
        /// Names and sizes of the network's output groups, in words.
        found: String,
        /// The target.
        target: String,
        /// Its channels.
        expected: &'static str,
    },
    /// An input of the network is not for images of one channel.
    #[error(
        "input group `{node}` of the network takes {maps} maps, expected 1: an image has one value for each voxel"
    )]
    Inputs {
        /// The input group.
        node: String,
        /// Its maps.
        maps: usize,
    },
    /// The model of a resumed run has another network.
    #[error("{}: the network of the checkpoint is not that of {}; use the same, or another folder (--out)", path.display(), net.display())]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// The network's file.
        net: PathBuf,
    },
    /// A note of the checkpoint is no number.
    #[error("{}: the note `{note}` is `{found}`, expected a number", path.display())]
    Note {
        /// The checkpoint.
        path: PathBuf,
        /// The note.
        note: &'static str,
        /// Its text.
        found: String,
    },
    /// The loss is no number any more.
    #[error(
        "iteration {iteration}: the loss is {loss}; the last checkpoint is kept. A smaller learning rate (--eta) often helps"
    )]
    Diverged {
        /// The iteration.
        iteration: u64,
        /// The loss.
        loss: f64,
    },
}

/// What becomes of a run that the folder holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The folder must hold none.
    New,
    /// It is replaced with the first checkpoint of the new run.
    Overwrite,
    /// It goes on from its checkpoint; without one, it starts.
    Resume,
}

/// Why a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All iterations are done.
    Done,
    /// The time limit has come.
    TimeLimit,
    /// It was asked to stop.
    Stopped,
}

/// A training run, ready to begin or to go on.
pub struct Trainer {
    job: Job,
    loss: LossKind,
    network: Arc<Network>,
    engine: Engine,
    step: TrainingStep,
    parameters: Parameters,
    sampler: Arc<Sampler>,
    validator: Option<Validator>,
    iteration: u64,
    seconds: f64,
    warnings: Vec<String>,
}

impl Trainer {
    /// Reads all that `job` names and plans the iteration. On an error, the job's folder is as it was.
    /// Of what the workers do, the last `events` of each are recorded for [`Trainer::trace`].
    pub fn new(job: Job, start: Start, events: Option<usize>) -> Result<Self, TrainError> {
        job.validate()?;
        let mut warnings = Vec::new();
        let network = read_network(&job, &mut warnings)?;
        let model_path = job.out.join(FileNames::MODEL);
        let checkpoint = match (model_path.exists(), start) {
            (true, Start::Resume) => Some(weights_file::load(&model_path)?),
            (true, Start::New) => return Err(TrainError::Occupied { path: model_path }),
            _ => None,
        };

        let engine = Engine::new(&EngineOptions {
            threads: (job.threads > 0).then_some(job.threads),
            isa: Some(job.isa.isa()),
            deterministic: job.deterministic,
            accuracy: job.accuracy,
            workspace: Some(usize::try_from(job.workspace.0).unwrap_or(usize::MAX)),
            tuning: job.tuning.path(),
            events,
            ..EngineOptions::default()
        })?;
        let network = Arc::new(network);
        check_inputs(&network)?;
        let target = output_target(&network, &job)?;
        let loss = job.loss.resolve(target)?;
        let shapes = network.shapes(job.output_size)?;
        let inputs: Vec<Extent> = network.inputs().map(|node| shapes[node].extent).collect();
        let sampler = |volumes, stream, augment| {
            let options = SamplerOptions {
                seed: job.seed,
                stream,
                target,
                mirror: job.mirror,
                augment,
                rebalance: job.rebalance,
            };
            Sampler::new(volumes, &inputs, job.output_size, options)
        };
        let [training, validation] = read_volumes(&job, inputs.len())?;
        let sampler_of_training = Arc::new(sampler(training, 0, job.augmentation())?);
        warnings.extend(sampler_of_training.warnings().iter().map(LabelWarning::to_string));

        let options = StepOptions {
            loss: loss_of(loss),
            malis: job.malis.mode(),
            momentum: job.momentum as f32,
            weight_decay: job.weight_decay as f32,
            algorithm: job.algorithm,
            inspect: false,
        };
        let mut step = TrainingStep::new(&engine, &network, job.output_size, &options)?;
        let (parameters, iteration, seconds) = match checkpoint {
            None => (first_parameters(&network, &job, &mut warnings)?, 0, 0.0),
            Some(Model { network: saved, parameters, notes }) => {
                if saved != *network {
                    let net = job.net.clone().unwrap_or_else(|| PathBuf::from("the demo's"));
                    return Err(TrainError::Changed { path: model_path, net });
                }
                let iteration = number(&model_path, &notes, notes::ITERATION)?;
                (parameters, iteration, number(&model_path, &notes, notes::SECONDS)?)
            }
        };
        step.load(&parameters)?;
        let validator = match validation.is_empty() {
            true => None,
            false => {
                let sampler = sampler(validation, 1, Augment::NONE)?;
                warnings.extend(sampler.warnings().iter().map(LabelWarning::to_string));
                Some(Validator::new(&engine, &network, &parameters, sampler, &job, &options)?)
            }
        };
        warnings.extend(engine.take_warnings());
        make_folder(&job.out, &model_path)?;
        Ok(Self {
            job,
            loss,
            network,
            engine,
            step,
            parameters,
            sampler: sampler_of_training,
            validator,
            iteration,
            seconds,
            warnings,
        })
    }

    /// The iterations done so far.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// What the person who trains should know: unknown keys in files, labels of one class, ...
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The memory of the plan of an iteration, in bytes.
    pub fn bytes(&self) -> usize {
        self.step.bytes()
    }

    /// What the workers have done last; `None` where it is not recorded.
    pub fn trace(&self) -> Option<TraceFile> {
        self.engine.trace()
    }

    /// Trains until the iterations or the time are over, or `stop` is set. A checkpoint is left in any of these cases.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<End, TrainError> {
        let result = self.iterate(observer, stop);
        let finished = observer.finish();
        let end = result?;
        finished?;
        Ok(end)
    }

    fn iterate(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<End, TrainError> {
        /// Samples that wait to be used.
        const AHEAD: usize = 4;
        self.job.write(&self.job.out.join(FileNames::JOB))?;
        let schedule = self.job.schedule();
        let limit = self.job.time_limit.map(Duration::from_secs_f64);
        let start = Instant::now();
        let seconds_before = self.seconds;
        let mut samples = Prefetcher::new(self.sampler.clone(), self.iteration, AHEAD)?;
        let mut sample = self.sampler.new_sample();
        let mut saved = None;
        if self.iteration == 0 {
            self.save(observer)?;
            saved = Some(0);
        }
        let end = loop {
            // Relaxed: the flag carries no data.
            if stop.load(Ordering::Relaxed) {
                break End::Stopped;
            }
            if self.iteration >= self.job.iterations {
                break End::Done;
            }
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                break End::TimeLimit;
            }
            samples.next(&mut sample)?;
            let began = Instant::now();
            let eta = schedule.eta(self.iteration);
            let settings = Settings {
                eta: eta as f32,
                factor: (eta / schedule.eta) as f32,
                key: dropout_key(self.job.seed, self.iteration),
            };
            let outcome = self.train_on(&sample, settings)?;
            self.iteration += 1;
            self.seconds = seconds_before + start.elapsed().as_secs_f64();
            if !outcome.loss.is_finite() {
                return Err(TrainError::Diverged { iteration: self.iteration, loss: outcome.loss });
            }
            observer.on_train(&TrainStep {
                iteration: self.iteration,
                loss: outcome.mean_loss(),
                pixel_error: outcome.pixel_error(),
                rand_error: self.step.rand_error(),
                voxels: self.job.output_size.len() as u64,
                elapsed: began.elapsed(),
                eta,
            })?;
            let is_due = |every: u64| self.iteration.is_multiple_of(every);
            let (validate, save) = (is_due(self.job.validate_every), is_due(self.job.checkpoint_every));
            if validate {
                self.validate(observer, eta)?;
            }
            if save {
                self.save(observer)?;
                saved = Some(self.iteration);
            }
        };
        if saved != Some(self.iteration) {
            self.save(observer)?;
        }
        if !self.iteration.is_multiple_of(self.job.validate_every) && end != End::Stopped {
            self.validate(observer, schedule.eta(self.iteration))?;
        }
        Ok(end)
    }

    fn train_on(&mut self, sample: &Sample, settings: Settings) -> Result<Outcome, PlanError> {
        let inputs: Vec<_> = sample.inputs.iter().collect();
        let wanted = Wanted { target: &sample.target, weight: sample.weight.as_ref() };
        self.step.run(&inputs, &[wanted], settings)
    }

    /// Validates with the weights as they are.
    fn validate(&mut self, observer: &mut dyn Observer, eta: f64) -> Result<(), TrainError> {
        let Some(validator) = &mut self.validator else { return Ok(()) };
        let began = Instant::now();
        self.step.store(&mut self.parameters)?;
        let found = validator.run(&self.parameters)?;
        observer.on_validation(&Validation {
            iteration: self.iteration,
            loss: found.outcome.mean_loss(),
            pixel_error: found.outcome.pixel_error(),
            rand_error: found.rand_error,
            constant_error: Some(found.constant_error),
            voxels: found.voxels,
            elapsed: began.elapsed(),
            eta,
        })?;
        observer.on_preview(&found.input, &found.prediction, &found.target)?;
        Ok(())
    }

    /// Writes the checkpoint.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.step.store(&mut self.parameters)?;
        let path = self.job.out.join(FileNames::MODEL);
        let notes = BTreeMap::from([
            (notes::ITERATION.to_owned(), self.iteration.to_string()),
            (notes::SECONDS.to_owned(), self.seconds.to_string()),
            (notes::LOSS.to_owned(), self.loss.to_string()),
            (notes::PREPROCESS.to_owned(), self.job.preprocess.name().to_owned()),
            (notes::TARGET.to_owned(), self.job.target.to_string()),
        ]);
        weights_file::save(&path, &self.network, &self.parameters, &notes, true)?;
        hdf5_run::export(&self.job, &self.network, &self.parameters, self.iteration, self.seconds)?;
        observer.on_checkpoint(self.iteration, &path)?;
        Ok(())
    }
}

/// Sixty-four bits that differ from iteration to iteration.
fn dropout_key(seed: u64, iteration: u64) -> u64 {
    // An odd factor makes it a bijection of the iteration; the golden ratio spreads neighbours.
    seed.rotate_left(32) ^ iteration.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn number<T: std::str::FromStr>(
    path: &Path,
    notes: &BTreeMap<String, String>,
    note: &'static str,
) -> Result<T, TrainError> {
    let found = notes.get(note).cloned().unwrap_or_default();
    found.parse().map_err(|_| TrainError::Note { path: path.to_owned(), note, found })
}

/// The parameters before the first iteration.
fn first_parameters(
    network: &Network,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Parameters, TrainError> {
    let mut parameters = Parameters::init(network, job.seed);
    if let Some(path) = &job.weights {
        let file = model_file::load(path)?;
        let left = parameters.seed_from(network, &file.model);
        warnings.extend(file.warnings);
        warnings.extend(left.iter().map(|group| format!("{}: {group}", path.display())));
    }
    Ok(parameters)
}

/// The network of the job, with the training constants that count.
pub(super) fn read_network(job: &Job, warnings: &mut Vec<String>) -> Result<Network, TrainError> {
    let parsed = match &job.net {
        Some(path) => spec::read(path)?,
        None => spec::parse(DEMO_NETWORK, "the demo's network")?,
    };
    warnings.extend(parsed.warnings.iter().map(ToString::to_string));
    Ok(if job.group_rates { parsed.network } else { parsed.network.without_rates() })
}

/// Makes the folder of the run, and removes what a killed run left there of a checkpoint.
pub(super) fn make_folder(path: &Path, model: &Path) -> Result<(), TrainError> {
    let fail = |action| move |source| TrainError::Folder { path: path.to_owned(), action, source };
    std::fs::create_dir_all(path).map_err(fail("make"))?;
    atomic_file::remove_leftovers(model).map_err(fail("tidy"))
}

/// Whether the network's inputs are for images of one channel, which is what a TIFF gives.
fn check_inputs(network: &Network) -> Result<(), TrainError> {
    match network.inputs().map(|node| &network[node]).find(|node| node.size != 1) {
        Some(node) => Err(TrainError::Inputs { node: node.name.clone(), maps: node.size }),
        None => Ok(()),
    }
}

/// What the channels of the network's output mean.
fn output_target(network: &Network, job: &Job) -> Result<Target, TrainError> {
    let outputs: Vec<_> = network.outputs().map(|node| &network[node]).collect();
    let target = match outputs[..] {
        [node] => job.target.with_channels(node.size),
        _ => None,
    };
    let found = || {
        let groups: Vec<_> =
            outputs.iter().map(|node| format!("`{}` of {} maps", node.name, node.size)).collect();
        groups.join(" and ")
    };
    let expected = job.target.expected_channels();
    target.ok_or_else(|| TrainError::Outputs { found: found(), target: job.target.to_string(), expected })
}

fn loss_of(kind: LossKind) -> Loss {
    match kind {
        LossKind::Square => Loss::SQUARE,
        LossKind::SquareSquare => Loss::SQUARE_SQUARE,
        LossKind::BinomialCrossEntropy => Loss::BINOMIAL_CROSS_ENTROPY,
        LossKind::Softmax => Loss::Softmax,
        LossKind::Auto => unreachable!("resolved"),
    }
}

/// The training volumes, and those for validation.
fn read_volumes(job: &Job, inputs: usize) -> Result<[Vec<TrainingVolume>; 2], TrainError> {
    let volume = |name: String, mut image: Tensor, label, mask| {
        job.preprocess.apply(&mut image);
        let make = if job.centred { TrainingVolume::centred } else { TrainingVolume::new };
        make(name, vec![image; inputs], label, mask)
    };
    if job.demo {
        /// Sections enough to learn from, and few enough to be made in a second.
        const TRAINING: Extent = Extent::new(24, 224, 224);
        const VALIDATION: Extent = Extent::new(10, 160, 160);
        let make = |name: &str, seed, extent| {
            let (image, label) = synthetic(seed, extent);
            volume(name.to_owned(), image, label, None)
        };
        let training = make("the synthetic training volume", job.seed, TRAINING)?;
        let validation = make("the synthetic validation volume", job.seed.wrapping_add(1), VALIDATION)?;
        return Ok([vec![training], vec![validation]]);
    }
    // Checked before they are normalised, which would spread one bad value over its section.
    let checked = |path: &Path, role, tensor: Tensor| {
        check_finite(&path.display().to_string(), role, &tensor).map(|()| tensor)
    };
    let read = |images: &[PathBuf], labels: &[PathBuf], masks: &[PathBuf]| {
        let masks = masks.iter().map(Some).chain(std::iter::repeat(None));
        images
            .iter()
            .zip(labels)
            .zip(masks)
            .map(|((image_path, label), mask)| {
                let image = checked(image_path, "image", volume_file::read_image(image_path)?)?;
                let label = checked(label, "label", volume_file::read_label(label)?)?;
                let mask = match mask.filter(|path| !path.as_os_str().is_empty()) {
                    Some(path) => Some(checked(path, "mask", volume_file::read_label(path)?)?),
                    None => None,
                };
                volume(image_path.display().to_string(), image, label, mask)
            })
            .collect::<Result<Vec<_>, _>>()
    };
    Ok([read(&job.images, &job.labels, &job.masks)?, read(&job.val_images, &job.val_labels, &[])?])
}
