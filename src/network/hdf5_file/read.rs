//! Reading.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{Hdf5FileError, Layout, Statistics, filters_shape, kernel_order, node_datasets};
use crate::hdf5::{Hdf5Error, Hdf5File};
use crate::network::spec::{self, Diagnostic, SpecError};
use crate::network::weights_file::Model;
use crate::network::{EdgeOp, Network, Parameter, Parameters};

/// Datasets of a group that are no keys of the network; see the module's text.
const NO_KEYS: [&str; 16] = [
    "name",
    "order",
    "group_type",
    "filters",
    "biases",
    "momentum_vol",
    "eta",
    "momentum",
    "weight_decay",
    "fft",
    "slopes",
    "slopes_momentum",
    "scales",
    "scales_momentum",
    "means",
    "variances",
];

/// What a network file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The network with its parameters and momentum, without notes.
    pub model: Model,
    /// How it was trained, where the file, or the one beside it, tells.
    pub statistics: Option<Statistics>,
    /// Where the groups are.
    pub layout: Layout,
    /// What has no effect.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a network file; of a file in [`Layout::Root`] also the statistics, where their file is beside it.
///
/// # Errors
/// Where the file is no such file, a dataset is missing or of the wrong shape or type, the groups make no network, or
/// a value is not finite.
pub fn load(path: &Path) -> Result<Loaded, Hdf5FileError> {
    let mut loaded = read(&Hdf5File::open(path)?)?;
    if let (Layout::Root, Some(beside)) = (loaded.layout, statistics_path(path))
        && beside.is_file()
    {
        loaded.statistics = Statistics::read(&Hdf5File::open(&beside)?, Layout::Root)?;
    }
    Ok(loaded)
}

/// As [`load`], from the bytes of a file that errors call `path`.
///
/// # Errors
/// As [`load`].
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Loaded, Hdf5FileError> {
    read(&Hdf5File::from_bytes(path, bytes)?)
}

/// The file of the statistics that belongs to a network file in [`Layout::Root`]: `net_statistics_100.h5` to
/// `net_100.h5`.
pub fn statistics_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (prefix, end) = name.rsplit_once('_')?;
    Some(path.with_file_name(format!("{prefix}_statistics_{end}")))
}

fn read(file: &Hdf5File) -> Result<Loaded, Hdf5FileError> {
    let single = Layout::Single.network("");
    let layout = if file.has_group(single.trim_end_matches('/')) { Layout::Single } else { Layout::Root };
    let text = network_text(file, layout)?;
    let (network, warnings) = parse(file, &text)?;
    check_shapes(file, layout, &network)?;
    let mut parameters = Parameters::zeros(&network);
    for id in network.edge_ids() {
        let (Some(shape), Some(parameter)) = (network.weight_shape(id), parameters.edge_mut(id)) else {
            continue;
        };
        let group = layout.network(&network[id].name);
        let reorder = |values: &[f32]| match network[id].op {
            EdgeOp::Deconv { .. } => kernel_order::adjoint_from_file(shape, values),
            EdgeOp::Scale { .. } => values.to_vec(),
            _ => kernel_order::from_file(shape, values),
        };
        let Parameter { values, momentum, .. } = parameter;
        fill(file, &group, ["filters", "momentum_vol"], [values, momentum], reorder)?;
    }
    for id in network.node_ids() {
        let group = layout.network(&network[id].name);
        let size = network[id].size;
        if let Some(Parameter { values, momentum, .. }) = parameters.node_mut(id) {
            let parts = values.chunks_exact_mut(size).zip(momentum.chunks_exact_mut(size));
            for (name, (values, momentum)) in network.node_tensors(id).iter().zip(parts) {
                let [dataset, dataset_momentum] = node_datasets(name);
                fill(file, &group, [&dataset, &dataset_momentum], [values, momentum], <[f32]>::to_vec)?;
            }
        }
        let kept = parameters.statistics_mut(id).chunks_exact_mut(size);
        for (name, values) in network.node_statistics(id).iter().zip(kept) {
            let [dataset, _] = node_datasets(name);
            values.copy_from_slice(&finite(file, &format!("{group}/{dataset}"))?.1);
        }
    }
    let statistics = match layout {
        Layout::Single => Statistics::read(file, layout)?,
        Layout::Root => None,
    };
    Ok(Loaded { model: Model { network, parameters, notes: BTreeMap::new() }, statistics, layout, warnings })
}

