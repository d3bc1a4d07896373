//! The graph of node and edge groups.

use std::fmt;
use std::ops::Index;

use super::op::{EdgeOp, NodeKind, Normalise, Statistics};
use super::validate::{self, NetworkError};
use super::{Init, WeightShape};
use crate::ops::repeat::Blocks;
use crate::volume::Extent;

/// The place of a node group in [`Network::nodes`].
///
/// ```
/// use znn::network::{NodeId, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// assert_eq!(network.find_node("hidden"), Some(NodeId(1)));
/// assert_eq!(network[NodeId(1)].name, "hidden");
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The place of an edge group in [`Network::edges`].
///
/// ```
/// use znn::network::{EdgeId, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// assert_eq!(network.find_edge("second"), Some(EdgeId(1)));
/// assert_eq!(network[EdgeId(1)].name, "second");
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub usize);

/// Whether a group is one of nodes or one of edges; names are unique among the groups of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Feature maps.
    Nodes,
    /// An operation.
    Edges,
}

/// Written as the keyword that opens such a group in a network file.
impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupKind::Nodes => "nodes",
            GroupKind::Edges => "edges",
        })
    }
}

/// A group, as messages name it: `edges conv3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupName {
    /// Nodes or edges.
    pub kind: GroupKind,
    /// Its name in the network file.
    pub name: String,
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The training constants that a group sets for its own parameters; `None` leaves the trainer's value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateOverrides {
    /// Learning rate, at least 0.
    pub eta: Option<f32>,
    /// Momentum, within 0..=1.
    pub momentum: Option<f32>,
    /// Weight decay, within 0..=1.
    pub weight_decay: Option<f32>,
}

/// A group of feature maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique among the nodes; without white space.
    pub name: String,
    /// The number of feature maps.
    pub size: usize,
    /// What is computed here.
    pub kind: NodeKind,
    /// Whether the dilation starts again at 1 behind this group (key `dense 1`).
    pub dense: bool,
    /// The biases of a group that has them; of no meaning elsewhere.
    pub init: Init,
    /// The training constants of the group's parameters.
    pub update: UpdateOverrides,
    /// Whether the biases may be copied from another network's file (key `seeding`, on if absent).
    pub seeding: bool,
    /// Keys of the file that have no meaning here, in their order: kept and written again.
    pub extra: Vec<(String, String)>,
}

/// An operation between two node groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Unique among the edges; without white space.
    pub name: String,
    /// Where the images come from.
    pub input: NodeId,
    /// Where they go.
    pub output: NodeId,
    /// What is computed.
    pub op: EdgeOp,
    /// The training constants of the kernels.
    pub update: UpdateOverrides,
    /// Whether the kernels may be copied from another network's file (key `seeding`, on if absent).
    pub seeding: bool,
    /// Keys of the file that have no meaning here, in their order: kept and written again.
    pub extra: Vec<(String, String)>,
}

/// A valid network. Equal networks have equal groups in equal order.
///
/// ```
/// use znn::network::spec;
/// use znn::{Extent, Problem};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// assert_eq!((network.nodes().len(), network.edges().len()), (3, 2));
/// let (inputs, outputs): (Vec<_>, Vec<_>) = (network.inputs().collect(), network.outputs().collect());
/// assert_eq!((network[inputs[0]].name.as_str(), network[outputs[0]].size), ("image", 2));
/// assert_eq!(network.topological_order().first(), Some(&inputs[0]));
///
/// // From a group to what it is connected with.
/// let hidden = network.find_node("hidden").expect("a node");
/// let first = network.find_edge("first").expect("an edge");
/// assert_eq!((network.in_edges(hidden), network.out_edges(hidden).len()), (&[first][..], 1));
/// assert!(network.node_ids().any(|node| node == hidden) && network.edge_ids().len() == 2);
///
/// // What training changes.
/// let shape = network.weight_shape(first).expect("a convolution");
/// assert_eq!(shape.to_array(), [12, 1, 3, 5, 5]);
/// assert_eq!(network.node_tensors(hidden), ["bias"]);
/// assert!(network.node_statistics(hidden).is_empty());
/// assert_eq!(network.parameter_counts().biases, 12 + 2);
///
/// // Sizes follow from that of the output.
/// let shapes = network.shapes(Extent::new(1, 8, 8))?;
/// assert_eq!(shapes[inputs[0]].extent, Extent::new(5, 16, 16));
/// // It has no pooling that would have to be replaced.
/// assert_eq!(network.to_dense(), network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    topology: Topology,
}

