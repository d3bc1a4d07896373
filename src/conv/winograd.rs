//! Winograd convolution for kernels of three taps, fused: see `kernels/README.md`.

use znn_kernels::conv::{Epilogue, Geometry};
use znn_kernels::winograd::Shape;
use znn_kernels::{Kernels, Transfer};

use super::{Accuracy, Algorithm, Destination, Layer, Pass, Problem, Tools, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::Extent;

pub(super) struct Winograd {
    layer: Layer,
    kernels: Kernels,
    geometry: Geometry,
    /// What all passes compute at once.
    tile: Extent,
    /// The transformed weights of the forward and of the backward-data pass, which several images share.
    forward: Option<Buffer>,
    backward_data: Option<Buffer>,
}

/// Whether there are tiles for `problem`.
pub(super) fn admits(problem: &Problem) -> bool {
    Shape::admits(&problem.geometry())
}

/// Whether a tile fits the kernel: two or four voxels along axes with three taps, one along others.
pub(super) fn fits(tile: Extent, kernel: Extent) -> bool {
    tile.all(kernel, |outputs, taps| matches!((outputs, taps), (1, 1) | (2 | 4, 3)))
}

/// The tiles whose rounding `accuracy` admits in a pass of `problem`.
pub(super) fn tiles(problem: &Problem, pass: Pass, accuracy: Accuracy) -> Vec<Extent> {
    // Axes with tiles of four. The direct backward passes round less than the forward one, as they add up partial sums.
    let fours = match (accuracy, pass) {
        (Accuracy::Fast, _) => 3,
        (Accuracy::Standard, Pass::Forward) => 2,
        (Accuracy::Standard, Pass::BackwardData | Pass::BackwardWeights) => 1,
    };
    let [z, y, x] = problem.kernel.to_array().map(|taps| if taps == 1 { &[1][..] } else { &[2, 4] });
    let mut found = Vec::new();
    for &z in z {
        for &y in y {
            for &x in x {
                if [z, y, x].into_iter().filter(|&size| size == 4).count() <= fours {
                    found.push(Extent::new(z, y, x));
                }
            }
        }
    }
    found
}

fn shape(geometry: &Geometry, pass: Pass, tile: Extent) -> Shape {
    match pass {
        Pass::Forward | Pass::BackwardWeights => Shape::forward(geometry, tile.to_array()),
        Pass::BackwardData => Shape::backward_data(geometry, tile.to_array()),
    }
}

/// The time of a pass by a model, in floating-point operations at full speed.
pub(super) fn work(problem: &Problem, pass: Pass, tile: Extent) -> f64 {
    /// The fraction of full speed that products reach.
    const PRODUCTS: f64 = 0.85;
    let geometry = problem.geometry();
    // Transforming a vector of tiles of a map takes as long as so many of its products; more where its voxels are gathered
    // one by one.
    let transform = if geometry.dilation[2] == 1 { 10 } else { 60 };
    let products = shape(&geometry, pass, tile).products();
    let Problem { c_in, c_out, .. } = *problem;
    2.0 * (products * (c_in * c_out + transform * (c_in + c_out))) as f64 / PRODUCTS
}

impl Winograd {
    /// # Panics
    /// Where the layer's problem is not [admitted](admits) or the tile does not [fit](fits()).
    pub fn new(layer: Layer, tile: Extent, tools: Tools<'_>) -> Self {
        let geometry = layer.problem.geometry();
        Self { layer, kernels: tools.kernels, geometry, tile, forward: None, backward_data: None }
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of a fraction of a pass, for priorities.
    fn cost(&self, parts: usize) -> f64 {
        self.layer.problem.flops() / 200.0 / parts as f64
    }

    /// Adds the tasks that transform the weights for a pass: once per iteration, or once per change where they are frozen.
    fn transform_weights(&self, plan: &mut PlanBuilder, stage: &'static str, shape: Shape) -> Buffer {
        let kernels = self.kernels;
        let terms = shape.points() * shape.c_in();
        let len = kernels.winograd_weights_len(&shape);
        let transformed = if self.layer.frozen { plan.persistent(1, len) } else { plan.transient(1, len) };
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
        let shape = shape(&self.geometry, Pass::Forward, self.tile);
        let transformed =
            self.forward.unwrap_or_else(|| self.transform_weights(plan, "transform_forward", shape));
        self.forward = Some(transformed);
        self.pass(plan, "forward", shape, transformed, x, to);
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let shape = shape(&self.geometry, Pass::BackwardData, self.tile);
        let transformed = self
            .backward_data
            .unwrap_or_else(|| self.transform_weights(plan, "transform_backward_data", shape));
        self.backward_data = Some(transformed);
        let to = Destination { y: dx, accumulate, bias: None, transfer: Transfer::IDENTITY };
        self.pass(plan, "backward_data", shape, transformed, dy, to);
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let (kernels, shape) = (self.kernels, shape(&self.geometry, Pass::BackwardWeights, self.tile));
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
