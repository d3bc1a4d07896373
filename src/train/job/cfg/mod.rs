//! Job files of the original system, `.cfg` with `.spec`, as jobs of this one.
//!
//! A job is the section `[parameters]` of a text file ([`ini`](crate::data::ini)); its data set
//! ([`data_set`]) is in the file named by `fdata_spec`, or in the same. Paths start at the
//! current folder, as they did; where nothing is found there, at the folder of the file that names them.
//!
//! | key | becomes |
//! |---|---|
//! | `fnet_spec`, `fdata_spec`, `train_range`, `test_range` | `net`, `images`, `labels`, `masks`, `val-images`, `val-labels`; of several groups in the tables `inputs` and `outputs` |
//! | `train_net_prefix`, `train_net`, `train_save_net` | `out` (a folder of this name) and `hdf5` |
//! | `is_stdio` | `hdf5-layout` |
//! | `num_threads`, `train_outsz`, `out_type`, `cost_fn` | `threads`, `output-size`, `target`, `loss` |
//! | `train_conv_mode`, `is_train_optimize`, `force_fft` | `algorithm` |
//! | `eta`, `momentum`, `weight_decay`, `anneal_factor`, `Num_iter_per_annealing`, `Max_iter` | `eta`, `momentum`, `weight-decay`, `anneal-factor`, `anneal-every`, `iterations` |
//! | `rebalance_mode`, `is_data_aug`, `is_bd_mirror` | `rebalance`, `augment`, `mirror` |
//! | `Num_iter_per_show`, `Num_iter_per_test`, `test_num`, `Num_iter_per_save` | `report-every`, `validate-every`, `validate-patches`, `checkpoint-every` |
//! | `forward_range`, `forward_net`, `output_prefix`, `forward_conv_mode` | [`Forward`] |
//!
//! As there, the training constants of the job hold for all groups whatever the network's file says (`group-rates`
//! off), and images and labels are aligned by their centres (`centred`). A key that is absent has the original's
//! default. The original's mistakes are not repeated: `rebalance_mode = none` is off, samples are drawn by their
//! number of voxels, and validation takes the same patches each time, not turned.

mod keys;

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Job, JobError, LossKind, Target};
use crate::conv::Choice;
use crate::data::data_set::{self, DataSample, DataSet};
use crate::data::ini::{Entry, Ini, IniError, Remark};
use crate::network::{Network, spec};
use keys::Keys;

/// A training job.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The layer of a [`Job`], see [`Job::from_layers`].
    pub layer: Table,
    /// What has no effect.
    pub warnings: Vec<Remark>,
    /// The file from which the original would go on: `PREFIX_current.h5`, whether it is there or not.
    pub current: Option<PathBuf>,
}

/// An inference job.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// What is predicted; labels are of no meaning.
    pub samples: Vec<DataSample>,
    /// The trained network, where the job names one.
    pub model: Option<PathBuf>,
    /// The start of the names of what is written.
    pub prefix: PathBuf,
    /// Whether images are mirrored at their border, so that predictions have their size.
    pub mirror: bool,
    /// Whether a prediction is the softmax of the network's output.
    pub softmax: bool,
    /// How convolutions are computed.
    pub algorithm: Choice,
    /// Worker threads; 0 is one for each core.
    pub threads: usize,
    /// What has no effect.
    pub warnings: Vec<Remark>,
}

/// Whether a job file is one of the original system, by its name.
pub fn is_cfg(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("cfg"))
}

