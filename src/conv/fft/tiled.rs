//! Convolution by products of the spectra of tiles.
//!
//! With `X`, `W`, `D` the spectra of tiles of the input, of kernels, and of tiles of the output gradient, and `*` the
//! conjugate:
//!
//! | pass | spectrum | kept of its inverse |
//! |---|---|---|
//! | forward | `Y[o][t] = sum over i of W*[i][o] X[i][t]` | the tile of the output (overlap-save) |
//! | backward_data | `DX[i][t] = sum over o of W[i][o] D[o][t]` | the tile of the input, added to those that overlap it |
//! | backward_weights | `DW[i][o] = sum over t of X[i][t] D*[o][t]` | the taps |
//!
//! All passes have the same tiles, so that each of the three transforms is computed once per iteration and serves two of
//! them. Tiles are taken in blocks that bound the memory of spectra; within a block the transforms of maps are tasks,
//! then the products of ranges of frequencies, then the inverse transforms of maps. The order of overlapping tiles is
//! fixed: those of a map follow each other.

use std::ops::Range;
use std::sync::Arc;

use znn_kernels::tile_fft::{Patch, Store, TileShape};
use znn_kernels::{Conjugate, Kernels, Transfer};

use super::spectra::{Factor, MAX_LANES, Spectra, lanes, lanes_mut, taps};
use super::tiling::{Tiling, tile_count};
use crate::conv::{Algorithm, Destination, Layer, Problem, Tools, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder, Region};

pub(super) struct Tiled {
    layer: Layer,
    kernels: Kernels,
    tiling: Arc<Tiling>,
    /// Ranges of tiles that are transformed and multiplied together.
    blocks: Vec<Range<usize>>,
    /// Whether the spectra of images are kept for the pass that needs them again. They are transformed once more where
    /// they would take too much memory.
    remember: bool,
    /// Of the weights: `[c_in][c_out]`.
    weights: Option<Spectra>,
    /// Of the blocks of the input: `[c_in][tile]`.
    x: Vec<Spectra>,
    /// Of the blocks of the output gradient: `[c_out][tile]`.
    dy: Vec<Spectra>,
}

/// Bytes of the spectra of all tiles of input and output.
fn image_bytes(problem: &Problem, shape: TileShape, lanes: usize) -> usize {
    let tiles = tile_count(problem, shape).next_multiple_of(lanes);
    (problem.c_in + problem.c_out).saturating_mul(tiles).saturating_mul(8 * shape.frequencies())
}

/// Bytes that the passes of a layer hold at least: the spectra of weights and of their gradient, beside those of a block.
pub(super) fn least_bytes(problem: &Problem, shape: TileShape, lanes: usize) -> usize {
    let pairs = problem.c_in * problem.c_out.next_multiple_of(lanes);
    pairs.saturating_mul(2 * 8 * shape.frequencies())
}

/// Which images are transformed, and how their voxels lie.
#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

