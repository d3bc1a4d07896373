//! What to train, on what and how: every option of a training run with its default, as a TOML file.
//!
//! A [`Job`] is read from a file over the defaults; the program puts its command line on top of both. The complete job is
//! stored beside the checkpoints, so that a run is resumed from its folder alone.
//!
//! The keys and what they may be:
//!
//! ```
//! use znn::train::job::{ClassWeighting, Groups, InputJob, IsaChoice, Job, JobError, Layout, LossKind, Malis};
//! use znn::train::job::{NoClassWeights, NoTuning, OptimiserKind, OutputJob, RebalanceKind, Target, Text, Tuning};
//! use znn::data::Preprocess;
//! use znn::train::schedule::ScheduleKind;
//!
//! let mut job = Job {
//!     target: Target::Affinity,
//!     loss: LossKind::Auto,
//!     malis: Malis::Constrained,
//!     class_weights: "1,2".parse()?,
//!     optimiser: OptimiserKind::Adamw,
//!     schedule: ScheduleKind::Cosine,
//!     tuning: Tuning::Off,
//!     isa: IsaChoice::Auto,
//!     hdf5_layout: Layout::Root,
//!     ..Job::default()
//! };
//! assert_eq!(job.class_weights, ClassWeighting::Given(vec![1.0, 2.0]));
//! // Each input and output group of a network may have keys of its own.
//! let preprocess = Some(Text(Preprocess::Standard3d));
//! job.inputs = Groups::from([("image".to_owned(), InputJob { preprocess, ..InputJob::default() })]);
//! let rebalance = Some(RebalanceKind::Global);
//! job.outputs = Groups::from([("cells".to_owned(), OutputJob { rebalance, ..OutputJob::default() })]);
//! // It lacks images.
//! assert!(matches!(job.validate(), Err(JobError::Missing { .. })));
//!
//! assert_eq!("".parse::<Tuning>(), Err(NoTuning));
//! let error: NoClassWeights = "even".parse::<ClassWeighting>().unwrap_err();
//! assert!(error.to_string().ends_with("found `even`"));
//! # Ok::<(), NoClassWeights>(())
//! ```

#[doc(hidden)]
pub mod cfg;
mod checks;
mod groups;
mod options;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::schedule::{Schedule, ScheduleKind};
use super::{Clip, Optimiser};
use crate::atomic_file;
use crate::conv::{Accuracy, Choice};
use crate::data::ini::IniError;
use crate::data::{Augment, Distort, Preprocess, Rebalance};
use crate::engine::Engine;
use crate::machine::memory::Bytes;
pub use crate::network::hdf5_file::Layout;
use crate::network::spec::SpecError;
use crate::volume::Extent;
pub use groups::{ClassWeighting, Groups, InputJob, NoClassWeights, OutputJob, RebalanceKind, Text};
pub use options::{IsaChoice, LossKind, Malis, NoTuning, OptimiserKind, Target, Tuning};

