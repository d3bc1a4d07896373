//! Direct convolution: SIMD micro-kernels over plain images, see `kernels/README.md`.

use std::ops::Range;

use znn_kernels::Kernels;
use znn_kernels::conv::{BackwardData, BackwardWeights, Epilogue, Forward, Geometry};

use super::{Algorithm, Destination, Layer, Tools, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder};

/// A task of backward-weights is to take so many nanoseconds: nothing waits for it but the update, so that there is no gain
/// in making it smaller.
const LEAST_GRADIENT_TIME: f64 = 40e3;

pub(super) struct Direct {
    layer: Layer,
    kernels: Kernels,
}

impl Direct {
    pub fn new(layer: Layer, tools: Tools<'_>) -> Self {
        Self { layer, kernels: tools.kernels }
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of a fraction of a pass, for priorities.
    fn cost(&self, part: usize, all: usize) -> f64 {
        self.time() * part as f64 / all as f64
    }

    /// About the nanoseconds of a pass on a core of today.
    fn time(&self) -> f64 {
        const FLOPS_PER_NANOSECOND: f64 = 90.0;
        self.layer.problem.flops() / FLOPS_PER_NANOSECOND
    }
}

impl Algorithm for Direct {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let geometry = self.layer.problem.geometry();
        let pass = Forward::new(self.kernels, geometry);
        let [depth, height, width] = geometry.output();
        let in_plane = geometry.input[1] * geometry.input[2];
        let split = Split { maps: geometry.c_out, depth, height };
        for (maps, rows) in split.tasks(plan.splits(), true, |rows, maps| pass.cost(rows, maps)) {
            let planes = pass.reads(&rows);
            let x = plan.region(x, 0..geometry.c_in, planes.start * in_plane..planes.end * in_plane);
            let y = plan.region(to.y, maps.clone(), rows.start * width..rows.end * width);
            let weights = plan.rows(self.layer.weights, maps.clone());
            let bias = to.bias.map(|bias| plan.whole(bias));
            let has_bias = bias.is_some();
            let cost = self.cost(maps.len() * rows.len(), split.all());
            let mut task = plan.task(self.label("forward"), cost).read(x).read(weights).write(y);
            if let Some(bias) = bias {
                task = task.read(bias);
            }
            task.scratch(pass.scratch_len()).run(move |views| {
                let [y] = views.writes.take();
                let (x, weights, bias) = if has_bias {
                    let [x, weights, bias] = views.reads.take();
                    (x, weights, Some(bias.row(0)))
                } else {
                    let [x, weights] = views.reads.take();
                    (x, weights, None)
                };
                let epilogue = Epilogue { accumulate: to.accumulate, bias, transfer: to.transfer };
                pass.run(x, weights, &epilogue, maps.clone(), rows.clone(), y, views.scratch);
            });
        }
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let geometry = self.layer.problem.geometry();
        let pass = BackwardData::new(self.kernels, geometry);
        let [depth, height, width] = geometry.input;
        let [_, out_height, out_width] = geometry.output();
        let out_plane = out_height * out_width;
        let taps = geometry.taps();
        let split = Split { maps: geometry.c_in, depth, height };
        for (maps, rows) in split.tasks(plan.splits(), pass.splits_rows(), |rows, maps| pass.cost(rows, maps))
        {
            let planes = pass.reads(&rows);
            let dy = plan.region(dy, 0..geometry.c_out, planes.start * out_plane..planes.end * out_plane);
            let dx = plan.region(dx, maps.clone(), rows.start * width..rows.end * width);
            let columns = maps.start * taps..maps.end * taps;
            let weights = plan.region(self.layer.weights, 0..geometry.c_out, columns);
            let cost = self.cost(maps.len() * rows.len(), split.all());
            let task = plan.task(self.label("backward_data"), cost).read(dy).read(weights).write(dx);
            task.scratch(pass.scratch_len()).run(move |views| {
                let ([dy, weights], [dx]) = (views.reads.take(), views.writes.take());
                pass.run(dy, weights, accumulate, rows.clone(), dx, views.scratch);
            });
        }
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let geometry = rows_as_planes(self.layer.problem.geometry());
        let pass = BackwardWeights::new(self.kernels, geometry);
        let [depth, ..] = geometry.output();
        let taps = geometry.taps();
        let splits = plan.splits().min((self.time() / LEAST_GRADIENT_TIME) as usize).max(1);
        let (in_parts, plane_parts, out_parts) = weight_grid(splits, &geometry);
        let cost = self.cost(1, out_parts * in_parts * plane_parts);
        let mut gradients = Vec::new();
        for out_part in 0..out_parts {
            for in_part in 0..in_parts {
                let rows = PlanBuilder::part(geometry.c_out, 1, out_parts, out_part);
                let inputs = PlanBuilder::part(geometry.c_in, 1, in_parts, in_part);
                let sum = plan.sum(rows.len() * inputs.len() * taps, plane_parts);
                for plane_part in 0..plane_parts {
                    let planes = PlanBuilder::part(depth, 1, plane_parts, plane_part);
                    let (x, dy) = (plan.whole(x), plan.whole(dy));
                    let (rows, inputs) = (rows.clone(), inputs.clone());
                    plan.task(self.label("backward_weights"), cost)
                        .read(x)
                        .read(dy)
                        .scratch(pass.scratch_len())
                        .contribute(sum)
                        .deferred()
                        .run(move |views| {
                            let [x, dy] = views.reads.take();
                            let (rows, inputs, planes) = (rows.clone(), inputs.clone(), planes.clone());
                            pass.run(x, dy, rows, inputs, planes, false, views.sum, views.scratch);
                        });
                }
                gradients.push(WeightGradient { rows, cols: inputs.start * taps..inputs.end * taps, sum });
            }
        }
        gradients
    }
}

