//! The passes of a convolution as plans, each for one or a few images of the batch at a time.

use std::ops::Range;
use std::sync::Arc;

use znn_kernels::{Kernels, Transfer};

use super::Conv3dError;
use super::strides::Layout;
use crate::conv::{Algorithm, Destination, Layer, Method, Problem, WeightGradient, begin};
use crate::engine::Engine;
use crate::machine::memory::Bytes;
use crate::plan::{Buffer, Label, Plan, PlanBuilder, PlanError};

/// A pass of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Inputs: the images of `x`, the bias. Outputs: those of `y`.
    Forward,
    /// Inputs: the images of `dy`. Outputs: those of `dx`.
    BackwardData,
    /// Inputs: the images of `x`, those of `dy`, whether to add (0 or 1). Output: `dw`.
    BackwardWeights,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Forward => "forward",
            Kind::BackwardData => "backward_data",
            Kind::BackwardWeights => "backward_weights",
        }
    }
}

/// A pass, ready to run.
pub(super) struct Pass {
    pub plan: Plan,
    pub method: Method,
    /// How many images a step takes: a divisor of the batch.
    pub images: usize,
    /// The weights of passes that use them.
    weights: Option<Buffer>,
}

impl Pass {
    /// Makes `weights` those of the next steps. What is derived from them is kept where they are the same, bit by bit, as
    /// before.
    pub fn load(&mut self, weights: &[f32]) -> Result<(), PlanError> {
        let buffer = self.weights.expect("a pass with weights");
        let bits = bytemuck::cast_slice::<f32, u32>;
        if bits(self.plan.buffer(buffer)?) != bits(weights) {
            self.plan.buffer_mut(buffer)?.copy_from_slice(weights);
        }
        Ok(())
    }

    /// The images of each step.
    pub fn steps(&self, batch: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let images = self.images;
        (0..batch).step_by(images).map(move |first| first..first + images)
    }
}

/// What all passes of a convolution share.
pub(super) struct Lowering<'a> {
    pub engine: &'a Engine,
    pub problem: Problem,
    /// Of `x` and `dx`.
    pub input: Layout,
    /// Of `y` and `dy`.
    pub output: Layout,
    pub transfer: Transfer,
    /// Bytes that a pass may hold.
    pub memory: Option<usize>,
}

struct Lowered {
    plan: PlanBuilder,
    method: Method,
    images: usize,
    weights: Option<Buffer>,
}