/// Every option of a training run. The keys of the file are the field names with `-` for `_`.
///
/// ```
/// use znn::train::job::Job;
/// use znn::{Extent, conv};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("job.toml");
/// std::fs::write(&path, "net = 'cells.znn'\nimages = 'a.tif'\nlabels = 'b.tif'\nout = 'run'\neta = 0.05\n")?;
/// let job = Job::read(&path)?;
/// // Paths are relative to the file; what it does not say is as usual.
/// assert_eq!((job.images[0].as_path(), job.eta), (folder.path().join("a.tif").as_path(), 0.05));
/// assert_eq!(job.iterations, Job::default().iterations);
///
/// let short = Job { iterations: 100, algorithm: conv::Choice::Estimate, ..job };
/// short.validate()?;
/// short.write(&path)?;
/// assert_eq!(Job::read(&path)?, short);
/// assert!(Job { eta: -1.0, ..short }.validate().is_err());
/// assert!(Job::demo().demo);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Job {
    /// Train on the built-in synthetic volume of cells instead of files.
    pub demo: bool,
    /// The network description (`.znn`); none is the built-in network of the demo.
    pub net: Option<PathBuf>,
    /// Start from the weights of this model (`.safetensors` or HDF5), in groups of the same name and shape.
    pub weights: Option<PathBuf>,
    /// The training images, one file for each volume.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// The labels of the training images, of the same extents.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<PathBuf>,
    /// Which voxels of the labels count (non-zero), one file for each volume; none, and an empty name among several,
    /// is all.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<PathBuf>,
    /// The validation images; none trains without validation.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub val_images: Vec<PathBuf>,
    /// The labels of the validation images.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub val_labels: Vec<PathBuf>,
    /// Images may have other extents than their labels: their centres coincide.
    pub centred: bool,
    /// The folder that receives checkpoints, metrics, curve and preview.
    pub out: PathBuf,

    /// The output patch of one iteration, in voxels.
    pub output_size: Extent,
    /// How the values of images are normalised.
    #[serde(with = "as_text")]
    pub preprocess: Preprocess,
    /// What the network learns from the labels.
    pub target: Target,
    /// The classes of the target `semantic`; none are as many as the network has output maps.
    pub classes: Option<u64>,
    /// The factors of the classes in the gradient: `none`, `balanced`, which is the same as to rebalance globally, or one
    /// number for each, such as `1,2,0.5`.
    pub class_weights: ClassWeighting,
    /// Over which voxels the classes are counted whose weights in the gradient are made equal; `none` leaves them.
    #[serde(with = "none_or_rebalance")]
    pub rebalance: Option<Rebalance>,
    /// Random flips along z, y and x and exchange of x and y.
    pub augment: bool,
    /// Mirror the images at their border, so that every voxel of the labels is used.
    pub mirror: bool,
    /// Rotation of patches in the plane of sections, by up to so many degrees to either side.
    pub rotate: f64,
    /// Change of an image's brightness, up to so much up or down.
    pub brightness: f64,
    /// Change of an image's contrast, by a factor of up to so much from 1.
    pub contrast: f64,
    /// The probability of a section of the image to be missing.
    pub missing_section: f64,
    /// Displacement of sections, by up to so many voxels.
    pub misalign: f64,
    /// The blur of sections, of a standard deviation of up to so many voxels.
    pub blur: f64,

    /// The loss; `auto` follows the target.
    pub loss: LossKind,
    /// How the gradients of affinities are weighted by what they decide for the segmentation.
    pub malis: Malis,
    /// The learning rate at the start.
    pub eta: f64,
    /// How much of the previous step is kept, in [0, 1).
    pub momentum: f64,
    /// The decay of the weights towards 0 per iteration, in units of eta.
    pub weight_decay: f64,
    /// Whether `eta`, `momentum` and `weight_decay` that the network's file gives to a group replace those of the job
    /// there.
    pub group_rates: bool,
    /// How weights follow their gradients.
    pub optimiser: OptimiserKind,
    /// Gradient descent looks ahead by the momentum.
    pub nesterov: bool,
    /// The part of the mean gradient that Adam keeps in each iteration, in [0, 1).
    pub beta1: f64,
    /// The part of the mean squared gradient that Adam keeps in each iteration, in [0, 1).
    pub beta2: f64,
    /// What Adam adds to the root of the mean squared gradient.
    pub epsilon: f64,
    /// The patches whose gradients are averaged in each iteration.
    pub batch: u64,
    /// The gradients of an iteration are shortened to this norm where they are longer; none leaves them.
    pub clip_norm: Option<f64>,
    /// Each value of the gradients of an iteration is brought within minus this and this; none leaves them.
    pub clip_value: Option<f64>,
    /// How eta falls over the iterations.
    pub schedule: ScheduleKind,
    /// The factor of eta at each step of the schedules `step`, `exponential` and `plateau`, in (0, 1].
    pub anneal_factor: f64,
    /// The iterations between two steps of the schedules `step` and `exponential`.
    pub anneal_every: u64,
    /// The power of the schedule `polynomial`.
    pub power: f64,
    /// The validations without a lower loss before a step of the schedule `plateau`.
    pub patience: u64,
    /// The iterations at the start in which eta rises along a line, in any schedule.
    pub warmup: u64,
    /// The iterations (updates of the weights) of the whole run.
    pub iterations: u64,
    /// Stop after this many seconds of training, whatever the iteration; none has no limit.
    pub time_limit: Option<f64>,
    /// The seed of weights, sampling, augmentation, dropout and the synthetic volume.
    pub seed: u64,

    /// Worker threads; 0 is one for each core.
    pub threads: usize,
    /// How convolutions are computed: `auto` measures which algorithm is fastest for each layer, `estimate` asks a model,
    /// `direct`, `fft` and `winograd` are for all layers that they can compute.
    #[serde(with = "as_text")]
    pub algorithm: Choice,
    /// How exact convolutions are: `standard`, or `fast`, which admits larger Winograd tiles.
    pub accuracy: Accuracy,
    /// The memory that one convolution layer may take for spectra.
    pub workspace: Bytes,
    /// The file that keeps which algorithms measured fastest; `none`, or `auto` for the one in the user's cache folder.
    #[serde(with = "as_text")]
    pub tuning: Tuning,
    /// The same bits whatever the number of threads, at some cost in speed.
    pub deterministic: bool,
    /// The instruction-set tier; `auto` is the widest of the machine.
    pub isa: IsaChoice,

    /// The iterations between two training reports.
    pub report_every: u64,
    /// The iterations between two validations.
    pub validate_every: u64,
    /// The patches of one validation.
    pub validate_patches: u64,
    /// The iterations between two checkpoints.
    pub checkpoint_every: u64,
    /// Also write each checkpoint as `HDF5_ITERATION.h5` and `HDF5_current.h5`, in the format of the original system.
    pub hdf5: Option<PathBuf>,
    /// Where the groups of the network are in those files.
    pub hdf5_layout: Layout,

    /// What each input group gets, where it is something of its own.
    #[serde(skip_serializing_if = "Groups::is_empty")]
    pub inputs: Groups<InputJob>,
    /// What each output group learns, where it is something of its own.
    #[serde(skip_serializing_if = "Groups::is_empty")]
    pub outputs: Groups<OutputJob>,
}

