//! Files of a network with its parameters: `.safetensors`, format version 1.
//!
//! The container is [safetensors](https://github.com/huggingface/safetensors): a header in JSON, then the values of
//! the tensors, little-endian `f32`, row-major. All of a network is in one file:
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `EDGES.weight` | `[c_out, c_in, kz, ky, kx]` | each conv group; cross-correlation, as in PyTorch |
//! | `NODES.bias` | `[maps]` | each transfer group |
//! | `EDGES.weight.momentum`, `NODES.bias.momentum` | as the values | optional; zero where absent |
//! | `EDGES.weight.variance`, `NODES.bias.variance` | as the values | optional: the mean squared gradients of Adam |
//!
//! | metadata | |
//! |---|---|
//! | `znn_format` | the version of this layout, `1` |
//! | `network` | the text of the network, see [`spec`] |
//! | `updates` | optional: the updates that momentum and variance have seen; 0 where absent |
//! | others | notes of whoever wrote the file |
//!
//! Python reads it with
//!
//! ```python
//! from safetensors import safe_open
//! with safe_open("model.safetensors", framework="numpy") as file:
//!     network, weights = file.metadata()["network"], {name: file.get_tensor(name) for name in file.keys()}
//! ```
//!
//! The same model gives the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};

use super::spec::{self, SpecError};
use super::{EdgeId, Network, NodeId, Parameters};
use crate::atomic_file;

const VERSION: &str = "1";
const VERSION_KEY: &str = "znn_format";
const NETWORK_KEY: &str = "network";
const UPDATES_KEY: &str = "updates";

/// What a weights file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// Its weights and biases.
    pub parameters: Parameters,
    /// Facts that the writer added, by their names: how it was trained, on what, for how long.
    pub notes: BTreeMap<String, String>,
}

/// A weights file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFileError {
    /// The system cannot read or write it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not a safetensors file, or not all of it is there.
    #[error("{}: not a complete safetensors file: {source}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafeTensorError,
    },
    /// It was not written by this program.
    #[error("{}: the metadata has no `{key}`: expected a weights file of znn", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        key: &'static str,
    },
    /// It was written by a later program.
    #[error("{}: the format version is `{found}`, expected {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// The text of the network in it is wrong.
    #[error(transparent)]
    Network(SpecError),
    /// The network has values that its text format cannot express, such as an infinite learning rate.
    #[error("{}: the network cannot be written as text that reads back the same", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A tensor is not there.
    #[error("{}: tensor `{tensor}` is missing, expected shape {expected:?}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the network gives it.
        expected: Vec<usize>,
    },
    /// A tensor belongs to no group of the network.
    #[error("{}: tensor `{tensor}` belongs to no group of the network in the file", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has the wrong shape or type.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?} of {dtype:?}, expected {expected:?} of F32", path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the network gives it.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// The type in the file.
        dtype: Dtype,
    },
    /// The number of updates is no number.
    #[error("{}: the metadata `{UPDATES_KEY}` is `{found}`, expected a whole number", path.display())]
    Updates {
        /// The file.
        path: PathBuf,
        /// Its text.
        found: String,
    },
    /// A value is infinite or not a number.
    #[error("{}: tensor `{tensor}` has the value {value} at place {place}, expected finite numbers", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its place in memory order, from 0.
        place: usize,
        /// The value.
        value: f32,
    },
}

/// Writes a model to `path`, replacing what is there as a whole or not at all (see [`atomic_file`]).
///
/// # Errors
/// Where the file system fails, and where a value is not finite: training has failed then, and the last good file
/// should stay.
///
/// # Panics
/// Where the parameters are not those of the network, or a note has a name that the format uses itself.
pub fn save(
    path: &Path,
    network: &Network,
    parameters: &Parameters,
    notes: &BTreeMap<String, String>,
    with_momentum: bool,
) -> Result<(), WeightsFileError> {
    assert!(
        [VERSION_KEY, NETWORK_KEY, UPDATES_KEY].iter().all(|&key| !notes.contains_key(key)),
        "`{VERSION_KEY}`, `{NETWORK_KEY}` and `{UPDATES_KEY}` are no names for notes"
    );
    let text = network.to_string();
    if !spec::parse(&text, "").is_ok_and(|parsed| parsed.network == *network) {
        return Err(WeightsFileError::NotText { path: path.to_owned() });
    }
    let mut tensors = Vec::new();
    for (group, name, shape) in tensor_shapes(network) {
        let parameter = match group {
            Group::Edge(edge) => parameters.edge(edge),
            Group::Node(node) => parameters.node(node),
        };
        let parameter = parameter.expect("the parameters of this network");
        if with_momentum {
            tensors.push((format!("{name}.momentum"), shape.clone(), parameter.momentum()));
            if let Some(variance) = parameter.variance() {
                tensors.push((format!("{name}.variance"), shape.clone(), variance));
            }
        }
        tensors.push((name, shape, parameter.values()));
    }
    for (tensor, shape, values) in &tensors {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "the parameters of this network: {tensor}");
        check_finite(path, tensor, values)?;
    }
    let mut notes = notes.clone();
    if with_momentum && parameters.updates() > 0 {
        notes.insert(UPDATES_KEY.to_owned(), parameters.updates().to_string());
    }
    let header = header(&text, &notes, &tensors);
    let write = |file: &mut dyn Write| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for value in tensors.iter().flat_map(|(_, _, values)| values.iter()) {
            file.write_all(&value.to_le_bytes())?;
        }
        Ok(())
    };
    atomic_file::write(path, |file| write(file))
        .map_err(|source| WeightsFileError::Io { path: path.to_owned(), source })
}

