//! Convolution by products of whole-image spectra.
//!
//! Images, kernels and gradients are padded to one size that is fast to transform and at least the input's, so that
//! nothing wraps around into what is kept. With `X`, `W`, `D` the spectra of input, kernel (taps at multiples of
//! the dilation) and output gradient, and `*` the conjugate:
//!
//! | pass | spectrum | kept of its inverse |
//! |---|---|---|
//! | forward | `Y[o] = sum over i of X[i] W*[o][i]` | the first `output` voxels |
//! | backward_data | `DX[i] = sum over o of D[o] W[o][i]` | the first `input` voxels |
//! | backward_weights | `DW[o][i] = X[i] D*[o]` | the taps |
//!
//! Each of the three transforms is computed once per iteration and serves two passes (the memoisation of ZNN, arXiv
//! 1510.06706); sums are taken in the frequency domain, so that each output map needs one inverse.

use std::ops::Range;
use std::sync::Arc;

use num_complex::Complex32;
use znn_kernels::spectral::Conjugate;
use znn_kernels::{Kernels, Rows, RowsMut};

use super::Load;
use crate::conv::{Algorithm, Destination, Layer, Problem, Tools, WeightGradient};
use crate::fft::{FftError, Planner, RealTransform};
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::Extent;

/// Spectra are multiplied in runs of this many coefficients: those of a few maps stay in the nearest cache.
const RUN: usize = 512;

/// The time of a layer's passes by a model, in floating-point operations at full speed.
pub(super) fn work(problem: &Problem, load: &Load, planner: &Planner) -> f64 {
    /// Fractions of full speed that transforms reach, and products, which stream spectra.
    const TRANSFORMS: f64 = 0.19;
    const PRODUCTS: f64 = 0.095;
    let pairs = (problem.c_in * problem.c_out) as f64;
    let n = planner.good_extent(problem.input).len() as f64;
    let transform = 2.5 * n * n.log2().max(1.0);
    let transforms = load.images + load.kernels * pairs;
    transforms * transform / TRANSFORMS + load.products * pairs * 8.0 * (n / 2.0) / PRODUCTS
}

pub(super) struct WholeImage {
    layer: Layer,
    kernels: Kernels,
    transform: Arc<dyn RealTransform>,
    /// Of the input: rows are input maps.
    x: Option<Buffer>,
    /// Of the weights: row `o * c_in + i`.
    weights: Option<Buffer>,
    /// Of the output gradient: rows are output maps.
    dy: Option<Buffer>,
}

impl WholeImage {
    pub fn new(layer: Layer, tools: Tools<'_>) -> Result<Self, FftError> {
        let extent = tools.planner.good_extent(layer.problem.input);
        // No buffer could hold them.
        if isize::try_from(Self::bytes(&layer.problem, extent)).is_err() {
            return Err(FftError::TooLarge(extent));
        }
        let transform = tools.planner.plan(extent)?;
        Ok(Self { layer, kernels: tools.kernels, transform, x: None, weights: None, dy: None })
    }

    /// Bytes that the passes of a layer hold: the spectra.
    pub fn bytes(problem: &Problem, size: Extent) -> usize {
        let maps = 2 * problem.c_in + 2 * problem.c_out + problem.c_in * problem.c_out;
        maps.saturating_mul(size.z * size.y * (size.x / 2 + 1) * size_of::<Complex32>())
    }

    /// Coefficients of a spectrum.
    fn coefficients(&self) -> usize {
        self.transform.spectrum_extent().len()
    }

