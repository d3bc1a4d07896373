//! What a graph must satisfy to be computable.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::graph::{Edge, EdgeId, GroupKind, GroupName, Node, NodeId, Topology};
use super::op::{EdgeOp, NodeKind};
use crate::volume::Extent;

/// The most feature maps of a group.
pub(super) const MAX_MAPS: usize = 1 << 16;
/// The largest kernel, stride or offset along one axis.
pub(super) const MAX_AXIS: usize = 1 << 16;
/// The largest window of a maximum along one axis: the place of its largest voxel is remembered in one byte.
pub(super) const MAX_WINDOW: usize = 256;
/// The most weights of a network.
pub(super) const MAX_WEIGHTS: usize = 1 << 32;
/// The longest name, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// Why a graph cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", self.group.as_ref().map(|group| format!("{group}: ")).unwrap_or_default())]
pub struct NetworkError {
    /// The group at fault, where it is one.
    pub group: Option<GroupName>,
    /// What was found and what was expected.
    pub message: String,
}

/// Checks everything; the topology that follows, or all that is wrong.
pub(super) fn check(nodes: &[Node], edges: &[Edge]) -> Result<Topology, Vec<NetworkError>> {
    let mut check = Check { nodes, edges, errors: Vec::new() };
    check.names();
    for node in nodes {
        check.node(node);
    }
    for edge in edges {
        check.edge(edge);
    }
    check.weights();
    let (mut in_edges, mut out_edges) = (vec![Vec::new(); nodes.len()], vec![Vec::new(); nodes.len()]);
    for (id, edge) in edges.iter().enumerate() {
        out_edges[edge.input.0].push(EdgeId(id));
        in_edges[edge.output.0].push(EdgeId(id));
    }
    check.connections(&in_edges, &out_edges);
    let order = check.order(&in_edges, &out_edges);
    if check.errors.is_empty() { Ok(Topology { in_edges, out_edges, order }) } else { Err(check.errors) }
}

struct Check<'a> {
    nodes: &'a [Node],
    edges: &'a [Edge],
    errors: Vec<NetworkError>,
}

