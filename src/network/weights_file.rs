//! Files of a network with its parameters: `.safetensors`, format version 1.
//!
//! The container is [safetensors](https://github.com/huggingface/safetensors): a header in JSON, then the values of
//! the tensors, little-endian `f32`, row-major. All of a network is in one file:
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `EDGES.weight` | `[c_out, c_in, kz, ky, kx]` | each conv group with kernels of its own; cross-correlation, as in PyTorch |
//! | | `[c_in, c_out, kz, ky, kx]` | each deconv group, as in PyTorch |
//! | | `[maps, 1, 1, 1, 1]` | each scale group |
//! | `NODES.bias` | `[maps]` | each transfer and normalise group |
//! | `NODES.slope` | `[maps]` | each transfer group with `parametric_rectify_linear` |
//! | `NODES.scale` | `[maps]` | each normalise group |
//! | `EDGES.weight.momentum`, `NODES.bias.momentum`, ... | as the values | optional; zero where absent |
//! | `EDGES.weight.squares`, `NODES.bias.squares`, ... | as the values | optional: the mean squared gradients of Adam |
//! | `NODES.mean`, `NODES.variance` | `[maps]` | running statistics of a normalise group |
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
///
/// See [`load`].
///
/// ```
/// use znn::network::weights_file::Model;
/// use znn::network::{Parameters, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let parameters = Parameters::init(&network, 1);
/// let model = Model { network, parameters, notes: [("by".to_owned(), "me".to_owned())].into() };
/// assert_eq!(model.notes["by"], "me");
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
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
///
/// ```
/// use znn::network::weights_file::{self, WeightsFileError};
///
/// let error = weights_file::load("Cargo.toml".as_ref()).unwrap_err();
/// assert!(matches!(error, WeightsFileError::Container { .. }), "{error}");
/// ```
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

/// Writes a model to `path`, replacing what is there as a whole or not at all.
///
/// # Errors
/// Where the file system fails, and where a value is not finite: training has failed then, and the last good file
/// should stay.
///
/// # Panics
/// Where the parameters are not those of the network, or a note has a name that the format uses itself.
///
/// ```
/// use znn::network::{Parameters, spec, weights_file};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let parameters = Parameters::init(&network, 1);
/// let notes = [("iteration".to_owned(), "0".to_owned())].into();
/// // Without momentum, for inference only.
/// weights_file::save(&path, &network, &parameters, &notes, false)?;
/// assert_eq!(weights_file::load(&path)?.notes, notes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        let len = shape.iter().product();
        let (values, momentum) = group.of(parameters, len);
        if let (true, Some(momentum)) = (with_momentum, momentum) {
            tensors.push((format!("{name}.momentum"), shape.clone(), momentum));
            if let Some(squares) = group.squares(parameters, len) {
                tensors.push((format!("{name}.squares"), shape.clone(), squares));
            }
        }
        tensors.push((name, shape, values));
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
///
/// ```
/// use znn::network::{Parameters, spec, weights_file};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.safetensors");
/// # let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// # let parameters = Parameters::init(&network, 1);
/// # weights_file::save(&path, &network, &parameters, &Default::default(), true)?;
/// let model = weights_file::load(&path)?;
/// assert_eq!((&model.network, &model.parameters), (&network, &parameters));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        let len = shape.iter().product();
        tensors.take(name, shape, group.values_mut(&mut parameters, len))?;
        let momentum = format!("{name}.momentum");
        if let (true, Some(values)) =
            (tensors.views.contains_key(&momentum), group.momentum_mut(&mut parameters, len))
        {
            tensors.take(&momentum, shape, values)?;
        }
        let squares = format!("{name}.squares");
        // Asked for only where they are there: to ask makes them.
        if tensors.views.contains_key(&squares)
            && let Some(values) = group.squares_mut(&mut parameters, len)
        {
            tensors.take(&squares, shape, values)?;
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
    /// One of what a node learns, by its place.
    Node(NodeId, usize),
    /// One of a node's statistics, by its place.
    Statistic(NodeId, usize),
}

/// The parameters of another network.
const WRONG: &str = "the parameters of this network";

