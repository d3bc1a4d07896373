//! From a network to the tasks of a plan.

use std::sync::Arc;

use znn_kernels::Transfer;

use super::parameters::fnv1a;
use super::{EdgeId, EdgeOp, Network, NodeId, NodeKind, Shapes};
use crate::conv::{
    self, Algorithm, Choice, Decision, Destination, Layer, Method, Passes, Problem, Tools, WeightGradient,
};
use crate::fft::FftError;
use crate::ops::{self, Maps, Site, pool::Maximum};
use crate::plan::{Buffer, PlanBuilder};

/// What the plan of a network is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// Forward and backward; the buffer holds the step's random key in these two columns of its row
    /// (see [`ops::dropout`]).
    Train {
        /// One row; the first two columns are the key.
        key: Buffer,
    },
    /// Forward only: dropout is the identity, what is derived from weights is kept between steps.
    Infer,
}

/// The gradients of all parameters, to be collected by the updates that the caller adds.
pub struct Gradients {
    /// Of each convolution's weights.
    pub weights: Vec<(EdgeId, Vec<WeightGradient>)>,
    /// Of each transfer node's biases: a buffer of one row.
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
    gradients: Vec<Option<Maps>>,
    weights: Vec<Option<Buffer>>,
    biases: Vec<Option<Buffer>>,
    memory: Vec<Memory>,
}

