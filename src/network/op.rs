//! What the groups of a network compute.

use znn_kernels::Transfer;

use super::{EdgeId, Init};
use crate::volume::Extent;

/// What a node group does with the values that reach it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeKind {
    /// The maps are given from outside.
    Input,
    /// The sum over the incoming edges.
    Sum,
    /// The mean of the incoming edges.
    Average,
    /// The voxel-wise product of the incoming edges.
    Multiply,
    /// The maps of the incoming edges, one group behind the other in the order of the file.
    Concat,
    /// The function of sum plus bias; one bias for each map.
    Transfer(Transfer),
    /// `x` where the sum plus bias `x` is positive, else the learned slope of the map times `x` (He et al. 2015).
    ParametricRectifyLinear {
        /// The first value of the slopes.
        slope: f32,
    },
    /// The sum, made to have mean 0 and variance 1 over the voxels of each map, times a learned scale, plus bias.
    Normalise(Normalise),
    /// The softmax of the sum, over the maps of each voxel.
    Softmax,
    /// The voxel-wise maximum over the incoming [`EdgeOp::Maxout`] edges.
    Maxout,
}

impl NodeKind {
    /// The word that stands for it in a network file.
    pub(crate) fn keyword(&self) -> &'static str {
        match self {
            NodeKind::Input => "input",
            NodeKind::Sum => "sum",
            NodeKind::Average => "average",
            NodeKind::Multiply => "multiply",
            NodeKind::Concat => "concat",
            NodeKind::Transfer(_) | NodeKind::ParametricRectifyLinear { .. } => "transfer",
            NodeKind::Normalise(_) => "normalise",
            NodeKind::Softmax => "softmax",
            NodeKind::Maxout => "maxout",
        }
    }
}

/// How a group normalises (Ioffe and Szegedy 2015, on one image at a time; Ulyanov et al. 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Applied to the normalised, scaled and shifted values.
    pub transfer: Transfer,
    /// Added to the variance.
    pub epsilon: f32,
    /// What is used in inference.
    pub statistics: Statistics,
}

/// The mean and variance by which a group normalises in inference; in training they are those of the image itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// Of the image itself.
    Own,
    /// Of the images of the training: each iteration moves the average towards its image's by this fraction.
    Running {
        /// Within 0..=1.
        fraction: f32,
    },
}

impl Statistics {
    /// The fraction, of running ones.
    #[doc(hidden)]
    pub fn fraction(self) -> Option<f32> {
        match self {
            Statistics::Own => None,
            Statistics::Running { fraction } => Some(fraction),
        }
    }
}

/// An operation from one node group to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EdgeOp {
    /// Convolution, every map of the input with every map of the output, dilated by the stride that the
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
        /// Voxels of zeros on both sides of the input.
        pad: Extent,
        /// Of the output, every so-manieth voxel is computed: the images behind are smaller.
        downsample: Extent,
        /// The convolution whose kernels this one uses.
        share: Option<EdgeId>,
    },
    /// The adjoint of a strided convolution, every map with every map, which makes images larger (transposed
    /// convolution): `y[p * stride + k * dilation - pad] += w[k] x[p]`.
    Deconv {
        /// The kernel.
        size: Extent,
        /// By how much images become larger.
        stride: Extent,
        /// Voxels cut off on both sides of the output.
        pad: Extent,
        /// The first values of the kernels.
        init: Init,
    },
    /// Sliding-window maximum, map by map, dilated as a convolution.
    MaxFilter {
        /// The window.
        size: Extent,
        /// Factor of the dilation of all that follows.
        stride: Extent,
    },
    /// Maximum over windows, map by map.
    MaxPool {
        /// The window.
        size: Extent,
        /// The distance of neighbouring windows; where it is `size`, and there is no padding, the window divides the image.
        downsample: Extent,
        /// Voxels on both sides of the image that are less than any.
        pad: Extent,
    },
    /// Mean over blocks that do not overlap, map by map.
    AveragePool {
        /// The block, which divides the image.
        size: Extent,
    },
    /// Every voxel becomes a block of its value.
    Upsample {
        /// The block.
        size: Extent,
    },
    /// A random part of the voxels is set to zero while training.
    Dropout {
        /// The probability that a voxel is kept, within 0..=1 but not 0; kept voxels are divided by it.
        keep: f32,
    },
    /// A random part of the maps is set to zero while training.
    NodeDropout {
        /// The probability that a map is kept, within 0..=1 but not 0; kept maps are divided by it.
        keep: f32,
    },
    /// Voxels are removed on both sides.
    Crop {
        /// How many, on each side.
        offset: Extent,
    },
    /// Each map times a learned factor of its own.
    Scale {
        /// The first values of the factors.
        init: Init,
    },
    /// As many consecutive maps of the input as the output has.
    Slice {
        /// The first of them.
        first: usize,
    },
    /// A contribution to a maxout group.
    Maxout,
    /// The identity.
    Dummy,
}

impl EdgeOp {
    /// The word that stands for it in a network file.
    #[doc(hidden)]
    pub fn keyword(&self) -> &'static str {
        match self {
            EdgeOp::Conv { .. } => "conv",
            EdgeOp::Deconv { .. } => "deconv",
            EdgeOp::MaxFilter { .. } => "max_filter",
            EdgeOp::MaxPool { .. } => "max_pool",
            EdgeOp::AveragePool { .. } => "average_pool",
            EdgeOp::Upsample { .. } => "upsample",
            EdgeOp::Dropout { .. } => "dropout",
            EdgeOp::NodeDropout { .. } => "node_dropout",
            EdgeOp::Crop { .. } => "crop",
            EdgeOp::Scale { .. } => "scale",
            EdgeOp::Slice { .. } => "slice",
            EdgeOp::Maxout => "maxout",
            EdgeOp::Dummy => "dummy",
        }
    }

    /// Whether map `i` of the output depends on map `i` of the input alone, so that both groups have one size.
    pub(crate) fn is_one_to_one(&self) -> bool {
        !matches!(self, EdgeOp::Conv { .. } | EdgeOp::Deconv { .. } | EdgeOp::Slice { .. })
    }

    /// The factor by which the operation raises the dilation of all that follows.
    pub(crate) fn stride(&self) -> Extent {
        match *self {
            EdgeOp::Conv { stride, .. } | EdgeOp::MaxFilter { stride, .. } => stride,
            _ => Extent::ONE,
        }
    }
}