/// What follows from the edges alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Topology {
    pub in_edges: Vec<Vec<EdgeId>>,
    pub out_edges: Vec<Vec<EdgeId>>,
    /// Sources before targets.
    pub order: Vec<NodeId>,
}

/// How many parameters there are.
///
/// ```
/// use znn::network::{ParameterCounts, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let ParameterCounts { kernels, weights, biases } = network.parameter_counts();
/// assert_eq!((kernels, weights, biases), (12 + 24, 36 * 75, 14));
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Pairs of maps that a convolution joins.
    pub kernels: usize,
    /// Values of all kernels, and factors of scale edges.
    pub weights: usize,
    /// Biases of all nodes, and whatever else they learn.
    pub biases: usize,
}

impl Network {
    /// The network of these groups.
    ///
    /// # Errors
    /// All that makes the graph impossible to compute: unusable or repeated names, sizes that are zero or absurd,
    /// cycles, groups that no input reaches, one-to-one edges between groups of different size, ...
    ///
    /// # Panics
    /// Where an edge names a node that is not there.
    pub fn new(nodes: Vec<Node>, edges: Vec<Edge>) -> Result<Self, Vec<NetworkError>> {
        let topology = validate::check(&nodes, &edges)?;
        Ok(Self { nodes, edges, topology })
    }

    /// All node groups, in the order of the file.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All edge groups, in the order of the file.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// All nodes by their ids.
    pub fn node_ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// All edges by their ids.
    pub fn edge_ids(&self) -> impl ExactSizeIterator<Item = EdgeId> + use<> {
        (0..self.edges.len()).map(EdgeId)
    }

    /// The node group of that name.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The edge group of that name.
    pub fn find_edge(&self, name: &str) -> Option<EdgeId> {
        self.edges.iter().position(|edge| edge.name == name).map(EdgeId)
    }

    /// The nodes in an order in which each comes behind all that it depends on.
    pub fn topological_order(&self) -> &[NodeId] {
        &self.topology.order
    }

    /// The edges that end at a node, in the order of the file.
    pub fn in_edges(&self, node: NodeId) -> &[EdgeId] {
        &self.topology.in_edges[node.0]
    }

    /// The edges that start at a node, in the order of the file.
    pub fn out_edges(&self, node: NodeId) -> &[EdgeId] {
        &self.topology.out_edges[node.0]
    }

