//! A network's forward pass in double precision, by the definitions.

use znn_kernels::Transfer;

use crate::network::{EdgeId, EdgeOp, Network, NodeId, NodeKind, Parameters, Shapes};
use crate::volume::{Extent, Tensor};

/// The parameters of all edges, then of all nodes; empty where there are none.
#[derive(Clone)]
pub struct Values {
    pub groups: Vec<Vec<f64>>,
    edges: usize,
}

impl Values {
    pub fn of(network: &Network, parameters: &Parameters) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        let edges = network.edge_ids().map(|id| parameters.edge(id).map_or(Vec::new(), |p| wide(p.values())));
        let nodes = network.node_ids().map(|id| parameters.node(id).map_or(Vec::new(), |p| wide(p.values())));
        Self { groups: edges.chain(nodes).collect(), edges: network.edges().len() }
    }

    fn edge(&self, id: EdgeId) -> &[f64] {
        &self.groups[id.0]
    }

    fn node(&self, id: NodeId) -> &[f64] {
        &self.groups[self.edges + id.0]
    }
}

/// Maps of one extent.
#[derive(Clone)]
pub struct Image {
    pub maps: usize,
    pub extent: Extent,
    pub data: Vec<f64>,
}

impl Image {
    fn zeros(maps: usize, extent: Extent) -> Self {
        Self { maps, extent, data: vec![0.0; maps * extent.len()] }
    }

    fn place(&self, map: usize, v: Extent) -> usize {
        map * self.extent.len() + self.extent.index(v.z, v.y, v.x)
    }

    /// The value of a voxel of the image with a border of `pad`; `None` in the border.
    fn padded(&self, map: usize, v: Extent, pad: Extent) -> Option<f64> {
        let v = v.checked_sub(pad).filter(|v| v.all(self.extent, |v, n| v < n))?;
        Some(self.data[self.place(map, v)])
    }

    fn map(mut self, f: impl Fn(usize, f64) -> f64) -> Self {
        let len = self.extent.len();
        self.data.iter_mut().enumerate().for_each(|(i, value)| *value = f(i / len, *value));
        self
    }

    fn zip(mut self, other: &Image, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!((self.maps, self.extent), (other.maps, other.extent));
        self.data.iter_mut().zip(&other.data).for_each(|(a, &b)| *a = f(*a, b));
        self
    }
}

fn voxels(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.z)
        .flat_map(move |z| (0..extent.y).flat_map(move |y| (0..extent.x).map(move |x| Extent::new(z, y, x))))
}

