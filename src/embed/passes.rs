//! The passes of a convolution as plans, each for one or a few images of the batch at a time.

use std::ops::Range;
use std::sync::Arc;

use znn_kernels::{Kernels, Transfer};

use super::Conv3dError;
use super::strides::Layout;
use crate::conv::{Algorithm, Decision, Destination, Layer, Pass, Problem, WeightGradient, begin};
use crate::engine::Engine;
use crate::plan::{Buffer, Label, Plan, PlanBuilder, PlanError};

/// A pass, ready to run.
///
/// | pass | inputs of its plan | outputs |
/// |---|---|---|
/// | forward | the images of `x`, the bias | those of `y` |
/// | backward_data | the images of `dy` | those of `dx` |
/// | backward_weights | the images of `x`, those of `dy`, whether to add (0 or 1) | `dw` |
pub(super) struct Planned {
    pub plan: Plan,
    /// How many images a step takes: a divisor of the batch.
    pub images: usize,
    /// The weights of passes that use them.
    weights: Option<Buffer>,
}

impl Planned {
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
    /// What computes each pass.
    pub decision: Decision,
}

impl Lowering<'_> {
    /// Plans a pass.
    pub fn pass(&self, pass: Pass) -> Result<Planned, Conv3dError> {
        let images = self.images(pass);
        let mut plan = self.engine.plan().synchronous();
        let weights = match pass {
            Pass::Forward => Some(self.forward(&mut plan, images)?),
            Pass::BackwardData => Some(self.backward_data(&mut plan, images)?),
            Pass::BackwardWeights => {
                self.backward_weights(&mut plan, images)?;
                None
            }
        };
        plan.check_memory(self.engine.pool().threads())?;
        let plan = plan.build(self.engine.pool(), self.engine.kernels());
        Ok(Planned { plan, images, weights })
    }

    /// How many images a step should take: so many that all workers have something to do for a while.
    fn images(&self, pass: Pass) -> usize {
        /// Floating-point operations of a worker beside which the start of a step takes little time.
        const ENOUGH: f64 = 5e7;
        /// More would make plans of too many tasks.
        const MOST: usize = 32;
        let several = self.decision.of(pass).shares_weights();
        if !(several && self.input.images_are_apart() && self.output.images_are_apart()) {
            return 1;
        }
        let wanted = ENOUGH * self.engine.pool().threads() as f64 / self.problem.flops();
        let most = (wanted.ceil() as usize).clamp(1, MOST);
        (1..=most).rev().find(|images| self.input.batch.is_multiple_of(*images)).unwrap_or(1)
    }

    fn forward(&self, plan: &mut PlanBuilder, images: usize) -> Result<Buffer, Conv3dError> {
        let (weights, mut algorithm) = self.with_weights(plan)?;
        let x = inputs(plan, &self.input, images);
        let bias = plan.input(1, self.problem.c_out);
        let y = outputs(plan, &self.output, images);
        for (x, y) in x.into_iter().zip(y) {
            let to = Destination { y, accumulate: false, bias: Some(bias), transfer: self.transfer };
            algorithm.forward(plan, x, to);
        }
        Ok(weights)
    }

    fn backward_data(&self, plan: &mut PlanBuilder, images: usize) -> Result<Buffer, Conv3dError> {
        let (weights, mut algorithm) = self.with_weights(plan)?;
        let dy = inputs(plan, &self.output, images);
        let dx = outputs(plan, &self.input, images);
        for (dy, dx) in dy.into_iter().zip(dx) {
            algorithm.backward_data(plan, dy, dx, false);
        }
        Ok(weights)
    }

    fn backward_weights(&self, plan: &mut PlanBuilder, images: usize) -> Result<(), Conv3dError> {
        let x = inputs(plan, &self.input, images);
        let dy = inputs(plan, &self.output, images);
        let add = plan.input(1, 1);
        let (rows, cols) = self.weight_matrix();
        let dw = plan.output(rows, cols);
        let kernels = self.engine.kernels();
        for (image, (x, dy)) in x.into_iter().zip(dy).enumerate() {
            // Only its size matters.
            let weights = plan.transient(rows, cols);
            let mut algorithm = begin(self.decision, self.layer(weights, false), self.engine.tools())?;
            for gradient in algorithm.backward_weights(plan, x, dy) {
                collect(plan, kernels, gradient, dw, add, image > 0);
            }
        }
        Ok(())
    }

    /// The buffer of weights, and the algorithm for a pass of one or more images that uses them.
    fn with_weights(&self, plan: &mut PlanBuilder) -> Result<(Buffer, Box<dyn Algorithm>), Conv3dError> {
        let (rows, cols) = self.weight_matrix();
        let weights = plan.persistent(rows, cols);
        Ok((weights, begin(self.decision, self.layer(weights, true), self.engine.tools())?))
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
