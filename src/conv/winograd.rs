//! Winograd convolution for kernels of three taps, fused: see `kernels/README.md`.

use std::str::FromStr;

use znn_kernels::conv::{Epilogue, Geometry};
use znn_kernels::winograd::Shape;
use znn_kernels::{Kernels, Transfer};

use super::{Algorithm, Destination, Layer, Passes, Problem, Tools, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder};

pub(super) struct Winograd {
    layer: Layer,
    kernels: Kernels,
    geometry: Geometry,
    tiles: Tiles,
    /// The transformed weights of the forward and of the backward-data pass, which several images share.
    forward: Option<Buffer>,
    backward_data: Option<Buffer>,
}

/// Whether there are tiles for `problem`.
pub(super) fn admits(problem: &Problem) -> bool {
    Shape::admits(&problem.geometry())
}

/// How exact results must be.
///
/// The errors of Winograd tiles grow with their size; `kernels/README.md` has the table. Nothing is computed in less than
/// f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// Root mean square errors within 4 times those of direct convolution.
    #[default]
    Standard,
    /// Tiles of four voxels along all axes: up to 6 times in outputs, 10 in gradients of inputs, 14 in those of weights.
    Fast,
}

/// The text is not the name of an accuracy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected standard or fast, found `{0}`")]
pub struct UnknownAccuracy(String);

impl FromStr for Accuracy {
    type Err = UnknownAccuracy;
    fn from_str(text: &str) -> Result<Self, UnknownAccuracy> {
        match text {
            "standard" => Ok(Accuracy::Standard),
            "fast" => Ok(Accuracy::Fast),
            _ => Err(UnknownAccuracy(text.to_owned())),
        }
    }
}

/// The tiles of the passes.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    forward: [usize; 3],
    backward_data: [usize; 3],
    backward_weights: [usize; 3],
}

impl Tiles {
    fn new(geometry: &Geometry, accuracy: Accuracy) -> Self {
        /// Terms of a sum from which on direct backward-data rounds so much itself that two axes stay within 4 times it.
        const LONG: usize = 700;
        // Axes with tiles of four. The direct passes round differently: backward-weights least, as it adds up blocks.
        let [forward, data, weights] = match accuracy {
            Accuracy::Standard => [2, if geometry.c_out * geometry.taps() >= LONG { 2 } else { 1 }, 1],
            Accuracy::Fast => [3; 3],
        };
        Self {
            forward: best(geometry, forward, Shape::forward),
            backward_data: best(geometry, data, Shape::backward_data),
            backward_weights: best(geometry, weights, Shape::forward),
        }
    }
}

/// The tile with the fewest products that is of four voxels along `fours` axes at most.
fn best(geometry: &Geometry, fours: usize, shape: fn(&Geometry, [usize; 3]) -> Shape) -> [usize; 3] {
    let sizes = geometry.kernel.map(|taps| if taps == 1 { &[1][..] } else { &[4, 2] });
    let mut found = ([0; 3], usize::MAX);
    for &z in sizes[0] {
        for &y in sizes[1] {
            for &x in sizes[2] {
                let tile = [z, y, x];
                let products = shape(geometry, tile).products();
                if tile.iter().filter(|&&size| size == 4).count() <= fours && products <= found.1 {
                    found = (tile, products);
                }
            }
        }
    }
    found.0
}

/// The floating-point operations of a layer's passes, and what the transforms cost beside them.
pub(super) fn work(problem: &Problem, passes: Passes, accuracy: Accuracy) -> f64 {
    let geometry = problem.geometry();
    // Transforming a vector of tiles of a map takes as long as so many of its products; more where its voxels are gathered
    // one by one.
    let transform = if geometry.dilation[2] == 1 { 10 } else { 60 };
    let tiles = Tiles::new(&geometry, accuracy);
    let forward = Shape::forward(&geometry, tiles.forward).products();
    let weights = Shape::forward(&geometry, tiles.backward_weights).products();
    let products = match passes {
        Passes::Inference => forward,
        Passes::FirstLayer => forward + weights,
        Passes::Training => {
            forward + weights + Shape::backward_data(&geometry, tiles.backward_data).products()
        }
    };
    let Problem { c_in, c_out, .. } = *problem;
    2.0 * (products * (c_in * c_out + transform * (c_in + c_out))) as f64
}

