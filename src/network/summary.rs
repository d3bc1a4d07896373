//! A network as a table.

use std::fmt;

use znn_kernels::Transfer;

use super::{EdgeId, EdgeOp, Network, NodeId, NodeKind, ParameterCounts, Shapes};
use crate::volume::Extent;

const COLUMNS: [&str; 8] =
    ["group", "kind", "maps", "window", "dilation", "field of view", "image", "parameters"];

/// The groups of a network in the order in which they are computed, with their shapes and numbers of parameters.
/// `Display` writes it as a table.
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<[String; COLUMNS.len()]>,
    counts: ParameterCounts,
    fov: Extent,
}

impl Summary {
    /// The summary of `network`; `shapes` are its own.
    pub fn new(network: &Network, shapes: &Shapes) -> Self {
        let rows = network.topological_order().iter().flat_map(|&node| {
            let edges = network.in_edges(node).iter().map(|&edge| edge_row(network, shapes, edge));
            edges.chain([node_row(network, shapes, node)])
        });
        Self { rows: rows.collect(), counts: network.parameter_counts(), fov: shapes.fov() }
    }
}

/// The cells of a node group.
pub(super) fn node_row(network: &Network, shapes: &Shapes, id: NodeId) -> [String; COLUMNS.len()] {
    let (node, shape) = (&network[id], &shapes[id]);
    let kind = match node.kind {
        NodeKind::Transfer(function) => function_name(function),
        NodeKind::ParametricRectifyLinear { .. } => "parametric_rectify_linear".to_owned(),
        NodeKind::Normalise(normalise) if normalise.transfer != Transfer::IDENTITY => {
            format!("normalise, {}", function_name(normalise.transfer))
        }
        kind => kind.keyword().to_owned(),
    };
    [
        node.name.clone(),
        kind,
        node.size.to_string(),
        String::new(),
        String::new(),
        shape.fov.to_string(),
        shape.extent.to_string(),
        network.bias_len(id).map_or(String::new(), |len| len.to_string()),
    ]
}

/// The cells of an edge group.
pub(super) fn edge_row(network: &Network, shapes: &Shapes, id: EdgeId) -> [String; COLUMNS.len()] {
    let edge = &network[id];
    let [c_in, c_out] = [edge.input, edge.output].map(|node| network[node].size);
    let window = match edge.op {
        EdgeOp::Conv { size, .. }
        | EdgeOp::Deconv { size, .. }
        | EdgeOp::MaxFilter { size, .. }
        | EdgeOp::MaxPool { size, .. }
        | EdgeOp::AveragePool { size }
        | EdgeOp::Upsample { size } => size.to_string(),
        EdgeOp::Crop { offset } => offset.to_string(),
        EdgeOp::Dropout { .. }
        | EdgeOp::NodeDropout { .. }
        | EdgeOp::Scale { .. }
        | EdgeOp::Slice { .. }
        | EdgeOp::Maxout
        | EdgeOp::Dummy => String::new(),
    };
    let dilation = match edge.op {
        EdgeOp::Conv { .. } | EdgeOp::Deconv { .. } | EdgeOp::MaxFilter { .. } => {
            shapes[edge.input].stride.to_string()
        }
        _ => String::new(),
    };
    let kind = match edge.op {
        EdgeOp::Dropout { keep } | EdgeOp::NodeDropout { keep } => {
            format!("{}, keeps {keep}", edge.op.keyword())
        }
        EdgeOp::Conv { share: Some(owner), .. } => format!("conv, shares {}", network[owner].name),
        EdgeOp::Conv { downsample, .. } if downsample != Extent::ONE => format!("conv, 1 of {downsample}"),
        EdgeOp::Deconv { stride, .. } => format!("deconv, {stride} times"),
        EdgeOp::Slice { first } => format!("slice from map {first}"),
        op => op.keyword().to_owned(),
    };
    [
        format!("  {}", edge.name),
        kind,
        format!("{c_in} -> {c_out}"),
        window,
        dilation,
        String::new(),
        String::new(),
        network.weight_shape(id).map_or(String::new(), |shape| shape.len().to_string()),
    ]
}

fn function_name(function: Transfer) -> String {
    match function {
        Transfer::Linear { scale: 1.0, shift: 0.0 } => "linear".to_owned(),
        Transfer::Linear { scale, shift } => format!("linear {scale},{shift}"),
        Transfer::RectifyLinear => "rectify_linear".to_owned(),
        Transfer::Tanh { amplitude, slope } => format!("tanh {amplitude},{slope}"),
        Transfer::SoftSign => "soft_sign".to_owned(),
        Transfer::Logistic => "logistics".to_owned(),
        Transfer::ForwardLogistic => "forward_logistics".to_owned(),
        Transfer::ExponentialLinear { amplitude: 1.0 } => "exponential_linear".to_owned(),
        Transfer::ExponentialLinear { amplitude } => format!("exponential_linear {amplitude}"),
        Transfer::LeakyRectifyLinear { slope } => format!("leaky_rectify_linear {slope}"),
    }
}

/// Words are aligned to the left, numbers to the right.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = COLUMNS.map(str::to_owned);
        let rows = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
        for row in rows() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                line += &if column < 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        let ParameterCounts { kernels, weights, biases } = self.counts;
        write!(f, "field of view {}; {kernels} kernels, {weights} weights, {biases} biases", self.fov)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::network;

    #[test]
    fn table() {
        let network = network(
            "nodes in\ntype input\nsize 1\n\
             edges c\ntype conv\nsize 1,3,3\ninit zero\ninput in\noutput a\n\
             nodes a\ntype transfer\nfunction tanh\nfunction_args 1.7159,0.6666\nsize 12\n\
             edges p\ntype max_filter\nsize 1,2,2\nstride 1,2,2\ninput a\noutput b\n\
             nodes b\ntype sum\nsize 12\n\
             edges d\ntype conv\nsize 2,3,3\ninit zero\ninput b\noutput out\n\
             nodes out\ntype transfer\nfunction linear\nsize 3\n",
        );
        let summary = Summary::new(&network, &network.shapes(Extent::new(1, 10, 10)).unwrap());
        let expected = "\
group  kind                    maps  window  dilation  field of view    image  parameters
in     input                      1                            2,8,8  2,17,17
  c    conv                 1 -> 12   1,3,3     1,1,1                                 108
a      tanh 1.7159,0.6666        12                            2,6,6  2,15,15          12
  p    max_filter          12 -> 12   1,2,2     1,1,1
b      sum                       12                            2,3,3  2,14,14
  d    conv                 12 -> 3   2,3,3     1,2,2                                 648
out    linear                     3                            1,1,1  1,10,10           3
field of view 2,8,8; 48 kernels, 756 weights, 15 biases";
        assert_eq!(summary.to_string(), expected);
    }
}