impl Tiled {
    pub fn new(layer: Layer, tools: Tools<'_>, tiling: Tiling) -> Self {
        /// Floats of the spectra of a block of tiles, input and output: within reach of a shared cache.
        const BLOCK: usize = 8 << 20;
        let Tools { kernels, workspace, .. } = tools;
        let Problem { c_in, c_out, .. } = layer.problem;
        let lanes = kernels.lanes();
        let group = tiling.shape.frequencies() * 2 * lanes * (c_in + c_out);
        let groups = tiling.tiles.len().div_ceil(lanes);
        let parts = groups.div_ceil((BLOCK / group).max(1));
        let blocks =
            (0..parts).map(|part| PlanBuilder::part(tiling.tiles.len(), lanes, parts, part)).collect();
        Self {
            remember: !layer.frozen
                && least_bytes(&layer.problem, tiling.shape, lanes).saturating_add(image_bytes(
                    &layer.problem,
                    tiling.shape,
                    lanes,
                )) <= workspace,
            layer,
            kernels,
            tiling: Arc::new(tiling),
            blocks,
            weights: None,
            x: Vec::new(),
            dy: Vec::new(),
        }
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of the transforms of so many groups of tiles, for priorities.
    fn transform_cost(&self, groups: usize) -> f64 {
        let voxels = self.tiling.shape.size().iter().product::<usize>() as f64;
        groups as f64 * self.kernels.lanes() as f64 * 2.5 * voxels * voxels.log2().max(1.0) / 30.0
    }

    /// Floats from one frequency to the next: not a multiple of two pairs of vectors, because lines that lie a multiple
    /// of 4 KiB apart would compete for a few places of the nearest cache.
    fn row_len(&self, rows: usize, columns: usize) -> usize {
        let pair = 2 * self.kernels.lanes();
        let pairs = rows * self.kernels.spectral_row_len(columns) / pair;
        (pairs | 1) * pair
    }

    fn spectra(&self, plan: &mut PlanBuilder, rows: usize, columns: usize, keep: bool) -> Spectra {
        let (frequencies, len) = (self.tiling.shape.frequencies(), self.row_len(rows, columns));
        let buffer = if keep { plan.persistent(frequencies, len) } else { plan.transient(frequencies, len) };
        Spectra { buffer, rows, columns }
    }

    /// The groups of the lanes of columns of some rows of matrices of `spectra`, for all frequencies.
    fn lanes_of(
        &self,
        plan: &PlanBuilder,
        spectra: Spectra,
        rows: &Range<usize>,
        groups: &Range<usize>,
    ) -> Region {
        let len = self.kernels.spectral_row_len(spectra.columns);
        let pair = 2 * self.kernels.lanes();
        let start = rows.start * len + groups.start * pair;
        let end = (rows.end - 1) * len + groups.end * pair;
        plan.region(spectra.buffer, 0..self.tiling.shape.frequencies(), start..end)
    }

    /// All of the matrices for some frequencies.
    fn frequencies_of(&self, plan: &PlanBuilder, spectra: Spectra, frequencies: &Range<usize>) -> Region {
        let len = spectra.rows * self.kernels.spectral_row_len(spectra.columns);
        plan.region(spectra.buffer, frequencies.clone(), 0..len)
    }

    /// Parts of the rows of matrices and of their columns, in groups of as many as there are lanes: about `splits`
    /// of both, where there are columns to be divided only one row each.
    fn parts(&self, plan: &PlanBuilder, rows: usize, columns: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let groups = columns.div_ceil(self.kernels.lanes());
        let row_parts = plan.splits().min(rows);
        let group_parts = if row_parts == rows { plan.splits().div_ceil(rows).min(groups) } else { 1 };
        let mut parts = Vec::new();
        for row in 0..row_parts {
            for group in 0..group_parts {
                parts.push((
                    PlanBuilder::part(rows, 1, row_parts, row),
                    PlanBuilder::part(groups, 1, group_parts, group),
                ));
            }
        }
        parts
    }

    /// Adds the transforms of a block of tiles of `images`.
    fn transform_images(
        &self,
        plan: &mut PlanBuilder,
        images: Buffer,
        side: Side,
        block: &Range<usize>,
        stage: &'static str,
    ) -> Spectra {
        let maps = plan.dimensions(images).0;
        let spectra = self.spectra(plan, maps, block.len(), false);
        for (maps, groups) in self.parts(plan, maps, block.len()) {
            let (read, write) =
                (plan.rows(images, maps.clone()), self.lanes_of(plan, spectra, &maps, &groups));
            let patches = self.patches(side, block, &groups);
            let (kernels, tiling) = (self.kernels, self.tiling.clone());
            let map_len = kernels.spectral_row_len(spectra.columns);
            let steps = self.steps(side);
            plan.task(self.label(stage), self.transform_cost(maps.len() * groups.len()))
                .read(read)
                .write(write)
                .scratch(kernels.tile_scratch_len(tiling.shape))
                .run(move |views| {
                    let ([images], [mut spectra]) = (views.reads.take(), views.writes.take());
                    for map in 0..images.rows() {
                        for (group, patches) in patches.chunks(kernels.lanes()).enumerate() {
                            let to = lanes_mut(&mut spectra, kernels, map * map_len, group);
                            let image = images.row(map);
                            kernels.tile_forward(tiling.shape, image, steps, patches, to, views.scratch);
                        }
                    }
                });
        }
        spectra
    }

    fn steps(&self, side: Side) -> [usize; 3] {
        match side {
            Side::Input => self.tiling.input_steps,
            Side::Output => self.tiling.output_steps,
        }
    }

    /// The boxes of some groups of a block.
    fn patches(&self, side: Side, block: &Range<usize>, groups: &Range<usize>) -> Vec<Patch> {
        let lanes = self.kernels.lanes();
        let tiles = &self.tiling.tiles[block.clone()];
        tiles[groups.start * lanes..tiles.len().min(groups.end * lanes)]
            .iter()
            .map(|tile| match side {
                Side::Input => tile.input,
                Side::Output => tile.output,
            })
            .collect()
    }

    /// The spectra of the weights; computed once per iteration, or once per change where they are frozen.
    fn transform_weights(&mut self, plan: &mut PlanBuilder) -> Spectra {
        if let Some(spectra) = self.weights {
            return spectra;
        }
        let Problem { c_in, c_out, kernel, .. } = self.layer.problem;
        let spectra = self.spectra(plan, c_in, c_out, self.layer.frozen);
        for (maps, groups) in self.parts(plan, c_in, c_out) {
            let (read, write) =
                (plan.whole(self.layer.weights), self.lanes_of(plan, spectra, &maps, &groups));
            let (kernels, shape) = (self.kernels, self.tiling.shape);
            let cost = 0.5 * self.transform_cost(maps.len() * groups.len());
            let task = plan.task(self.label("transform_weights"), cost);
            let task = if self.layer.frozen { task.preparation() } else { task };
            task.read(read).write(write).scratch(kernels.tile_scratch_len(shape)).run(move |views| {
                let ([weights], [mut spectra]) = (views.reads.take(), views.writes.take());
                let row_len = kernels.spectral_row_len(c_out);
                for (row, i) in maps.clone().enumerate() {
                    for group in groups.clone() {
                        let mut patches = [Patch::default(); MAX_LANES];
                        let patches =
                            taps(&mut patches, kernels.lanes(), group, c_out, kernel.to_array(), |o| {
                                (o * c_in + i) * kernel.len()
                            });
                        let steps = [kernel.y * kernel.x, kernel.x, 1];
                        let to = lanes_mut(&mut spectra, kernels, row * row_len, group - groups.start);
                        let weights = weights.contiguous();
                        kernels.tile_forward(shape, weights, steps, patches, to, views.scratch);
                    }
                }
            });
        }
        self.weights = Some(spectra);
        spectra
    }

    /// Adds `out = left * right`, or `out += left * right`, for all frequencies.
    #[allow(clippy::too_many_arguments, reason = "three operands and how to combine them")]
    fn multiply(
        &self,
        plan: &mut PlanBuilder,
        conjugate: Conjugate,
        left: Factor,
        right: Factor,
        out: Spectra,
        accumulate: bool,
        stage: &'static str,
        deferred: bool,
    ) {
        let frequencies = self.tiling.shape.frequencies();
        let parts = plan.splits().min(frequencies);
        let terms = (self.layer.problem.c_in * self.layer.problem.c_out) as f64;
        for part in 0..parts {
            let frequencies = PlanBuilder::part(frequencies, 1, parts, part);
            let kernels = self.kernels;
            let regions = [left.spectra, right.spectra, out]
                .map(|spectra| self.frequencies_of(plan, spectra, &frequencies));
            let [left_region, right_region, out_region] = regions;
            let scratch = if right.transposed { kernels.spectral_scratch_len(out.columns) } else { 0 };
            let cost = terms * (frequencies.len() * right.spectra.columns) as f64 / 10.0;
            let task = plan.task(self.label(stage), cost).read(left_region).read(right_region);
            let task = if deferred { task.deferred() } else { task };
            task.write(out_region).scratch(scratch).run(move |views| {
                let ([left_view, right_view], [out]) = (views.reads.take(), views.writes.take());
                kernels.spectral_product(
                    conjugate,
                    left.of(left_view),
                    right.of(right_view),
                    accumulate,
                    out,
                    views.scratch,
                );
            });
        }
    }

    /// Adds the inverse transforms of the block of tiles of this number to `images`.
    fn inverse_images(&self, plan: &mut PlanBuilder, spectra: Spectra, block: usize, inverse: Inverse) {
        let (first, last) = (block == 0, block + 1 == self.blocks.len());
        let block = &self.blocks[block];
        let parts = plan.splits().min(spectra.rows);
        let groups = 0..block.len().div_ceil(self.kernels.lanes());
        for part in 0..parts {
            let maps = PlanBuilder::part(spectra.rows, 1, parts, part);
            let read = self.lanes_of(plan, spectra, &maps, &groups);
            let write = plan.rows(inverse.images, maps.clone());
            let bias = inverse.bias.map(|bias| plan.region(bias, 0..1, maps.clone()));
            let has_bias = bias.is_some();
            let patches = self.patches(inverse.side, block, &groups);
            let steps = self.steps(inverse.side);
            let (kernels, shape) = (self.kernels, self.tiling.shape);
            let map_len = kernels.spectral_row_len(spectra.columns);
            let mut task = plan
                .task(self.label(inverse.stage), self.transform_cost(maps.len() * groups.len()))
                .read(read)
                .write(write)
                .scratch(kernels.tile_scratch_len(shape));
            if let Some(bias) = bias {
                task = task.read(bias);
            }
            // These two are applied as the tiles are stored, others once the map is complete.
            let (floor, applied) = match inverse.transfer {
                Transfer::RectifyLinear => (0.0, true),
                transfer => (f32::NEG_INFINITY, transfer == Transfer::IDENTITY),
            };
            task.run(move |views| {
                let [mut images] = views.writes.take();
                let (spectra, bias) = if has_bias {
                    let [spectra, bias] = views.reads.take();
                    (spectra, Some(bias))
                } else {
                    let [spectra] = views.reads.take();
                    (spectra, None)
                };
                for map in 0..images.rows() {
                    let image = images.row_mut(map);
                    if first && inverse.clear {
                        image.fill(0.0);
                    }
                    let store = Store {
                        scale: shape.scale_of_product(),
                        bias: bias.map_or(0.0, |bias| bias.row(0)[map]),
                        accumulate: inverse.accumulate,
                        floor,
                    };
                    for (group, patches) in patches.chunks(kernels.lanes()).enumerate() {
                        let from = lanes(spectra, kernels, map * map_len, group);
                        kernels.tile_inverse(shape, from, &store, image, steps, patches, views.scratch);
                    }
                    if last && !applied {
                        kernels.bias_transfer(inverse.transfer, 0.0, image);
                    }
                }
            });
        }
    }
}

/// Where inverse transforms go.
#[derive(Clone, Copy)]
struct Inverse {
    images: Buffer,
    side: Side,
    /// Whether the image is zero before the first tile.
    clear: bool,
    accumulate: bool,
    bias: Option<Buffer>,
    transfer: Transfer,
    stage: &'static str,
}

impl Algorithm for Tiled {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let weights = self.transform_weights(plan);
        for (index, block) in self.blocks.clone().into_iter().enumerate() {
            let spectra = self.transform_images(plan, x, Side::Input, &block, "transform_input");
            if self.remember {
                self.x.push(spectra);
            }
            let sums = self.spectra(plan, self.layer.problem.c_out, block.len(), false);
            let (left, right) =
                (Factor { spectra: weights, transposed: true }, Factor { spectra, transposed: false });
            self.multiply(plan, Conjugate::First, left, right, sums, false, "multiply_forward", false);
            let inverse = Inverse {
                images: to.y,
                side: Side::Output,
                clear: false,
                accumulate: to.accumulate,
                bias: to.bias,
                transfer: to.transfer,
                stage: "inverse_forward",
            };
            self.inverse_images(plan, sums, index, inverse);
        }
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let weights = self.transform_weights(plan);
        for (index, block) in self.blocks.clone().into_iter().enumerate() {
            let spectra = self.transform_images(plan, dy, Side::Output, &block, "transform_gradient");
            if self.remember {
                self.dy.push(spectra);
            }
            let sums = self.spectra(plan, self.layer.problem.c_in, block.len(), false);
            let (left, right) =
                (Factor { spectra: weights, transposed: false }, Factor { spectra, transposed: false });
            let stage = "multiply_backward_data";
            self.multiply(plan, Conjugate::Neither, left, right, sums, false, stage, false);
            let inverse = Inverse {
                images: dx,
                side: Side::Input,
                clear: !accumulate,
                accumulate: true,
                bias: None,
                transfer: Transfer::IDENTITY,
                stage: "inverse_backward_data",
            };
            self.inverse_images(plan, sums, index, inverse);
        }
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let Problem { c_in, c_out, kernel, .. } = self.layer.problem;
        let sums = self.spectra(plan, c_in, c_out, false);
        for (index, block) in self.blocks.iter().enumerate() {
            let x = match self.x.get(index) {
                Some(&spectra) => spectra,
                None => self.transform_images(plan, x, Side::Input, block, "transform_input"),
            };
            let dy = match self.dy.get(index) {
                Some(&spectra) => spectra,
                None => self.transform_images(plan, dy, Side::Output, block, "transform_gradient"),
            };
            let (left, right) =
                (Factor { spectra: x, transposed: false }, Factor { spectra: dy, transposed: true });
            let stage = "multiply_backward_weights";
            self.multiply(plan, Conjugate::Second, left, right, sums, index > 0, stage, true);
        }
        let (kernels, shape) = (self.kernels, self.tiling.shape);
        let mut gradients = Vec::new();
        for (maps, groups) in self.parts(plan, c_in, c_out) {
            let rows = groups.start * kernels.lanes()..c_out.min(groups.end * kernels.lanes());
            let cols = maps.start * kernel.len()..maps.end * kernel.len();
            let sum = plan.sum(rows.len() * cols.len(), 1);
            let read = self.lanes_of(plan, sums, &maps, &groups);
            let cost = 0.5 * self.transform_cost(maps.len() * groups.len());
            let count = rows.len();
            plan.task(self.label("inverse_backward_weights"), cost)
                .read(read)
                .scratch(kernels.tile_scratch_len(shape))
                .contribute(sum)
                .deferred()
                .run(move |views| {
                    let [spectra] = views.reads.take();
                    let store = Store {
                        scale: shape.scale_of_product(),
                        bias: 0.0,
                        accumulate: false,
                        floor: f32::NEG_INFINITY,
                    };
                    let row_len = kernels.spectral_row_len(c_out);
                    let cols = maps.len() * kernel.len();
                    for map in 0..maps.len() {
                        for group in 0..groups.len() {
                            let mut patches = [Patch::default(); MAX_LANES];
                            let patches =
                                taps(&mut patches, kernels.lanes(), group, count, kernel.to_array(), |o| {
                                    o * cols + map * kernel.len()
                                });
                            let steps = [kernel.y * kernel.x, kernel.x, 1];
                            let from = lanes(spectra, kernels, map * row_len, group);
                            let (sum, scratch) = (&mut *views.sum, &mut *views.scratch);
                            kernels.tile_inverse(shape, from, &store, sum, steps, patches, scratch);
                        }
                    }
                });
            gradients.push(WeightGradient { rows, cols, sum });
        }
        gradients
    }
}
