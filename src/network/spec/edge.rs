//! Groups of edges.

use std::collections::HashMap;

use super::diagnostic::Report;
use super::document::Group;
use super::group::GroupReader;
use super::{init, suggest, value};
use crate::network::{Edge, EdgeId, EdgeOp, Init, NodeId, UpdateOverrides};
use crate::volume::Extent;

const TYPES: &[&str] = &[
    "conv",
    "max_filter",
    "max_pool",
    "dropout",
    "crop",
    "maxout",
    "dummy",
    "deconv",
    "average_pool",
    "upsample",
    "node_dropout",
    "scale",
    "slice",
];

/// The names of groups that keys refer to.
pub(super) struct Names<'a> {
    /// The node groups, in the order of the file.
    pub nodes: Vec<&'a str>,
    /// The edge groups, in the order of the file.
    pub edges: Vec<&'a str>,
    node_ids: HashMap<&'a str, NodeId>,
    edge_ids: HashMap<&'a str, EdgeId>,
}

impl<'a> Names<'a> {
    pub fn new(nodes: Vec<&'a str>, edges: Vec<&'a str>) -> Self {
        let node_ids = nodes.iter().enumerate().map(|(id, &name)| (name, NodeId(id))).collect();
        let edge_ids = edges.iter().enumerate().map(|(id, &name)| (name, EdgeId(id))).collect();
        Self { nodes, edges, node_ids, edge_ids }
    }

    fn node(&self, text: &str) -> Result<NodeId, String> {
        let found = self.node_ids.get(text).copied();
        found.ok_or_else(|| {
            format!("the name of a node group{}", suggest::hint(text, self.nodes.iter().copied()))
        })
    }

    fn edge(&self, text: &str) -> Result<EdgeId, String> {
        let found = self.edge_ids.get(text).copied();
        found.ok_or_else(|| {
            format!("the name of an edge group{}", suggest::hint(text, self.edges.iter().copied()))
        })
    }
}

/// `None` where something was wrong and reported.
pub(super) fn read(group: &Group, names: &Names<'_>, report: &mut Report) -> Option<Edge> {
    if report.is_full() {
        return None;
    }
    let mut reader = GroupReader::new(group, report);
    let kind = reader.group_type(TYPES)?;
    let input = reader.required("input", |text| names.node(text));
    let output = reader.required("output", |text| names.node(text));
    let (mut update, mut seeding) = (UpdateOverrides::default(), true);
    if kind == "conv" && reader.has("share") {
        // Kernels of another group: what concerns their values is that group's to say.
    } else if matches!(kind, "conv" | "deconv" | "scale") {
        update = reader.update_overrides();
        seeding = reader.seeding();
        reader.refuse_binary("filters");
    }
    let op = match kind {
        "conv" => conv(&mut reader, names),
        "deconv" => deconv(&mut reader),
        "max_filter" => {
            let size = reader.required("size", positive);
            let stride = reader.required("stride", positive);
            size.zip(stride).map(|(size, stride)| EdgeOp::MaxFilter { size, stride })
        }
        "max_pool" => {
            let size = reader.required("size", positive);
            // The original ignores a stride; it does no harm where it says what is done anyway.
            reader.accept("stride", |text| positive(text).ok() == size);
            let downsample = reader.optional("downsample", positive).or(size);
            let pad = padding(&mut reader);
            size.zip(downsample).map(|(size, downsample)| EdgeOp::MaxPool { size, downsample, pad })
        }
        "average_pool" => reader.required("size", positive).map(|size| EdgeOp::AveragePool { size }),
        "upsample" => reader.required("size", positive).map(|size| EdgeOp::Upsample { size }),
        "dropout" => Some(EdgeOp::Dropout { keep: ratio(&mut reader, "voxel") }),
        "node_dropout" => Some(EdgeOp::NodeDropout { keep: ratio(&mut reader, "map") }),
        "crop" => {
            reader.required("offset", |text| value::extent(text, 0)).map(|offset| EdgeOp::Crop { offset })
        }
        "scale" => {
            let init = init::read(&mut reader, false).unwrap_or(Init::Constant(1.0));
            Some(EdgeOp::Scale { init })
        }
        "slice" => reader.required("first", value::map).map(|first| EdgeOp::Slice { first }),
        "maxout" => Some(EdgeOp::Maxout),
        _ => Some(EdgeOp::Dummy),
    };
    let name = reader.name().name.clone();
    let extra = reader.finish(&format!("a {kind} edge"))?;
    Some(Edge { name, input: input?, output: output?, op: op?, update, seeding, extra })
}

fn conv(reader: &mut GroupReader, names: &Names<'_>) -> Option<EdgeOp> {
    let size = reader.required("size", positive);
    let stride = reader.optional("stride", positive).unwrap_or(Extent::ONE);
    let repeat = reader.optional("repeat", positive).unwrap_or(Extent::ONE);
    let pad = padding(reader);
    let downsample = reader.optional("downsample", positive).unwrap_or(Extent::ONE);
    let fft = reader.optional("fft", value::flag);
    let (share, init) = if reader.has("share") {
        (Some(reader.optional("share", |text| names.edge(text))?), Some(Init::Zero))
    } else {
        (None, init::read(reader, true))
    };
    Some(EdgeOp::Conv { size: size?, stride, repeat, init: init?, fft, pad, downsample, share })
}

fn deconv(reader: &mut GroupReader) -> Option<EdgeOp> {
    let size = reader.required("size", positive);
    let stride = reader.optional("stride", positive).unwrap_or(Extent::ONE);
    let pad = padding(reader);
    let init = init::read(reader, true);
    Some(EdgeOp::Deconv { size: size?, stride, pad, init: init? })
}

fn padding(reader: &mut GroupReader) -> Extent {
    reader.optional("pad", |text| value::extent(text, 0)).unwrap_or(Extent::ZERO)
}

fn ratio(reader: &mut GroupReader, what: &str) -> f32 {
    reader.optional("ratio", |text| value::keep(what, text)).unwrap_or(0.5)
}

fn positive(text: &str) -> Result<Extent, String> {
    value::extent(text, 1)
}
