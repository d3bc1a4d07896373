//! Writing.

use std::path::Path;

use super::{Hdf5FileError, Layout, Statistics, kernel_order, statistics_path};
use crate::hdf5::{self, FileBuilder, FinishedGroup, Hdf5Error};
use crate::network::{Network, Parameter, Parameters};

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
    for block in text.split("\n\n") {
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
        hdf5::write_text(&mut group, "group_type", if kind == "nodes" { "node" } else { "edge" });
        let parameter = match kind {
            "nodes" => network.find_node(name).and_then(|id| {
                Some((parameters.node(id)?, "biases", vec![network.bias_len(id)? as u64], None))
            }),
            _ => network.find_edge(name).and_then(|id| {
                let shape = network.weight_shape(id)?;
                let [c_out, c_in, z, y, x] = shape.to_array().map(|axis| axis as u64);
                Some((parameters.edge(id)?, "filters", vec![c_in, c_out, z, y, x], Some(shape)))
            }),
        };
        if let Some((parameter, dataset, shape, weights)) = parameter {
            for (key, value) in
                [("eta", rates.eta), ("momentum", rates.momentum), ("weight_decay", rates.weight_decay)]
            {
                if !keys.contains(&key) {
                    hdf5::write_text(&mut group, key, &value.to_string());
                }
            }
            check_finite(parameter)
                .map_err(|(place, value)| fail(name, format!("the value {value} at place {place}")))?;
            for (dataset, values) in [(dataset, parameter.values()), ("momentum_vol", parameter.momentum())] {
                let values = match weights {
                    Some(shape) => kernel_order::to_file(shape, values),
                    None => values.to_vec(),
                };
                group.create_dataset(dataset).with_data(&values).with_shape(&shape);
            }
        }
        names.push(name);
        groups.push(group.finish());
    }
    Ok(groups)
}

fn check_finite(parameter: &Parameter) -> Result<(), (usize, f32)> {
    let mut values = parameter.values().iter().chain(parameter.momentum()).enumerate();
    match values.find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((place, &value)) => Err((place, value)),
    }
}
