//! Max-pooling fragments: dense inference without dilation, after ZNNi (arXiv 1606.05688).
//!
//! What follows a pooling of stride s in a dense network reads every s-th voxel of an image: convolutions are dilated. The
//! image can as well be split into its s^3 sub-lattices, fragments, on each of which the rest of the network is a plain one
//! of smaller images; the results are interleaved at the end. Both compute the same sums.

use std::sync::Arc;

use super::{InferError, Predictor, plan_bytes};
use crate::conv::Choice;
use crate::engine::Engine;
use crate::network::{Edge, EdgeOp, Network, Node, NodeId, NodeKind, Parameters};
use crate::volume::{Extent, Tensor};

/// A dense network, cut where its images are split.
pub(super) struct Fragmented {
    parts: Vec<Part>,
}

/// The network between two splits.
struct Part {
    network: Arc<Network>,
    /// Where its groups are in the whole network.
    nodes: Vec<NodeId>,
    edges: Vec<crate::network::EdgeId>,
    /// The voxels that one voxel of its output sees.
    fov: Extent,
    /// The step between voxels of a fragment of its output; one for the last part.
    stride: Extent,
}

impl Fragmented {
    /// Cuts a dense network of one input and one output; `None` where there is nothing to split, or what follows a stride
    /// also reads images from before it.
    pub fn new(network: &Network) -> Option<Self> {
        let (mut inputs, mut outputs) = (network.inputs(), network.outputs());
        let (Some(mut first), Some(output), None, None) =
            (inputs.next(), outputs.next(), inputs.next(), outputs.next())
        else {
            return None;
        };
        if !network.is_uniform() || network.nodes().iter().any(|node| node.dense) {
            return None;
        }
        let order = network.topological_order();
        let mut parts = Vec::new();
        let mut begin = 0;
        // Of the fragments that the next part gets.
        let mut total = Extent::ONE;
        for (place, &node) in order.iter().enumerate() {
            let strides: Vec<Extent> =
                network.in_edges(node).iter().map(|&edge| network[edge].op.stride()).collect();
            let stride = strides.iter().copied().fold(Extent::ONE, Extent::max);
            if stride == Extent::ONE || node == output {
                continue;
            }
            // Nothing but this node connects what is before it with what is behind.
            let is_before = |id: NodeId| order[..=place].contains(&id);
            let crosses = network
                .edges()
                .iter()
                .any(|edge| edge.input != node && is_before(edge.input) && !is_before(edge.output));
            if crosses || strides.iter().any(|&other| other != stride) {
                return None;
            }
            parts.push(Part::new(network, first, &order[begin..=place], stride, total)?);
            (first, begin, total) = (node, place + 1, total * stride);
        }
        if parts.is_empty() {
            return None;
        }
        parts.push(Part::new(network, first, &order[begin..], Extent::ONE, total)?);
        Some(Self { parts })
    }

    /// Tiles of the output have to be multiples of this.
    pub fn step(&self) -> Extent {
        self.parts.iter().fold(Extent::ONE, |step, part| step * part.stride)
    }

    /// The outputs of all parts for a tile of the output.
    fn tiles(&self, tile: Extent) -> Vec<Extent> {
        let mut tiles = Vec::new();
        let mut next = tile.zip(self.step(), |tile, step| tile / step);
        for (place, part) in self.parts.iter().enumerate().rev() {
            if place + 1 < self.parts.len() {
                next = next * part.stride;
            }
            tiles.push(next);
            next = next + part.fov - Extent::ONE;
        }
        tiles.reverse();
        tiles
    }

    /// About the memory that tiles of that extent take; where it is more than `bound`, at least so much.
    pub fn bytes(
        &self,
        engine: &Engine,
        tile: Extent,
        algorithm: Choice,
        bound: usize,
    ) -> Result<usize, InferError> {
        let mut needed = 0;
        for (part, tile) in self.parts.iter().zip(self.tiles(tile)) {
            needed += plan_bytes(engine, &part.network, tile, algorithm, bound)?;
            let maps: usize = part.network.outputs().map(|node| part.network[node].size).sum();
            // The output and a fragment of it.
            needed += 2 * maps * tile.len() * size_of::<f32>();
            if needed > bound {
                break;
            }
        }
        Ok(needed)
    }

    /// Plans all parts for tiles of that extent, a multiple of the [`step`](Self::step).
    pub fn plan(
        &self,
        engine: &Engine,
        parameters: &Parameters,
        tile: Extent,
        algorithm: Choice,
    ) -> Result<Fragments, InferError> {
        let parts = self.parts.iter().zip(self.tiles(tile)).map(|(part, tile)| {
            let own = part.parameters(parameters);
            let predictor = Predictor::new(engine, &part.network, &own, tile, algorithm)?;
            Ok(Planned { predictor, stride: part.stride })
        });
        Ok(Fragments { parts: parts.collect::<Result<_, InferError>>()? })
    }
}

