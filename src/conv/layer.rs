//! A layer of a plan, and what an algorithm adds to the plan for it.

use std::ops::Range;
use std::sync::Arc;

use znn_kernels::{Kernels, Transfer};

use super::{Accuracy, Decision, Problem, mixed};
use crate::fft::{FftError, Planner};
use crate::plan::{Buffer, PlanBuilder, Sum};

/// What every layer of an engine shares.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// The instruction-set tier.
    pub kernels: Kernels,
    /// Plans of transforms.
    pub planner: &'a Planner,
    /// How exact results must be.
    pub accuracy: Accuracy,
    /// Bytes that a layer may take for what its algorithm derives from weights and images.
    pub workspace: usize,
}

/// A convolution layer of a plan.
#[derive(Clone)]
pub struct Layer {
    /// For labels.
    pub name: Arc<str>,
    /// Sizes.
    pub problem: Problem,
    /// The weights: rows are output maps, columns `[c_in][kz][ky][kx]` (cross-correlation).
    pub weights: Buffer,
    /// Whether only the caller changes the weights, so that what is derived from them is kept between steps.
    pub frozen: bool,
}

/// What becomes of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Rows are output maps, columns voxels.
    pub y: Buffer,
    /// Add to what `y` holds instead of overwriting it.
    pub accumulate: bool,
    /// One row: a bias for each output map, added at the end.
    pub bias: Option<Buffer>,
    /// Applied after the bias.
    pub transfer: Transfer,
}

/// The gradient of a block of the weights, as the sum that tasks of the backward pass contribute to.
#[derive(Clone, Debug)]
pub struct WeightGradient {
    /// Output maps: rows of the weights.
    pub rows: Range<usize>,
    /// Columns of the weights.
    pub cols: Range<usize>,
    /// `rows.len() * cols.len()` floats, row-major. Its collector must be added to the plan.
    pub sum: Sum,
}

/// The passes of one layer. Each is asked for at most once, forward first; but see `Variant::shares_weights`.
pub trait Algorithm {
    /// `y = transfer(x * w + bias)`.
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination);

    /// `dx = adjoint(w) dy`, overwritten or accumulated.
    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool);

    /// `dw[o][i][k] = sum over p of dy[o][p] x[i][p + k * dilation]`. The tasks are deferred.
    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient>;
}

/// Begins to lower `layer` by what was decided, or by the direct method where that cannot compute it.
///
/// # Errors
/// Where a transform cannot be made.
pub fn begin(decision: Decision, layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    Ok(Box::new(mixed::Mixed::new(decision.or_direct(&layer.problem), layer, tools)?))
}