impl Group {
    /// The values, `len` of them, and the momentum of those that have one.
    fn of(self, parameters: &Parameters, len: usize) -> (&[f32], Option<&[f32]>) {
        let (parameter, at) = match self {
            Group::Edge(edge) => (parameters.edge(edge), 0),
            Group::Node(node, place) => (parameters.node(node), place * len),
            Group::Statistic(node, place) => {
                return (&parameters.statistics(node)[place * len..][..len], None);
            }
        };
        let parameter = parameter.expect(WRONG);
        // Parameters of another network show as a wrong length later.
        let part = |values| part(values, self, at, len);
        (part(parameter.values()), Some(part(parameter.momentum())))
    }

    fn values_mut(self, parameters: &mut Parameters, len: usize) -> &mut [f32] {
        match self {
            Group::Edge(edge) => parameters.edge_mut(edge).expect(WRONG).values_mut(),
            Group::Node(node, place) => {
                &mut parameters.node_mut(node).expect(WRONG).values_mut()[place * len..][..len]
            }
            Group::Statistic(node, place) => &mut parameters.statistics_mut(node)[place * len..][..len],
        }
    }

    fn momentum_mut(self, parameters: &mut Parameters, len: usize) -> Option<&mut [f32]> {
        match self {
            Group::Edge(edge) => Some(parameters.edge_mut(edge).expect(WRONG).momentum_mut()),
            Group::Node(node, place) => {
                Some(&mut parameters.node_mut(node).expect(WRONG).momentum_mut()[place * len..][..len])
            }
            Group::Statistic(..) => None,
        }
    }
}

/// The mean squared gradients.
impl Group {
    fn squares(self, parameters: &Parameters, len: usize) -> Option<&[f32]> {
        match self {
            Group::Edge(edge) => parameters.edge(edge).expect(WRONG).variance(),
            Group::Node(node, place) => {
                let all = parameters.node(node).expect(WRONG).variance()?;
                Some(&all[place * len..][..len])
            }
            Group::Statistic(..) => None,
        }
    }

    fn squares_mut(self, parameters: &mut Parameters, len: usize) -> Option<&mut [f32]> {
        match self {
            Group::Edge(edge) => Some(parameters.edge_mut(edge).expect(WRONG).variance_mut()),
            Group::Node(node, place) => {
                Some(&mut parameters.node_mut(node).expect(WRONG).variance_mut()[place * len..][..len])
            }
            Group::Statistic(..) => None,
        }
    }
}

/// All of an edge's values, or the part of a node's.
fn part(values: &[f32], group: Group, at: usize, len: usize) -> &[f32] {
    match group {
        Group::Edge(_) => values,
        _ => &values[at..][..len],
    }
}

/// The tensors of values as a file has them, without momentum: names, shapes, values.
///
/// # Panics
/// Where the parameters are not those of the network.
pub(crate) fn tensors<'a>(
    network: &Network,
    parameters: &'a Parameters,
) -> impl Iterator<Item = (String, Vec<usize>, &'a [f32])> {
    tensor_shapes(network).map(move |(group, name, shape)| {
        let (values, _) = group.of(parameters, shape.iter().product());
        (name, shape, values)
    })
}

/// The groups that have parameters, with names and shapes of their tensors.
fn tensor_shapes(network: &Network) -> impl Iterator<Item = (Group, String, Vec<usize>)> {
    let weights = network.edge_ids().filter_map(|id| {
        let shape = network.weight_shape(id)?.to_array().to_vec();
        Some((Group::Edge(id), format!("{}.weight", network[id].name), shape))
    });
    let nodes = network.node_ids().flat_map(|id| {
        let node = &network[id];
        let named = |names: &'static [&'static str], group: fn(NodeId, usize) -> Group| {
            let tensor = move |(place, name): (usize, &&str)| {
                (group(id, place), format!("{}.{name}", node.name), vec![node.size])
            };
            names.iter().enumerate().map(tensor)
        };
        named(network.node_tensors(id), Group::Node)
            .chain(named(network.node_statistics(id), Group::Statistic))
    });
    weights.chain(nodes)
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
