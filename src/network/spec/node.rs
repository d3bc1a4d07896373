//! Groups of nodes.

use znn_kernels::Transfer;

use super::diagnostic::Report;
use super::document::Group;
use super::group::GroupReader;
use super::{init, suggest, value};
use crate::network::Init;
use crate::network::{Node, NodeKind};

const TYPES: &[&str] = &["input", "sum", "transfer", "maxout"];
const FUNCTIONS: &[&str] =
    &["linear", "rectify_linear", "tanh", "soft_sign", "logistics", "forward_logistics"];

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
    let kind = match kind {
        "input" => Some(NodeKind::Input),
        "sum" => Some(NodeKind::Sum),
        "maxout" => Some(NodeKind::Maxout),
        _ => {
            let function = transfer(&mut reader);
            node.init = init::read(&mut reader, false).unwrap_or(Init::Zero);
            node.update = reader.update_overrides();
            node.seeding = reader.seeding();
            reader.refuse_binary("biases");
            function.map(NodeKind::Transfer)
        }
    };
    let what = match kind {
        Some(NodeKind::Input) => "an input group",
        Some(NodeKind::Sum) => "a sum group",
        Some(NodeKind::Maxout) => "a maxout group",
        Some(NodeKind::Transfer(_)) | None => "a transfer group",
    };
    node.extra = reader.finish(what)?;
    node.size = size?;
    node.kind = kind?;
    Some(node)
}

fn transfer(reader: &mut GroupReader) -> Option<Transfer> {
    let function = reader.required("function", |text| {
        let known = FUNCTIONS.iter().find(|&&function| function == text).copied();
        known.ok_or_else(|| {
            format!("one of {}{}", FUNCTIONS.join(", "), suggest::hint(text, FUNCTIONS.iter().copied()))
        })
    })?;
    let pair = |reader: &mut GroupReader, default| {
        let args = reader.optional("function_args", |text| match value::numbers(text).as_deref() {
            Some(&[a, b]) => Ok((a, b)),
            _ => Err(format!("the two numbers a,b of {function}")),
        });
        args.unwrap_or(default)
    };
    Some(match function {
        "rectify_linear" => Transfer::RectifyLinear,
        "soft_sign" => Transfer::SoftSign,
        "logistics" => Transfer::Logistic,
        "forward_logistics" => Transfer::ForwardLogistic,
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
    })
}
