//! The graph of node and edge groups.

use std::fmt;
use std::ops::Index;

use znn_kernels::Transfer;

use super::validate::{self, NetworkError};
use super::{Init, WeightShape};
use crate::volume::Extent;

/// The place of a node group in [`Network::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The place of an edge group in [`Network::edges`].
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

/// What a node group does with the values that reach it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeKind {
    /// The maps are given from outside.
    Input,
    /// The sum over the incoming edges.
    Sum,
    /// The function of sum plus bias; one bias for each map.
    Transfer(Transfer),
    /// The voxel-wise maximum over the incoming [`EdgeOp::Maxout`] edges.
    Maxout,
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
    /// The biases of a transfer group; of no meaning elsewhere.
    pub init: Init,
    /// The training constants of the biases.
    pub update: UpdateOverrides,
    /// Whether the biases may be copied from another network's file (key `seeding`, on if absent).
    pub seeding: bool,
    /// Keys of the file that have no meaning here, in their order: kept and written again.
    pub extra: Vec<(String, String)>,
}

/// An operation from one node group to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EdgeOp {
    /// Valid convolution, every map of the input with every map of the output, dilated by the stride that the
    /// input node has accumulated (see [`Shapes`](super::Shapes)).
    Conv {
        /// The kernel.
        size: Extent,
        /// Factor of the dilation of all that follows; the convolution itself is computed densely.
        stride: Extent,
        /// The kernels are constant over blocks of this extent, which divides `size`.
        repeat: Extent,
        /// The first values of the kernels.
        init: Init,
        /// The file's wish for the algorithm (key `fft`): FFT, direct, or none.
        fft: Option<bool>,
    },
    /// Sliding-window maximum, map by map, dilated as a convolution.
    MaxFilter {
        /// The window.
        size: Extent,
        /// Factor of the dilation of all that follows.
        stride: Extent,
    },
    /// Maximum over blocks that do not overlap, map by map.
    MaxPool {
        /// The block, which divides the image.
        size: Extent,
    },
    /// A random part of the voxels is set to zero while training.
    Dropout {
        /// The probability that a voxel is kept, within 0..=1 but not 0; kept voxels are divided by it.
        keep: f32,
    },
    /// Voxels are removed on both sides.
    Crop {
        /// How many, on each side.
        offset: Extent,
    },
    /// A contribution to a maxout group.
    Maxout,
    /// The identity.
    Dummy,
}

impl EdgeOp {
    /// The word that stands for it in a network file.
    pub fn keyword(&self) -> &'static str {
        match self {
            EdgeOp::Conv { .. } => "conv",
            EdgeOp::MaxFilter { .. } => "max_filter",
            EdgeOp::MaxPool { .. } => "max_pool",
            EdgeOp::Dropout { .. } => "dropout",
            EdgeOp::Crop { .. } => "crop",
            EdgeOp::Maxout => "maxout",
            EdgeOp::Dummy => "dummy",
        }
    }

    /// Whether map `i` of the output depends on map `i` of the input alone, so that both groups have one size.
    pub fn is_one_to_one(&self) -> bool {
        !matches!(self, EdgeOp::Conv { .. })
    }

    /// The factor by which the operation raises the dilation of all that follows.
    pub fn stride(&self) -> Extent {
        match *self {
            EdgeOp::Conv { stride, .. } | EdgeOp::MaxFilter { stride, .. } => stride,
            _ => Extent::ONE,
        }
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Pairs of maps that a convolution joins.
    pub kernels: usize,
    /// Values of all kernels.
    pub weights: usize,
    /// Maps of all transfer nodes.
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

    /// The shape of the weights of a convolution; `None` for other edges.
    pub fn weight_shape(&self, edge: EdgeId) -> Option<WeightShape> {
        let edge = &self[edge];
        match edge.op {
            EdgeOp::Conv { size, .. } => {
                Some(WeightShape { c_out: self[edge.output].size, c_in: self[edge.input].size, kernel: size })
            }
            _ => None,
        }
    }

    /// The number of biases of a transfer group; `None` for other nodes.
    pub fn bias_len(&self, node: NodeId) -> Option<usize> {
        let node = &self[node];
        matches!(node.kind, NodeKind::Transfer(_)).then_some(node.size)
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

    /// The same network without training constants of its own: all groups take those of the trainer.
    pub fn without_rates(&self) -> Self {
        let mut network = self.clone();
        network.edges.iter_mut().for_each(|edge| edge.update = UpdateOverrides::default());
        network.nodes.iter_mut().for_each(|node| node.update = UpdateOverrides::default());
        network
    }

    /// The same network for dense inference: every max pooling becomes a max filter of the same window whose stride
    /// is that window, so that all that follows is dilated instead of being computed on a smaller image. Each voxel
    /// of the dense output is what the pooled network computes for the patch around that voxel.
    pub fn to_dense(&self) -> Self {
        let mut dense = self.clone();
        for edge in &mut dense.edges {
            if let EdgeOp::MaxPool { size } = edge.op {
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