/// Reads the training job in the file at `path`.
///
/// # Errors
/// With file and line, where a key is unknown, a value makes no sense, a file is not there, or the job needs what is
/// not supported.
pub fn read_training(path: &Path) -> Result<Training, JobError> {
    let (files, mut warnings) = Files::read(path)?;
    let keys = Keys::read(&files.cfg, &mut warnings)?;
    let mut layer = keys.layer.clone();
    let mut set = |key: &str, value: Value| drop(layer.insert(key.to_owned(), value));
    let net = keys.net()?;
    let network = spec::read(&net)?.network;
    let data = files.data_set(&network)?;
    warnings.extend_from_slice(data.warnings());
    set("net", path_value(&net));
    let range = keys.required("train_range")?;
    let training = files.samples(&data, range)?;
    let validation = match keys.entry("test_range") {
        Some(entry) => files.samples(&data, entry)?,
        None => Vec::new(),
    };
    let samples = [&training[..], &validation];
    let inputs: Vec<Table> = (0..network.inputs().count())
        .map(|input| files.input(range, samples, input))
        .collect::<Result<_, _>>()?;
    let outputs: Vec<Table> =
        (0..network.outputs().count()).map(|output| output_table(samples, output)).collect();
    for (key, tables, names) in [
        ("inputs", inputs, network.inputs().map(|node| &network[node].name).collect::<Vec<_>>()),
        ("outputs", outputs, network.outputs().map(|node| &network[node].name).collect()),
    ] {
        // What all groups share is that of the job.
        if tables.iter().all(|table| *table == tables[0]) {
            tables.into_iter().take(1).flatten().for_each(|(key, value)| set(&key, value));
        } else {
            let tables = names.into_iter().cloned().zip(tables.into_iter().map(Value::Table));
            set(key, Value::Table(tables.collect()));
        }
    }
    let prefix = keys.prefix.as_ref().map(|prefix| files.output(prefix));
    if let Some(prefix) = &prefix {
        set("out", path_value(prefix));
        set("hdf5", path_value(prefix));
    }
    let current = prefix.map(|prefix| suffixed(&prefix, "_current.h5"));
    Ok(Training { layer, warnings, current })
}

/// Reads the inference job in the file at `path`; `range` is in place of its `forward_range`.
///
/// # Errors
/// As [`read_training`].
pub fn read_forward(path: &Path, range: Option<&str>) -> Result<Forward, JobError> {
    let (files, mut warnings) = Files::read(path)?;
    let keys = Keys::read(&files.cfg, &mut warnings)?;
    let network = spec::read(&keys.net()?)?.network;
    let data = files.data_set(&network)?;
    warnings.extend_from_slice(data.warnings());
    let given = range.map(|range| Entry { key: "--range".to_owned(), value: range.to_owned(), line: 0 });
    let samples = match &given {
        Some(range) => files.samples(&data, range)?,
        None => files.samples(&data, keys.required("forward_range")?)?,
    };
    let model = match keys.entry("forward_net").filter(|entry| !entry.value.is_empty()) {
        Some(entry) => Some(files.cfg.locate(entry, &entry.value)?),
        None => None,
    };
    let prefix = files.output(&keys.required("output_prefix")?.value);
    let softmax = match keys.loss {
        LossKind::Auto => matches!(keys.target, Target::Boundary | Target::Semantic),
        loss => loss == LossKind::Softmax,
    };
    Ok(Forward {
        samples,
        model,
        prefix,
        mirror: keys.mirror,
        softmax,
        algorithm: keys.forward_algorithm,
        threads: keys.threads,
        warnings,
    })
}

