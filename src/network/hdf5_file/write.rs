//! Writing.

use std::path::Path;

use super::{Hdf5FileError, Layout, Statistics, filters_shape, kernel_order, node_datasets, statistics_path};
use crate::hdf5::{self, FileBuilder, FinishedGroup, Hdf5Error};
use crate::network::{EdgeOp, Network, Parameters};

/// The constants of the trainer, which the original writes into each group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The learning rate.
    pub eta: f64,
    /// How much of the previous step is kept.
    pub momentum: f64,
    /// The decay of the weights.
    pub weight_decay: f64,
}

impl Default for Rates {
    /// The original's values for a network that no trainer has changed.
    fn default() -> Self {
        Self { eta: 0.0001, momentum: 0.0, weight_decay: 0.0 }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The network.
    pub network: &'a Network,
    /// Its parameters with their momentum.
    pub parameters: &'a Parameters,
    /// For groups without constants of their own.
    pub rates: Rates,
    /// How it was trained.
    pub statistics: Option<&'a Statistics>,
}

/// Writes a network file, and in [`Layout::Root`] the file of the statistics beside it where there are any and `path`
/// ends in `_NAME.h5`. Each file replaces what is there as a whole or not at all.
///
/// # Errors
/// Where the file system fails, where two groups have the same name, and where a value is not finite.
///
/// # Panics
/// Where the parameters are not those of the network.
pub fn save(path: &Path, contents: &Contents<'_>, layout: Layout) -> Result<(), Hdf5FileError> {
    let mut file = FileBuilder::new();
    let groups = groups(path, contents)?;
    match layout {
        Layout::Root => groups.into_iter().for_each(|group| file.add_group(group)),
        Layout::Single => {
            let mut train = hdf5::group("train");
            let mut network = hdf5::group("network");
            groups.into_iter().for_each(|group| network.add_group(group));
            train.add_group(network.finish());
            if let Some(statistics) = contents.statistics {
                let mut group = hdf5::group("statistics");
                statistics.curves().into_iter().for_each(|curve| group.add_group(curve));
                group.create_dataset("elapsed").with_data(&[statistics.elapsed]).with_shape(&[]);
                train.add_group(group.finish());
            }
            // The path of the group, from its end.
            let path = ["znn", "processing"].iter().fold(train, |inner, name| {
                let mut outer = hdf5::group(name);
                outer.add_group(inner.finish());
                outer
            });
            file.add_group(path.finish());
        }
    }
    hdf5::write(path, file)?;
    if let (Layout::Root, Some(statistics), Some(beside)) =
        (layout, contents.statistics, statistics_path(path))
    {
        let mut file = FileBuilder::new();
        statistics.curves().into_iter().for_each(|curve| file.add_group(curve));
        file.create_dataset("elapsed").with_data(&[statistics.elapsed]).with_shape(&[]);
        hdf5::write(&beside, file)?;
    }
    Ok(())
}

/// The groups of the network, made from its text: the keys are the same.
fn groups(path: &Path, contents: &Contents<'_>) -> Result<Vec<FinishedGroup>, Hdf5Error> {
    let Contents { network, parameters, rates, .. } = *contents;
    let fail = |object: &str, reason: String| Hdf5Error::Object {
        path: path.to_owned(),
        object: object.to_owned(),
        reason,
    };
    let (mut groups, mut names) = (Vec::new(), Vec::new());
    let text = network.to_string();
    for (place, block) in text.split("\n\n").enumerate() {
        let mut lines = block.lines().filter_map(|line| line.split_once(' '));
        let Some((kind, name)) = lines.next() else { continue };
        if names.contains(&name) {
            let reason = "groups of nodes and of edges share one name, which this format cannot hold";
            return Err(fail(name, reason.to_owned()));
        }
        let mut group = hdf5::group(name);
        let mut keys = Vec::new();
        for (key, value) in lines {
            match key {
                "size" | "stride" => {
                    let values: Vec<i64> = value.split(',').filter_map(|axis| axis.parse().ok()).collect();
                    group.create_dataset(key).with_data(&values);
                }
                _ => hdf5::write_text(&mut group, key, value),
            }
            keys.push(key);
        }
        hdf5::write_text(&mut group, "name", name);
        hdf5::write_text(&mut group, "order", &place.to_string());
        hdf5::write_text(&mut group, "group_type", if kind == "nodes" { "node" } else { "edge" });
        let datasets = if kind == "nodes" {
            node_values(network, parameters, name)
        } else {
            edge_values(network, parameters, name)
        };
        if !datasets.is_empty() {
            for (key, value) in
                [("eta", rates.eta), ("momentum", rates.momentum), ("weight_decay", rates.weight_decay)]
            {
                if !keys.contains(&key) {
                    hdf5::write_text(&mut group, key, &value.to_string());
                }
            }
        }
        for (dataset, shape, values) in datasets {
            if let Some(place) = values.iter().position(|value| !value.is_finite()) {
                return Err(fail(name, format!("the value {} at place {place}", values[place])));
            }
            let shape: Vec<u64> = shape.into_iter().map(|axis| axis as u64).collect();
            group.create_dataset(&dataset).with_data(&values).with_shape(&shape);
        }
        names.push(name);
        groups.push(group.finish());
    }
    Ok(groups)
}

/// The name, shape and values of a dataset.
type Dataset = (String, Vec<usize>, Vec<f32>);

/// What a node has learned and remembers.
fn node_values(network: &Network, parameters: &Parameters, name: &str) -> Vec<Dataset> {
    let Some(id) = network.find_node(name) else { return Vec::new() };
    let size = network[id].size;
    let mut found = Vec::new();
    for (place, name) in network.node_tensors(id).iter().enumerate() {
        let parameter = parameters.node(id).expect("the parameters of this network");
        let [values, momentum] = node_datasets(name);
        for (dataset, all) in [(values, parameter.values()), (momentum, parameter.momentum())] {
            found.push((dataset, vec![size], all[place * size..][..size].to_vec()));
        }
    }
    let kept = parameters.statistics(id).chunks_exact(size);
    for (name, values) in network.node_statistics(id).iter().zip(kept) {
        let [dataset, _] = node_datasets(name);
        found.push((dataset, vec![size], values.to_vec()));
    }
    found
}

/// The weights of an edge.
fn edge_values(network: &Network, parameters: &Parameters, name: &str) -> Vec<Dataset> {
    let Some(id) = network.find_edge(name) else { return Vec::new() };
    let (Some(weights), Some(shape)) = (network.weight_shape(id), filters_shape(network, id)) else {
        return Vec::new();
    };
    let parameter = parameters.edge(id).expect("the parameters of this network");
    let reorder = |values: &[f32]| match network[id].op {
        EdgeOp::Deconv { .. } => kernel_order::adjoint_to_file(weights, values),
        EdgeOp::Scale { .. } => values.to_vec(),
        _ => kernel_order::to_file(weights, values),
    };
    [("filters", parameter.values()), ("momentum_vol", parameter.momentum())]
        .map(|(dataset, values)| (dataset.to_owned(), shape.clone(), reorder(values)))
        .into()
}
