//! Shape inference: dilation, field of view and image size of every node.

mod axis;
mod frame;

use std::ops::Index;

use axis::Along;
pub use frame::Frame;

use super::{EdgeId, EdgeOp, Network, NodeId, NodeKind, ParameterCounts};
use crate::volume::Extent;

/// The largest image, field of view or dilation along one axis.
const MAX_LEN: usize = 1 << 24;
/// The most voxels of all maps of one node.
const MAX_VOXELS: usize = 1 << 40;

/// What the graph fixes about one node.
///
/// ```
/// use znn::Extent;
/// use znn::network::{NodeShape, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let shapes = network.shapes(Extent::ONE)?;
/// let NodeShape { fov, extent, .. } = shapes[network.find_node("hidden").expect("a node")];
/// assert_eq!((fov, extent), (Extent::new(3, 5, 5), Extent::new(3, 5, 5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeShape {
    /// How many voxels of this node's images one voxel of the output sees, counted as if every pooling left out the
    /// voxels between: the field of view of the rest of the network.
    pub fov: Extent,
    /// The accumulated stride (the original's "sparsity"): the dilation of the kernels and windows of the edges
    /// that leave this node.
    pub stride: Extent,
    /// The images of this node.
    pub extent: Extent,
}

/// The shapes of all nodes for one size of the output; indexed by [`NodeId`].
///
/// ```
/// use znn::Extent;
/// use znn::network::{NodeShape, Shapes, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let shapes: Shapes = network.shapes(Extent::new(2, 4, 4))?;
/// assert_eq!(shapes.fov(), Extent::new(5, 9, 9));
/// let image = network.find_node("image").expect("a node");
/// let extent = Extent::new(6, 12, 12);
/// assert_eq!(shapes[image], NodeShape { fov: shapes.fov(), stride: Extent::ONE, extent });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes {
    nodes: Vec<NodeShape>,
    fov: Extent,
}

/// The shapes of a network do not fit together.
///
/// ```
/// use znn::Extent;
/// use znn::network::{ShapeError, spec};
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let error = network.shapes(Extent::new(0, 4, 4)).unwrap_err();
/// assert_eq!(error, ShapeError::Empty(Extent::new(0, 4, 4)));
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Two edges that leave one node need images of different sizes.
    #[error(
        "nodes {node}: edges {first} to nodes {first_target} needs {first_len} voxels along {axis}, but edges {second} to \
         nodes {second_target} needs {second_len}; the branches must agree ({})",
        remedy(nearest)
    )]
    Extents {
        /// The node.
        node: String,
        /// The axis: `z`, `y` or `x`.
        axis: char,
        /// One of the edges.
        first: String,
        /// Where it leads.
        first_target: String,
        /// What it needs.
        first_len: usize,
        /// The other edge.
        second: String,
        /// Where it leads.
        second_target: String,
        /// What it needs.
        second_len: usize,
        /// The sizes of the output along the axis nearest to that asked for which work, if there are any.
        nearest: Vec<usize>,
    },
    /// No image in front of an edge gives one of the right size behind it.
    #[error(
        "edges {edge}: a {op} edge of size {size} makes no image of {len} voxels along {axis} at nodes {node}{}",
        sizes(nearest)
    )]
    Indivisible {
        /// The edge.
        edge: String,
        /// Its type.
        op: &'static str,
        /// Its window along the axis.
        size: usize,
        /// The node behind it.
        node: String,
        /// What the node needs.
        len: usize,
        /// The axis: `z`, `y` or `x`.
        axis: char,
        /// The sizes of the output along the axis nearest to that asked for which work, if there are any.
        nearest: Vec<usize>,
    },
    /// Two edges reach one node with different accumulated strides.
    #[error(
        "nodes {node}: edges {first} comes with an accumulated stride of {first_stride}, but edges {second} with \
         {second_stride}; the branches must agree"
    )]
    Strides {
        /// The node.
        node: String,
        /// One of the edges.
        first: String,
        /// Its stride.
        first_stride: Extent,
        /// The other edge.
        second: String,
        /// Its stride.
        second_stride: Extent,
    },
    /// Outputs are not as many voxels larger as inputs.
    #[error(
        "along {axis}, inputs of {} and {} voxels give outputs of {} and {}: the network does not give a voxel for a voxel, \
         so that no volume can be computed by it", inputs[0], inputs[1], outputs[0], outputs[1]
    )]
    Scale {
        /// The axis: `z`, `y` or `x`.
        axis: char,
        /// Two neighbouring sizes of outputs.
        outputs: [usize; 2],
        /// The sizes of the inputs for them.
        inputs: [usize; 2],
    },
    /// The output was asked to have no voxels.
    #[error("the output size is {0}, expected at least 1 along each axis")]
    Empty(Extent),
    /// A size is absurd.
    #[error(
        "nodes {node}: {what} becomes {extent}, more than {MAX_LEN} along an axis or {MAX_VOXELS} voxels in all"
    )]
    TooLarge {
        /// The node.
        node: String,
        /// Which of its sizes.
        what: &'static str,
        /// How large; the largest number where it cannot be told.
        extent: Extent,
    },
}