impl Part {
    /// The groups `inside`, which get the images of `first` by fragments of a stride of `total`, with the strides at their
    /// end left out.
    fn new(
        network: &Network,
        first: NodeId,
        inside: &[NodeId],
        stride: Extent,
        total: Extent,
    ) -> Option<Self> {
        let mut ids = vec![first];
        ids.extend(inside.iter().copied().filter(|&id| id != first));
        let place = |id: NodeId| ids.iter().position(|&other| other == id).map(NodeId);
        let nodes = ids.iter().map(|&id| {
            let node = network[id].clone();
            if id == first { Node { kind: NodeKind::Input, ..node } } else { node }
        });
        let mut edges = Vec::new();
        let mut edge_ids = Vec::new();
        for id in network.edge_ids() {
            let edge = &network[id];
            let Some(output) = place(edge.output).filter(|&output| output != NodeId(0)) else { continue };
            let op = match edge.op {
                // Kernels may belong to an edge of another part.
                EdgeOp::Conv { share: Some(_), .. } => return None,
                EdgeOp::Conv { size, repeat, init, fft, pad, downsample, share, .. } => {
                    EdgeOp::Conv { size, stride: Extent::ONE, repeat, init, fft, pad, downsample, share }
                }
                EdgeOp::MaxFilter { size, .. } => EdgeOp::MaxFilter { size, stride: Extent::ONE },
                // It is counted in voxels of the whole image.
                EdgeOp::Crop { offset } => {
                    if !offset.all(total, |offset, total| offset.is_multiple_of(total)) {
                        return None;
                    }
                    EdgeOp::Crop { offset: offset.zip(total, |offset, total| offset / total) }
                }
                other => other,
            };
            edges.push(Edge { input: place(edge.input)?, output, op, ..edge.clone() });
            edge_ids.push(id);
        }
        let network = Network::new(nodes.collect(), edges).ok()?;
        let fov = network.shapes(Extent::ONE).ok()?[NodeId(0)].extent;
        Some(Self { network: Arc::new(network), nodes: ids, edges: edge_ids, fov, stride })
    }

    /// The parameters of this part out of those of the whole network.
    fn parameters(&self, whole: &Parameters) -> Parameters {
        let mut own = Parameters::zeros(&self.network);
        for (edge, &there) in self.network.edge_ids().zip(&self.edges) {
            if let (Some(to), Some(from)) = (own.edge_mut(edge), whole.edge(there)) {
                to.values_mut().copy_from_slice(from.values());
            }
        }
        for (node, &there) in self.network.node_ids().zip(&self.nodes) {
            if let (Some(to), Some(from)) = (own.node_mut(node), whole.node(there)) {
                to.values_mut().copy_from_slice(from.values());
            }
        }
        own
    }
}

/// A planned network of parts.
pub(super) struct Fragments {
    parts: Vec<Planned>,
}

struct Planned {
    predictor: Predictor,
    stride: Extent,
}

impl Fragments {
    /// The maps of the output.
    pub fn predict(&mut self, image: &Tensor) -> Result<Tensor, InferError> {
        run(&mut self.parts, image)
    }
}

fn run(parts: &mut [Planned], image: &Tensor) -> Result<Tensor, InferError> {
    let Some((first, rest)) = parts.split_first_mut() else { return Ok(image.clone()) };
    let maps = &first.predictor.predict(&[image])?[0];
    if rest.is_empty() {
        return Ok(maps.clone());
    }
    let stride = first.stride;
    let extent = maps.extent().zip(stride, |size, stride| size / stride);
    let mut whole: Option<Tensor> = None;
    let mut fragment = Tensor::zeros(maps.channels(), extent);
    for z in 0..stride.z {
        for y in 0..stride.y {
            for x in 0..stride.x {
                let offset = Extent::new(z, y, x);
                gather(maps, offset, stride, &mut fragment);
                let part = run(rest, &fragment)?;
                let whole =
                    whole.get_or_insert_with(|| Tensor::zeros(part.channels(), part.extent() * stride));
                scatter(&part, offset, stride, whole);
            }
        }
    }
    Ok(whole.unwrap_or_else(|| unreachable!("a stride is at least one")))
}

/// Copies every `stride`-th voxel from `offset` on.
fn gather(image: &Tensor, offset: Extent, stride: Extent, fragment: &mut Tensor) {
    let (from, to) = (image.extent(), fragment.extent());
    for channel in 0..image.channels() {
        let (source, target) = (image.channel(channel), fragment.channel_mut(channel));
        let mut rows = target.chunks_exact_mut(to.x);
        for z in 0..to.z {
            for y in 0..to.y {
                let start = from.index(offset.z + z * stride.z, offset.y + y * stride.y, offset.x);
                let row = source[start..].iter().step_by(stride.x);
                if let Some(target) = rows.next() {
                    target.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// The reverse of [`gather`].
fn scatter(fragment: &Tensor, offset: Extent, stride: Extent, image: &mut Tensor) {
    let (from, to) = (fragment.extent(), image.extent());
    for channel in 0..fragment.channels() {
        let (source, target) = (fragment.channel(channel), image.channel_mut(channel));
        let mut rows = source.chunks_exact(from.x);
        for z in 0..from.z {
            for y in 0..from.y {
                let start = to.index(offset.z + z * stride.z, offset.y + y * stride.y, offset.x);
                if let Some(row) = rows.next() {
                    let target = target[start..].iter_mut().step_by(stride.x);
                    target.zip(row).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}
