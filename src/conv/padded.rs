//! Padding for algorithms that know none: they work on images with the zeros around them.

use std::ops::Range;

use znn_kernels::Kernels;

use super::{Algorithm, Destination, Layer, Problem, WeightGradient};
use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::Extent;

/// The same convolution of the image with its padding, without any.
pub(super) fn unpadded(problem: &Problem) -> Problem {
    let [before, after] = problem.padding;
    Problem { input: before + problem.input + after, padding: [Extent::ZERO; 2], ..*problem }
}

/// Bytes of the images with their padding, of which there are two where there is any.
pub(super) fn bytes(problem: &Problem) -> usize {
    let padded = unpadded(problem);
    if padded == *problem { 0 } else { 2 * padded.c_in * padded.input.len() * size_of::<f32>() }
}

/// A layer whose padding is put around its images, and whose rest is done by another algorithm.
pub(super) struct Padded {
    layer: Layer,
    kernels: Kernels,
    inner: Box<dyn Algorithm>,
    /// The image of the forward pass with its padding.
    image: Option<Buffer>,
}

impl Padded {
    /// `begin` makes the algorithm of the layer [without padding](unpadded), which is the layer's own where it has none.
    pub fn begin<E>(
        layer: Layer,
        kernels: Kernels,
        begin: impl FnOnce(Layer) -> Result<Box<dyn Algorithm>, E>,
    ) -> Result<Box<dyn Algorithm>, E> {
        let problem = unpadded(&layer.problem);
        if problem == layer.problem {
            return begin(layer);
        }
        let inner = begin(Layer { problem, ..layer.clone() })?;
        Ok(Box::new(Self { layer, kernels, inner, image: None }))
    }

    fn new_image(&self, plan: &mut PlanBuilder) -> Buffer {
        plan.transient(self.layer.problem.c_in, unpadded(&self.layer.problem).input.len())
    }

    /// The image with its padding.
    fn image(&mut self, plan: &mut PlanBuilder, x: Buffer) -> Buffer {
        if let Some(image) = self.image {
            return image;
        }
        let image = self.new_image(plan);
        let rows = Rows::new(&self.layer.problem);
        self.each_map(plan, "pad", x, image, move |_, x, image| {
            image.fill(0.0);
            rows.each(|inner, outer| image[outer].copy_from_slice(&x[inner]));
        });
        self.image = Some(image);
        image
    }

    /// A task for each map.
    fn each_map(
        &self,
        plan: &mut PlanBuilder,
        stage: &'static str,
        from: Buffer,
        to: Buffer,
        work: impl Fn(Kernels, &[f32], &mut [f32]) + Copy + Send + Sync + 'static,
    ) {
        let kernels = self.kernels;
        for map in 0..self.layer.problem.c_in {
            let (read, write) = (plan.rows(from, map..map + 1), plan.rows(to, map..map + 1));
            let cost = unpadded(&self.layer.problem).input.len() as f64 / 4.0;
            plan.task(Label::new(&self.layer.name, stage), cost).read(read).write(write).run(move |views| {
                let ([from], [mut to]) = (views.reads.take(), views.writes.take());
                work(kernels, from.row(0), to.row_mut(0));
            });
        }
    }
}

impl Algorithm for Padded {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        let image = self.image(plan, x);
        self.inner.forward(plan, image, to);
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        let image = self.new_image(plan);
        self.inner.backward_data(plan, dy, image, false);
        let rows = Rows::new(&self.layer.problem);
        self.each_map(plan, "unpad", image, dx, move |kernels, image, dx| {
            rows.each(|inner, outer| {
                if accumulate {
                    kernels.add(&mut dx[inner], &image[outer]);
                } else {
                    dx[inner].copy_from_slice(&image[outer]);
                }
            });
        });
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        let image = self.image(plan, x);
        self.inner.backward_weights(plan, image, dy)
    }
}

/// The rows along x of an image, and where they are in the image with its padding.
#[derive(Clone, Copy)]
struct Rows {
    image: Extent,
    before: Extent,
    padded: Extent,
}

impl Rows {
    fn new(problem: &Problem) -> Self {
        Self { image: problem.input, before: problem.padding[0], padded: unpadded(problem).input }
    }

    fn each(self, mut work: impl FnMut(Range<usize>, Range<usize>)) {
        let Self { image, before, padded } = self;
        for z in 0..image.z {
            for y in 0..image.y {
                let inner = image.index(z, y, 0);
                let outer = padded.index(before.z + z, before.y + y, before.x);
                work(inner..inner + image.x, outer..outer + image.x);
            }
        }
    }
}
