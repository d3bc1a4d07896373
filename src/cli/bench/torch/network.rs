//! Networks in PyTorch.

use std::path::Path;

use serde::Serialize;
use znn::Extent;
use znn::Problem;
use znn::network::{EdgeId, EdgeOp, Network, NodeKind, Normalise, Shapes};
use znn_kernels::Transfer;

use super::super::rivals::Rival;
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
    Average,
    Multiply,
    Concat,
    Softmax,
    Transfer {
        #[serde(flatten)]
        function: Function,
    },
    Normalise {
        #[serde(flatten)]
        function: Function,
        epsilon: f32,
        /// `None`: the statistics of the image itself, also in inference.
        fraction: Option<f32>,
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
    ExponentialLinear { amplitude: f32 },
    LeakyRectifyLinear { slope: f32 },
    ParametricRectifyLinear { slope: f32 },
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
            Transfer::ExponentialLinear { amplitude } => Self::ExponentialLinear { amplitude },
            Transfer::LeakyRectifyLinear { slope } => Self::LeakyRectifyLinear { slope },
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
    Convolution { kernel: Extent, dilation: Extent, stride: Extent, padding: Extent, share: Option<String> },
    Deconvolution { kernel: Extent, dilation: Extent, stride: Extent, padding: Extent, rest: Extent },
    Maximum { size: Extent, dilation: Extent, stride: Extent, padding: Extent },
    Mean { size: Extent },
    Upsample { size: Extent },
    Dropout { keep: f32 },
    NodeDropout { keep: f32 },
    Scale,
    Slice { first: usize, maps: usize },
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
                EdgeOp::Conv { size, pad, downsample, share, .. } => Op::Convolution {
                    kernel: size,
                    dilation,
                    stride: downsample,
                    padding: pad,
                    share: share.map(|owner| network[owner].name.clone()),
                },
                EdgeOp::Deconv { size, stride, pad, .. } => {
                    let steps = (shapes[edge.input].extent - Extent::ONE) * stride;
                    let reach = (size - Extent::ONE) * dilation + Extent::ONE;
                    let rest = shapes[edge.output].extent + pad + pad - steps - reach;
                    Op::Deconvolution { kernel: size, dilation, stride, padding: pad, rest }
                }
                EdgeOp::MaxFilter { size, .. } => {
                    Op::Maximum { size, dilation, stride: Extent::ONE, padding: Extent::ZERO }
                }
                EdgeOp::MaxPool { size, downsample, pad } => {
                    Op::Maximum { size, dilation: Extent::ONE, stride: downsample, padding: pad }
                }
                EdgeOp::AveragePool { size } => Op::Mean { size },
                EdgeOp::Upsample { size } => Op::Upsample { size },
                EdgeOp::Dropout { keep } => Op::Dropout { keep },
                EdgeOp::NodeDropout { keep } => Op::NodeDropout { keep },
                EdgeOp::Scale { .. } => Op::Scale,
                EdgeOp::Slice { first } => Op::Slice { first, maps: network[edge.output].size },
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
                NodeKind::Average => Kind::Average,
                NodeKind::Multiply => Kind::Multiply,
                NodeKind::Concat => Kind::Concat,
                NodeKind::Softmax => Kind::Softmax,
                NodeKind::ParametricRectifyLinear { slope } => {
                    Kind::Transfer { function: Function::ParametricRectifyLinear { slope } }
                }
                NodeKind::Normalise(Normalise { transfer, epsilon, statistics }) => {
                    Kind::Normalise { function: transfer.into(), epsilon, fraction: statistics.fraction() }
                }
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

impl From<&Problem> for Description {
    /// A network of one convolution without biases.
    fn from(problem: &Problem) -> Self {
        let Problem { c_in, c_out, input, kernel, dilation, stride, padding: [padding, _] } = *problem;
        let op = Op::Convolution { kernel, dilation, stride, padding, share: None };
        let node =
            |name: &str, kind, size, extent, edges| Node { name: name.to_owned(), kind, size, extent, edges };
        let edge = Edge { name: "layer".to_owned(), from: 0, op };
        let image = node("image", Kind::Input, c_in, input, Vec::new());
        let output = node("output", Kind::Sum, c_out, problem.output(), vec![edge]);
        Self { nodes: vec![image, output], outputs: vec![1] }
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

/// What the process is told first.
#[derive(Serialize)]
struct Setup<'a> {
    engine: Rival,
    network: &'a Description,
    mode: Mode,
    threads: usize,
    format: Format,
}

/// Starts a process of the rival with this network.
pub fn side(
    python: &Path,
    engine: Rival,
    network: &Description,
    mode: Mode,
    threads: usize,
    format: Format,
) -> Result<Side, TorchError> {
    Ok(Side::new(start(python, SCRIPT)?, &Setup { engine, network, mode, threads, format })?)
}

#[cfg(test)]
mod tests;
