//! Direct convolution: SIMD micro-kernels over plain images, see `kernels/README.md`.

use std::ops::Range;

use znn_kernels::Kernels;
use znn_kernels::conv::{Epilogue, Geometry};

use super::{Algorithm, Destination, Layer, Tools, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder};

/// Packs the weights of some output or input maps: all weights, the maps, their part of the packed weights.
type Pack = fn(&Kernels, &Geometry, &[f32], Range<usize>, &mut [f32]);

pub(super) struct Direct {
    layer: Layer,
    /// The layer's sizes as the kernels see them; see [`sections_of_rows`].
    geometry: Geometry,
    kernels: Kernels,
    /// The output gradient in the padded layout, which two passes read.
    padded: Option<Buffer>,
}

impl Direct {
    pub fn new(layer: Layer, tools: Tools<'_>) -> Self {
        let geometry = sections_of_rows(layer.problem.geometry());
        Self { layer, geometry, kernels: tools.kernels, padded: None }
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of a fraction of a pass, for priorities.
    fn cost(&self, parts: usize) -> f64 {
        self.layer.problem.flops() / 50.0 / parts as f64
    }

    /// Adds the tasks that pack the weights for a pass, whose register blocks are `block` of `maps` high. The packed
    /// weights are persistent, so that the pass of one iteration and the packing for the next share no memory with
    /// others.
    fn pack(
        &self,
        plan: &mut PlanBuilder,
        stage: &'static str,
        maps: usize,
        block: usize,
        pack: Pack,
    ) -> Buffer {
        /// Weights that are worth a task of their own.
        const LEAST: usize = 8 * 1024;
        let (geometry, kernels) = (self.geometry, self.kernels);
        let len = geometry.weights_len();
        let packed = plan.persistent(1, len);
        let parts = plan.splits().min(maps.div_ceil(block)).min(len.div_ceil(LEAST));
        for part in 0..parts {
            let range = PlanBuilder::part(maps, block, parts, part);
            let terms = len / maps;
            let read = plan.whole(self.layer.weights);
            let write = plan.region(packed, 0..1, range.start * terms..range.end * terms);
            let task = plan.task(self.label(stage), (range.len() * terms) as f64).read(read).write(write);
            let task = if self.layer.frozen { task.preparation() } else { task };
            task.run(move |views| {
                let ([weights], [mut packed]) = (views.reads.take(), views.writes.take());
                pack(&kernels, &geometry, weights.contiguous(), range.clone(), packed.contiguous());
            });
        }
        packed
    }

    /// The output gradient with its rows at the input's pitch.
    fn pad_gradient(&mut self, plan: &mut PlanBuilder, dy: Buffer) -> Buffer {
        if let Some(padded) = self.padded {
            return padded;
        }
        let (geometry, kernels) = (self.geometry, self.kernels);
        let len = kernels.padded_gradient_len(&geometry);
        let padded = plan.transient(geometry.c_out, len);
        let parts = plan.splits().min(geometry.c_out);
        for part in 0..parts {
            let maps = PlanBuilder::part(geometry.c_out, 1, parts, part);
            let (read, write) = (plan.rows(dy, maps.clone()), plan.rows(padded, maps.clone()));
            plan.task(self.label("pad_gradient"), (len * maps.len()) as f64 / 8.0)
                .read(read)
                .write(write)
                .run(move |views| {
                    let ([dy], [mut padded]) = (views.reads.take(), views.writes.take());
                    for map in 0..dy.rows() {
                        kernels.pad_gradient(&geometry, dy.row(map), padded.row_mut(map));
                    }
                });
        }
        self.padded = Some(padded);
        padded
    }
}

impl Algorithm for Direct {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let (geometry, kernels) = (self.geometry, self.kernels);
        let block = kernels.forward_block(&geometry);
        let packed = self.pack(plan, "pack_forward", geometry.c_out, block, Kernels::pack_forward);
        let [depth, height, width] = geometry.output();
        let in_plane = geometry.input[1] * geometry.input[2];
        let reach = geometry.input[0] - depth;
        let (map_parts, plane_parts) = grid(plan.splits(), geometry.c_out.div_ceil(block), depth);
        for plane_part in 0..plane_parts {
            let planes = PlanBuilder::part(depth, 1, plane_parts, plane_part);
            // The slab of the input that these planes are made of is a convolution of its own.
            let slab =
                Geometry { input: [planes.len() + reach, geometry.input[1], geometry.input[2]], ..geometry };
            for map_part in 0..map_parts {
                let maps = PlanBuilder::part(geometry.c_out, block, map_parts, map_part);
                let x = plan.region(
                    x,
                    0..geometry.c_in,
                    planes.start * in_plane..(planes.end + reach) * in_plane,
                );
                let out = planes.start * height * width..planes.end * height * width;
                let y = plan.region(to.y, maps.clone(), out);
                let packed = plan.whole(packed);
                let bias = to.bias.map(|bias| plan.whole(bias));
                let has_bias = bias.is_some();
                let cost = self.cost(map_parts * plane_parts);
                let mut task = plan.task(self.label("forward"), cost).read(x).read(packed).write(y);
                if let Some(bias) = bias {
                    task = task.read(bias);
                }
                let planes = 0..planes.len();
                task.run(move |views| {
                    let [y] = views.writes.take();
                    let (x, packed, bias) = if has_bias {
                        let [x, packed, bias] = views.reads.take();
                        (x, packed, Some(bias.row(0)))
                    } else {
                        let [x, packed] = views.reads.take();
                        (x, packed, None)
                    };
                    let epilogue = Epilogue { accumulate: to.accumulate, bias, transfer: to.transfer };
                    let packed = packed.contiguous();
                    kernels.conv_forward(&slab, x, packed, &epilogue, maps.clone(), planes.clone(), y);
                });
            }
        }
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let (geometry, kernels) = (self.geometry, self.kernels);
        let block = kernels.backward_data_block(&geometry);
        let packed = self.pack(plan, "pack_backward_data", geometry.c_in, block, Kernels::pack_backward_data);
        let padded = self.pad_gradient(plan, dy);
        let [depth, height, width] = geometry.input;
        let (map_parts, plane_parts) = grid(plan.splits(), geometry.c_in.div_ceil(block), depth);
        for plane_part in 0..plane_parts {
            let planes = PlanBuilder::part(depth, 1, plane_parts, plane_part);
            for map_part in 0..map_parts {
                let maps = PlanBuilder::part(geometry.c_in, block, map_parts, map_part);
                let (padded, packed) = (plan.whole(padded), plan.whole(packed));
                let out = planes.start * height * width..planes.end * height * width;
                let dx = plan.region(dx, maps.clone(), out);
                let planes = planes.clone();
                plan.task(self.label("backward_data"), self.cost(map_parts * plane_parts))
                    .read(padded)
                    .read(packed)
                    .write(dx)
                    .run(move |views| {
                        let ([padded, packed], [dx]) = (views.reads.take(), views.writes.take());
                        let packed = packed.contiguous();
                        let (maps, planes) = (maps.clone(), planes.clone());
                        kernels.conv_backward_data(&geometry, padded, packed, accumulate, maps, planes, dx);
                    });
            }
        }
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let (geometry, kernels) = (rows_as_planes(self.layer.problem.geometry()), self.kernels);
        let scratch = kernels.backward_weights_scratch(&geometry);
        let [depth, ..] = geometry.output();
        let taps = geometry.taps();
        let (in_parts, plane_parts, out_parts) = weight_grid(plan.splits(), &geometry);
        let cost = self.cost(out_parts * in_parts * plane_parts);
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
                        .scratch(scratch)
                        .contribute(sum)
                        .deferred()
                        .run(move |views| {
                            let [x, dy] = views.reads.take();
                            let (rows, inputs, planes) = (rows.clone(), inputs.clone(), planes.clone());
                            let (scratch, sum) = (views.scratch, views.sum);
                            kernels.conv_backward_weights(
                                &geometry, x, dy, rows, inputs, planes, false, scratch, sum,
                            );
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
    /// Input maps that are worth another pass over the output's gradient.
    const INPUTS: usize = 4;
    /// Voxels of an output map whose products take some fifty times as long as adding their sums to others.
    const VOXELS: usize = 800;
    /// Output maps that are worth preparing the input for.
    const OUTPUTS: usize = 16;
    let in_parts = (geometry.c_in / INPUTS).clamp(1, splits);
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

/// How many parts of the register blocks and of the planes make about `splits` tasks: planes first, because tasks of
/// one range of planes would load the same input.
fn grid(splits: usize, blocks: usize, planes: usize) -> (usize, usize) {
    let plane_parts = splits.min(planes);
    (splits.div_ceil(plane_parts).min(blocks), plane_parts)
}

/// A wide 2D image as a stack of sections of one row each: tasks can then split it by rows. Narrow images stay
/// flattened, because a row of few vectors wastes a large part of its last one.
fn sections_of_rows(geometry: Geometry) -> Geometry {
    const WIDE: usize = 64;
    let ([1, height, width], [1, ky, kx]) = (geometry.input, geometry.kernel) else { return geometry };
    if width < WIDE {
        return geometry;
    }
    let [_, dilation_y, dilation_x] = geometry.dilation;
    Geometry {
        input: [height, 1, width],
        kernel: [ky, 1, kx],
        dilation: [dilation_y, 1, dilation_x],
        ..geometry
    }
}