impl Default for Job {
    /// The defaults of the original system wherever it has the option.
    fn default() -> Self {
        Self {
            demo: false,
            net: None,
            weights: None,
            images: Vec::new(),
            labels: Vec::new(),
            masks: Vec::new(),
            val_images: Vec::new(),
            val_labels: Vec::new(),
            centred: false,
            out: PathBuf::from("out"),
            output_size: Extent::new(1, 100, 100),
            preprocess: Preprocess::default(),
            target: Target::Boundary,
            classes: None,
            class_weights: ClassWeighting::None,
            rebalance: None,
            augment: true,
            mirror: false,
            rotate: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            missing_section: 0.0,
            misalign: 0.0,
            blur: 0.0,
            loss: LossKind::Auto,
            malis: Malis::Off,
            eta: 0.01,
            momentum: 0.0,
            weight_decay: 0.0,
            group_rates: true,
            optimiser: OptimiserKind::Sgd,
            nesterov: false,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            batch: 1,
            clip_norm: None,
            clip_value: None,
            schedule: ScheduleKind::Step,
            anneal_factor: 1.0,
            anneal_every: 100,
            power: 0.9,
            patience: 10,
            warmup: 0,
            iterations: 400_000,
            time_limit: None,
            seed: 1,
            threads: 0,
            algorithm: Choice::Measure,
            accuracy: Accuracy::Standard,
            workspace: Bytes(Engine::WORKSPACE as u64),
            tuning: Tuning::Auto,
            deterministic: false,
            isa: IsaChoice::Auto,
            report_every: 10,
            validate_every: 500,
            validate_patches: 10,
            checkpoint_every: 1000,
            hdf5: None,
            hdf5_layout: Layout::Root,
            inputs: Groups::new(),
            outputs: Groups::new(),
        }
    }
}

/// Why a job cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The file cannot be read or written.
    #[error("{}: cannot {action} the job", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        action: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no TOML, or a key or a value is not one of a job.
    #[error("{}, line {line}: `{text}`: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The text of the line.
        text: String,
        /// What was expected.
        message: String,
    },
    /// The layers do not make a job.
    #[error("{0}")]
    Layers(String),
    /// The value of a key makes no sense.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// The key, as in the file and, after `--`, on the command line.
        key: &'static str,
        /// The value found.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A key is missing.
    #[error("{key} is missing: {reason}")]
    Missing {
        /// The key.
        key: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// Two lists belong together but have different lengths.
    #[error("{key}: {found} files, expected {expected} like {of}")]
    Count {
        /// One list.
        key: &'static str,
        /// Its length.
        found: usize,
        /// The other list.
        of: &'static str,
        /// Its length.
        expected: usize,
    },
    /// The job file or the data set of the original system is wrong.
    #[error(transparent)]
    Ini(#[from] IniError),
    /// The network of such a job, which tells what its data set means, cannot be read.
    #[error(transparent)]
    Network(#[from] SpecError),
    /// Two keys exclude each other.
    #[error("{key} cannot go with {other}: {reason}")]
    Conflict {
        /// One key.
        key: &'static str,
        /// The other.
        other: &'static str,
        /// Why.
        reason: &'static str,
    },
}

/// A key whose value differs between two jobs.
#[derive(Clone, Debug, PartialEq)]
#[doc(hidden)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The value before, as TOML, or `unset`.
    pub before: String,
    /// The value now, as TOML, or `unset`.
    pub now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.before, self.now)
    }
}

