//! Groups of edges.

use std::collections::HashMap;

use super::diagnostic::Report;
use super::document::Group;
use super::group::GroupReader;
use super::{init, suggest, value};
use crate::network::{Edge, EdgeOp, NodeId, UpdateOverrides};
use crate::volume::Extent;

const TYPES: &[&str] = &["conv", "max_filter", "max_pool", "dropout", "crop", "maxout", "dummy"];

/// `None` where something was wrong and reported. `nodes` finds the node groups by name; `names` are the same
/// names in the order of the file.
pub(super) fn read(
    group: &Group,
    nodes: &HashMap<&str, NodeId>,
    names: &[&str],
    report: &mut Report,
) -> Option<Edge> {
    if report.is_full() {
        return None;
    }
    let mut reader = GroupReader::new(group, report);
    let kind = reader.group_type(TYPES)?;
    let node = |text: &str| {
        let found = nodes.get(text).copied();
        found.ok_or_else(|| format!("the name of a node group{}", suggest::hint(text, names.iter().copied())))
    };
    let input = reader.required("input", node);
    let output = reader.required("output", node);
    let (mut update, mut seeding) = (UpdateOverrides::default(), true);
    let op = match kind {
        "conv" => {
            update = reader.update_overrides();
            seeding = reader.seeding();
            reader.refuse_binary("filters");
            conv(&mut reader)
        }
        "max_filter" => {
            let size = reader.required("size", positive);
            let stride = reader.required("stride", positive);
            size.zip(stride).map(|(size, stride)| EdgeOp::MaxFilter { size, stride })
        }
        "max_pool" => {
            let size = reader.required("size", positive);
            // Blocks do not overlap: a stride has nothing to say, but does no harm where it says just that.
            reader.accept("stride", |text| positive(text).ok() == size);
            size.map(|size| EdgeOp::MaxPool { size })
        }
        "dropout" => Some(EdgeOp::Dropout { keep: reader.optional("ratio", value::keep).unwrap_or(0.5) }),
        "crop" => {
            reader.required("offset", |text| value::extent(text, 0)).map(|offset| EdgeOp::Crop { offset })
        }
        "maxout" => Some(EdgeOp::Maxout),
        _ => Some(EdgeOp::Dummy),
    };
    let name = reader.name().name.clone();
    let extra = reader.finish(&format!("a {kind} edge"))?;
    Some(Edge { name, input: input?, output: output?, op: op?, update, seeding, extra })
}

fn conv(reader: &mut GroupReader) -> Option<EdgeOp> {
    let size = reader.required("size", positive);
    let stride = reader.optional("stride", positive).unwrap_or(Extent::ONE);
    let repeat = reader.optional("repeat", positive).unwrap_or(Extent::ONE);
    let init = init::read(reader, true);
    let fft = reader.optional("fft", value::flag);
    Some(EdgeOp::Conv { size: size?, stride, repeat, init: init?, fft })
}

fn positive(text: &str) -> Result<Extent, String> {
    value::extent(text, 1)
}