/// How many parts of the input maps, of the planes and of the output maps make about `splits` tasks of backward-weights.
///
/// Parts of the input maps come first, since nothing is done twice for them; then planes, whose partial sums are added
/// up; parts of the output maps would prepare the same input.
fn weight_grid(splits: usize, geometry: &Geometry) -> (usize, usize, usize) {
    /// Taps of input maps that are worth another pass over the output's gradient.
    const TERMS: usize = 96;
    /// Voxels of an output map whose products take some fifty times as long as adding their sums to others.
    const VOXELS: usize = 800;
    /// Output maps that are worth preparing the input for.
    const OUTPUTS: usize = 16;
    let in_parts = (geometry.c_in * geometry.taps() / TERMS).clamp(1, splits.min(geometry.c_in));
    let depth = geometry.output()[0];
    let plane_parts = splits.div_ceil(in_parts).min(geometry.output_len() / VOXELS).clamp(1, depth);
    let out_parts = splits.div_ceil(in_parts * plane_parts).min(geometry.c_out / OUTPUTS).max(1);
    (in_parts, plane_parts, out_parts)
}

/// A 2D image as a stack of planes of one row each: tasks can then split it by rows.
fn rows_as_planes(geometry: Geometry) -> Geometry {
    let ([1, height, width], [1, ky, kx]) = (geometry.input, geometry.kernel) else { return geometry };
    if geometry.padding.iter().any(|side| side[0] > 0) {
        return geometry;
    }
    Geometry {
        input: [height, 1, width],
        kernel: [ky, 1, kx],
        dilation: [geometry.dilation[1], 1, geometry.dilation[2]],
        stride: [geometry.stride[1], 1, geometry.stride[2]],
        padding: geometry.padding.map(|[_, y, x]| [y, 0, x]),
        ..geometry
    }
}

/// What a pass computes: maps of `depth * height` rows.
struct Split {
    maps: usize,
    depth: usize,
    height: usize,
}

impl Split {
    /// Maps times rows.
    fn all(&self) -> usize {
        self.maps * self.depth * self.height
    }

    /// The maps and rows of at most `splits` tasks, in the division of least modelled time; `cost` is that of a task
    /// for some rows and a number of maps.
    fn tasks(
        &self,
        splits: usize,
        by_rows: bool,
        cost: impl Fn(Range<usize>, usize) -> f32,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        /// Tasks for each worker that `splits` stands for.
        const TASKS_PER_WORKER: usize = 8;
        /// What starting a task costs, in vector operations: some microseconds, in which its data come from another core.
        const START: f32 = 12000.0;
        let &Self { maps, depth, height } = self;
        let rows = depth * height;
        // whole planes where these are enough
        let row_part = move |parts, part| {
            let unit = if parts <= depth { height } else { 1 };
            PlanBuilder::part(rows, unit, parts, part)
        };
        let workers = splits.div_ceil(TASKS_PER_WORKER) as f32;
        let mut best = (f32::INFINITY, 1, 1);
        for map_parts in 1..=splits.min(maps) {
            let most = if by_rows { (splits / map_parts).min(rows) } else { 1 };
            for row_parts in 1..=most {
                let tasks = (map_parts * row_parts) as f32;
                let largest = cost(row_part(row_parts, row_parts - 1), maps.div_ceil(map_parts)) + START;
                // the time of the busiest worker, and some unevenness of the machine
                let time = (tasks / workers).ceil() * largest + 0.1 * largest;
                if time < best.0 {
                    best = (time, map_parts, row_parts);
                }
            }
        }
        let (_, map_parts, row_parts) = best;
        (0..row_parts).flat_map(move |row| {
            (0..map_parts)
                .map(move |map| (PlanBuilder::part(maps, 1, map_parts, map), row_part(row_parts, row)))
        })
    }
}