/// The keys that hold paths, which a file gives relative to its own folder.
const PATHS: [&str; 10] =
    ["net", "weights", "images", "labels", "masks", "val-images", "val-labels", "out", "hdf5", "tuning"];

/// Changes the paths among the values of a table, and of the tables of its groups. (`tuning` may be a word.)
fn map_table<E>(table: &mut Table, change: &mut impl FnMut(&str) -> Result<String, E>) -> Result<(), E> {
    for (key, value) in table.iter_mut() {
        let is_path = PATHS.contains(&key.as_str());
        if is_path && (key != "tuning" || value.as_str().is_some_and(Tuning::is_path)) {
            map_paths(value, change)?;
        }
        if let ("inputs" | "outputs", Some(groups)) = (key.as_str(), value.as_table_mut()) {
            let tables = groups.iter_mut().filter_map(|(_, group)| group.as_table_mut());
            tables.into_iter().try_for_each(|group| map_table(group, change))?;
        }
    }
    Ok(())
}

/// Changes the path, or the paths, of a key; an empty one means none.
fn map_paths<E>(value: &mut Value, change: &mut impl FnMut(&str) -> Result<String, E>) -> Result<(), E> {
    match value {
        Value::String(path) if !path.is_empty() => *path = change(path)?,
        Value::Array(paths) => paths.iter_mut().try_for_each(|path| map_paths(path, change))?,
        _ => {}
    }
    Ok(())
}

impl Job {
    /// The demo: the built-in network on the synthetic volume, for at most two minutes.
    pub fn demo() -> Self {
        Self {
            demo: true,
            output_size: Extent::new(1, 64, 64),
            eta: 0.02,
            momentum: 0.9,
            iterations: 4000,
            time_limit: Some(110.0),
            validate_every: 100,
            checkpoint_every: 500,
            ..Self::default()
        }
    }

    /// The job written in a file; what it does not say is as in [`Job::default`], or in [`Job::demo`] where it asks for that.
    /// Its paths are relative to the file's folder.
    ///
    /// # Errors
    /// Where the file cannot be read, a key or a value is not one of a job, or the whole makes no sense.
    pub fn read(path: &Path) -> Result<Self, JobError> {
        Self::from_layers(&[Self::read_layer(path)?])
    }

    /// The job of the layers, each overriding those before it: the defaults (those of [`Job::demo`] where a layer
    /// asks for it), then `layers` in order. The result is validated.
    #[doc(hidden)]
    pub fn from_layers(layers: &[Table]) -> Result<Self, JobError> {
        let mut merged = Table::new();
        for layer in layers {
            merged.extend(layer.clone());
        }
        let is_demo = merged.get("demo").and_then(Value::as_bool).unwrap_or(false);
        let mut table = if is_demo { Self::demo() } else { Self::default() }.to_table();
        table.extend(merged);
        let job: Self =
            table.try_into().map_err(|error: toml::de::Error| JobError::Layers(plain(error.message())))?;
        job.validate()?;
        Ok(job)
    }

    /// The layer written in a file: only the keys that it names, checked for name and type, with its paths made
    /// relative to the file's folder.
    #[doc(hidden)]
    pub fn read_layer(path: &Path) -> Result<Table, JobError> {
        let text = std::fs::read_to_string(path).map_err(|source| JobError::Io {
            path: path.to_owned(),
            action: "read",
            source,
        })?;
        let fail = |error: toml::de::Error| parse_error(path, &text, &error);
        toml::from_str::<Self>(&text).map_err(fail)?;
        let mut table: Table = toml::from_str(&text).map_err(fail)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut join = |path: &str| Ok::<_, JobError>(folder.join(path).to_string_lossy().into_owned());
        map_table(&mut table, &mut join)?;
        Ok(table)
    }