/// What makes branches agree.
fn remedy(nearest: &[usize]) -> String {
    match nearest {
        [] => "a crop edge can make them, or `pad` of a convolution".to_owned(),
        _ => format!("they do where the output has {}", or(nearest)),
    }
}

fn sizes(nearest: &[usize]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; an output of {} works", or(nearest)) }
}

fn or(lengths: &[usize]) -> String {
    lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
}

impl Network {
    /// The shapes that follow from the size of the output images, which is the same for all output nodes.
    ///
    /// Strides accumulate from the inputs: convolution and max filter multiply by their stride, a `dense` node
    /// starts again at 1. Fields of view and sizes grow from the outputs: a convolution or max filter of size k on
    /// images of dilation d needs `(k - 1) * d` voxels more, less those of its padding on both sides; pooling, and a
    /// convolution that leaves out voxels, as many times as many; a deconvolution as many times fewer. Where several sizes
    /// of an image would do, it gets the multiple, or what other branches need.
    ///
    /// # Errors
    /// Where branches disagree, a size cannot be made or is absurd.
    pub fn shapes(&self, output: Extent) -> Result<Shapes, ShapeError> {
        if output.to_array().contains(&0) {
            return Err(ShapeError::Empty(output));
        }
        let strides = strides(self)?;
        let mut lengths = Vec::new();
        for (axis, len) in output.to_array().into_iter().enumerate() {
            let along = Along { network: self, strides: &strides, axis };
            lengths.push(along.lengths(len).map_err(|fault| along.explain(fault, len))?);
        }
        let mut nodes: Vec<_> = strides
            .iter()
            .enumerate()
            .map(|(id, &stride)| {
                let extent = Extent::new(lengths[0][id], lengths[1][id], lengths[2][id]);
                NodeShape { fov: Extent::ONE, stride, extent }
            })
            .collect();
        for &id in self.topological_order().iter().rev() {
            for &edge in self.out_edges(id) {
                let behind = nodes[self[edge].output.0].fov;
                let fov = nodes[id.0].fov.max(fov_before(&self[edge].op, behind));
                nodes[id.0].fov = self.checked(id, "the field of view", fov)?;
            }
            self.checked(id, "the image", nodes[id.0].extent)?;
        }
        let inputs = self.node_ids().filter(|&id| self[id].kind == NodeKind::Input);
        let fov = inputs.fold(Extent::ONE, |fov, id| fov.max(nodes[id.0].fov));
        Ok(Shapes { nodes, fov })
    }