impl Winograd {
    /// # Panics
    /// Where the layer's problem is not [admitted](admits).
    pub fn new(layer: Layer, tools: Tools<'_>) -> Self {
        let geometry = layer.problem.geometry();
        let tiles = Tiles::new(&geometry, tools.accuracy);
        Self { layer, kernels: tools.kernels, geometry, tiles, forward: None, backward_data: None }
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of a fraction of a pass, for priorities.
    fn cost(&self, parts: usize) -> f64 {
        self.layer.problem.flops() / 200.0 / parts as f64
    }

    /// Adds the tasks that transform the weights for a pass. They are persistent, as the packed ones of the direct method
    /// are.
    fn transform_weights(&self, plan: &mut PlanBuilder, stage: &'static str, shape: Shape) -> Buffer {
        let kernels = self.kernels;
        let terms = shape.points() * shape.c_in();
        let transformed = plan.persistent(1, kernels.winograd_weights_len(&shape));
        let block = kernels.winograd_block(&shape);
        let parts = plan.splits().min(shape.c_out().div_ceil(block));
        for part in 0..parts {
            let maps = PlanBuilder::part(shape.c_out(), block, parts, part);
            let read = plan.whole(self.layer.weights);
            let write = plan.region(transformed, 0..1, maps.start * terms..maps.end * terms);
            let task =
                plan.task(self.label(stage), (maps.len() * terms) as f64 / 4.0).read(read).write(write);
            let task = if self.layer.frozen { task.preparation() } else { task };
            task.run(move |views| {
                let ([weights], [mut transformed]) = (views.reads.take(), views.writes.take());
                let transformed = transformed.contiguous();
                kernels.winograd_weights(&shape, weights.contiguous(), maps.clone(), transformed);
            });
        }
        transformed
    }

    /// Adds the tasks of a forward or backward-data pass from `x` to `to`.
    fn pass(
        &self,
        plan: &mut PlanBuilder,
        stage: &'static str,
        shape: Shape,
        transformed: Buffer,
        x: Buffer,
        to: Destination,
    ) {
        let kernels = self.kernels;
        let block = kernels.winograd_block(&shape);
        let slab_parts = plan.splits().min(shape.slabs());
        // Each range of maps transforms the inputs again.
        let map_parts = plan.splits().div_ceil(slab_parts * 4).min(shape.c_out().div_ceil(block));
        for slab_part in 0..slab_parts {
            let slabs = PlanBuilder::part(shape.slabs(), 1, slab_parts, slab_part);
            let groups = kernels.winograd_groups(&shape, slabs.clone());
            for map_part in 0..map_parts {
                let groups = groups.clone();
                let maps = PlanBuilder::part(shape.c_out(), block, map_parts, map_part);
                let (x, transformed) = (plan.whole(x), plan.whole(transformed));
                let y = plan.region(to.y, maps.clone(), shape.voxels_of(&slabs));
                let bias = to.bias.map(|bias| plan.whole(bias));
                let has_bias = bias.is_some();
                let scratch = kernels.winograd_scratch_len(&shape, &groups);
                let task = plan.task(self.label(stage), self.cost(slab_parts * map_parts));
                let mut task = task.read(x).read(transformed).write(y).scratch(scratch);
                if let Some(bias) = bias {
                    task = task.read(bias);
                }
                task.run(move |views| {
                    let [y] = views.writes.take();
                    let (x, transformed, bias) = if has_bias {
                        let [x, transformed, bias] = views.reads.take();
                        (x, transformed, Some(bias.row(0)))
                    } else {
                        let [x, transformed] = views.reads.take();
                        (x, transformed, None)
                    };
                    let epilogue = Epilogue { accumulate: to.accumulate, bias, transfer: to.transfer };
                    let transformed = transformed.contiguous();
                    let (maps, scratch) = (maps.clone(), views.scratch);
                    kernels.winograd(&shape, &groups, x, transformed, &epilogue, maps, y, scratch);
                });
            }
        }
    }
}

impl Algorithm for Winograd {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let shape = Shape::forward(&self.geometry, self.tiles.forward);
        let transformed =
            self.forward.unwrap_or_else(|| self.transform_weights(plan, "transform_forward", shape));
        self.forward = Some(transformed);
        self.pass(plan, "forward", shape, transformed, x, to);
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let shape = Shape::backward_data(&self.geometry, self.tiles.backward_data);
        let transformed = self
            .backward_data
            .unwrap_or_else(|| self.transform_weights(plan, "transform_backward_data", shape));
        self.backward_data = Some(transformed);
        let to = Destination { y: dx, accumulate, bias: None, transfer: Transfer::IDENTITY };
        self.pass(plan, "backward_data", shape, transformed, dy, to);
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let (kernels, shape) = (self.kernels, Shape::forward(&self.geometry, self.tiles.backward_weights));
        // Each part holds and transforms the sums of all pairs of maps: a few for every worker are enough.
        let parts = plan.splits().div_ceil(4).min(shape.slabs());
        let (rows, cols) = plan.dimensions(self.layer.weights);
        let sum = plan.sum(rows * cols, parts);
        for part in 0..parts {
            let slabs = PlanBuilder::part(shape.slabs(), 1, parts, part);
            let groups = kernels.winograd_backward_weights_groups(&shape, slabs);
            let scratch = kernels.winograd_backward_weights_scratch_len(&shape, &groups);
            let (x, dy) = (plan.whole(x), plan.whole(dy));
            plan.task(self.label("backward_weights"), self.cost(parts))
                .read(x)
                .read(dy)
                .scratch(scratch)
                .contribute(sum)
                .deferred()
                .run(move |views| {
                    let [x, dy] = views.reads.take();
                    kernels.winograd_backward_weights(&shape, &groups, x, dy, views.sum, views.scratch);
                });
        }
        vec![WeightGradient { rows: 0..rows, cols: 0..cols, sum }]
    }
}