    /// The nodes whose images are given, in the order of the file.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.node_ids().filter(|&id| self[id].kind == NodeKind::Input)
    }

    /// The nodes without outgoing edges, in the order of the file.
    pub fn outputs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.node_ids().filter(|&id| self.out_edges(id).is_empty())
    }

    /// The shape of the weights that an edge has of its own: a convolution's, or of a deconvolution those of the
    /// convolution of which it is the adjoint (`c_out` maps of its *input*), or of a scale edge a factor for each map
    /// (`c_out`); `None` for edges without weights and those that share another's.
    pub fn weight_shape(&self, edge: EdgeId) -> Option<WeightShape> {
        match self[edge].op {
            EdgeOp::Conv { share: Some(_), .. } => None,
            _ => self.used_weight_shape(edge),
        }
    }

    /// The shape of the weights that an edge computes with, its own or those it shares.
    pub(super) fn used_weight_shape(&self, edge: EdgeId) -> Option<WeightShape> {
        let edge = &self[edge];
        let [from, to] = [edge.input, edge.output].map(|node| self[node].size);
        match edge.op {
            EdgeOp::Conv { size, .. } => Some(WeightShape { c_out: to, c_in: from, kernel: size }),
            EdgeOp::Deconv { size, .. } => Some(WeightShape { c_out: from, c_in: to, kernel: size }),
            EdgeOp::Scale { .. } => Some(WeightShape { c_out: from, c_in: 1, kernel: Extent::ONE }),
            _ => None,
        }
    }

    /// The edge whose weights an edge computes with: itself, unless it shares another's.
    pub(crate) fn weight_owner(&self, edge: EdgeId) -> EdgeId {
        match self[edge].op {
            EdgeOp::Conv { share: Some(owner), .. } => owner,
            _ => edge,
        }
    }

    /// The blocks over which the kernels of an edge are constant.
    pub(crate) fn weight_blocks(&self, edge: EdgeId) -> Blocks {
        match self[edge].op {
            EdgeOp::Conv { size, repeat, .. } => Blocks { kernel: size, repeat },
            _ => Blocks::NONE,
        }
    }

    /// The parameters of a node group that training changes, by name, each with a value for each map; empty for groups
    /// without parameters. [`Parameters`](super::Parameters) keeps them one behind the other.
    pub fn node_tensors(&self, node: NodeId) -> &'static [&'static str] {
        match self[node].kind {
            NodeKind::Transfer(_) => &["bias"],
            NodeKind::ParametricRectifyLinear { .. } => &["bias", "slope"],
            NodeKind::Normalise(_) => &["bias", "scale"],
            _ => &[],
        }
    }

    /// What a node group remembers of the images that it was trained on, by name, each with a value for each map.
    pub fn node_statistics(&self, node: NodeId) -> &'static [&'static str] {
        match self[node].kind {
            NodeKind::Normalise(Normalise { statistics: Statistics::Running { .. }, .. }) => {
                &["mean", "variance"]
            }
            _ => &[],
        }
    }

    /// The number of parameters of a node group that training changes; `None` where it has none.
    #[doc(hidden)]
    pub fn bias_len(&self, node: NodeId) -> Option<usize> {
        let len = self.node_tensors(node).len() * self[node].size;
        (len > 0).then_some(len)
    }

    /// How many parameters the network has.
    pub fn parameter_counts(&self) -> ParameterCounts {
        let shapes = self.edge_ids().filter_map(|edge| self.weight_shape(edge));
        let biases = self.node_ids().filter_map(|node| self.bias_len(node)).sum();
        shapes.fold(ParameterCounts { biases, ..Default::default() }, |sum, shape| ParameterCounts {
            kernels: sum.kernels + shape.c_out * shape.c_in,
            weights: sum.weights + shape.len(),
            ..sum
        })
    }

    /// Whether the maps of a node are probabilities by a softmax of the network's own.
    #[doc(hidden)]
    pub fn gives_probabilities(&self, node: NodeId) -> bool {
        self[node].kind == NodeKind::Softmax
    }

    /// The same network without the softmax in which it ends, where it does: what it gives are the raw scores.
    #[doc(hidden)]
    pub fn without_softmax(&self) -> Self {
        let mut network = self.clone();
        for node in self.outputs().filter(|&node| self.gives_probabilities(node)) {
            network.nodes[node.0].kind = NodeKind::Sum;
        }
        network
    }

    /// The same network without training constants of its own: all groups take those of the trainer.
    pub(crate) fn without_rates(&self) -> Self {
        let mut network = self.clone();
        network.edges.iter_mut().for_each(|edge| edge.update = UpdateOverrides::default());
        network.nodes.iter_mut().for_each(|node| node.update = UpdateOverrides::default());
        network
    }

    /// Whether each voxel of the output is the same function of the input around it, so that a volume can be computed
    /// densely, in tiles of any size. It is not so where images are padded, made smaller by a stride or enlarged: such a
    /// network gives images of their own to inputs of certain sizes. Max pooling does no harm: see
    /// [`to_dense`](Network::to_dense).
    pub(crate) fn is_uniform(&self) -> bool {
        self.edges.iter().all(|edge| match edge.op {
            EdgeOp::Conv { pad, downsample, .. } => pad == Extent::ZERO && downsample == Extent::ONE,
            EdgeOp::MaxPool { size, downsample, pad } => downsample == size && pad == Extent::ZERO,
            EdgeOp::Deconv { .. } | EdgeOp::AveragePool { .. } | EdgeOp::Upsample { .. } => false,
            _ => true,
        })
    }

    /// The same network for dense inference: every max pooling becomes a max filter of the same window whose stride
    /// is that window, so that all that follows is dilated instead of being computed on a smaller image. Each voxel
    /// of the dense output is what the pooled network computes for the patch around that voxel. A network with
    /// padding, strided convolution, average pooling, deconvolution or upsampling stays as it is.
    pub fn to_dense(&self) -> Self {
        let mut dense = self.clone();
        if !self.is_uniform() {
            return dense;
        }
        for edge in &mut dense.edges {
            if let EdgeOp::MaxPool { size, .. } = edge.op {
                edge.op = EdgeOp::MaxFilter { size, stride: size };
                // A pooling may carry a stride that was ignored; the filter's own would contradict it.
                edge.extra.retain(|(key, _)| key != "stride");
            }
        }
        dense
    }
}

impl Index<NodeId> for Network {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

impl Index<EdgeId> for Network {
    type Output = Edge;
    fn index(&self, id: EdgeId) -> &Edge {
        &self.edges[id.0]
    }
}