fn transfer(t: Transfer, x: f64) -> f64 {
    match t {
        Transfer::Linear { scale, shift } => f64::from(scale) * x + f64::from(shift),
        Transfer::Tanh { amplitude, slope } => f64::from(amplitude) * (f64::from(slope) * x).tanh(),
        Transfer::Logistic => 1.0 / (1.0 + (-x).exp()),
        Transfer::ExponentialLinear { amplitude } => x.max(0.0) + f64::from(amplitude) * x.min(0.0).exp_m1(),
        Transfer::LeakyRectifyLinear { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
        other => panic!("{other:?} is in no test network"),
    }
}

/// The output nodes' images.
pub fn outputs(network: &Network, shapes: &Shapes, values: &Values, inputs: &[Tensor]) -> Vec<Image> {
    let mut images: Vec<Option<Image>> = vec![None; network.nodes().len()];
    let mut inputs = inputs.iter();
    for id in network.inputs() {
        let input = inputs.next().expect("an image for each input");
        let data = input.data().iter().map(|&value| f64::from(value)).collect();
        images[id.0] = Some(Image { maps: input.channels(), extent: input.extent(), data });
    }
    for &id in network.topological_order() {
        if images[id.0].is_some() {
            continue;
        }
        let terms: Vec<Image> = network
            .in_edges(id)
            .iter()
            .map(|&edge| {
                let x = images[network[edge].input.0].as_ref().expect("in topological order");
                apply(network, shapes, values, edge, x)
            })
            .collect();
        images[id.0] = Some(node(network, values, id, terms));
    }
    network.outputs().map(|id| images[id.0].clone().expect("computed")).collect()
}

fn node(network: &Network, values: &Values, id: NodeId, terms: Vec<Image>) -> Image {
    let count = terms.len() as f64;
    let kind = network[id].kind;
    let (learned, maps) = (values.node(id), network[id].size);
    let mut terms = terms.into_iter();
    let first = terms.next().expect("an edge");
    let joined = terms.fold(first, |mut sum, term| match kind {
        NodeKind::Concat => {
            sum.data.extend(&term.data);
            Image { maps: sum.maps + term.maps, ..sum }
        }
        NodeKind::Multiply => sum.zip(&term, |a, b| a * b),
        _ => sum.zip(&term, |a, b| a + b),
    });
    assert_eq!(joined.maps, maps);
    let len = joined.extent.len();
    match kind {
        NodeKind::Transfer(t) => joined.map(|map, x| transfer(t, x + learned[map])),
        NodeKind::ParametricRectifyLinear { .. } => joined.map(|map, x| {
            let x = x + learned[map];
            if x > 0.0 { x } else { learned[maps + map] * x }
        }),
        NodeKind::Average => joined.map(|_, x| x / count),
        NodeKind::Softmax => {
            let sums: Vec<f64> =
                (0..len).map(|i| (0..maps).map(|map| joined.data[map * len + i].exp()).sum()).collect();
            let data = joined.data.iter().enumerate().map(|(i, x)| x.exp() / sums[i % len]).collect();
            Image { data, ..joined }
        }
        NodeKind::Normalise(rule) => {
            let moments: Vec<(f64, f64)> = joined
                .data
                .chunks_exact(len)
                .map(|map| {
                    let mean = map.iter().sum::<f64>() / len as f64;
                    let variance = map.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / len as f64;
                    (mean, (variance + f64::from(rule.epsilon)).sqrt())
                })
                .collect();
            joined.map(|map, x| {
                let (mean, deviation) = moments[map];
                transfer(rule.transfer, (x - mean) / deviation * learned[maps + map] + learned[map])
            })
        }
        _ => joined,
    }
}

fn apply(network: &Network, shapes: &Shapes, values: &Values, id: EdgeId, x: &Image) -> Image {
    let edge = &network[id];
    let weights = values.edge(network.weight_owner(id));
    let (dilation, extent) = (shapes[edge.input].stride, shapes[edge.output].extent);
    let mut y = match network[edge.output].kind {
        NodeKind::Concat => Image::zeros(x.maps, extent),
        _ => Image::zeros(network[edge.output].size, extent),
    };
    let over_windows = |mut y: Image, size, step, pad, best: &dyn Fn(Vec<f64>) -> f64| {
        for map in 0..y.maps {
            for at in voxels(extent) {
                let window = voxels(size).filter_map(|k| x.padded(map, at * step + k, pad)).collect();
                let place = y.place(map, at);
                y.data[place] = best(window);
            }
        }
        y
    };
    let largest = |window: Vec<f64>| window.into_iter().fold(f64::NEG_INFINITY, f64::max);
    match edge.op {
        EdgeOp::Conv { size, pad, downsample, .. } => {
            for (o, at) in (0..y.maps).flat_map(|o| voxels(extent).map(move |at| (o, at))) {
                let place = y.place(o, at);
                for (i, k) in (0..x.maps).flat_map(|i| voxels(size).map(move |k| (i, k))) {
                    let weight = weights[(o * x.maps + i) * size.len() + size.index(k.z, k.y, k.x)];
                    let value = x.padded(i, at * downsample + k * dilation, pad).unwrap_or(0.0);
                    y.data[place] += weight * value;
                }
            }
            y
        }
        EdgeOp::Deconv { size, stride, pad, .. } => {
            for (i, at) in (0..x.maps).flat_map(|i| voxels(x.extent).map(move |at| (i, at))) {
                let value = x.data[x.place(i, at)];
                for (o, k) in (0..y.maps).flat_map(|o| voxels(size).map(move |k| (o, k))) {
                    let weight = weights[(i * y.maps + o) * size.len() + size.index(k.z, k.y, k.x)];
                    let to = (at * stride + k * dilation).checked_sub(pad);
                    if let Some(to) = to.filter(|to| to.all(extent, |v, n| v < n)) {
                        let place = y.place(o, to);
                        y.data[place] += weight * value;
                    }
                }
            }
            y
        }
        EdgeOp::MaxPool { size, downsample, pad } => over_windows(y, size, downsample, pad, &largest),
        EdgeOp::AveragePool { size } => {
            let mean = |window: Vec<f64>| window.iter().sum::<f64>() / window.len() as f64;
            over_windows(y, size, size, Extent::ZERO, &mean)
        }
        EdgeOp::Upsample { size } => {
            for map in 0..y.maps {
                for at in voxels(extent) {
                    let place = y.place(map, at);
                    y.data[place] = x.data[x.place(map, at.zip(size, |at, size| at / size))];
                }
            }
            y
        }
        EdgeOp::Crop { offset } => {
            for map in 0..y.maps {
                for at in voxels(extent) {
                    let place = y.place(map, at);
                    y.data[place] = x.data[x.place(map, at + offset)];
                }
            }
            y
        }
        EdgeOp::Scale { .. } => x.clone().map(|map, x| weights[map] * x),
        EdgeOp::Slice { first } => {
            let len = extent.len();
            Image { data: x.data[first * len..][..y.maps * len].to_vec(), ..y }
        }
        EdgeOp::Dummy => x.clone(),
        op => panic!("{op:?} is in no test network"),
    }
}
