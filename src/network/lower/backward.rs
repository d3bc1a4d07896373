//! The backward pass.

use super::forward::plain;
use super::{Gradients, Lowering, Memory};
use crate::network::{EdgeId, EdgeOp, NodeId, NodeKind};
use crate::ops::{self, Maps};
use crate::plan::{Buffer, PlanBuilder};

impl Lowering<'_> {
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
            match self.network[node].kind {
                NodeKind::Concat => {
                    for (edge, first) in self.parts(node) {
                        self.backward_part(plan, edge, g, first, &mut found);
                    }
                }
                NodeKind::Multiply => self.backward_product(plan, node, g, &mut found),
                _ => {
                    self.backward_node(plan, node, g, &mut found);
                    for &edge in self.network.in_edges(node) {
                        self.backward_edge(plan, edge, g, &mut found);
                    }
                }
            }
        }
        self.join_shared(plan, &mut found);
        found
    }

    /// `g`, the gradient by the values of a node, becomes that by the sum of its edges.
    fn backward_node(&mut self, plan: &mut PlanBuilder, node: NodeId, g: Maps, found: &mut Gradients) {
        let site = self.site(&self.network[node].name);
        let y = self.values[node.0].expect("forward was lowered");
        let gradient = self.network.bias_len(node).map(|len| plan.transient(1, len));
        found.biases.extend(gradient.map(|gradient| (node, gradient)));
        let learned = || {
            let parameters = self.biases[node.0].expect("a node that learns has parameters");
            (parameters, gradient.expect("and their gradient"))
        };
        let sums = || self.sums[node.0].expect("forward was lowered");
        match self.network[node].kind {
            NodeKind::Transfer(transfer) => {
                ops::transfer::backward(plan, &site, y, g, learned().1, transfer);
            }
            NodeKind::ParametricRectifyLinear { .. } => {
                let (parameters, gradient) = learned();
                ops::rectify::backward(plan, &site, sums(), g, parameters, gradient);
            }
            NodeKind::Normalise(normalise) => {
                let (parameters, gradient) = learned();
                let moments = self.moments[node.0].expect("forward was lowered");
                let transfer = normalise.transfer;
                ops::normalise::backward(plan, &site, transfer, sums(), y, g, parameters, moments, gradient);
            }
            NodeKind::Softmax => ops::softmax::backward(plan, &site, y, g),
            NodeKind::Average => {
                let terms = self.network.in_edges(node).len();
                ops::copy::scale(plan, &site, g, 1.0 / terms as f32);
            }
            _ => {}
        }
    }

    /// The gradient of an edge into a concat node whose gradient is `g`, where it brings the maps from `first` on.
    fn backward_part(
        &mut self,
        plan: &mut PlanBuilder,
        id: EdgeId,
        g: Maps,
        first: usize,
        found: &mut Gradients,
    ) {
        let edge = &self.network[id];
        let site = self.site(&edge.name);
        let count = self.network[edge.input].size;
        if edge.op == EdgeOp::Dummy {
            if let Some((dx, accumulate)) = self.gradient(plan, edge.input) {
                ops::copy::copy_maps(plan, &site, (g, first), (dx, 0), count, accumulate);
            }
            return;
        }
        let part = Maps { buffer: plan.transient(count, g.extent.len()), count, ..g };
        ops::copy::copy_maps(plan, &site, (g, first), (part, 0), count, false);
        self.backward_edge(plan, id, part, found);
    }

    /// The gradient of each factor of a product is that of the product times the other factors.
    fn backward_product(&mut self, plan: &mut PlanBuilder, node: NodeId, g: Maps, found: &mut Gradients) {
        let edges = self.network.in_edges(node);
        for (index, &edge) in edges.iter().enumerate() {
            let others = edges.iter().enumerate().filter(|&(other, _)| other != index);
            let others = others.map(|(_, other)| self.terms[other.0].expect("forward was lowered"));
            let factors: Vec<Maps> = std::iter::once(g).chain(others).collect();
            let site = self.site(&self.network[edge].name);
            if self.network[edge].op == EdgeOp::Dummy {
                if let Some((dx, accumulate)) = self.gradient(plan, self.network[edge].input) {
                    ops::product::product(plan, &site, &factors, dx, accumulate);
                }
            } else {
                let part = self.new_maps(plan, node);
                ops::product::product(plan, &site, &factors, part, false);
                self.backward_edge(plan, edge, part, found);
            }
        }
    }

    /// Where the gradient of a node goes, and whether it is to be added to what is there; `None` for inputs, whose nobody
    /// wants.
    fn gradient(&mut self, plan: &mut PlanBuilder, node: NodeId) -> Option<(Maps, bool)> {
        if let Some(known) = self.gradients[node.0] {
            return Some((known, true));
        }
        if self.network[node].kind == NodeKind::Input {
            return None;
        }
        let maps = self.new_maps(plan, node);
        self.gradients[node.0] = Some(maps);
        Some((maps, false))
    }

    fn backward_edge(&mut self, plan: &mut PlanBuilder, id: EdgeId, dy: Maps, found: &mut Gradients) {
        let edge = &self.network[id];
        let site = self.site(&edge.name);
        let x = self.values[edge.input.0].expect("forward was lowered");
        let dx = self.gradient(plan, edge.input);
        let mask = self.mask(id);
        match (&mut self.memory[id.0], edge.op) {
            (Memory::Convolution(algorithm), _) => {
                if let Some((dx, accumulate)) = dx {
                    algorithm.backward_data(plan, dy.buffer, dx.buffer, accumulate);
                }
                found.weights.push((id, algorithm.backward_weights(plan, x.buffer, dy.buffer)));
            }
            (Memory::Deconvolution(algorithm), _) => {
                if let Some((dx, accumulate)) = dx {
                    algorithm.forward(plan, dy.buffer, plain(dx.buffer, accumulate));
                }
                found.weights.push((id, algorithm.backward_weights(plan, dy.buffer, x.buffer)));
            }
            (Memory::Nothing, EdgeOp::Scale { .. }) => {
                if let Some((dx, accumulate)) = dx {
                    let factors = self.weights[id.0].expect("a scale edge has factors");
                    ops::scale::scale(plan, &site, dy, factors, dx, accumulate);
                }
                found.weights.push((id, vec![ops::scale::backward_factors(plan, &site, x, dy)]));
            }
            (memory, op) => {
                let Some((dx, accumulate)) = dx else { return };
                match (memory, op) {
                    (Memory::Maxima { stages }, _) => {
                        let mut from = dy;
                        for (i, &(stage, input, winners)) in stages.iter().enumerate().rev() {
                            let (to, accumulate) = if i == 0 {
                                (dx, accumulate)
                            } else {
                                (
                                    Maps { buffer: plan.transient(input.count, input.extent.len()), ..input },
                                    false,
                                )
                            };
                            ops::pool::backward(plan, &site, stage, from, winners, to, accumulate);
                            from = to;
                        }
                    }
                    (&mut Memory::Winners { index, winners }, _) => {
                        ops::maxout::backward(plan, &site, dy, winners, index, dx, accumulate);
                    }
                    (_, EdgeOp::AveragePool { size }) => {
                        let factor = 1.0 / size.len() as f32;
                        ops::blocks::spread(plan, &site, dy, dx, factor, accumulate);
                    }
                    (_, EdgeOp::Upsample { .. }) => ops::blocks::sum(plan, &site, dy, dx, 1.0, accumulate),
                    (_, EdgeOp::Dropout { .. } | EdgeOp::NodeDropout { .. }) => {
                        let mask = mask.expect("there is no backward pass in inference");
                        ops::dropout::dropout(plan, &site, dy, dx, accumulate, mask);
                    }
                    (_, EdgeOp::Crop { offset }) => {
                        ops::copy::uncrop(plan, &site, dy, offset, dx, accumulate)
                    }
                    (_, EdgeOp::Slice { first }) => {
                        if !accumulate {
                            ops::copy::clear(plan, &site, dx);
                        }
                        ops::copy::copy_maps(plan, &site, (dy, 0), (dx, first), dy.count, true);
                    }
                    (_, EdgeOp::Dummy) => ops::copy::copy(plan, &site, dy, dx, accumulate),
                    (_, op) => unreachable!("forward remembers a {} edge", op.keyword()),
                }
            }
        }
    }

    /// The gradients of kernels that several edges share become one.
    fn join_shared(&self, plan: &mut PlanBuilder, found: &mut Gradients) {
        let mut joined: Vec<(EdgeId, Vec<Vec<_>>)> = Vec::new();
        for (edge, gradient) in found.weights.drain(..) {
            let owner = self.network.weight_owner(edge);
            match joined.iter_mut().find(|(known, _)| *known == owner) {
                Some((_, gradients)) => gradients.push(gradient),
                None => joined.push((owner, vec![gradient])),
            }
        }
        for (owner, mut gradients) in joined {
            let gradient = if gradients.len() == 1 {
                gradients.remove(0)
            } else {
                let (rows, cols) = plan.dimensions(self.weights[owner.0].expect("kernels have an owner"));
                let site = self.site(&self.network[owner].name);
                vec![ops::shared::join(plan, &site, gradients, rows, cols)]
            };
            found.weights.push((owner, gradient));
        }
    }
}
