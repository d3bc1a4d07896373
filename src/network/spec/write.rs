//! Writes a network as text.

use std::fmt;

use znn_kernels::Transfer;

use crate::network::{Edge, EdgeOp, Init, Network, Node, NodeKind, Normalise, Statistics, UpdateOverrides};
use crate::volume::Extent;

/// The network's text: reading it gives the same network. Each edge stands behind both of its nodes, and behind those of the
/// edges before it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut edges = self.edges().iter().peekable();
        for (written, node) in self.nodes().iter().enumerate() {
            if written > 0 {
                writeln!(f)?;
            }
            write_node(f, node)?;
            while let Some(edge) = edges.next_if(|edge| edge.input.0.max(edge.output.0) <= written) {
                writeln!(f)?;
                write_edge(f, self, edge)?;
            }
        }
        Ok(())
    }
}

fn write_node(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    writeln!(f, "nodes {}", node.name)?;
    writeln!(f, "type {}\nsize {}", node.kind.keyword(), node.size)?;
    let has_parameters = match node.kind {
        NodeKind::Transfer(function) => {
            write_function(f, function)?;
            true
        }
        NodeKind::ParametricRectifyLinear { slope } => {
            writeln!(f, "function parametric_rectify_linear\nfunction_args {slope}")?;
            true
        }
        NodeKind::Normalise(Normalise { transfer, epsilon, statistics }) => {
            write_function(f, transfer)?;
            writeln!(f, "epsilon {epsilon}")?;
            match statistics {
                Statistics::Own => writeln!(f, "statistics own")?,
                Statistics::Running { fraction } => writeln!(f, "statistics running\nfraction {fraction}")?,
            }
            true
        }
        _ => false,
    };
    if has_parameters {
        if node.init != Init::Zero {
            write_init(f, node.init)?;
        }
        write_training(f, &node.update, node.seeding)?;
    }
    if node.dense {
        writeln!(f, "dense 1")?;
    }
    write_extra(f, &node.extra)
}

fn write_edge(f: &mut fmt::Formatter<'_>, network: &Network, edge: &Edge) -> fmt::Result {
    writeln!(f, "edges {}\ntype {}", edge.name, edge.op.keyword())?;
    match edge.op {
        EdgeOp::Conv { size, stride, repeat, init, fft, pad, downsample, share } => {
            writeln!(f, "size {size}\nstride {stride}")?;
            write_unless(f, "pad", pad, Extent::ZERO)?;
            write_unless(f, "downsample", downsample, Extent::ONE)?;
            write_unless(f, "repeat", repeat, Extent::ONE)?;
            if let Some(fft) = fft {
                writeln!(f, "fft {}", u8::from(fft))?;
            }
            match share {
                Some(owner) => writeln!(f, "share {}", network[owner].name)?,
                None => write_init(f, init)?,
            }
        }
        EdgeOp::Deconv { size, stride, pad, init } => {
            writeln!(f, "size {size}\nstride {stride}")?;
            write_unless(f, "pad", pad, Extent::ZERO)?;
            write_init(f, init)?;
        }
        EdgeOp::MaxFilter { size, stride } => writeln!(f, "size {size}\nstride {stride}")?,
        EdgeOp::MaxPool { size, downsample, pad } => {
            writeln!(f, "size {size}")?;
            write_unless(f, "downsample", downsample, size)?;
            write_unless(f, "pad", pad, Extent::ZERO)?;
        }
        EdgeOp::AveragePool { size } | EdgeOp::Upsample { size } => writeln!(f, "size {size}")?,
        EdgeOp::Dropout { keep } | EdgeOp::NodeDropout { keep } => writeln!(f, "ratio {keep}")?,
        EdgeOp::Crop { offset } => writeln!(f, "offset {offset}")?,
        EdgeOp::Scale { init } => write_init(f, init)?,
        EdgeOp::Slice { first } => writeln!(f, "first {first}")?,
        EdgeOp::Maxout | EdgeOp::Dummy => {}
    }
    write_training(f, &edge.update, edge.seeding)?;
    writeln!(f, "input {}\noutput {}", network[edge.input].name, network[edge.output].name)?;
    write_extra(f, &edge.extra)
}

/// A line for a key that has not its default value.
fn write_unless(f: &mut fmt::Formatter<'_>, key: &str, value: Extent, default: Extent) -> fmt::Result {
    if value == default { Ok(()) } else { writeln!(f, "{key} {value}") }
}

fn write_function(f: &mut fmt::Formatter<'_>, function: Transfer) -> fmt::Result {
    match function {
        Transfer::Linear { scale, shift } => writeln!(f, "function linear\nfunction_args {scale},{shift}"),
        Transfer::RectifyLinear => writeln!(f, "function rectify_linear"),
        Transfer::Tanh { amplitude, slope } => {
            writeln!(f, "function tanh\nfunction_args {amplitude},{slope}")
        }
        Transfer::SoftSign => writeln!(f, "function soft_sign"),
        Transfer::Logistic => writeln!(f, "function logistics"),
        Transfer::ForwardLogistic => writeln!(f, "function forward_logistics"),
        Transfer::ExponentialLinear { amplitude } => {
            writeln!(f, "function exponential_linear\nfunction_args {amplitude}")
        }
        Transfer::LeakyRectifyLinear { slope } => {
            writeln!(f, "function leaky_rectify_linear\nfunction_args {slope}")
        }
    }
}

fn write_init(f: &mut fmt::Formatter<'_>, init: Init) -> fmt::Result {
    match init {
        Init::Zero => writeln!(f, "init zero"),
        Init::Constant(value) => writeln!(f, "init constant\ninit_args {value}"),
        Init::Uniform { low, high } => writeln!(f, "init uniform\ninit_args {low},{high}"),
        Init::Gaussian { mean, deviation } => writeln!(f, "init gaussian\ninit_args {mean},{deviation}"),
        Init::Bernoulli { p } => writeln!(f, "init bernoulli\ninit_args {p}"),
        Init::Xavier => writeln!(f, "init xavier"),
        Init::Msra => writeln!(f, "init msra"),
    }
}

fn write_training(f: &mut fmt::Formatter<'_>, update: &UpdateOverrides, seeding: bool) -> fmt::Result {
    let UpdateOverrides { eta, momentum, weight_decay } = *update;
    for (key, value) in [("eta", eta), ("momentum", momentum), ("weight_decay", weight_decay)] {
        if let Some(value) = value {
            writeln!(f, "{key} {value}")?;
        }
    }
    if seeding { Ok(()) } else { writeln!(f, "seeding 0") }
}

fn write_extra(f: &mut fmt::Formatter<'_>, extra: &[(String, String)]) -> fmt::Result {
    for (key, value) in extra {
        let separator = if value.is_empty() { "" } else { " " };
        writeln!(f, "{key}{separator}{value}")?;
    }
    Ok(())
}
