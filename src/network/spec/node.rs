//! Groups of nodes.

use znn_kernels::Transfer;

use super::diagnostic::Report;
use super::document::Group;
use super::group::GroupReader;
use super::{init, suggest, value};
use crate::network::{Init, Node, NodeKind, Normalise, Statistics};

const TYPES: &[&str] =
    &["input", "sum", "transfer", "maxout", "average", "multiply", "concat", "normalise", "softmax"];
const FUNCTIONS: &[&str] = &[
    "linear",
    "rectify_linear",
    "tanh",
    "soft_sign",
    "logistics",
    "forward_logistics",
    "exponential_linear",
    "leaky_rectify_linear",
    "parametric_rectify_linear",
];

/// `None` where something was wrong and reported.
pub(super) fn read(group: &Group, report: &mut Report) -> Option<Node> {
    let mut reader = GroupReader::new(group, report);
    let kind = reader.group_type(TYPES)?;
    let size = reader.required("size", value::maps);
    let dense = reader.optional("dense", value::flag).unwrap_or(false);
    let mut node = Node {
        name: reader.name().name.clone(),
        size: 0,
        kind: NodeKind::Sum,
        dense,
        init: Init::Zero,
        update: Default::default(),
        seeding: true,
        extra: Vec::new(),
    };
    let (kind, what) = match kind {
        "input" => (Some(NodeKind::Input), "an input group"),
        "sum" => (Some(NodeKind::Sum), "a sum group"),
        "maxout" => (Some(NodeKind::Maxout), "a maxout group"),
        "average" => (Some(NodeKind::Average), "an average group"),
        "multiply" => (Some(NodeKind::Multiply), "a multiply group"),
        "concat" => (Some(NodeKind::Concat), "a concat group"),
        "softmax" => (Some(NodeKind::Softmax), "a softmax group"),
        "normalise" => (normalise(&mut reader), "a normalise group"),
        _ => (transfer(&mut reader), "a transfer group"),
    };
    if what == "a transfer group" || what == "a normalise group" {
        node.init = init::read(&mut reader, false).unwrap_or(Init::Zero);
        node.update = reader.update_overrides();
        node.seeding = reader.seeding();
        reader.refuse_binary("biases");
    }
    node.extra = reader.finish(what)?;
    node.size = size?;
    node.kind = kind?;
    Some(node)
}

fn normalise(reader: &mut GroupReader) -> Option<NodeKind> {
    let function = function(reader, false, &FUNCTIONS[..FUNCTIONS.len() - 1])?;
    let NodeKind::Transfer(transfer) = function else { return None };
    let epsilon = reader.optional("epsilon", value::positive).unwrap_or(1e-5);
    let parse = |text: &str| match text {
        "own" => Ok(false),
        "running" => Ok(true),
        _ => Err("own or running".to_owned()),
    };
    let statistics = if reader.optional("statistics", parse).unwrap_or(true) {
        Statistics::Running { fraction: reader.optional("fraction", value::fraction).unwrap_or(0.01) }
    } else {
        Statistics::Own
    };
    Some(NodeKind::Normalise(Normalise { transfer, epsilon, statistics }))
}

fn transfer(reader: &mut GroupReader) -> Option<NodeKind> {
    function(reader, true, FUNCTIONS)
}

/// The key `function`, one of `functions`; the identity where it is absent and not `required`.
fn function(reader: &mut GroupReader, required: bool, functions: &[&'static str]) -> Option<NodeKind> {
    let parse = |text: &str| {
        let known = functions.iter().find(|&&function| function == text).copied();
        known.ok_or_else(|| {
            format!("one of {}{}", functions.join(", "), suggest::hint(text, functions.iter().copied()))
        })
    };
    if !required && !reader.has("function") {
        return Some(NodeKind::Transfer(Transfer::IDENTITY));
    }
    let function = reader.required("function", parse)?;
    let pair = |reader: &mut GroupReader, default| {
        let args = reader.optional("function_args", |text| match value::numbers(text).as_deref() {
            Some(&[a, b]) => Ok((a, b)),
            _ => Err(format!("the two numbers a,b of {function}")),
        });
        args.unwrap_or(default)
    };
    let not_negative = |reader: &mut GroupReader, default| {
        reader.optional("function_args", value::not_negative).unwrap_or(default)
    };
    let transfer = match function {
        "rectify_linear" => Transfer::RectifyLinear,
        "soft_sign" => Transfer::SoftSign,
        "logistics" => Transfer::Logistic,
        "forward_logistics" => Transfer::ForwardLogistic,
        "exponential_linear" => Transfer::ExponentialLinear { amplitude: not_negative(reader, 1.0) },
        "leaky_rectify_linear" => Transfer::LeakyRectifyLinear { slope: not_negative(reader, 0.01) },
        "parametric_rectify_linear" => {
            let number = |text: &str| value::number(text).ok_or_else(|| "a number".to_owned());
            let slope = reader.optional("function_args", number).unwrap_or(0.25);
            return Some(NodeKind::ParametricRectifyLinear { slope });
        }
        "tanh" => {
            let (amplitude, slope) = pair(reader, (1.0, 1.0));
            if amplitude == 0.0 {
                reader.error_at("function_args", "the amplitude of tanh is 0, expected another number");
            }
            Transfer::Tanh { amplitude, slope }
        }
        _ => {
            let (scale, shift) = pair(reader, (1.0, 0.0));
            Transfer::Linear { scale, shift }
        }
    };
    Some(NodeKind::Transfer(transfer))
}
