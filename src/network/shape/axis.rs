//! Sizes of images along one axis: what each edge needs in front of it, and which sizes work.

use super::{MAX_LEN, ShapeError};
use crate::network::{EdgeId, EdgeOp, Network};
use crate::volume::Extent;

/// One axis of a network's images.
pub(super) struct Along<'a> {
    pub network: &'a Network,
    /// The accumulated stride of every node.
    pub strides: &'a [Extent],
    /// 0 for z, 1 for y, 2 for x.
    pub axis: usize,
}

/// The lengths that an edge can make its output of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    least: usize,
    most: usize,
    /// The one that is taken where nothing else decides.
    usual: usize,
}

impl Need {
    fn exactly(len: usize) -> Self {
        Self { least: len, most: len, usual: len }
    }
}

/// Why a length of the output does not work.
pub(super) enum Fault {
    /// Two edges that leave one node need different lengths.
    Branches { first: (EdgeId, usize), second: (EdgeId, usize) },
    /// No input of the edge makes an output of this length.
    Impossible { edge: EdgeId, len: usize },
}

impl Along<'_> {
    /// The lengths of all nodes' images for outputs of length `output`, which is at least 1.
    pub fn lengths(&self, output: usize) -> Result<Vec<usize>, Fault> {
        let mut lengths = vec![output; self.strides.len()];
        for &id in self.network.topological_order().iter().rev() {
            let mut agreed: Option<(EdgeId, Need)> = None;
            for &edge in self.network.out_edges(id) {
                let len = lengths[self.network[edge].output.0];
                let need = self.need(edge, len).ok_or(Fault::Impossible { edge, len })?;
                agreed = Some(match agreed {
                    None => (edge, need),
                    Some((first, known)) => {
                        let (least, most) = (known.least.max(need.least), known.most.min(need.most));
                        if least > most {
                            let (first, second) = ((first, known.usual), (edge, need.usual));
                            return Err(Fault::Branches { first, second });
                        }
                        let fits = |len: &usize| (least..=most).contains(len);
                        let usual = [known.usual, need.usual].into_iter().find(fits).unwrap_or(least);
                        (first, Need { least, most, usual })
                    }
                });
            }
            if let Some((_, need)) = agreed {
                lengths[id.0] = need.usual;
            }
        }
        Ok(lengths)
    }

    /// What an edge needs in front of it to make an image of length `after`; `None` where nothing does.
    fn need(&self, id: EdgeId, after: usize) -> Option<Need> {
        let edge = &self.network[id];
        let along = |extent: Extent| extent.to_array()[self.axis];
        let dilation = along(self.strides[edge.input.0]);
        let reach = |size: Extent| (along(size) - 1).saturating_mul(dilation);
        match edge.op {
            EdgeOp::Conv { size, pad, downsample, .. } => {
                windows(after, reach(size), along(downsample), along(pad))
            }
            EdgeOp::MaxFilter { size, .. } => Some(Need::exactly(after.saturating_add(reach(size)))),
            EdgeOp::MaxPool { size, downsample, pad } if size != downsample || pad != Extent::ZERO => {
                windows(after, along(size) - 1, along(downsample), along(pad))
            }
            EdgeOp::MaxPool { size, .. } | EdgeOp::AveragePool { size } => {
                Some(Need::exactly(after.saturating_mul(along(size))))
            }
            EdgeOp::Upsample { size } => {
                let size = along(size);
                after.is_multiple_of(size).then(|| Need::exactly(after / size))
            }
            EdgeOp::Deconv { size, stride, pad, .. } => {
                let (stride, pad) = (along(stride), along(pad));
                let room = after.checked_add(2 * pad)?.checked_sub(reach(size) + 1)?;
                // Voxels behind the last window have no value, unless they belong to what is cut off.
                (room % stride <= pad).then(|| Need::exactly(room / stride + 1))
            }
            EdgeOp::Crop { offset } => Some(Need::exactly(after.saturating_add(2 * along(offset)))),
            EdgeOp::Dropout { .. }
            | EdgeOp::NodeDropout { .. }
            | EdgeOp::Scale { .. }
            | EdgeOp::Slice { .. }
            | EdgeOp::Maxout
            | EdgeOp::Dummy => Some(Need::exactly(after)),
        }
    }

    /// The error of a fault that an output of length `output` has met.
    pub fn explain(&self, fault: Fault, output: usize) -> ShapeError {
        let network = self.network;
        let axis = ['z', 'y', 'x'][self.axis];
        let nearest = self.nearest(output);
        let target = |edge: EdgeId| network[network[edge].output].name.clone();
        match fault {
            Fault::Branches { first: (first, first_len), second: (second, second_len) } => {
                ShapeError::Extents {
                    node: network[network[first].input].name.clone(),
                    axis,
                    first: network[first].name.clone(),
                    first_target: target(first),
                    first_len,
                    second: network[second].name.clone(),
                    second_target: target(second),
                    second_len,
                    nearest,
                }
            }
            Fault::Impossible { edge, len } => {
                let op = network[edge].op;
                let size = match op {
                    EdgeOp::Conv { size, .. }
                    | EdgeOp::Deconv { size, .. }
                    | EdgeOp::MaxPool { size, .. }
                    | EdgeOp::Upsample { size } => size.to_array()[self.axis],
                    _ => 1,
                };
                let (edge, node) = (network[edge].name.clone(), target(edge));
                ShapeError::Indivisible { edge, op: op.keyword(), size, node, len, axis, nearest }
            }
        }
    }

    /// The next smaller and the next larger output that work, where they are near.
    fn nearest(&self, output: usize) -> Vec<usize> {
        /// Larger than the product of the strides of any network of this field.
        const FAR: usize = 1 << 10;
        if output > MAX_LEN {
            return Vec::new();
        }
        let works = |&len: &usize| self.lengths(len).is_ok();
        let below = (1..output).rev().take(FAR).find(works);
        let above = (output..).skip(1).take(FAR).find(works);
        below.into_iter().chain(above).collect()
    }
}

/// What makes `after` windows, each of `reach` voxels more than one, at a distance of `step`, on an image with `pad` more
/// voxels on both sides. The last voxels may belong to no window.
fn windows(after: usize, reach: usize, step: usize, pad: usize) -> Option<Need> {
    let padded = (after - 1).saturating_mul(step).saturating_add(reach).saturating_add(1);
    let most = padded.saturating_add(step - 1).checked_sub(2 * pad).filter(|&most| most > 0)?;
    let least = padded.saturating_sub(2 * pad).max(1);
    let multiple = after.saturating_mul(step);
    let usual = if (least..=most).contains(&multiple) { multiple } else { least };
    Some(Need { least, most, usual })
}