/// The network's text, made from the datasets of the groups.
fn network_text(file: &Hdf5File, layout: Layout) -> Result<String, Hdf5Error> {
    let root = layout.network("");
    let root = root.trim_end_matches('/');
    let mut text = String::new();
    let mut names = file.groups(if root.is_empty() { "/" } else { root })?;
    // A file has its groups in the order of their names; the network's own is kept beside, where it was known.
    let order = |name: &String| {
        let dataset = format!("{}/order", layout.network(name));
        let known = if file.has_dataset(&dataset) { file.text(&dataset).ok() } else { None };
        known.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
    };
    names.sort_by_cached_key(order);
    for name in names {
        let group = layout.network(&name);
        let path = |dataset: &str| format!("{group}/{dataset}");
        if !is_word(&name) {
            return Err(file.error(&group, "the name has white space, expected one word"));
        }
        let kind = match file.text(&path("group_type"))?.as_str() {
            "node" => "nodes",
            "edge" => "edges",
            other => {
                let reason = format!("`{other}`, expected `node` or `edge`");
                return Err(file.error(&path("group_type"), reason));
            }
        };
        let _ = writeln!(text, "{kind} {name}");
        for key in file.datasets(&group)? {
            if NO_KEYS.contains(&key.as_str()) {
                continue;
            }
            let value = value(file, &path(&key))?;
            // The original writes options that have no value as empty texts.
            if value.is_empty() {
                continue;
            }
            if ![key.as_str(), &value].iter().all(|word| is_word(word)) {
                return Err(file.error(&path(&key), format!("`{value}`, expected one word")));
            }
            let _ = writeln!(text, "{key} {value}");
        }
    }
    if text.is_empty() {
        let reason = "there are no groups, expected one for each group of a network";
        return Err(file.error(if root.is_empty() { "/" } else { root }, reason));
    }
    Ok(text)
}

/// The value of an option: a text, or integers.
fn value(file: &Hdf5File, dataset: &str) -> Result<String, Hdf5Error> {
    /// More than any option has.
    const MAX_INTEGERS: usize = 16;
    if !matches!(dataset.rsplit('/').next(), Some("size" | "stride")) {
        return file.text(dataset);
    }
    let shape = file.shape(dataset)?;
    if shape.iter().product::<usize>() > MAX_INTEGERS {
        return Err(file.error(dataset, format!("the shape {shape:?}, expected one or three integers")));
    }
    let (_, values) = file.numbers::<i64>(dataset)?;
    Ok(values.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('#')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The network of the text. Its lines are none of the file, so that remarks are about groups alone.
fn parse(file: &Hdf5File, text: &str) -> Result<(Network, Vec<Diagnostic>), SpecError> {
    let without_line = |mut remarks: Vec<Diagnostic>| {
        remarks.iter_mut().for_each(|remark| remark.line = 0);
        remarks
    };
    match spec::parse(text, &file.path().display().to_string()) {
        Ok(parsed) => Ok((parsed.network, without_line(parsed.warnings))),
        Err(SpecError::Invalid(remarks)) => Err(SpecError::Invalid(without_line(remarks))),
        Err(other) => Err(other),
    }
}

/// Before memory is taken for the parameters: that the file has as many values as the network asks for.
fn check_shapes(file: &Hdf5File, layout: Layout, network: &Network) -> Result<(), Hdf5Error> {
    let check = |name: &str, dataset: &str, expected: &[usize]| {
        let path = format!("{}/{dataset}", layout.network(name));
        let found = file.shape(&path)?;
        if found == expected {
            return Ok(());
        }
        Err(file.error(&path, format!("the shape {found:?}, expected {expected:?} like the groups it joins")))
    };
    for id in network.edge_ids() {
        if let Some(shape) = filters_shape(network, id) {
            check(&network[id].name, "filters", &shape)?;
        }
    }
    for id in network.node_ids() {
        for name in network.node_tensors(id).iter().chain(network.node_statistics(id)) {
            check(&network[id].name, &node_datasets(name)[0], &[network[id].size])?;
        }
    }
    Ok(())
}

/// Reads the values and, where they are there, the momenta of one group from these two datasets.
fn fill(
    file: &Hdf5File,
    group: &str,
    [dataset, momentum]: [&str; 2],
    [to_values, to_momentum]: [&mut [f32]; 2],
    reorder: impl Fn(&[f32]) -> Vec<f32>,
) -> Result<(), Hdf5Error> {
    let (shape, values) = finite(file, &format!("{group}/{dataset}"))?;
    to_values.copy_from_slice(&reorder(&values));
    let momentum = format!("{group}/{momentum}");
    if file.has_dataset(&momentum) {
        let (found, values) = finite(file, &momentum)?;
        if found != shape {
            let reason = format!("the shape {found:?}, expected {shape:?} like `{dataset}`");
            return Err(file.error(&momentum, reason));
        }
        to_momentum.copy_from_slice(&reorder(&values));
    }
    Ok(())
}

fn finite(file: &Hdf5File, dataset: &str) -> Result<(Vec<usize>, Vec<f32>), Hdf5Error> {
    let (shape, values) = file.numbers::<f32>(dataset)?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok((shape, values)),
        Some(place) => {
            let count = values.iter().filter(|value| !value.is_finite()).count();
            let reason = format!(
                "{count} of {} values are no numbers, the first ({}) at place {place}; did the training of this \
                 network diverge?",
                values.len(),
                values[place]
            );
            Err(file.error(dataset, reason))
        }
    }
}
