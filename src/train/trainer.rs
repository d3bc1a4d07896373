//! A training run: samples, iterations, validation, checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::TrainError;
use super::diagnosis::{self, Finding, Place, Suspect};
use super::job::{Job, LossKind, OptimiserKind};
use super::report::{Observer, TrainStep, Validation};
use super::schedule::{Plateau, Schedule, ScheduleKind};
use super::validation::Validator;
use super::{Outcome, OutputLoss, Settings, StepOptions, TrainingStep, Wanted};
use super::{groups, hdf5_run};
use crate::atomic_file;
use crate::data::{DataError, LabelWarning, Prefetcher, Sample, Sampler};
use crate::engine::{Engine, EngineOptions};
use crate::network::model_file;
use crate::network::weights_file::{self, Model};
use crate::network::{Network, Parameters, spec};
use crate::trace::TraceFile;
use crate::volume::Tensor;

/// The names of the files in the folder of a [`Trainer`]'s run that resuming needs.
pub struct FileNames;

impl FileNames {
    /// Network, weights, momentum and how far training has come, in one file that is replaced as a whole.
    pub const MODEL: &str = "model.safetensors";
    /// The job.
    pub const JOB: &str = "job.toml";
    /// The network before the iteration in which numbers were not finite any more.
    pub const STOPPED: &str = "stopped.safetensors";
}

/// Notes in the weights file.
pub mod notes {
    /// Iterations done.
    pub const ITERATION: &str = "iteration";
    /// Seconds of training.
    pub const SECONDS: &str = "seconds";
    /// The loss of each output, separated by commas: `softmax` means that a prediction is the softmax of its maps.
    pub const LOSS: &str = "loss";
    /// How images are normalised.
    pub const PREPROCESS: &str = "preprocess";
    /// Patches drawn.
    pub const PATCHES: &str = "patches";
    /// The optimiser that momentum and variance are of; `sgd` where absent.
    pub const OPTIMISER: &str = "optimiser";
    /// How far the schedule `plateau` has come.
    pub const PLATEAU: &str = "plateau";
    /// What was learned: `boundary`, `affinity`, ...
    pub const TARGET: &str = "target";
}

/// The network of the demo.
const DEMO_NETWORK: &str = include_str!("../../examples/networks/membranes3d.znn");

/// What becomes of a run that the folder of a [`Trainer`] holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The folder must hold none.
    New,
    /// It is replaced with the first checkpoint of the new run.
    Overwrite,
    /// It goes on from its checkpoint; without one, it starts.
    Resume,
}

