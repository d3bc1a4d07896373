//! The values that training changes.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{EdgeId, EdgeOp, GroupKind, GroupName, Network, NodeId, NodeKind};
use crate::ops::repeat::average_blocks;

/// The weights of one convolution (`[c_out][c_in][kz][ky][kx]`, see [`WeightShape`](super::WeightShape)) or what one node
/// learns (`[map]` for each of its [tensors](Network::node_tensors)), with what the optimiser remembers of each value.
///
/// ```
/// use znn::network::Parameter;
///
/// let mut bias = Parameter::zeros(3);
/// bias.values_mut().copy_from_slice(&[1.0, 2.0, 3.0]);
/// bias.momentum_mut()[0] = 0.5;
/// assert_eq!((bias.values(), bias.momentum()), (&[1.0, 2.0, 3.0][..], &[0.5, 0.0, 0.0][..]));
/// // Only Adam needs it.
/// assert_eq!(bias.variance(), None);
/// bias.variance_mut()[2] = 0.1;
/// assert_eq!(bias.variance(), Some(&[0.0, 0.0, 0.1][..]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub(super) values: Vec<f32>,
    pub(super) momentum: Vec<f32>,
    /// Empty where there is none.
    variance: Vec<f32>,
}

impl Parameter {
    /// All zero.
    pub fn zeros(len: usize) -> Self {
        Self { values: vec![0.0; len], momentum: vec![0.0; len], variance: Vec::new() }
    }

    /// The weights or biases.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The weights or biases.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The velocity of each value in the update rule; of Adam, its mean gradient.
    pub fn momentum(&self) -> &[f32] {
        &self.momentum
    }

    /// The velocity of each value in the update rule; of Adam, its mean gradient.
    pub fn momentum_mut(&mut self) -> &mut [f32] {
        &mut self.momentum
    }

    /// The mean squared gradient of each value, which Adam keeps.
    pub fn variance(&self) -> Option<&[f32]> {
        (!self.variance.is_empty()).then_some(&self.variance)
    }

    /// The mean squared gradient of each value; 0 where there was none.
    pub fn variance_mut(&mut self) -> &mut [f32] {
        self.variance.resize(self.values.len(), 0.0);
        &mut self.variance
    }

    /// Drops the mean squared gradients.
    pub(crate) fn forget_variance(&mut self) {
        self.variance.clear();
    }
}

/// All weights and biases of one network, and what its nodes remember of the training's images.
///
/// ```
/// use znn::network::{Parameters, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let (first, hidden) = (network.find_edge("first").unwrap(), network.find_node("hidden").unwrap());
/// let mut parameters = Parameters::init(&network, 1);
/// assert_eq!(parameters, Parameters::init(&network, 1));
/// assert_eq!(parameters.edge(first).unwrap().values().len(), 12 * 3 * 5 * 5);
/// assert_eq!(parameters.node(hidden).unwrap().values(), [0.0; 12]);
/// // Only groups that normalise remember something.
/// assert!(parameters.statistics(hidden).is_empty() && parameters.statistics_mut(hidden).is_empty());
///
/// parameters.edge_mut(first).unwrap().values_mut().fill(0.0);
/// parameters.node_mut(hidden).unwrap().values_mut()[0] = 1.0;
/// assert_ne!(parameters, Parameters::zeros(&network));
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    edges: Vec<Option<Parameter>>,
    nodes: Vec<Option<Parameter>>,
    /// A value for each of a node's statistics and maps; empty where it has none.
    statistics: Vec<Vec<f32>>,
    updates: u64,
}

impl Parameters {
    /// The right number of values, all of them zero.
    pub fn zeros(network: &Network) -> Self {
        let zeros = |len: Option<usize>| len.map(Parameter::zeros);
        let weights = |edge| network.weight_shape(edge).map(|shape| shape.len());
        Self {
            edges: network.edge_ids().map(|edge| zeros(weights(edge))).collect(),
            nodes: network.node_ids().map(|node| zeros(network.bias_len(node))).collect(),
            statistics: network
                .node_ids()
                .map(|node| vec![0.0; network.node_statistics(node).len() * network[node].size])
                .collect(),
            updates: 0,
        }
    }

