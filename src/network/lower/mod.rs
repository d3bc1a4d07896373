//! From a network to the tasks of a plan.

mod backward;
mod forward;

use std::sync::Arc;

use super::{EdgeId, EdgeOp, Network, NodeId, NodeKind, Shapes};
use crate::conv::{Algorithm, Choice, Method, Passes, Problem, Tools, WeightGradient};
use crate::ops::pool::Maximum;
use crate::ops::{Maps, Site};
use crate::plan::{Buffer, PlanBuilder};
use crate::volume::Extent;

/// What the plan of a network is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// Forward and backward.
    Train {
        /// The step's random key: one row of two columns (see [`ops::dropout`](crate::ops::dropout)).
        key: Buffer,
    },
    /// Forward only: dropout is the identity, what is derived from weights is kept between steps.
    Infer,
}

/// The gradients of all parameters, to be collected by the updates that the caller adds.
pub struct Gradients {
    /// Of the weights of each edge that has its own, summed over the edges that share them.
    pub weights: Vec<(EdgeId, Vec<WeightGradient>)>,
    /// Of the biases of each node, and what else it learns: a buffer of one row.
    pub biases: Vec<(NodeId, Buffer)>,
}

/// Adds the passes of a network to a plan: first [`forward`](Lowering::forward), then, where it is trained,
/// [`backward`](Lowering::backward).
pub struct Lowering<'a> {
    network: &'a Network,
    shapes: &'a Shapes,
    tools: Tools<'a>,
    phase: Phase,
    values: Vec<Option<Maps>>,
    /// The nodes whose forward pass is added.
    is_lowered: Vec<bool>,
    gradients: Vec<Option<Maps>>,
    weights: Vec<Option<Buffer>>,
    biases: Vec<Option<Buffer>>,
    statistics: Vec<Option<Buffer>>,
    memory: Vec<Memory>,
    /// What the incoming edges of a node brought, where its backward pass needs it and `values` has it no more.
    sums: Vec<Option<Maps>>,
    /// The mean and the inverse deviation of the sums of each map: two rows.
    moments: Vec<Option<Buffer>>,
    /// What an edge brought to a multiply node.
    terms: Vec<Option<Maps>>,
}

/// What the forward pass of an edge leaves for its backward pass.
enum Memory {
    Nothing,
    Convolution(Box<dyn Algorithm>),
    /// The adjoint of this convolution.
    Deconvolution(Box<dyn Algorithm>),
    /// The images before, between and after the stages, and the winners of each stage.
    Maxima {
        stages: Vec<(Maximum, Maps, Buffer)>,
    },
    Winners {
        index: u8,
        winners: Buffer,
    },
}

impl<'a> Lowering<'a> {
    /// Declares the parameters of `network` as persistent buffers of `plan`.
    pub fn new(
        plan: &mut PlanBuilder,
        network: &'a Network,
        shapes: &'a Shapes,
        tools: Tools<'a>,
        phase: Phase,
    ) -> Self {
        let weights = network
            .edge_ids()
            .map(|edge| network.weight_shape(edge).map(|s| plan.persistent(s.c_out, s.c_in * s.kernel.len())))
            .collect();
        let biases = network
            .node_ids()
            .map(|node| network.bias_len(node).map(|len| plan.persistent(1, len)))
            .collect();
        let statistics = network
            .node_ids()
            .map(|node| {
                let rows = network.node_statistics(node).len();
                (rows > 0).then(|| plan.persistent(rows, network[node].size))
            })
            .collect();
        let nodes = network.nodes().len();
        Self {
            network,
            shapes,
            tools,
            phase,
            values: vec![None; nodes],
            is_lowered: vec![false; nodes],
            gradients: vec![None; nodes],
            weights,
            biases,
            statistics,
            memory: network.edges().iter().map(|_| Memory::Nothing).collect(),
            sums: vec![None; nodes],
            moments: vec![None; nodes],
            terms: vec![None; network.edges().len()],
        }
    }

    /// The weights that an edge has of its own: rows are those of its [shape](Network::weight_shape)'s `c_out`.
    pub fn weights(&self, edge: EdgeId) -> Option<Buffer> {
        self.weights[edge.0]
    }

    /// The biases of a node, and what else it learns: one row.
    pub fn biases(&self, node: NodeId) -> Option<Buffer> {
        self.biases[node.0]
    }