/// Why a run of a [`Trainer`] has ended.
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
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use znn::train::job::{Job, Tuning};
/// use znn::train::{End, FileNames, Start, Trainer};
/// use znn::{Extent, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// // The demo, which needs no files, for two iterations.
/// let job = Job {
///     iterations: 2,
///     output_size: Extent::new(1, 8, 8),
///     threads: 1,
///     tuning: Tuning::Off,
///     out: folder.path().join("run"),
/// #   algorithm: znn::conv::Choice::Estimate,
/// #   validate_patches: 1,
///     ..Job::demo()
/// };
/// let mut trainer = Trainer::new(job, Start::New, None)?;
/// for warning in trainer.warnings() {
///     println!("{warning}");
/// }
/// println!("{} groups, {} bytes", trainer.network().nodes().len(), trainer.bytes());
///
/// // Nobody looks on, and nobody stops it.
/// let end = trainer.run(&mut (), &AtomicBool::new(false))?;
/// assert_eq!((end, trainer.iteration()), (End::Done, 2));
/// assert!(trainer.trace().is_none(), "nothing is recorded");
/// assert!(folder.path().join("run").join(FileNames::MODEL).exists());
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    job: Job,
    /// Of each output, the loss that `auto` stands for.
    kinds: Vec<LossKind>,
    network: Arc<Network>,
    engine: Engine,
    step: TrainingStep,
    parameters: Parameters,
    sampler: Arc<Sampler>,
    validator: Option<Validator>,
    options: StepOptions,
    losses: Vec<OutputLoss>,
    plateau: Plateau,
    iteration: u64,
    /// Patches drawn.
    patches: u64,
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
        groups::check(&network, &job)?;
        let outputs = groups::outputs(&network, &job)?;
        let (training, validation) = groups::samplers(&job, &network, &outputs)?;
        let sampler_of_training = Arc::new(training);
        warnings.extend(sampler_of_training.warnings().iter().map(LabelWarning::to_string));
        if job.optimiser != OptimiserKind::Sgd && job.momentum > 0.0 && !job.demo {
            let name = job.optimiser.to_string();
            warnings.push(format!("momentum has no effect with the optimiser {name}: see beta1"));
        }

        let options = StepOptions {
            momentum: job.momentum as f32,
            weight_decay: job.weight_decay as f32,
            optimiser: job.optimiser(),
            batch: usize::try_from(job.batch).unwrap_or(usize::MAX),
            clip: job.clip(),
            algorithm: job.algorithm,
            ..StepOptions::default()
        };
        let losses: Vec<OutputLoss> = outputs.iter().map(|output| output.loss).collect();
        let mut step = TrainingStep::with_losses(&engine, &network, job.output_size, &options, &losses)?;
        let mut plateau = Plateau::START;
        let (parameters, iteration, patches, seconds) = match checkpoint {
            None => (first_parameters(&network, &job, &mut warnings)?, 0, 0, 0.0),
            Some(Model { network: saved, mut parameters, notes }) => {
                if saved != *network {
                    let net = job.net.clone().unwrap_or_else(|| PathBuf::from("the demo's"));
                    return Err(TrainError::Changed { path: model_path, net });
                }
                let iteration = number(&model_path, &notes, notes::ITERATION)?;
                let patches = match notes.contains_key(notes::PATCHES) {
                    true => number(&model_path, &notes, notes::PATCHES)?,
                    false => iteration,
                };
                if notes.contains_key(notes::PLATEAU) {
                    plateau = number(&model_path, &notes, notes::PLATEAU)?;
                }
                let optimiser = job.optimiser.to_string();
                let before = notes.get(notes::OPTIMISER).map_or("sgd", String::as_str);
                if before != optimiser {
                    parameters.forget_updates();
                    warnings.push(format!(
                        "the checkpoint is of the optimiser {before}: {optimiser} begins without momentum"
                    ));
                }
                (parameters, iteration, patches, number(&model_path, &notes, notes::SECONDS)?)
            }
        };
        step.load(&parameters)?;
        let validator = match validation {
            None => None,
            Some(sampler) => {
                warnings.extend(sampler.warnings().iter().map(LabelWarning::to_string));
                Some(Validator::new(&engine, &network, &parameters, sampler, &job, &outputs)?)
            }
        };
        warnings.extend(engine.take_warnings());
        make_folder(&job.out, &model_path)?;
        Ok(Self {
            kinds: outputs.iter().map(|output| output.kind).collect(),
            job,
            network,
            engine,
            step,
            parameters,
            sampler: sampler_of_training,
            validator,
            options,
            losses,
            plateau,
            iteration,
            patches,
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
        let mut samples = Prefetcher::new(self.sampler.clone(), self.patches, AHEAD)?;
        let mut recent = Recent::new(&self.sampler);
        let mut saved = None;
        if self.iteration == 0 {
            self.save(observer, &recent)?;
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
            let eta = self.eta(&schedule);
            let (outcome, elapsed) = self.train(&mut samples, &mut recent, eta)?;
            self.seconds = seconds_before + start.elapsed().as_secs_f64();
            let is_due = |every: u64| self.iteration.is_multiple_of(every);
            let (validate, save) = (is_due(self.job.validate_every), is_due(self.job.checkpoint_every));
            observer.on_train(&TrainStep {
                iteration: self.iteration,
                loss: outcome.mean_loss(),
                pixel_error: outcome.pixel_error(),
                rand_error: self.step.rand_error(),
                // To know it means to wait for the update.
                gradient_norm: match is_due(self.job.report_every) {
                    true => self.step.gradient_norm()?.map(f64::from),
                    false => None,
                },
                batch: self.job.batch,
                voxels: self.job.output_size.len() as u64 * self.job.batch,
                elapsed,
                eta,
            })?;
            if validate && let Some(loss) = self.validate(observer, eta)? {
                self.plateau.observe(loss, self.job.patience, self.job.anneal_factor);
            }
            if save {
                self.save(observer, &recent)?;
                saved = Some(self.iteration);
            }
        };
        if saved != Some(self.iteration) {
            self.save(observer, &recent)?;
        }
        if !self.iteration.is_multiple_of(self.job.validate_every) && end != End::Stopped {
            // Not for the plateau: a run that goes on from here validates at its usual iterations.
            self.validate(observer, self.eta(&schedule))?;
        }
        Ok(end)
    }

    /// The learning rate of the next iteration.
    fn eta(&self, schedule: &Schedule) -> f64 {
        match schedule.kind {
            ScheduleKind::Plateau => schedule.eta(self.iteration) * self.plateau.factor,
            _ => schedule.eta(self.iteration),
        }
    }

    /// The patches of one iteration and the update; what was found, and the time that they took without their making.
    fn train(
        &mut self,
        samples: &mut Prefetcher,
        recent: &mut Recent,
        eta: f64,
    ) -> Result<(Outcome, Duration), TrainError> {
        let mut all = Outcome::default();
        let mut elapsed = Duration::ZERO;
        for _ in 0..self.job.batch {
            let settings = Settings {
                eta: eta as f32,
                factor: (eta / self.job.eta) as f32,
                key: dropout_key(self.job.seed, self.patches),
            };
            recent.next(samples, settings)?;
            let began = Instant::now();
            let (inputs, wanted) = operands(&recent.sample);
            let outcome = self.step.run(&inputs, &wanted, settings)?;
            elapsed += began.elapsed();
            if self.step.had_fault() {
                return Err(self.stop("a gradient".to_owned(), &recent.before, recent.settings_before));
            }
            if !outcome.loss.is_finite() {
                return Err(self.stop(format!("the loss, {},", outcome.loss), &recent.sample, settings));
            }
            self.patches += 1;
            all.add(&outcome);
        }
        self.iteration += 1;
        Ok((all, elapsed))
    }

    /// Why training cannot go on after `what` of an iteration with `sample` was not finite. Keeps the network as it was
    /// before.
    fn stop(&mut self, what: String, sample: &Sample, settings: Settings) -> TrainError {
        let before = self.parameters.clone();
        if let Err(error) = self.step.store(&mut self.parameters) {
            return error.into();
        }
        // Running statistics are taken in the forward pass, which no guard holds back.
        for node in self.network.node_ids() {
            let statistics = self.parameters.statistics_mut(node);
            if statistics.iter().any(|value| !value.is_finite()) {
                statistics.copy_from_slice(before.statistics(node));
            }
        }
        let (inputs, wanted) = operands(sample);
        let suspect = Suspect {
            network: &self.network,
            options: &self.options,
            losses: &self.losses,
            parameters: &self.parameters,
            inputs: &inputs,
            wanted: &wanted,
            settings,
        };
        let found = diagnosis::diagnose(&self.engine, suspect);
        let advice = match &found {
            Ok(Some(Finding { place: Place::Image(_) | Place::Target(_), .. })) => {
                "an image without such values, or a mask (--masks)"
            }
            _ => {
                "a smaller learning rate (--eta), a warm-up (--warmup), clipped gradients (--clip-norm 1), \
                 or normalised images (--preprocess)"
            }
        };
        let finding = match found {
            Ok(Some(finding)) => format!("Such numbers arose {finding}."),
            Ok(None) => "Computed once more, all is finite.".to_owned(),
            Err(error) => format!("Where it arose could not be found: {error}."),
        };
        let path = self.job.out.join(FileNames::STOPPED);
        let state = match weights_file::save(&path, &self.network, &self.parameters, &self.notes(), true) {
            Ok(()) => format!(", and the network before this iteration is {}", path.display()),
            Err(error) => format!("; the network before this iteration cannot be ({error})"),
        };
        TrainError::Diverged { iteration: self.iteration + 1, what, finding, state, advice }
    }

    /// Validates with the weights as they are; the mean loss, where there is something to validate on.
    fn validate(&mut self, observer: &mut dyn Observer, eta: f64) -> Result<Option<f64>, TrainError> {
        let Some(validator) = &mut self.validator else { return Ok(None) };
        let began = Instant::now();
        self.step.store(&mut self.parameters)?;
        let found = validator.run(&self.parameters)?;
        observer.on_validation(&Validation {
            iteration: self.iteration,
            loss: found.outcome.mean_loss(),
            pixel_error: found.outcome.pixel_error(),
            rand_error: found.rand_error,
            constant_error: Some(found.constant_error),
            classes: found.classes,
            voxels: found.voxels,
            elapsed: began.elapsed(),
            eta,
        })?;
        observer.on_preview(&found.input, &found.prediction, &found.target)?;
        Ok(Some(found.outcome.mean_loss()))
    }

    /// What a checkpoint says beside the network.
    fn notes(&self) -> BTreeMap<String, String> {
        let mut notes = BTreeMap::from([
            (notes::ITERATION, self.iteration.to_string()),
            (notes::PATCHES, self.patches.to_string()),
            (notes::SECONDS, self.seconds.to_string()),
            (notes::LOSS, self.kinds.iter().map(LossKind::to_string).collect::<Vec<_>>().join(",")),
            (notes::PREPROCESS, groups::preprocess(&self.network, &self.job)),
            (notes::OPTIMISER, self.job.optimiser.to_string()),
            (notes::TARGET, self.job.target.to_string()),
        ]);
        if self.job.schedule == ScheduleKind::Plateau {
            notes.insert(notes::PLATEAU, self.plateau.to_string());
        }
        notes.into_iter().map(|(name, note)| (name.to_owned(), note)).collect()
    }

    /// Writes the checkpoint, unless the last gradient was not finite.
    fn save(&mut self, observer: &mut dyn Observer, recent: &Recent) -> Result<(), TrainError> {
        self.step.store(&mut self.parameters)?;
        if self.step.has_fault()? {
            return Err(self.stop("a gradient".to_owned(), &recent.sample, recent.settings));
        }
        let path = self.job.out.join(FileNames::MODEL);
        weights_file::save(&path, &self.network, &self.parameters, &self.notes(), true)?;
        let eta = self.eta(&self.job.schedule());
        hdf5_run::export(&self.job, &self.network, &self.parameters, (self.iteration, eta), self.seconds)?;
        observer.on_checkpoint(self.iteration, &path)?;
        Ok(())
    }
}

