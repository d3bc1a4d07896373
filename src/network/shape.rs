//! Shape inference: dilation, field of view and image size of every node.

use std::ops::Index;

use super::{EdgeId, EdgeOp, Network, NodeId, NodeKind, ParameterCounts};
use crate::volume::Extent;

/// The largest image, field of view or dilation along one axis.
const MAX_LEN: usize = 1 << 24;
/// The most voxels of all maps of one node.
const MAX_VOXELS: usize = 1 << 40;

/// What the graph fixes about one node.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes {
    nodes: Vec<NodeShape>,
    fov: Extent,
}

/// The shapes of a network do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Two edges that leave one node need images of different sizes.
    #[error(
        "nodes {node}: edges {first} needs images of {first_extent}, but edges {second} needs {second_extent}; \
         the branches must agree (a crop edge can make them)"
    )]
    Extents {
        /// The node.
        node: String,
        /// One of the edges.
        first: String,
        /// What it needs.
        first_extent: Extent,
        /// The other edge.
        second: String,
        /// What it needs.
        second_extent: Extent,
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

impl Network {
    /// The shapes that follow from the size of the output images, which is the same for all output nodes.
    ///
    /// Strides accumulate from the inputs: convolution and max filter multiply by their stride, a `dense` node
    /// starts again at 1. Fields of view and sizes grow from the outputs: a convolution or max filter of size k on
    /// images of dilation d needs `(k - 1) * d` voxels more, a max pooling k times as many.
    ///
    /// # Errors
    /// Where branches disagree or a size is absurd.
    pub fn shapes(&self, output: Extent) -> Result<Shapes, ShapeError> {
        if output.to_array().contains(&0) {
            return Err(ShapeError::Empty(output));
        }
        let strides = strides(self)?;
        let mut nodes: Vec<_> = strides
            .into_iter()
            .map(|stride| NodeShape { fov: Extent::ONE, stride, extent: output })
            .collect();
        for &id in self.topological_order().iter().rev() {
            let mut agreed: Option<(EdgeId, Extent)> = None;
            for &edge in self.out_edges(id) {
                let target = nodes[self[edge].output.0];
                let extent = extent_before(&self[edge].op, target.extent, nodes[id.0].stride);
                match agreed {
                    Some((first, first_extent)) if first_extent != extent => {
                        return Err(ShapeError::Extents {
                            node: self[id].name.clone(),
                            first: self[first].name.clone(),
                            first_extent,
                            second: self[edge].name.clone(),
                            second_extent: extent,
                        });
                    }
                    _ => agreed = Some((edge, extent)),
                }
                let fov = nodes[id.0].fov.max(fov_before(&self[edge].op, target.fov));
                nodes[id.0].fov = self.checked(id, "the field of view", fov)?;
            }
            if let Some((_, extent)) = agreed {
                nodes[id.0].extent = extent;
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

/// The images that `op` needs, on a node of that accumulated stride, to make images of extent `after`.
fn extent_before(op: &EdgeOp, after: Extent, dilation: Extent) -> Extent {
    match *op {
        EdgeOp::Conv { size, .. } | EdgeOp::MaxFilter { size, .. } => {
            let margin = (size - Extent::ONE).zip(dilation, usize::saturating_mul);
            after.zip(margin, usize::saturating_add)
        }
        EdgeOp::MaxPool { size } => after.zip(size, usize::saturating_mul),
        EdgeOp::Crop { offset } => after.zip(offset + offset, usize::saturating_add),
        EdgeOp::Dropout { .. } | EdgeOp::Maxout | EdgeOp::Dummy => after,
    }
}

/// The field of view in front of `op`, given the one behind it.
fn fov_before(op: &EdgeOp, after: Extent) -> Extent {
    match *op {
        EdgeOp::Conv { size, stride, .. } | EdgeOp::MaxFilter { size, stride } => {
            let steps = (after - Extent::ONE).zip(stride, usize::saturating_mul);
            steps.zip(size, usize::saturating_add)
        }
        EdgeOp::MaxPool { size } => after.zip(size, usize::saturating_mul),
        EdgeOp::Crop { .. } | EdgeOp::Dropout { .. } | EdgeOp::Maxout | EdgeOp::Dummy => after,
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