    /// Floats of a row that holds a spectrum; the transforms want each to begin at a cache line.
    fn row(&self) -> usize {
        2 * self.transform.spectrum_stride()
    }

    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.layer.name, stage)
    }

    /// Nanoseconds of one transform, for priorities.
    fn transform_cost(&self) -> f64 {
        let n = self.transform.extent().len() as f64;
        2.5 * n * n.log2().max(1.0) / 10.0
    }

    /// Adds a transform of each row of `images` (of extent `from`).
    fn transform_rows(
        &self,
        plan: &mut PlanBuilder,
        images: Buffer,
        from: Extent,
        stage: &'static str,
    ) -> Buffer {
        let (maps, _) = plan.dimensions(images);
        let spectra = plan.transient(maps, self.row());
        for map in 0..maps {
            let transform = self.transform.clone();
            let (read, write) = (plan.rows(images, map..map + 1), plan.rows(spectra, map..map + 1));
            plan.task(self.label(stage), self.transform_cost())
                .read(read)
                .write(write)
                .scratch(transform.extent().len())
                .run(move |views| {
                    let ([image], [mut spectrum]) = (views.reads.take(), views.writes.take());
                    pad(image.row(0), from, transform.extent(), views.scratch);
                    transform.forward(views.scratch, coefficients_mut(&*transform, spectrum.row_mut(0)));
                });
        }
        spectra
    }

    /// The spectra of the weights; computed once per iteration, or once per change where they are frozen.
    fn transform_weights(&mut self, plan: &mut PlanBuilder) -> Buffer {
        if let Some(spectra) = self.weights {
            return spectra;
        }
        let Problem { c_in, c_out, kernel, dilation, .. } = self.layer.problem;
        let pairs = c_in * c_out;
        let spectra = if self.layer.frozen {
            plan.persistent(pairs, self.row())
        } else {
            plan.transient(pairs, self.row())
        };
        let parts = plan.splits().min(pairs);
        for part in 0..parts {
            let pairs = PlanBuilder::part(pairs, 1, parts, part);
            let maps = pairs.start / c_in..(pairs.end - 1) / c_in + 1;
            let (read, write) =
                (plan.rows(self.layer.weights, maps.clone()), plan.rows(spectra, pairs.clone()));
            let transform = self.transform.clone();
            let task = plan.task(self.label("transform_weights"), self.transform_cost() * pairs.len() as f64);
            let task = if self.layer.frozen { task.preparation() } else { task };
            task.read(read).write(write).scratch(transform.extent().len()).run(move |views| {
                let ([weights], [mut spectra]) = (views.reads.take(), views.writes.take());
                for (row, pair) in pairs.clone().enumerate() {
                    let taps =
                        &weights.row(pair / c_in - maps.start)[pair % c_in * kernel.len()..][..kernel.len()];
                    views.scratch.fill(0.0);
                    for (tap, position) in
                        taps.iter().zip(tap_positions(kernel, dilation, transform.extent()))
                    {
                        views.scratch[position] = *tap;
                    }
                    transform.forward(views.scratch, coefficients_mut(&*transform, spectra.row_mut(row)));
                }
            });
        }
        self.weights = Some(spectra);
        spectra
    }

    /// Adds `out[a] = sum over b of w[a][b] v[b]` for all coefficients; `w[a][b]` is row
    /// `a * strides[0] + b * strides[1]` of `weights`.
    #[allow(clippy::too_many_arguments, reason = "three operands and how to read them")]
    fn multiply(
        &self,
        plan: &mut PlanBuilder,
        weights: Buffer,
        strides: [usize; 2],
        conjugate: Conjugate,
        v: Buffer,
        out: Buffer,
        stage: &'static str,
    ) {
        let runs = self.coefficients().div_ceil(RUN);
        let parts = plan.splits().min(runs);
        let kernels = self.kernels;
        for part in 0..parts {
            let coefficients = PlanBuilder::part(self.coefficients(), RUN, parts, part);
            let cols = 2 * coefficients.start..2 * coefficients.end;
            let all = |buffer: Buffer, plan: &PlanBuilder| {
                plan.region(buffer, 0..plan.dimensions(buffer).0, cols.clone())
            };
            let (weights, v, out) = (all(weights, plan), all(v, plan), all(out, plan));
            let pairs = self.layer.problem.c_in * self.layer.problem.c_out;
            plan.task(self.label(stage), (pairs * coefficients.len()) as f64 / 4.0)
                .read(weights)
                .read(v)
                .write(out)
                .run(move |views| {
                    let ([weights, v], [mut out]) = (views.reads.take(), views.writes.take());
                    let cols = weights.cols();
                    for start in (0..cols).step_by(2 * RUN) {
                        let cols = start..cols.min(start + 2 * RUN);
                        let mut out = out.part(0..out.rows(), cols.clone());
                        kernels.spectral_multiply(
                            conjugate,
                            columns(weights, &cols),
                            strides,
                            columns(v, &cols),
                            false,
                            &mut out,
                        );
                    }
                });
        }
    }
}