/// What the forward pass of an edge leaves for its backward pass.
enum Memory {
    Nothing,
    Convolution(Box<dyn Algorithm>),
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
        let nodes = network.nodes().len();
        Self {
            network,
            shapes,
            tools,
            phase,
            values: vec![None; nodes],
            gradients: vec![None; nodes],
            weights,
            biases,
            memory: network.edges().iter().map(|_| Memory::Nothing).collect(),
        }
    }

    /// The weights of a convolution: rows are output maps.
    pub fn weights(&self, edge: EdgeId) -> Option<Buffer> {
        self.weights[edge.0]
    }

    /// The biases of a transfer node: one row.
    pub fn biases(&self, node: NodeId) -> Option<Buffer> {
        self.biases[node.0]
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

    /// Adds the forward pass; all input nodes must have been set. `method` chooses the algorithm of each
    /// convolution.
    pub fn forward(
        &mut self,
        plan: &mut PlanBuilder,
        mut method: impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        for &node in self.network.topological_order() {
            if self.network[node].kind == NodeKind::Input {
                assert!(self.values[node.0].is_some(), "input node {} is not set", self.network[node].name);
                continue;
            }
            let y = match self.values[node.0] {
                Some(maps) => maps,
                None => self.new_maps(plan, node),
            };
            self.values[node.0] = Some(y);
            let edges = self.network.in_edges(node);
            let transfer = match self.network[node].kind {
                NodeKind::Transfer(transfer) => Some(transfer),
                _ => None,
            };
            // A convolution that is alone in reaching its node applies bias and transfer function itself.
            let fused = transfer.is_some()
                && matches!(edges, [edge] if matches!(self.network[*edge].op, EdgeOp::Conv { .. }));
            let maxout_winners =
                (self.network[node].kind == NodeKind::Maxout).then(|| ops::pool::winners(plan, y));
            for (index, &edge) in edges.iter().enumerate() {
                let to = Destination {
                    y: y.buffer,
                    accumulate: index > 0,
                    bias: self.biases[node.0].filter(|_| fused),
                    transfer: transfer.filter(|_| fused).unwrap_or(Transfer::IDENTITY),
                };
                self.forward_edge(plan, edge, index, y, to, maxout_winners, &mut method)?;
            }
            if let (Some(transfer), Some(bias), false) = (transfer, self.biases[node.0], fused) {
                ops::transfer::forward(plan, &self.site(&self.network[node].name), y, bias, transfer);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the loop body of `forward`")]
    fn forward_edge(
        &mut self,
        plan: &mut PlanBuilder,
        id: EdgeId,
        index: usize,
        y: Maps,
        to: Destination,
        maxout_winners: Option<Buffer>,
        method: &mut impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        let edge = &self.network[id];
        let x = self.values[edge.input.0].expect("nodes are visited in topological order");
        let site = self.site(&edge.name);
        let accumulate = to.accumulate;
        match edge.op {
            EdgeOp::Conv { .. } => {
                let problem = self.network.problem(id, self.shapes).expect("a convolution has a problem");
                let layer = Layer {
                    name: site.name.clone(),
                    problem,
                    weights: self.weights[id.0].expect("a convolution has weights"),
                    frozen: !self.trains(),
                };
                let mut algorithm = conv::begin(method(id, &problem), layer, self.tools)?;
                algorithm.forward(plan, x.buffer, to);
                self.memory[id.0] = Memory::Convolution(algorithm);
            }
            EdgeOp::MaxFilter { .. } | EdgeOp::MaxPool { .. } => {
                self.forward_maximum(plan, id, &site, x, y, accumulate);
            }
            EdgeOp::Dropout { keep } => match self.phase {
                Phase::Train { key } => {
                    let mask = ops::dropout::Mask { keep, key, stream: fnv1a(&edge.name) };
                    ops::dropout::dropout(plan, &site, x, y, accumulate, mask);
                }
                Phase::Infer => ops::copy::copy(plan, &site, x, y, accumulate),
            },
            EdgeOp::Crop { offset } => ops::copy::crop(plan, &site, x, offset, y, accumulate),
            EdgeOp::Maxout => {
                let index = u8::try_from(index).expect("a maxout node has at most 256 edges");
                let winners = maxout_winners.expect("a maxout edge leads to a maxout node");
                ops::maxout::merge(plan, &site, x, index, y, winners);
                self.memory[id.0] = Memory::Winners { index, winners };
            }
            EdgeOp::Dummy => ops::copy::copy(plan, &site, x, y, accumulate),
        }
        Ok(())
    }

    fn forward_maximum(
        &mut self,
        plan: &mut PlanBuilder,
        id: EdgeId,
        site: &Site,
        x: Maps,
        y: Maps,
        accumulate: bool,
    ) {
        let edge = &self.network[id];
        let maximum = match edge.op {
            EdgeOp::MaxFilter { size, .. } => {
                Maximum::Filter { size, dilation: self.shapes[edge.input].stride }
            }
            EdgeOp::MaxPool { size } => Maximum::Pool { size },
            _ => unreachable!("called for maxima only"),
        };
        let stages = maximum.stages();
        let last = stages.len() - 1;
        let mut memory = Vec::new();
        let mut from = x;
        for (i, stage) in stages.into_iter().enumerate() {
            let extent = stage.output(from.extent);
            let to = if i == last && !accumulate {
                y
            } else {
                Maps { buffer: plan.transient(y.count, extent.len()), count: y.count, extent }
            };
            let winners = self.trains().then(|| ops::pool::winners(plan, to));
            ops::pool::forward(plan, site, stage, from, to, winners);
            memory.extend(winners.map(|winners| (stage, from, winners)));
            from = to;
        }
        if accumulate {
            ops::copy::copy(plan, site, from, y, true);
        }
        self.memory[id.0] = Memory::Maxima { stages: memory };
    }

    /// Adds the backward pass; `output_gradients` are those of the loss by the output nodes' values, and are
    /// overwritten by those by the sums that reach the nodes.
    pub fn backward(&mut self, plan: &mut PlanBuilder, output_gradients: &[(NodeId, Buffer)]) -> Gradients {
        let mut found = Gradients { weights: Vec::new(), biases: Vec::new() };
        for &(node, buffer) in output_gradients {
            self.gradients[node.0] = Some(self.maps(node, buffer));
        }
        for &node in self.network.topological_order().iter().rev() {
            // A node without gradient leads to no output with a loss; inputs need none.
            let Some(g) = self.gradients[node.0] else { continue };
            if let NodeKind::Transfer(transfer) = self.network[node].kind {
                let site = self.site(&self.network[node].name);
                let bias_gradient = plan.transient(1, g.count);
                let y = self.values[node.0].expect("forward was lowered");
                ops::transfer::backward(plan, &site, y, g, bias_gradient, transfer);
                found.biases.push((node, bias_gradient));
            }
            for &edge in self.network.in_edges(node) {
                self.backward_edge(plan, edge, g, &mut found);
            }
        }
        found
    }

    fn backward_edge(&mut self, plan: &mut PlanBuilder, id: EdgeId, dy: Maps, found: &mut Gradients) {
        let edge = &self.network[id];
        let site = self.site(&edge.name);
        let x = self.values[edge.input.0].expect("forward was lowered");
        let wanted = self.network[edge.input].kind != NodeKind::Input;
        let accumulate = self.gradients[edge.input.0].is_some();
        let dx = match self.gradients[edge.input.0] {
            Some(dx) => Some(dx),
            None if wanted => Some(self.new_maps(plan, edge.input)),
            None => None,
        };
        self.gradients[edge.input.0] = dx;
        match (&mut self.memory[id.0], edge.op) {
            (Memory::Convolution(algorithm), _) => {
                if let Some(dx) = dx {
                    algorithm.backward_data(plan, dy.buffer, dx.buffer, accumulate);
                }
                found.weights.push((id, algorithm.backward_weights(plan, x.buffer, dy.buffer)));
            }
            (Memory::Maxima { stages }, _) => {
                let Some(dx) = dx else { return };
                let mut from = dy;
                for (i, &(stage, input, winners)) in stages.iter().enumerate().rev() {
                    let (to, accumulate) = if i == 0 {
                        (dx, accumulate)
                    } else {
                        (Maps { buffer: plan.transient(input.count, input.extent.len()), ..input }, false)
                    };
                    ops::pool::backward(plan, &site, stage, from, winners, to, accumulate);
                    from = to;
                }
            }
            (&mut Memory::Winners { index, winners }, _) => {
                let Some(dx) = dx else { return };
                ops::maxout::backward(plan, &site, dy, winners, index, dx, accumulate);
            }
            (Memory::Nothing, op) => {
                let Some(dx) = dx else { return };
                match (op, self.phase) {
                    (EdgeOp::Dropout { keep }, Phase::Train { key }) => {
                        let mask = ops::dropout::Mask { keep, key, stream: fnv1a(&edge.name) };
                        ops::dropout::dropout(plan, &site, dy, dx, accumulate, mask);
                    }
                    (EdgeOp::Crop { offset }, _) => {
                        ops::copy::uncrop(plan, &site, dy, offset, dx, accumulate)
                    }
                    (EdgeOp::Dummy, _) => ops::copy::copy(plan, &site, dy, dx, accumulate),
                    (op, _) => unreachable!("forward remembers a {} edge", op.keyword()),
                }
            }
        }
    }
}

impl Network {
    /// The sizes of a convolution in images of these shapes; `None` for other edges.
    pub fn problem(&self, edge: EdgeId, shapes: &Shapes) -> Option<Problem> {
        let weights = self.weight_shape(edge)?;
        let input = shapes[self[edge].input];
        Some(Problem::valid(weights.c_in, weights.c_out, input.extent, weights.kernel, input.stride))
    }

    /// The passes of an edge in training: nobody wants the gradient of an input.
    pub fn passes(&self, edge: EdgeId) -> Passes {
        match self[self[edge].input].kind {
            NodeKind::Input => Passes::FirstLayer,
            _ => Passes::Training,
        }
    }

    /// How a convolution is computed: where the choice is free, what the network's file asks for (key `fft`).
    pub fn algorithm(&self, edge: EdgeId, choice: Choice) -> Choice {
        match (choice, self[edge].op) {
            (Choice::Fixed(_), _) => choice,
            (_, EdgeOp::Conv { fft: Some(true), .. }) => Choice::Fixed(Method::Fft),
            (_, EdgeOp::Conv { fft: Some(false), .. }) => Choice::Fixed(Method::Direct),
            _ => choice,
        }
    }
}