    /// All keys with their values.
    #[doc(hidden)]
    pub fn to_table(&self) -> Table {
        Table::try_from(self).expect("every field of a job is representable in TOML")
    }

    /// Writes the job to `path` so that it can be read from anywhere: with absolute paths, and never half written.
    pub fn write(&self, path: &Path) -> Result<(), JobError> {
        let fail = |source| JobError::Io { path: path.to_owned(), action: "write", source };
        let mut table = self.to_table();
        let mut absolute = |path: &str| {
            Ok::<_, JobError>(std::path::absolute(path).map_err(fail)?.to_string_lossy().into_owned())
        };
        map_table(&mut table, &mut absolute)?;
        atomic_file::write_bytes(path, table.to_string().as_bytes()).map_err(fail)
    }

    /// The keys whose values differ in `now`, in alphabetical order; the folder `out` aside.
    #[doc(hidden)]
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let (before, now) = (self.to_table(), now.to_table());
        let text = |value: Option<&Value>| value.map_or("unset".to_owned(), Value::to_string);
        let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter(|key| *key != "out" && before.get(*key) != now.get(*key))
            .map(|key| Change { key: key.clone(), before: text(before.get(key)), now: text(now.get(key)) })
            .collect()
    }

    /// How weights follow their gradients.
    pub(crate) fn optimiser(&self) -> Optimiser {
        let Self { nesterov, beta1, beta2, epsilon, .. } = *self;
        match self.optimiser {
            OptimiserKind::Sgd => Optimiser::Sgd { nesterov },
            OptimiserKind::Adam => Optimiser::Adam { beta1, beta2, epsilon, decoupled: false },
            OptimiserKind::Adamw => Optimiser::Adam { beta1, beta2, epsilon, decoupled: true },
        }
    }

    /// How far gradients may go.
    pub(crate) fn clip(&self) -> Clip {
        Clip {
            value: self.clip_value.map(|bound| bound as f32),
            norm: self.clip_norm.map(|bound| bound as f32),
        }
    }

    /// The learning rate over the iterations.
    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.schedule,
            eta: self.eta,
            anneal_factor: self.anneal_factor,
            anneal_every: self.anneal_every,
            power: self.power,
            warmup: self.warmup,
            iterations: self.iterations,
        }
    }

    /// What is done to training patches.
    pub(crate) fn augmentation(&self) -> Augment {
        let symmetries = if self.augment { Augment::ALL } else { Augment::NONE };
        let &Self { rotate, brightness, contrast, missing_section, misalign, blur, .. } = self;
        let distort = Distort { rotate, brightness, contrast, missing_section, misalign, blur };
        Augment { distort, ..symmetries }
    }
}

/// One path, or a list of paths.
mod one_or_more {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a path or a list of paths")]
    enum Paths {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        match paths {
            [path] => path.serialize(serializer),
            paths => paths.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(paths: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(match Paths::deserialize(paths)? {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        })
    }
}

/// A value with a text of its own, as that text.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(text: D) -> Result<T, D::Error> {
        String::deserialize(text)?.parse().map_err(de::Error::custom)
    }
}

/// `none`, `global` or `patch`.
mod none_or_rebalance {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Rebalance, RebalanceKind};

    pub fn serialize<S: Serializer>(value: &Option<Rebalance>, serializer: S) -> Result<S::Ok, S::Error> {
        RebalanceKind::from(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(name: D) -> Result<Option<Rebalance>, D::Error> {
        Ok(RebalanceKind::deserialize(name)?.into())
    }
}

/// The message of a parser with words for the names of Rust's types.
fn plain(message: &str) -> String {
    message
        .replace("expected f64", "expected a number")
        .replace("expected u64", "expected a whole number from 0")
        .replace("expected usize", "expected a whole number from 0")
        .replace(" as i128", "")
}

/// `error` with the line of the file that it is about.
fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> JobError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
    JobError::Parse {
        path: path.to_owned(),
        line: line + 1,
        text: text.lines().nth(line).unwrap_or("").trim().to_owned(),
        message: plain(error.message()),
    }
}

#[cfg(test)]
mod tests;