impl Algorithm for WholeImage {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let Problem { c_in, c_out, input, .. } = self.layer.problem;
        let output = self.layer.problem.output();
        let weights = self.transform_weights(plan);
        let spectra = self.transform_rows(plan, x, input, "transform_input");
        self.x = Some(spectra);
        let sums = plan.transient(c_out, self.row());
        self.multiply(plan, weights, [c_in, 1], Conjugate::First, spectra, sums, "multiply_forward");
        for o in 0..c_out {
            let (transform, kernels) = (self.transform.clone(), self.kernels);
            let (sum, y) = (plan.rows(sums, o..o + 1), plan.rows(to.y, o..o + 1));
            let bias = to.bias.map(|bias| plan.region(bias, 0..1, o..o + 1));
            let has_bias = bias.is_some();
            let mut task = plan
                .task(self.label("inverse_forward"), self.transform_cost())
                .write(sum)
                .write(y)
                .scratch(transform.extent().len());
            if let Some(bias) = bias {
                task = task.read(bias);
            }
            task.run(move |views| {
                let [mut sum, mut y] = views.writes.take();
                let bias = if has_bias { views.reads.take::<1>()[0].row(0)[0] } else { 0.0 };
                transform.inverse(coefficients_mut(&*transform, sum.row_mut(0)), views.scratch);
                let y = y.row_mut(0);
                crop(views.scratch, transform.extent(), output, to.accumulate, y);
                kernels.bias_transfer(to.transfer, bias, y);
            });
        }
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let Problem { c_in, input, .. } = self.layer.problem;
        let weights = self.transform_weights(plan);
        let spectra = self.gradient_spectra(plan, dy);
        let sums = plan.transient(c_in, self.row());
        self.multiply(plan, weights, [1, c_in], Conjugate::Neither, spectra, sums, "multiply_backward_data");
        for i in 0..c_in {
            let transform = self.transform.clone();
            let (sum, dx) = (plan.rows(sums, i..i + 1), plan.rows(dx, i..i + 1));
            plan.task(self.label("inverse_backward_data"), self.transform_cost())
                .write(sum)
                .write(dx)
                .scratch(transform.extent().len())
                .run(move |views| {
                    let [mut sum, mut dx] = views.writes.take();
                    transform.inverse(coefficients_mut(&*transform, sum.row_mut(0)), views.scratch);
                    crop(views.scratch, transform.extent(), input, accumulate, dx.row_mut(0));
                });
        }
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let Problem { c_in, c_out, input, kernel, dilation, .. } = self.layer.problem;
        let x = match self.x {
            Some(spectra) => spectra,
            None => self.transform_rows(plan, x, input, "transform_input"),
        };
        let dy = self.gradient_spectra(plan, dy);
        let parts = plan.splits().div_ceil(c_out).min(c_in);
        let mut gradients = Vec::new();
        for o in 0..c_out {
            for part in 0..parts {
                let maps = PlanBuilder::part(c_in, 1, parts, part);
                let sum = plan.sum(maps.len() * kernel.len(), 1);
                let (transform, kernels) = (self.transform.clone(), self.kernels);
                let row = self.row();
                let (x, dy) = (plan.rows(x, maps.clone()), plan.rows(dy, o..o + 1));
                plan.task(self.label("backward_weights"), self.transform_cost() * maps.len() as f64)
                    .read(x)
                    .read(dy)
                    .scratch(row + transform.extent().len())
                    .contribute(sum)
                    .deferred()
                    .run(move |views| {
                        let [x, dy] = views.reads.take();
                        let (product, image) = views.scratch.split_at_mut(row);
                        let scale = 1.0 / transform.extent().len() as f32;
                        for (i, taps) in views.sum.chunks_exact_mut(kernel.len()).enumerate() {
                            let image_of_pair = x.part(i..i + 1, 0..row);
                            let mut out = RowsMut::new(product, row);
                            kernels.spectral_outer(Conjugate::Second, image_of_pair, dy, false, &mut out);
                            transform.inverse(coefficients_mut(&*transform, product), image);
                            for (tap, position) in
                                taps.iter_mut().zip(tap_positions(kernel, dilation, transform.extent()))
                            {
                                *tap = image[position] * scale;
                            }
                        }
                    });
                let taps = kernel.len();
                gradients.push(WeightGradient {
                    rows: o..o + 1,
                    cols: maps.start * taps..maps.end * taps,
                    sum,
                });
            }
        }
        gradients
    }
}