    /// `extent`, unless it is absurd.
    fn checked(&self, id: NodeId, what: &'static str, extent: Extent) -> Result<Extent, ShapeError> {
        let axes = extent.to_array();
        let voxels = axes.iter().fold(self[id].size, |product, &axis| product.saturating_mul(axis));
        if axes.iter().all(|&axis| axis <= MAX_LEN) && voxels <= MAX_VOXELS {
            Ok(extent)
        } else {
            Err(ShapeError::TooLarge { node: self[id].name.clone(), what, extent })
        }
    }
}

/// The accumulated stride of every node.
fn strides(network: &Network) -> Result<Vec<Extent>, ShapeError> {
    let mut strides = vec![Extent::ONE; network.nodes().len()];
    for &id in network.topological_order() {
        let mut agreed: Option<(EdgeId, Extent)> = None;
        for &edge in network.in_edges(id) {
            let before = strides[network[edge].input.0];
            let stride = before.zip(network[edge].op.stride(), usize::saturating_mul);
            match agreed {
                Some((first, first_stride)) if first_stride != stride => {
                    return Err(ShapeError::Strides {
                        node: network[id].name.clone(),
                        first: network[first].name.clone(),
                        first_stride,
                        second: network[edge].name.clone(),
                        second_stride: stride,
                    });
                }
                _ => agreed = Some((edge, stride)),
            }
        }
        let stride = agreed.map_or(Extent::ONE, |(_, stride)| stride);
        if stride.to_array().iter().any(|&axis| axis > MAX_LEN) {
            let node = network[id].name.clone();
            return Err(ShapeError::TooLarge { node, what: "the accumulated stride", extent: stride });
        }
        strides[id.0] = if network[id].dense { Extent::ONE } else { stride };
    }
    Ok(strides)
}

/// The field of view in front of `op`, given the one behind it.
fn fov_before(op: &EdgeOp, after: Extent) -> Extent {
    let window = |stride: Extent, size: Extent| {
        let steps = (after - Extent::ONE).zip(stride, usize::saturating_mul);
        steps.zip(size, usize::saturating_add)
    };
    match *op {
        EdgeOp::Conv { size, stride, downsample, .. } => {
            window(stride.zip(downsample, usize::saturating_mul), size)
        }
        EdgeOp::MaxFilter { size, stride } => window(stride, size),
        EdgeOp::MaxPool { size, downsample, .. } => window(downsample, size),
        EdgeOp::AveragePool { size } => after.zip(size, usize::saturating_mul),
        // The most inputs whose contributions meet so many outputs.
        EdgeOp::Deconv { size, stride, .. } => {
            (after + size - Extent::ONE - Extent::ONE).zip(stride, |reach, stride| reach / stride + 1)
        }
        EdgeOp::Upsample { size } => after.zip(size, |after, size| (after + size - 2) / size + 1),
        EdgeOp::Crop { .. }
        | EdgeOp::Dropout { .. }
        | EdgeOp::NodeDropout { .. }
        | EdgeOp::Scale { .. }
        | EdgeOp::Slice { .. }
        | EdgeOp::Maxout
        | EdgeOp::Dummy => after,
    }
}

impl Shapes {
    /// The field of view of the whole network: the largest among its inputs.
    pub fn fov(&self) -> Extent {
        self.fov
    }
}

impl Network {
    /// The bytes without which nothing of the network can be computed: its parameters, and the images at both ends
    /// of its largest edge. What a plan needs is known only after it was made; this tells before whether trying
    /// makes sense.
    #[doc(hidden)]
    pub fn least_bytes(&self, shapes: &Shapes) -> u64 {
        let images = |id: NodeId| self[id].size * shapes[id].extent.len();
        let edges = self.edges().iter().map(|edge| images(edge.input) + images(edge.output));
        let ParameterCounts { weights, biases, .. } = self.parameter_counts();
        ((weights + biases + edges.max().unwrap_or(0)) * size_of::<f32>()) as u64
    }
}

impl Index<NodeId> for Shapes {
    type Output = NodeShape;
    fn index(&self, id: NodeId) -> &NodeShape {
        &self.nodes[id.0]
    }
}

#[cfg(test)]
mod tests;