impl Lowering<'_> {
    /// The pass by `method`; by the direct one, image by image, where that would hold more than the memory bound.
    pub fn pass(&self, kind: Kind, method: Method) -> Result<Pass, Conv3dError> {
        let threads = self.engine.pool().threads();
        let bound = self.memory.unwrap_or(usize::MAX);
        let mut lowered = self.lower(kind, method, self.images(method))?;
        if lowered.plan.bytes(threads) > bound {
            lowered = self.lower(kind, Method::Direct, 1)?;
            let needed = lowered.plan.bytes(threads);
            if needed > bound {
                let (needed, bound) = (Bytes(needed as u64), Bytes(bound as u64));
                return Err(Conv3dError::MemoryBound { pass: kind.name(), needed, bound });
            }
        }
        let Lowered { plan, method, images, weights } = lowered;
        plan.check_memory(threads)?;
        let plan = plan.build(self.engine.pool(), self.engine.kernels());
        Ok(Pass { plan, method, images, weights })
    }

    /// How many images a step should take: so many that all workers have something to do for a while.
    fn images(&self, method: Method) -> usize {
        /// Floating-point operations of a worker beside which the start of a step takes little time.
        const ENOUGH: f64 = 5e7;
        /// More would make plans of too many tasks.
        const MOST: usize = 32;
        if !(method.shares_weights() && self.input.images_are_apart() && self.output.images_are_apart()) {
            return 1;
        }
        let wanted = ENOUGH * self.engine.pool().threads() as f64 / self.problem.flops();
        let most = (wanted.ceil() as usize).clamp(1, MOST);
        (1..=most).rev().find(|images| self.input.batch.is_multiple_of(*images)).unwrap_or(1)
    }

    fn lower(&self, kind: Kind, method: Method, images: usize) -> Result<Lowered, Conv3dError> {
        let mut plan = self.engine.plan().synchronous();
        let weights = match kind {
            Kind::Forward => Some(self.forward(&mut plan, method, images)?),
            Kind::BackwardData => Some(self.backward_data(&mut plan, method, images)?),
            Kind::BackwardWeights => {
                self.backward_weights(&mut plan, method, images)?;
                None
            }
        };
        Ok(Lowered { plan, method, images, weights })
    }

    fn forward(&self, plan: &mut PlanBuilder, method: Method, images: usize) -> Result<Buffer, Conv3dError> {
        let (weights, mut algorithm) = self.with_weights(plan, method)?;
        let x = inputs(plan, &self.input, images);
        let bias = plan.input(1, self.problem.c_out);
        let y = outputs(plan, &self.output, images);
        for (x, y) in x.into_iter().zip(y) {
            let to = Destination { y, accumulate: false, bias: Some(bias), transfer: self.transfer };
            algorithm.forward(plan, x, to);
        }
        Ok(weights)
    }

    fn backward_data(
        &self,
        plan: &mut PlanBuilder,
        method: Method,
        images: usize,
    ) -> Result<Buffer, Conv3dError> {
        let (weights, mut algorithm) = self.with_weights(plan, method)?;
        let dy = inputs(plan, &self.output, images);
        let dx = outputs(plan, &self.input, images);
        for (dy, dx) in dy.into_iter().zip(dx) {
            algorithm.backward_data(plan, dy, dx, false);
        }
        Ok(weights)
    }

    fn backward_weights(
        &self,
        plan: &mut PlanBuilder,
        method: Method,
        images: usize,
    ) -> Result<(), Conv3dError> {
        let x = inputs(plan, &self.input, images);
        let dy = inputs(plan, &self.output, images);
        let add = plan.input(1, 1);
        let (rows, cols) = self.weight_matrix();
        let dw = plan.output(rows, cols);
        let kernels = self.engine.kernels();
        for (image, (x, dy)) in x.into_iter().zip(dy).enumerate() {
            // Only its size matters.
            let weights = plan.transient(rows, cols);
            let mut algorithm = begin(method, self.layer(weights, false), self.engine.tools())?;
            for gradient in algorithm.backward_weights(plan, x, dy) {
                collect(plan, kernels, gradient, dw, add, image > 0);
            }
        }
        Ok(())
    }

    /// The buffer of weights, and the algorithm for a pass of one or more images that uses them.
    fn with_weights(
        &self,
        plan: &mut PlanBuilder,
        method: Method,
    ) -> Result<(Buffer, Box<dyn Algorithm>), Conv3dError> {
        let (rows, cols) = self.weight_matrix();
        let weights = plan.persistent(rows, cols);
        Ok((weights, begin(method, self.layer(weights, true), self.engine.tools())?))
    }

    fn weight_matrix(&self) -> (usize, usize) {
        (self.problem.c_out, self.problem.c_in * self.problem.kernel.len())
    }

    fn layer(&self, weights: Buffer, frozen: bool) -> Layer {
        Layer { name: name(), problem: self.problem, weights, frozen }
    }
}

/// What the tasks are labelled with.
pub(super) fn name() -> Arc<str> {
    Arc::from("conv3d")
}

/// Some images of the caller, read.
pub(super) fn inputs(plan: &mut PlanBuilder, layout: &Layout, images: usize) -> Vec<Buffer> {
    let pitch = layout.strides.map.max(layout.voxels);
    (0..images).map(|_| plan.input_rows(layout.maps, layout.voxels, pitch)).collect()
}

/// Some images of the caller, written.
pub(super) fn outputs(plan: &mut PlanBuilder, layout: &Layout, images: usize) -> Vec<Buffer> {
    let pitch = layout.strides.map.max(layout.voxels);
    (0..images).map(|_| plan.output_rows(layout.maps, layout.voxels, pitch)).collect()
}

/// Adds the task that takes a block of the gradient of one image: added to what is there where `always` or the float in
/// `add` says so.
fn collect(
    plan: &mut PlanBuilder,
    kernels: Kernels,
    gradient: WeightGradient,
    dw: Buffer,
    add: Buffer,
    always: bool,
) {
    let WeightGradient { rows, cols, sum } = gradient;
    let (block, add) = (plan.region(dw, rows, cols), plan.whole(add));
    let label = Label::new(&name(), "collect");
    plan.task(label, 0.0).read(add).write(block).collect(sum).run(move |views| {
        let ([add], [mut dw]) = (views.reads.take(), views.writes.take());
        let (add, cols) = (always || add.row(0)[0] != 0.0, dw.cols());
        for row in 0..dw.rows() {
            let (to, from) = (dw.row_mut(row), &views.sum[row * cols..][..cols]);
            if add { kernels.add(to, from) } else { to.copy_from_slice(from) }
        }
    });
}