impl WholeImage {
    fn gradient_spectra(&mut self, plan: &mut PlanBuilder, dy: Buffer) -> Buffer {
        if let Some(spectra) = self.dy {
            return spectra;
        }
        let spectra = self.transform_rows(plan, dy, self.layer.problem.output(), "transform_gradient");
        self.dy = Some(spectra);
        spectra
    }
}

/// These columns of all rows.
fn columns<'a>(rows: Rows<'a>, cols: &Range<usize>) -> Rows<'a> {
    rows.part(0..rows.rows(), cols.clone())
}

/// The coefficients that a row holds.
fn coefficients_mut<'a>(transform: &dyn RealTransform, row: &'a mut [f32]) -> &'a mut [Complex32] {
    &mut bytemuck::cast_slice_mut(row)[..transform.spectrum_extent().len()]
}

/// Where the taps of a dilated kernel lie in an image of extent `size`.
fn tap_positions(kernel: Extent, dilation: Extent, size: Extent) -> impl Iterator<Item = usize> {
    let axis = |taps: usize, step: usize| (0..taps).map(move |k| k * step);
    axis(kernel.z, dilation.z).flat_map(move |z| {
        axis(kernel.y, dilation.y)
            .flat_map(move |y| axis(kernel.x, dilation.x).map(move |x| size.index(z, y, x)))
    })
}

/// `image` of extent `from` at the origin of `padded` of extent `to`, zeros elsewhere.
fn pad(image: &[f32], from: Extent, to: Extent, padded: &mut [f32]) {
    if from != to {
        padded.fill(0.0);
    }
    for (from, to) in rows(from, from).zip(rows(from, to)) {
        padded[to].copy_from_slice(&image[from]);
    }
}

/// The part of extent `to` at the origin of `image` of extent `from`, divided by its number of voxels.
fn crop(image: &[f32], from: Extent, to: Extent, accumulate: bool, cropped: &mut [f32]) {
    let scale = 1.0 / from.len() as f32;
    for (from, to) in rows(to, from).zip(rows(to, to)) {
        let pairs = cropped[to].iter_mut().zip(&image[from]);
        if accumulate {
            pairs.for_each(|(to, from)| *to += from * scale);
        } else {
            pairs.for_each(|(to, from)| *to = from * scale);
        }
    }
}

/// The rows of the box `part` at the origin of an image of extent `size`.
fn rows(part: Extent, size: Extent) -> impl Iterator<Item = Range<usize>> {
    (0..part.z).flat_map(move |z| {
        (0..part.y).map(move |y| {
            let start = size.index(z, y, 0);
            start..start + part.x
        })
    })
}
