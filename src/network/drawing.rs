//! A network as a picture.

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;

use super::summary::{edge_row, node_row};
use super::{Network, Shapes};

const FONT: usize = 14;

/// The groups of a network as an SVG: a box for each group of nodes with its kind, maps and image, and the operations
/// between them, from top to bottom. `shapes` are the network's own.
pub fn svg(network: &Network, shapes: &Shapes) -> String {
    let mut graph = VisualGraph::new(Orientation::TopToBottom);
    let mut add = |lines: &[String], fill: u32, border: Color| {
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let size = Point::new(24.0 + 8.0 * width as f64, 16.0 + 18.0 * lines.len() as f64);
        let style = StyleAttr::new(border, 1, Some(Color::new(fill)), 4, FONT);
        let shape = ShapeKind::new_box(&lines.join("\n"));
        graph.add_node(Element::create(shape, style, Orientation::TopToBottom, size))
    };
    let (inputs, outputs): (Vec<_>, Vec<_>) = (network.inputs().collect(), network.outputs().collect());
    let mut nodes = Vec::new();
    for id in network.node_ids() {
        let [name, kind, maps, _, _, _, extent, _] = node_row(network, shapes, id);
        // Red, green, blue and how opaque.
        let fill = match () {
            () if inputs.contains(&id) => 0xd6e8_f7ff,
            () if outputs.contains(&id) => 0xfbe3_d0ff,
            () => 0xf4f4_f4ff,
        };
        nodes.push(add(&[name, kind, format!("{maps} x {extent}")], fill, Color::fast("black")));
    }
    let mut arrows = Vec::new();
    for id in network.edge_ids() {
        let edge = &network[id];
        let [name, kind, _, window, dilation, ..] = edge_row(network, shapes, id);
        let mut lines = vec![format!("{}: {kind} {window}", name.trim()).trim().to_owned()];
        if !dilation.is_empty() && dilation != "1,1,1" {
            lines.push(format!("dilation {dilation}"));
        }
        let operation = add(&lines, 0xffff_ffff, Color::fast("white"));
        arrows.push((nodes[edge.input.0], operation));
        arrows.push((operation, nodes[edge.output.0]));
    }
    let style = StyleAttr::new(Color::fast("black"), 1, None, 0, FONT);
    for (from, to) in arrows {
        let [none, arrow] = [LineEndKind::None, LineEndKind::Arrow];
        graph.add_edge(Arrow::new(none, arrow, LineStyleKind::Normal, "", &style, &None, &None), from, to);
    }
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    writer.finalize()
}

#[cfg(test)]
mod tests {
    use crate::network::testing::network;
    use crate::volume::Extent;

    #[test]
    fn every_group_is_drawn() {
        let network = network(
            "nodes in\ntype input\nsize 1\n\
             edges c\ntype conv\nsize 1,3,3\ninit zero\ninput in\noutput a\n\
             nodes a\ntype transfer\nfunction tanh\nsize 12\n\
             edges d\ntype conv\nsize 2,3,3\ninit zero\ninput a\noutput out\n\
             edges skip\ntype conv\nsize 2,5,5\ninit zero\ninput in\noutput out\n\
             nodes out\ntype sum\nsize 3\n",
        );
        let shapes = network.shapes(Extent::new(1, 10, 10)).unwrap();
        let svg = super::svg(&network, &shapes);
        if let Some(folder) = std::env::var_os("ZNN_PICTURES") {
            std::fs::write(std::path::Path::new(&folder).join("network.svg"), &svg).unwrap();
        }
        for text in ["in", "12 x 2,12,12", "tanh", "c: conv 1,3,3", "skip: conv 2,5,5", "3 x 1,10,10"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    }
}