/// The header in JSON: names and places of the tensors, filled with spaces so that the values are aligned.
fn header(
    network: &str,
    notes: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>, &[f32])],
) -> String {
    let mut metadata: Map<String, Value> =
        notes.iter().map(|(key, note)| (key.clone(), json!(note))).collect();
    metadata.insert(VERSION_KEY.to_owned(), json!(VERSION));
    metadata.insert(NETWORK_KEY.to_owned(), json!(network));
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), Value::Object(metadata));
    let mut start = 0;
    for (name, shape, values) in tensors {
        let end = start + size_of_val(*values);
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut header = Value::Object(header).to_string();
    let padded = header.len().next_multiple_of(8);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header
}

/// Reads a model from `path`.
///
/// # Errors
/// Where anything is missing, superfluous, of the wrong shape or type, or not finite.
pub fn load(path: &Path) -> Result<Model, WeightsFileError> {
    let bytes = fs::read(path).map_err(|source| WeightsFileError::Io { path: path.to_owned(), source })?;
    let container = |source| WeightsFileError::Container { path: path.to_owned(), source };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(container)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(container)?.tensors();
    let mut tensors = Tensors { path, views: tensors.into_iter().collect() };

    let mut notes: BTreeMap<_, _> = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    let mut take =
        |key| notes.remove(key).ok_or_else(|| WeightsFileError::Foreign { path: path.to_owned(), key });
    let version = take(VERSION_KEY)?;
    if version != VERSION {
        return Err(WeightsFileError::Version { path: path.to_owned(), found: version });
    }
    let text = take(NETWORK_KEY)?;
    let parsed = spec::parse(text, &format!("{} (network)", path.display()));
    let updates = match notes.remove(UPDATES_KEY) {
        None => 0,
        Some(found) => match found.parse() {
            Ok(updates) => updates,
            Err(_) => return Err(WeightsFileError::Updates { path: path.to_owned(), found }),
        },
    };
    let network = parsed.map_err(WeightsFileError::Network)?.network;

    // Before memory is taken for the parameters: that the file has as many values as the network asks for.
    let shapes: Vec<_> = tensor_shapes(&network).collect();
    for (_, name, shape) in &shapes {
        tensors.check(name, shape)?;
    }
    let mut parameters = Parameters::zeros(&network);
    for (group, name, shape) in &shapes {
        let parameter = match *group {
            Group::Edge(edge) => parameters.edge_mut(edge),
            Group::Node(node) => parameters.node_mut(node),
        };
        let parameter = parameter.expect("parameters of this shape");
        tensors.take(name, shape, parameter.values_mut())?;
        let momentum = format!("{name}.momentum");
        if tensors.views.contains_key(&momentum) {
            tensors.take(&momentum, shape, parameter.momentum_mut())?;
        }
        let variance = format!("{name}.variance");
        if tensors.views.contains_key(&variance) {
            tensors.take(&variance, shape, parameter.variance_mut())?;
        }
    }
    parameters.set_updates(updates);
    match tensors.views.into_keys().min() {
        Some(tensor) => Err(WeightsFileError::Unknown { path: path.to_owned(), tensor }),
        None => Ok(Model { network, parameters, notes }),
    }
}

/// The tensors of a file that are not yet used.
struct Tensors<'a> {
    path: &'a Path,
    views: HashMap<String, TensorView<'a>>,
}

impl<'a> Tensors<'a> {
    /// The tensor, if it has that shape.
    fn check(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>, WeightsFileError> {
        let (path, tensor, expected) = (self.path.to_owned(), name.to_owned(), shape.to_vec());
        match self.views.get(name) {
            None => Err(WeightsFileError::Missing { path, tensor, expected }),
            Some(view) if view.shape() != shape || view.dtype() != Dtype::F32 => {
                let (found, dtype) = (view.shape().to_vec(), view.dtype());
                Err(WeightsFileError::Shape { path, tensor, expected, found, dtype })
            }
            Some(view) => Ok(view.clone()),
        }
    }

    /// Copies a tensor of that shape; it counts as used.
    fn take(&mut self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<(), WeightsFileError> {
        let view = self.check(name, shape)?;
        let (words, _) = view.data().as_chunks::<4>();
        for (value, &word) in values.iter_mut().zip(words) {
            *value = f32::from_le_bytes(word);
        }
        check_finite(self.path, name, values)?;
        self.views.remove(name);
        Ok(())
    }
}

/// Whose values a tensor holds.
#[derive(Clone, Copy)]
enum Group {
    Edge(EdgeId),
    Node(NodeId),
}

/// The groups that have parameters, with names and shapes of their tensors.
fn tensor_shapes(network: &Network) -> impl Iterator<Item = (Group, String, Vec<usize>)> {
    let weights = network.edge_ids().filter_map(|id| {
        let shape = network.weight_shape(id)?.to_array().to_vec();
        Some((Group::Edge(id), format!("{}.weight", network[id].name), shape))
    });
    let biases = network.node_ids().filter_map(|id| {
        let shape = vec![network.bias_len(id)?];
        Some((Group::Node(id), format!("{}.bias", network[id].name), shape))
    });
    weights.chain(biases)
}

fn check_finite(path: &Path, tensor: &str, values: &[f32]) -> Result<(), WeightsFileError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(place) => Err(WeightsFileError::NotFinite {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            place,
            value: values[place],
        }),
    }
}

#[cfg(test)]
mod tests;