/// `PREFIX` and `suffix`, one name.
pub fn suffixed(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Absolute, so that a stored job names the same file from anywhere.
fn path_value(path: &Path) -> Value {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Value::String(absolute.to_string_lossy().into_owned())
}

/// The files that make a job.
struct Files {
    cfg: Ini,
    spec: Option<Ini>,
}

impl Files {
    /// With what has no effect.
    fn read(path: &Path) -> Result<(Self, Vec<Remark>), JobError> {
        let mut cfg = Ini::read(path)?;
        let mut warnings = std::mem::take(&mut cfg.warnings);
        for section in &cfg.sections {
            if section.name != keys::SECTION && !data_set::is_section(&section.name) {
                let message = format!("unknown section [{}], expected [{}]", section.name, keys::SECTION);
                return Err(cfg.error(section.line, message).into());
            }
        }
        let named = cfg.section(keys::SECTION).and_then(|section| section.get("fdata_spec"));
        let spec = match named.filter(|entry| !entry.value.is_empty()) {
            Some(entry) => {
                let mut spec = Ini::read(&cfg.locate(entry, &entry.value)?)?;
                warnings.append(&mut spec.warnings);
                if let Some(section) = spec.sections.iter().find(|s| !data_set::is_section(&s.name)) {
                    let message = format!(
                        "unknown section [{}], expected [imageN], [labelN] or [sampleN]",
                        section.name
                    );
                    return Err(spec.error(section.line, message).into());
                }
                Some(spec)
            }
            None => None,
        };
        Ok((Self { cfg, spec }, warnings))
    }

    fn data_set<'a>(&'a self, network: &'a Network) -> Result<DataSet<'a>, IniError> {
        let mut sources = vec![&self.cfg];
        sources.extend(&self.spec);
        DataSet::new(&sources, network)
    }

    /// The samples in a range such as `1-3,7`.
    fn samples(&self, data: &DataSet<'_>, range: &Entry) -> Result<Vec<DataSample>, IniError> {
        let mut wanted: Vec<DataSample> = Vec::new();
        for part in range.list() {
            let bound = |text: &str| text.trim().parse::<u64>().ok();
            let ends = match part.split_once('-') {
                Some((first, last)) => bound(first).zip(bound(last)),
                None => bound(part).zip(bound(part)),
            };
            let Some((first, last)) = ends.filter(|(first, last)| first <= last) else {
                let message = format!("{} = {part}: expected numbers of samples such as 1-3,7", range.key);
                return Err(self.cfg.error(range.line, message));
            };
            // It ends at the first number that has no sample.
            for id in first..=last {
                let Some(sample) = data.sample(id)? else {
                    let message = format!("{} = {part}: there is no [sample{id}]", range.key);
                    return Err(self.cfg.error(range.line, message));
                };
                if !wanted.contains(&sample) {
                    wanted.push(sample);
                }
            }
        }
        if wanted.is_empty() {
            let message = format!("{} is empty, expected numbers of samples such as 1-3,7", range.key);
            return Err(self.cfg.error(range.line, message));
        }
        Ok(wanted)
    }

    /// The images of input number `input` in training and validation, and how all of them are normalised.
    fn input(&self, range: &Entry, samples: [&[DataSample]; 2], input: usize) -> Result<Table, IniError> {
        let mut table = Table::new();
        for (key, samples) in [("images", samples[0]), ("val-images", samples[1])] {
            if !samples.is_empty() {
                let images = samples.iter().map(|sample| path_value(&sample.images[input].image));
                table.insert(key.to_owned(), Value::Array(images.collect()));
            }
        }
        let all = || samples.into_iter().flatten().map(|sample| (sample.id, sample.images[input].preprocess));
        let mut all_types = all();
        let Some((first, preprocess)) = all_types.next() else { return Ok(table) };
        if let Some((other, found)) = all().find(|(_, found)| *found != preprocess) {
            let message = format!(
                "the images of samples {first} and {other} have different pp_types, {preprocess} and {found}: all images \
                 of a training are normalised alike"
            );
            return Err(self.cfg.error(range.line, message));
        }
        table.insert("preprocess".to_owned(), Value::String(preprocess.to_string()));
        Ok(table)
    }

    /// The place of something that is written: below the current folder or, where there is no such folder, below
    /// that of the job.
    fn output(&self, name: &str) -> PathBuf {
        let near = self.cfg.path.parent().unwrap_or(Path::new("")).join(name);
        let has_folder = |path: &Path| {
            path.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir())
        };
        let here = PathBuf::from(name);
        if !has_folder(&here) && has_folder(&near) { near } else { here }
    }
}

/// The labels and masks of output number `output` in training and validation.
fn output_table(samples: [&[DataSample]; 2], output: usize) -> Table {
    let mut table = Table::new();
    for (key, samples) in [("labels", samples[0]), ("val-labels", samples[1])] {
        if !samples.is_empty() {
            let labels = samples.iter().map(|sample| path_value(&sample.labels[output].label));
            table.insert(key.to_owned(), Value::Array(labels.collect()));
        }
    }
    let masks: Vec<_> = samples[0].iter().map(|sample| &sample.labels[output].mask).collect();
    if masks.iter().any(|mask| mask.is_some()) {
        let value = |mask: &Option<PathBuf>| mask.as_deref().map_or(Value::String(String::new()), path_value);
        table.insert("masks".to_owned(), Value::Array(masks.into_iter().map(value).collect()));
    }
    table
}

/// Where a job file is one of the original system, its training as a layer of a job; else its TOML.
///
/// # Errors
/// As [`read_training`] and [`Job::read_layer`].
pub fn read_layer(path: &Path) -> Result<Training, JobError> {
    if is_cfg(path) {
        return read_training(path);
    }
    Ok(Training { layer: Job::read_layer(path)?, warnings: Vec::new(), current: None })
}

#[cfg(test)]
mod tests;
