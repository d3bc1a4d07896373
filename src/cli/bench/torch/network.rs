//! Networks in PyTorch.

use std::path::Path;

use serde::Serialize;
use znn::network::{EdgeId, EdgeOp, Network, NodeKind, Shapes};
use znn::volume::Extent;
use znn_kernels::Transfer;

use super::super::side::{Mode, Side};
use super::{TorchError, start};

const SCRIPT: &str = include_str!("../../../../benches/rival_torch_net.py");

/// A network with the sizes of its images, in the words of `benches/rival_torch_net.py`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Sources before targets.
    nodes: Vec<Node>,
    /// Places of the output nodes.
    outputs: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Node {
    name: String,
    #[serde(flatten)]
    kind: Kind,
    size: usize,
    extent: Extent,
    edges: Vec<Edge>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Input,
    Sum,
    Transfer {
        #[serde(flatten)]
        function: Function,
    },
    Maxout,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "function", rename_all = "snake_case")]
enum Function {
    Linear { scale: f32, shift: f32 },
    RectifyLinear,
    Tanh { amplitude: f32, slope: f32 },
    SoftSign,
    Logistic,
    ForwardLogistic,
}

impl From<Transfer> for Function {
    fn from(transfer: Transfer) -> Self {
        match transfer {
            Transfer::Linear { scale, shift } => Self::Linear { scale, shift },
            Transfer::RectifyLinear => Self::RectifyLinear,
            Transfer::Tanh { amplitude, slope } => Self::Tanh { amplitude, slope },
            Transfer::SoftSign => Self::SoftSign,
            Transfer::Logistic => Self::Logistic,
            Transfer::ForwardLogistic => Self::ForwardLogistic,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Edge {
    name: String,
    /// The place of the node that it comes from.
    from: usize,
    #[serde(flatten)]
    op: Op,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Convolution { kernel: Extent, dilation: Extent },
    Maximum { size: Extent, dilation: Extent, stride: Extent },
    Dropout { keep: f32 },
    Crop { offset: Extent },
    Identity,
}

/// PyTorch has no such operation.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("edges {edge}: PyTorch has no kernels that are constant over blocks")]
pub struct NotInTorch {
    edge: String,
}

impl Description {
    /// `network` with images of `shapes`.
    pub fn new(network: &Network, shapes: &Shapes) -> Result<Self, NotInTorch> {
        let order = network.topological_order();
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &node)| places[node.0] = place);
        let edge = |id: EdgeId| {
            let edge = &network[id];
            let dilation = shapes[edge.input].stride;
            let op = match edge.op {
                EdgeOp::Conv { repeat, .. } if repeat != Extent::ONE => {
                    return Err(NotInTorch { edge: edge.name.clone() });
                }
                EdgeOp::Conv { size, .. } => Op::Convolution { kernel: size, dilation },
                EdgeOp::MaxFilter { size, .. } => Op::Maximum { size, dilation, stride: Extent::ONE },
                EdgeOp::MaxPool { size } => Op::Maximum { size, dilation: Extent::ONE, stride: size },
                EdgeOp::Dropout { keep } => Op::Dropout { keep },
                EdgeOp::Crop { offset } => Op::Crop { offset },
                EdgeOp::Maxout | EdgeOp::Dummy => Op::Identity,
            };
            Ok(Edge { name: edge.name.clone(), from: places[edge.input.0], op })
        };
        let nodes = order.iter().map(|&id| {
            let node = &network[id];
            let kind = match node.kind {
                NodeKind::Input => Kind::Input,
                NodeKind::Sum => Kind::Sum,
                NodeKind::Transfer(transfer) => Kind::Transfer { function: transfer.into() },
                NodeKind::Maxout => Kind::Maxout,
            };
            let edges = network.in_edges(id).iter().map(|&id| edge(id)).collect::<Result<_, _>>()?;
            Ok(Node { name: node.name.clone(), kind, size: node.size, extent: shapes[id].extent, edges })
        });
        let outputs = network.outputs().map(|node| places[node.0]).collect();
        Ok(Self { nodes: nodes.collect::<Result<_, _>>()?, outputs })
    }
}

/// How PyTorch keeps images in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Contiguous,
    ChannelsLast,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Contiguous, Self::ChannelsLast];
}

/// What a process of PyTorch is told first.
#[derive(Serialize)]
struct Setup<'a> {
    network: &'a Description,
    mode: Mode,
    threads: usize,
    format: Format,
}

/// Starts a process of PyTorch with this network.
pub fn side(
    python: &Path,
    network: &Description,
    mode: Mode,
    threads: usize,
    format: Format,
) -> Result<Side, TorchError> {
    Ok(Side::new(start(python, SCRIPT)?, &Setup { network, mode, threads, format })?)
}

#[cfg(test)]
mod tests;