    /// What a node remembers of the training's images: a row for each of its
    /// [statistics](Network::node_statistics).
    pub fn statistics(&self, node: NodeId) -> Option<Buffer> {
        self.statistics[node.0]
    }

    /// The maps of a node, once they are set.
    pub fn values(&self, node: NodeId) -> Option<Maps> {
        self.values[node.0]
    }

    /// Sets where the maps of an input node come from, or those of another node go to; before `forward`.
    pub fn set_values(&mut self, node: NodeId, buffer: Buffer) {
        self.values[node.0] = Some(self.maps(node, buffer));
    }

    fn maps(&self, node: NodeId, buffer: Buffer) -> Maps {
        Maps { buffer, count: self.network[node].size, extent: self.shapes[node].extent }
    }

    fn new_maps(&self, plan: &mut PlanBuilder, node: NodeId) -> Maps {
        let (count, extent) = (self.network[node].size, self.shapes[node].extent);
        Maps { buffer: plan.transient(count, extent.len()), count, extent }
    }

    fn site(&self, name: &str) -> Site {
        Site { name: Arc::from(name), kernels: self.tools.kernels }
    }

    fn trains(&self) -> bool {
        matches!(self.phase, Phase::Train { .. })
    }

    /// For each edge into a concat node, in their order, the first of the node's maps that it brings.
    fn parts(&self, node: NodeId) -> Vec<(EdgeId, usize)> {
        let mut first = 0;
        let part = |&edge: &EdgeId| {
            let part = (edge, first);
            first += self.network[self.network[edge].input].size;
            part
        };
        self.network.in_edges(node).iter().map(part).collect()
    }
}

impl Network {
    /// The sizes of a convolution in images of these shapes; `None` for other edges.
    #[doc(hidden)]
    pub fn problem(&self, edge: EdgeId, shapes: &Shapes) -> Option<Problem> {
        let EdgeOp::Conv { pad, downsample, .. } = self[edge].op else { return None };
        let weights = self.used_weight_shape(edge)?;
        let input = shapes[self[edge].input];
        let valid = Problem::valid(weights.c_in, weights.c_out, input.extent, weights.kernel, input.stride);
        Some(Problem { stride: downsample, padding: [pad; 2], ..valid })
    }

    /// The sizes of the convolution of which a deconvolution is the adjoint; `None` for other edges.
    fn adjoint_problem(&self, edge: EdgeId, shapes: &Shapes) -> Option<Problem> {
        let EdgeOp::Deconv { stride, pad, .. } = self[edge].op else { return None };
        let weights = self.used_weight_shape(edge)?;
        let (input, dilation) = (shapes[self[edge].output].extent, shapes[self[edge].input].stride);
        let valid = Problem::valid(weights.c_in, weights.c_out, input, weights.kernel, dilation);
        Some(Problem { stride, padding: [pad; 2], ..valid })
    }

    /// The passes of an edge in training: nobody wants the gradient of an input.
    #[doc(hidden)]
    pub fn passes(&self, edge: EdgeId) -> Passes {
        match self[self[edge].input].kind {
            NodeKind::Input => Passes::FirstLayer,
            _ => Passes::Training,
        }
    }

    /// How a convolution is computed: where the choice is free, what the network's file asks for (key `fft`).
    #[doc(hidden)]
    pub fn algorithm(&self, edge: EdgeId, choice: Choice) -> Choice {
        match (choice, self[edge].op) {
            (Choice::Fixed(_), _) => choice,
            (_, EdgeOp::Conv { fft: Some(true), .. }) => Choice::Fixed(Method::Fft),
            (_, EdgeOp::Conv { fft: Some(false), .. }) => Choice::Fixed(Method::Direct),
            _ => choice,
        }
    }
}

/// How the maxima of a pooling edge are found: over windows of `size`, on a node of that accumulated stride.
fn maximum(op: EdgeOp, stride: Extent) -> Maximum {
    match op {
        EdgeOp::MaxFilter { size, .. } => Maximum::Filter { size, dilation: stride },
        EdgeOp::MaxPool { size, downsample, pad } if size == downsample && pad == Extent::ZERO => {
            Maximum::Pool { size }
        }
        EdgeOp::MaxPool { size, downsample, pad } => Maximum::Strided { size, step: downsample, pad },
        _ => unreachable!("called for maxima only"),
    }
}

#[cfg(test)]
mod tests;