/// The last two patches, with what they were used with: that a gradient was not finite is known an iteration later.
struct Recent {
    sample: Sample,
    settings: Settings,
    before: Sample,
    settings_before: Settings,
}

impl Recent {
    fn new(sampler: &Sampler) -> Self {
        let settings = Settings { eta: 0.0, factor: 0.0, key: 0 };
        let (sample, before) = (sampler.new_sample(), sampler.new_sample());
        Self { sample, settings, before, settings_before: settings }
    }

    /// Takes the next patch.
    fn next(&mut self, samples: &mut Prefetcher, settings: Settings) -> Result<(), DataError> {
        std::mem::swap(&mut self.sample, &mut self.before);
        self.settings_before = std::mem::replace(&mut self.settings, settings);
        samples.next(&mut self.sample)
    }
}

/// A patch as an iteration takes it.
fn operands(sample: &Sample) -> (Vec<&Tensor>, Vec<Wanted<'_>>) {
    let wanted = sample.outputs.iter();
    let wanted = wanted.map(|output| Wanted { target: &output.target, weight: output.weight.as_ref() });
    (sample.inputs.iter().collect(), wanted.collect())
}

/// Sixty-four bits that differ from patch to patch.
fn dropout_key(seed: u64, patch: u64) -> u64 {
    // An odd factor makes it a bijection of the patch; the golden ratio spreads neighbours.
    seed.rotate_left(32) ^ patch.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
