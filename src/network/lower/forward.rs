//! The forward pass.

use znn_kernels::Transfer;

use super::{Lowering, Memory, Phase, maximum};
use crate::conv::{self, Decision, Destination, Layer, Problem, Variant};
use crate::fft::FftError;
use crate::network::parameters::fnv1a;
use crate::network::{EdgeId, EdgeOp, NodeId, NodeKind};
use crate::ops::{self, Maps, Site};
use crate::plan::{Buffer, PlanBuilder};

impl Lowering<'_> {
    /// Adds the forward pass; all input nodes must have been set. `method` chooses the algorithm of each
    /// convolution.
    pub fn forward(
        &mut self,
        plan: &mut PlanBuilder,
        mut method: impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        let network = self.network;
        for &node in network.topological_order() {
            let kind = network[node].kind;
            if kind == NodeKind::Input {
                assert!(self.values[node.0].is_some(), "input node {} is not set", network[node].name);
                continue;
            }
            let (y, summed) = match (self.values[node.0], self.outlived(node)) {
                (Some(maps), _) => (maps, None),
                (None, Some(edge)) => {
                    let Maps { buffer, .. } =
                        self.values[network[edge].input.0].expect("nodes are visited in topological order");
                    (self.maps(node, buffer), Some(edge))
                }
                (None, None) => (self.new_maps(plan, node), None),
            };
            self.values[node.0] = Some(y);
            self.is_lowered[node.0] = true;
            match kind {
                NodeKind::Concat => self.forward_concat(plan, node, y, &mut method)?,
                NodeKind::Multiply => self.forward_product(plan, node, y, &mut method)?,
                NodeKind::Maxout => self.forward_maxout(plan, node, y),
                _ => self.forward_sum(plan, node, y, summed, &mut method)?,
            }
        }
        Ok(())
    }

    /// In inference, an edge that brings to a sum what nobody reads after it: the sum takes its place in memory.
    fn outlived(&self, node: NodeId) -> Option<EdgeId> {
        let network = self.network;
        let is_sum = !matches!(network[node].kind, NodeKind::Concat | NodeKind::Multiply | NodeKind::Maxout);
        let is_last = |edge: &EdgeId| {
            let (id, edge) = (*edge, &network[*edge]);
            let others = network.out_edges(edge.input).iter().filter(|&&other| other != id);
            edge.op == EdgeOp::Dummy
                && network[edge.input].kind != NodeKind::Input
                && others.clone().all(|other| {
                    let reader = network[*other].output;
                    reader != node && self.is_lowered[reader.0]
                })
        };
        let edges = network.in_edges(node);
        edges.iter().copied().find(is_last).filter(|_| is_sum && !self.trains())
    }

    fn forward_concat(
        &mut self,
        plan: &mut PlanBuilder,
        node: NodeId,
        y: Maps,
        method: &mut impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        for (edge, first) in self.parts(node) {
            let (input, op) = (self.network[edge].input, self.network[edge].op);
            let part = match op {
                EdgeOp::Dummy => self.values[input.0].expect("nodes are visited in topological order"),
                _ => {
                    let count = self.network[input].size;
                    let part = Maps { buffer: plan.transient(count, y.extent.len()), count, ..y };
                    self.forward_edge(plan, edge, part, plain(part.buffer, false), method)?;
                    part
                }
            };
            let site = self.site(&self.network[edge].name);
            ops::copy::copy_maps(plan, &site, (part, 0), (y, first), part.count, false);
        }
        Ok(())
    }

    fn forward_product(
        &mut self,
        plan: &mut PlanBuilder,
        node: NodeId,
        y: Maps,
        method: &mut impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        let mut terms = Vec::new();
        for &edge in self.network.in_edges(node) {
            let term = match self.network[edge].op {
                EdgeOp::Dummy => {
                    self.values[self.network[edge].input.0].expect("nodes are visited in topological order")
                }
                _ => {
                    let term = self.new_maps(plan, node);
                    self.forward_edge(plan, edge, term, plain(term.buffer, false), method)?;
                    term
                }
            };
            self.terms[edge.0] = Some(term);
            terms.push(term);
        }
        ops::product::product(plan, &self.site(&self.network[node].name), &terms, y, false);
        Ok(())
    }

    fn forward_maxout(&mut self, plan: &mut PlanBuilder, node: NodeId, y: Maps) {
        let winners = ops::pool::winners(plan, y);
        for (index, &edge) in self.network.in_edges(node).iter().enumerate() {
            let x = self.values[self.network[edge].input.0].expect("nodes are visited in topological order");
            let index = u8::try_from(index).expect("a maxout node has at most 256 edges");
            ops::maxout::merge(plan, &self.site(&self.network[edge].name), x, index, y, winners);
            self.memory[edge.0] = Memory::Winners { index, winners };
        }
    }

    /// A node that begins with the sum of its edges, of which `summed` is there already.
    fn forward_sum(
        &mut self,
        plan: &mut PlanBuilder,
        node: NodeId,
        y: Maps,
        summed: Option<EdgeId>,
        method: &mut impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        let network = self.network;
        let kind = network[node].kind;
        let keeps = matches!(kind, NodeKind::ParametricRectifyLinear { .. } | NodeKind::Normalise(_));
        let sums = if keeps && self.trains() { self.new_maps(plan, node) } else { y };
        self.sums[node.0] = keeps.then_some(sums);
        // A convolution at the end applies bias and transfer function itself.
        let is_conv = |edge: &EdgeId| matches!(network[*edge].op, EdgeOp::Conv { .. });
        let mut edges = network.in_edges(node).to_vec();
        edges.sort_by_key(is_conv);
        edges.retain(|&edge| Some(edge) != summed);
        let bias = self.biases[node.0];
        let mut is_done = false;
        for (index, &edge) in edges.iter().enumerate() {
            let mut to = plain(sums.buffer, index > 0 || summed.is_some());
            if let NodeKind::Transfer(transfer) = kind
                && index + 1 == edges.len()
                && is_conv(&edge)
            {
                (to.bias, to.transfer) = (bias, transfer);
                is_done = true;
            }
            self.forward_edge(plan, edge, sums, to, method)?;
        }
        if is_done {
            return Ok(());
        }
        let site = self.site(&network[node].name);
        let bias = || bias.expect("a node that learns has parameters");
        match kind {
            NodeKind::Transfer(transfer) => ops::transfer::forward(plan, &site, y, bias(), transfer),
            NodeKind::ParametricRectifyLinear { .. } => ops::rectify::forward(plan, &site, sums, y, bias()),
            NodeKind::Normalise(normalise) => {
                let rule = ops::normalise::Rule { transfer: normalise.transfer, epsilon: normalise.epsilon };
                let statistics = self.statistics[node.0];
                if self.trains() {
                    let moments = plan.transient(2, y.count);
                    self.moments[node.0] = Some(moments);
                    let running = statistics.zip(normalise.statistics.fraction());
                    ops::normalise::forward(plan, &site, rule, sums, y, bias(), moments, running);
                } else {
                    ops::normalise::infer(plan, &site, rule, y, bias(), statistics);
                }
            }
            NodeKind::Softmax => ops::softmax::forward(plan, &site, y),
            NodeKind::Average => {
                let terms = network.in_edges(node).len();
                ops::copy::scale(plan, &site, y, 1.0 / terms as f32);
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds an edge whose images go to `y`, as `to` says.
    fn forward_edge(
        &mut self,
        plan: &mut PlanBuilder,
        id: EdgeId,
        y: Maps,
        to: Destination,
        method: &mut impl FnMut(EdgeId, &Problem) -> Decision,
    ) -> Result<(), FftError> {
        let network = self.network;
        let edge = &network[id];
        let x = self.values[edge.input.0].expect("nodes are visited in topological order");
        let site = self.site(&edge.name);
        let accumulate = to.accumulate;
        match edge.op {
            EdgeOp::Conv { .. } => {
                let problem = network.problem(id, self.shapes).expect("a convolution has a problem");
                let decision = method(id, &problem);
                let mut algorithm = conv::begin(decision, self.layer(id, problem, &site), self.tools)?;
                algorithm.forward(plan, x.buffer, to);
                self.memory[id.0] = Memory::Convolution(algorithm);
            }
            EdgeOp::Deconv { .. } => {
                let problem =
                    network.adjoint_problem(id, self.shapes).expect("a deconvolution has a problem");
                // The only one that takes the passes in any order, and strides.
                let decision = Decision::all(Variant::Direct);
                let mut algorithm = conv::begin(decision, self.layer(id, problem, &site), self.tools)?;
                algorithm.backward_data(plan, x.buffer, y.buffer, accumulate);
                self.memory[id.0] = Memory::Deconvolution(algorithm);
            }
            EdgeOp::MaxFilter { .. } | EdgeOp::MaxPool { .. } => {
                self.forward_maximum(plan, id, &site, x, y, accumulate);
            }
            EdgeOp::AveragePool { size } => {
                let factor = 1.0 / size.len() as f32;
                ops::blocks::sum(plan, &site, x, y, factor, accumulate);
            }
            EdgeOp::Upsample { .. } => ops::blocks::spread(plan, &site, x, y, 1.0, accumulate),
            EdgeOp::Dropout { .. } | EdgeOp::NodeDropout { .. } => match self.mask(id) {
                Some(mask) => ops::dropout::dropout(plan, &site, x, y, accumulate, mask),
                None => ops::copy::copy(plan, &site, x, y, accumulate),
            },
            EdgeOp::Crop { offset } => ops::copy::crop(plan, &site, x, offset, y, accumulate),
            EdgeOp::Scale { .. } => {
                let factors = self.weights[id.0].expect("a scale edge has factors");
                ops::scale::scale(plan, &site, x, factors, y, accumulate);
            }
            EdgeOp::Slice { first } => {
                ops::copy::copy_maps(plan, &site, (x, first), (y, 0), y.count, accumulate)
            }
            EdgeOp::Dummy => ops::copy::copy(plan, &site, x, y, accumulate),
            EdgeOp::Maxout => unreachable!("leads to a maxout node"),
        }
        Ok(())
    }

    fn layer(&self, id: EdgeId, problem: Problem, site: &Site) -> Layer {
        let weights = self.weights[self.network.weight_owner(id).0].expect("a convolution has weights");
        Layer { name: site.name.clone(), problem, weights, frozen: !self.trains() }
    }

    /// The mask of a dropout edge; `None` in inference.
    pub(super) fn mask(&self, id: EdgeId) -> Option<ops::dropout::Mask> {
        let Phase::Train { key } = self.phase else { return None };
        let edge = &self.network[id];
        let (keep, by_map) = match edge.op {
            EdgeOp::Dropout { keep } => (keep, false),
            EdgeOp::NodeDropout { keep } => (keep, true),
            _ => return None,
        };
        Some(ops::dropout::Mask { keep, key, stream: fnv1a(&edge.name), by_map })
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
        let stages = maximum(edge.op, self.shapes[edge.input].stride).stages();
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
}

/// A destination without bias and transfer function.
pub(super) fn plain(y: Buffer, accumulate: bool) -> Destination {
    Destination { y, accumulate, bias: None, transfer: Transfer::IDENTITY }
}