    /// The values that the network's `init` keys ask for; momentum zero.
    ///
    /// Each group draws from a stream of its own, which depends on `seed` and the group's name alone: adding or
    /// changing a group leaves the first values of all others as they are.
    pub fn init(network: &Network, seed: u64) -> Self {
        let mut parameters = Self::zeros(network);
        for id in network.edge_ids() {
            let edge = &network[id];
            let (Some(shape), Some(parameter)) = (network.weight_shape(id), parameters.edge_mut(id)) else {
                continue;
            };
            let mut rng = stream(seed, GroupKind::Edges, &edge.name);
            let values = parameter.values_mut();
            match edge.op {
                EdgeOp::Conv { init, .. } => {
                    let fan = [shape.c_in, shape.c_out].map(|maps| (maps * shape.kernel.len()) as f64);
                    init.fill_weights(&mut rng, fan, values);
                }
                EdgeOp::Deconv { init, stride, .. } => {
                    // Of the voxels of a kernel, one in so many meets an output.
                    let taps = shape.kernel.len() as f64;
                    let fan = [shape.c_out as f64 * taps / stride.len() as f64, shape.c_in as f64 * taps];
                    init.fill_weights(&mut rng, fan, values);
                }
                EdgeOp::Scale { init } => init.fill_biases(&mut rng, values),
                _ => unreachable!("a {} edge has no weights", edge.op.keyword()),
            }
            let blocks = network.weight_blocks(id);
            average_blocks(values, blocks.kernel, blocks.repeat);
        }
        for id in network.node_ids() {
            let node = &network[id];
            if let Some(parameter) = parameters.node_mut(id) {
                let mut rng = stream(seed, GroupKind::Nodes, &node.name);
                let (biases, others) = parameter.values_mut().split_at_mut(node.size);
                node.init.fill_biases(&mut rng, biases);
                match node.kind {
                    NodeKind::ParametricRectifyLinear { slope } => others.fill(slope),
                    _ => others.fill(1.0),
                }
            }
            let statistics = network.node_statistics(id).iter();
            for (name, values) in statistics.zip(parameters.statistics[id.0].chunks_exact_mut(node.size)) {
                values.fill(if *name == "variance" { 1.0 } else { 0.0 });
            }
        }
        parameters
    }

    /// All groups of parameters: the convolutions, then the transfer nodes, in the order of the file.
    #[doc(hidden)]
    pub fn groups_mut<'a>(
        &'a mut self,
        network: &'a Network,
    ) -> impl Iterator<Item = (GroupName, &'a mut Parameter)> + 'a {
        let edges = self.edges.iter_mut().zip(network.edges()).filter_map(|(parameter, edge)| {
            Some((GroupName { kind: GroupKind::Edges, name: edge.name.clone() }, parameter.as_mut()?))
        });
        let nodes = self.nodes.iter_mut().zip(network.nodes()).filter_map(|(parameter, node)| {
            Some((GroupName { kind: GroupKind::Nodes, name: node.name.clone() }, parameter.as_mut()?))
        });
        edges.chain(nodes)
    }

    /// The updates that the optimiser has done: what its means are over.
    #[doc(hidden)]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Says how many updates the optimiser has done.
    #[doc(hidden)]
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Whether there are mean squared gradients: those of Adam.
    pub(crate) fn has_variance(&self) -> bool {
        self.edges.iter().chain(&self.nodes).flatten().any(|parameter| parameter.variance().is_some())
    }

    /// Lets the optimiser begin anew: momentum and variance are those of no update.
    pub(crate) fn forget_updates(&mut self) {
        for parameter in self.edges.iter_mut().chain(&mut self.nodes).flatten() {
            parameter.momentum.fill(0.0);
            parameter.variance.clear();
        }
        self.updates = 0;
    }

    /// The weights that an edge has of its own; `None` for edges without.
    pub fn edge(&self, edge: EdgeId) -> Option<&Parameter> {
        self.edges[edge.0].as_ref()
    }

    /// The weights that an edge has of its own; `None` for edges without.
    pub fn edge_mut(&mut self, edge: EdgeId) -> Option<&mut Parameter> {
        self.edges[edge.0].as_mut()
    }

    /// The biases of a node, and what else it learns; `None` where it learns nothing.
    pub fn node(&self, node: NodeId) -> Option<&Parameter> {
        self.nodes[node.0].as_ref()
    }

    /// The biases of a node, and what else it learns; `None` where it learns nothing.
    pub fn node_mut(&mut self, node: NodeId) -> Option<&mut Parameter> {
        self.nodes[node.0].as_mut()
    }

    /// What a node remembers of the training's images: for each of its [statistics](Network::node_statistics) a value for
    /// each map.
    pub fn statistics(&self, node: NodeId) -> &[f32] {
        &self.statistics[node.0]
    }

    /// What a node remembers of the training's images.
    pub fn statistics_mut(&mut self, node: NodeId) -> &mut [f32] {
        &mut self.statistics[node.0]
    }
}

/// The random stream of a group: the seed is the key of the cipher, the name its stream number.
fn stream(seed: u64, kind: GroupKind, name: &str) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(&format!("{kind} {name}")));
    rng
}

/// The hash FNV-1a (64 bit): its values never change, as those of the standard library may.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