impl Check<'_> {
    fn fail(&mut self, group: Option<(GroupKind, &str)>, message: String) {
        let group = group.map(|(kind, name)| GroupName { kind, name: name.to_owned() });
        self.errors.push(NetworkError { group, message });
    }

    fn fail_node(&mut self, node: &Node, message: String) {
        self.fail(Some((GroupKind::Nodes, &node.name)), message);
    }

    fn fail_edge(&mut self, edge: &Edge, message: String) {
        self.fail(Some((GroupKind::Edges, &edge.name)), message);
    }

    fn names(&mut self) {
        let nodes = self.nodes.iter().map(|node| (GroupKind::Nodes, &node.name));
        let edges = self.edges.iter().map(|edge| (GroupKind::Edges, &edge.name));
        let mut seen = HashSet::new();
        for (kind, name) in nodes.chain(edges) {
            let is_word = !name.is_empty() && !name.contains(|c: char| c.is_ascii_whitespace());
            if !is_word || name.starts_with('#') || name.len() > MAX_NAME {
                let message =
                    format!("a name is a word of at most {MAX_NAME} bytes that does not begin with #");
                self.fail(Some((kind, name)), message);
            }
            if !seen.insert((kind, name)) {
                self.fail(Some((kind, name)), "this name is given to two groups".to_owned());
            }
        }
    }

    fn node(&mut self, node: &Node) {
        if node.size == 0 || node.size > MAX_MAPS {
            self.fail_node(node, format!("`size` is {}, expected 1..={MAX_MAPS} feature maps", node.size));
        }
        if let NodeKind::Normalise(normalise) = node.kind
            && !(normalise.epsilon > 0.0 && normalise.epsilon.is_finite())
        {
            let message = format!("`epsilon` is {}, expected a number above 0", normalise.epsilon);
            self.fail_node(node, message);
        }
        if node.init.needs_fan() {
            self.fail_node(
                node,
                "`init` is xavier or msra, which are made for kernels: biases have no fan-in".into(),
            );
        }
    }

    fn edge(&mut self, edge: &Edge) {
        match edge.op {
            EdgeOp::Conv { size, stride, repeat, pad, downsample, share, .. } => {
                self.axes(edge, "size", size, 1..=MAX_AXIS);
                self.axes(edge, "stride", stride, 1..=MAX_AXIS);
                self.axes(edge, "repeat", repeat, 1..=MAX_AXIS);
                self.axes(edge, "pad", pad, 0..=MAX_AXIS);
                self.axes(edge, "downsample", downsample, 1..=MAX_AXIS);
                if !size.all(repeat, |size, repeat| repeat == 0 || size % repeat == 0) {
                    let message = format!("the kernel `size` {size} is not a multiple of `repeat` {repeat}");
                    self.fail_edge(edge, message);
                }
                if let Some(owner) = share {
                    self.share(edge, owner);
                }
            }
            EdgeOp::Deconv { size, stride, pad, .. } => {
                self.axes(edge, "size", size, 1..=MAX_AXIS);
                self.axes(edge, "stride", stride, 1..=MAX_AXIS);
                self.axes(edge, "pad", pad, 0..=MAX_AXIS);
            }
            EdgeOp::MaxFilter { size, stride } => {
                self.axes(edge, "size", size, 1..=MAX_WINDOW);
                self.axes(edge, "stride", stride, 1..=MAX_AXIS);
            }
            EdgeOp::MaxPool { size, downsample, pad } => {
                self.axes(edge, "size", size, 1..=MAX_WINDOW);
                self.axes(edge, "downsample", downsample, 1..=MAX_AXIS);
                if !pad.all(size, |pad, size| pad <= size / 2) {
                    let message = format!(
                        "`pad` is {pad}, expected at most half the window {size}: each window must have a voxel"
                    );
                    self.fail_edge(edge, message);
                }
            }
            EdgeOp::AveragePool { size } | EdgeOp::Upsample { size } => {
                self.axes(edge, "size", size, 1..=MAX_WINDOW);
            }
            EdgeOp::Crop { offset } => self.axes(edge, "offset", offset, 0..=MAX_AXIS),
            EdgeOp::Dropout { keep } | EdgeOp::NodeDropout { keep } => {
                if !(keep > 0.0 && keep <= 1.0) {
                    let what = if matches!(edge.op, EdgeOp::Dropout { .. }) { "voxel" } else { "map" };
                    let message = format!(
                        "`ratio` is {keep}, expected the probability that a {what} is kept, above 0 and at most 1"
                    );
                    self.fail_edge(edge, message);
                }
            }
            EdgeOp::Scale { init } => {
                if init.needs_fan() {
                    let message = "`init` is xavier or msra, which are made for kernels".to_owned();
                    self.fail_edge(edge, message);
                }
            }
            EdgeOp::Slice { first } => self.slice(edge, first),
            EdgeOp::Maxout | EdgeOp::Dummy => {}
        }
        let (input, output) = (&self.nodes[edge.input.0], &self.nodes[edge.output.0]);
        let is_part = output.kind == NodeKind::Concat;
        if is_part && !edge.op.is_one_to_one() {
            let message = format!(
                "a {} edge leads to the concat group {}, which takes the maps of other groups as they are: give it a group \
                 of its own, and that a dummy edge to {}",
                edge.op.keyword(),
                output.name,
                output.name
            );
            self.fail_edge(edge, message);
        }
        if edge.op.is_one_to_one() && !is_part && input.size != output.size {
            let message = format!(
                "a {} edge joins map to map, but nodes {} has {} of them and nodes {} has {}",
                edge.op.keyword(),
                input.name,
                input.size,
                output.name,
                output.size
            );
            self.fail_edge(edge, message);
        }
        match (output.kind == NodeKind::Maxout, edge.op == EdgeOp::Maxout) {
            (true, false) => {
                let message = format!(
                    "a {} edge leads to the maxout group {}, which takes maxout edges only",
                    edge.op.keyword(),
                    output.name
                );
                self.fail_edge(edge, message);
            }
            (false, true) => {
                let message = format!("a maxout edge leads to {}, which is not a maxout group", output.name);
                self.fail_edge(edge, message);
            }
            _ => {}
        }
        if output.kind == NodeKind::Input {
            self.fail_edge(edge, format!("leads to the input group {}", output.name));
        }
    }

    /// The kernels of `owner` fit this convolution.
    fn share(&mut self, edge: &Edge, owner: EdgeId) {
        let other = &self.edges[owner.0];
        let maps = |edge: &Edge| [edge.input, edge.output].map(|node| self.nodes[node.0].size);
        let (here, there) = (maps(edge), maps(other));
        let message = match (edge.op, other.op) {
            (EdgeOp::Conv { .. }, EdgeOp::Conv { share: Some(_), .. }) => {
                format!(
                    "`share` names edges {}, which shares kernels itself: name those that have them",
                    other.name
                )
            }
            (
                EdgeOp::Conv { size, repeat, .. },
                EdgeOp::Conv { size: other_size, repeat: other_repeat, .. },
            ) => {
                if (here, size, repeat) == (there, other_size, other_repeat) {
                    return;
                }
                let shape = |[from, to]: [usize; 2], size, repeat| {
                    format!("{from} -> {to} maps of size {size}, repeat {repeat}")
                };
                format!(
                    "shares the kernels of edges {}, {}, but its own are {}",
                    other.name,
                    shape(there, other_size, other_repeat),
                    shape(here, size, repeat)
                )
            }
            _ => format!("`share` names edges {}, which is a {} edge", other.name, other.op.keyword()),
        };
        self.fail_edge(edge, message);
    }

    fn slice(&mut self, edge: &Edge, first: usize) {
        let (input, output) = (&self.nodes[edge.input.0], &self.nodes[edge.output.0]);
        if first.saturating_add(output.size) > input.size {
            let message = format!(
                "takes {} maps from map {first} on (counted from 0), but nodes {} has {}",
                output.size, input.name, input.size
            );
            self.fail_edge(edge, message);
        }
    }

    fn axes(&mut self, edge: &Edge, key: &str, extent: Extent, allowed: RangeInclusive<usize>) {
        if !extent.to_array().iter().all(|axis| allowed.contains(axis)) {
            let (least, most) = allowed.into_inner();
            let message = format!("`{key}` is {extent}, expected {least}..={most} along each axis");
            self.fail_edge(edge, message);
        }
    }

    /// The number of weights stays countable; where a single edge is absurd, that edge is at fault.
    fn weights(&mut self) {
        let mut total = 0_u128;
        for edge in self.edges {
            if let EdgeOp::Conv { size, .. } | EdgeOp::Deconv { size, .. } = edge.op {
                let maps = [self.nodes[edge.input.0].size, self.nodes[edge.output.0].size];
                let factors = size.to_array().into_iter().chain(maps);
                let weights = factors.fold(1_u128, |product, factor| product.saturating_mul(factor as u128));
                if weights > MAX_WEIGHTS as u128 {
                    self.fail_edge(edge, format!("has {weights} weights, more than {MAX_WEIGHTS}"));
                    return;
                }
                total += weights;
            }
        }
        if total > MAX_WEIGHTS as u128 {
            self.fail(None, format!("the network has {total} weights, more than {MAX_WEIGHTS}"));
        }
    }

    fn connections(&mut self, in_edges: &[Vec<EdgeId>], out_edges: &[Vec<EdgeId>]) {
        if !self.nodes.iter().any(|node| node.kind == NodeKind::Input) {
            self.fail(None, "the network has no group of type input".to_owned());
        }
        for (id, node) in self.nodes.iter().enumerate() {
            match node.kind {
                NodeKind::Input if out_edges[id].is_empty() => {
                    self.fail_node(node, "no edge leads away from this input group".to_owned());
                }
                NodeKind::Input => {}
                _ if in_edges[id].is_empty() => {
                    self.fail_node(node, "no edge leads to this group".to_owned());
                }
                NodeKind::Concat => {
                    let maps = |edge: &EdgeId| self.nodes[self.edges[edge.0].input.0].size;
                    let total: usize = in_edges[id].iter().map(maps).sum();
                    if total != node.size {
                        let message =
                            format!("`size` is {}, but its edges bring {total} maps together", node.size);
                        self.fail_node(node, message);
                    }
                }
                _ => {}
            }
        }
    }

    /// Kahn's algorithm, in the order of the file where the edges leave a choice. A graph without cycles in which
    /// every group but the inputs has an incoming edge is reached from the inputs as a whole and has an output.
    fn order(&mut self, in_edges: &[Vec<EdgeId>], out_edges: &[Vec<EdgeId>]) -> Vec<NodeId> {
        let mut missing: Vec<usize> = in_edges.iter().map(Vec::len).collect();
        let mut order: Vec<NodeId> =
            (0..self.nodes.len()).filter(|&id| missing[id] == 0).map(NodeId).collect();
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            for edge in &out_edges[node.0] {
                let target = self.edges[edge.0].output;
                missing[target.0] -= 1;
                if missing[target.0] == 0 {
                    order.push(target);
                }
            }
        }
        if let Some(stuck) = missing.iter().position(|&count| count > 0) {
            let cycle = self.cycle_behind(NodeId(stuck), &missing, in_edges);
            let names: Vec<&str> = cycle.iter().map(|id| self.nodes[id.0].name.as_str()).collect();
            let group = Some((GroupKind::Nodes, self.nodes[cycle[0].0].name.as_str()));
            self.fail(group, format!("the edges form a cycle: {}", names.join(" -> ")));
        }
        order
    }

    /// A cycle found by walking backwards among the nodes that never became ready: each of them waits for another.
    fn cycle_behind(&self, start: NodeId, missing: &[usize], in_edges: &[Vec<EdgeId>]) -> Vec<NodeId> {
        let mut seen = HashMap::new();
        let mut path = Vec::new();
        let mut node = start;
        loop {
            if let Some(&first) = seen.get(&node) {
                path.push(node);
                let mut cycle = path.split_off(first);
                cycle.reverse();
                return cycle;
            }
            seen.insert(node, path.len());
            path.push(node);
            node = in_edges[node.0]
                .iter()
                .map(|edge| self.edges[edge.0].input)
                .find(|input| missing[input.0] > 0)
                .expect("a node is not ready only while a source of it is not");
        }
    }
}
