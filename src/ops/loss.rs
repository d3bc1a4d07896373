//! Losses: error and gradient of predictions, and how many of them are wrong.

use znn_kernels::{Kernels, Rows, RowsMut};

use super::{Maps, Site, pass_cost};
use crate::plan::{Buffer, PlanBuilder};
use crate::segment::{self, Mode};
use crate::volume::{Extent, Tensor};

/// What training minimises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// A loss that judges each value by itself.
    #[doc(hidden)]
    Values(znn_kernels::Loss),
    /// The cross entropy of the softmax over the maps of each voxel.
    Softmax,
}

impl Loss {
    /// `(p - t)^2`.
    pub const SQUARE: Loss = Loss::Values(znn_kernels::Loss::Square);
    /// `(p - t)^2` where the difference exceeds 0.2.
    pub const SQUARE_SQUARE: Loss = Loss::Values(znn_kernels::Loss::SquareSquare { margin: 0.2 });
    /// `-t ln p - (1 - t) ln(1 - p)`.
    pub const BINOMIAL_CROSS_ENTROPY: Loss = Loss::Values(znn_kernels::Loss::BinomialCrossEntropy);
    /// `-t ln p`, of probabilities that a softmax has made.
    pub const CROSS_ENTROPY: Loss = Loss::Values(znn_kernels::Loss::CrossEntropy);
}

/// What a loss found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The weighted sum of the loss over all values.
    pub loss: f64,
    /// How many of the counted values lie on the wrong side of one half.
    pub errors: f64,
    /// How many values count: those of positive weight.
    pub counted: f64,
}

impl Outcome {
    /// The loss of a counted value, on average.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.counted.max(1.0)
    }

    /// The fraction of counted values that are wrong.
    pub fn pixel_error(&self) -> f64 {
        self.errors / self.counted.max(1.0)
    }

    /// Adds what was found on other values.
    pub fn add(&mut self, other: &Outcome) {
        self.loss += other.loss;
        self.errors += other.errors;
        self.counted += other.counted;
    }

    /// As floats, which hold the counts of a block exactly and the loss to twice their precision.
    fn to_stats(self) -> [f32; STATS] {
        let high = self.loss as f32;
        [high, (self.loss - f64::from(high)) as f32, self.errors as f32, self.counted as f32]
    }

    fn from_stats(stats: &[f32]) -> Self {
        let [high, low, errors, counted] = [0, 1, 2, 3].map(|i| f64::from(stats[i]));
        Self { loss: high + low, errors, counted }
    }
}

/// Floats that one block of voxels reports.
const STATS: usize = 4;
/// Values of a block: a task of some microseconds, whose counts are exact in f32.
const BLOCK: usize = 8192;

/// The buffers of the loss of one output node; `target` and `weight` have the shape of its values.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// What the values should be.
    pub target: Buffer,
    /// The factor of each value's loss and gradient.
    pub weight: Buffer,
    /// A further factor of the gradient alone.
    pub emphasis: Option<Buffer>,
    /// Gets the gradient by the values.
    pub gradient: Buffer,
    /// Gets the values; for the softmax loss, their softmax.
    pub prediction: Buffer,
    /// Gets what was found: [`stats_len`] floats.
    pub stats: Buffer,
    /// The factor of loss and gradient.
    pub factor: f32,
}

/// Voxels of a block, of which each has a value in `maps` maps.
fn block_len(maps: usize) -> usize {
    BLOCK.div_ceil(maps)
}

/// The number of floats that the loss of `maps` maps of `extent` reports.
pub fn stats_len(maps: usize, extent: Extent) -> usize {
    extent.len().div_ceil(block_len(maps)) * STATS
}

/// The sum of what the blocks report.
pub fn total(stats: &[f32]) -> Outcome {
    let mut total = Outcome::default();
    stats.chunks_exact(STATS).for_each(|block| total.add(&Outcome::from_stats(block)));
    total
}

/// Adds the tasks of a loss of `values`.
pub fn loss(plan: &mut PlanBuilder, site: &Site, loss: Loss, values: Maps, operands: Operands) {
    let len = values.extent.len();
    let block_len = block_len(values.count);
    for (block, start) in (0..len).step_by(block_len).enumerate() {
        let cols = start..len.min(start + block_len);
        let part = |plan: &PlanBuilder, buffer| plan.region(buffer, 0..values.count, cols.clone());
        let Operands { target, weight, emphasis, gradient, prediction, stats, factor } = operands;
        let (x, target, weight) = (part(plan, values.buffer), part(plan, target), part(plan, weight));
        let emphasis = emphasis.map(|emphasis| part(plan, emphasis));
        let is_emphasised = emphasis.is_some();
        let (gradient, prediction) = (part(plan, gradient), part(plan, prediction));
        let stats = plan.region(stats, 0..1, block * STATS..(block + 1) * STATS);
        let kernels = site.kernels;
        let mut task = plan.task(site.label("loss"), 20.0 * pass_cost(values.count * cols.len()));
        task = task.read(x).read(target).read(weight).write(gradient).write(prediction).write(stats);
        if let Some(emphasis) = emphasis {
            task = task.read(emphasis);
        }
        task.run(move |views| {
            let (x, target, weight, emphasis) = if is_emphasised {
                let [x, target, weight, emphasis] = views.reads.take();
                (x, target, weight, Some(emphasis))
            } else {
                let [x, target, weight] = views.reads.take();
                (x, target, weight, None)
            };
            let [mut gradient, mut prediction, mut stats] = views.writes.take();
            let mut found = evaluate(kernels, loss, x, target, Some(weight), &mut gradient, &mut prediction);
            if factor != 1.0 {
                found.loss *= f64::from(factor);
                (0..gradient.rows()).for_each(|row| kernels.scale(gradient.row_mut(row), factor));
            }
            stats.row_mut(0).copy_from_slice(&found.to_stats());
            if let Some(emphasis) = emphasis {
                for row in 0..emphasis.rows() {
                    let factors = emphasis.row(row).iter();
                    gradient
                        .row_mut(row)
                        .iter_mut()
                        .zip(factors)
                        .for_each(|(value, factor)| *value *= factor);
                }
            }
        });
    }
}

/// Adds the task that gives each of the affinities `values` (along x, y, z) its MALIS weight. `rand_error`, of one float, gets
/// the error of the segments that they make; it is not a number, and the weights are 0, where the target has no pair of voxels.
pub fn malis(
    plan: &mut PlanBuilder,
    site: &Site,
    mode: Mode,
    values: Maps,
    target: Buffer,
    [weights, rand_error]: [Buffer; 2],
) {
    /// Of an edge: to be sorted, and to find and join its components.
    const NANOSECONDS: f64 = 300.0;
    let [x, target, weights, rand_error] =
        [values.buffer, target, weights, rand_error].map(|buffer| plan.whole(buffer));
    let Maps { count, extent, .. } = values;
    plan.task(site.label("malis"), NANOSECONDS * (count * extent.len()) as f64)
        .read(x)
        .read(target)
        .write(weights)
        .write(rand_error)
        .run(move |views| {
            let [x, target] = views.reads.take().map(|rows| tensor(rows, extent));
            let [mut weights, mut rand_error] = views.writes.take();
            let found = segment::weights(&x, &target, mode);
            rand_error.row_mut(0)[0] = found.as_ref().map_or(f32::NAN, |found| found.rand_error as f32);
            for row in 0..count {
                match &found {
                    Some(found) => weights.row_mut(row).copy_from_slice(found.weights.channel(row)),
                    None => weights.row_mut(row).fill(0.0),
                }
            }
        });
}

fn tensor(rows: Rows<'_>, extent: Extent) -> Tensor {
    let mut tensor = Tensor::zeros(rows.rows(), extent);
    (0..rows.rows()).for_each(|row| tensor.channel_mut(row).copy_from_slice(rows.row(row)));
    tensor
}

/// The loss of whole tensors, and the prediction: the values, or their softmax.
pub fn of_tensors(
    kernels: Kernels,
    loss: Loss,
    values: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
) -> (Outcome, Tensor) {
    let len = values.extent().len();
    let mut gradient = Tensor::zeros(values.channels(), values.extent());
    let mut prediction = gradient.clone();
    let found = evaluate(
        kernels,
        loss,
        Rows::new(values.data(), len),
        Rows::new(target.data(), len),
        weight.map(|weight| Rows::new(weight.data(), len)),
        &mut RowsMut::new(gradient.data_mut(), len),
        &mut RowsMut::new(prediction.data_mut(), len),
    );
    (found, prediction)
}

fn evaluate(
    kernels: Kernels,
    loss: Loss,
    x: Rows<'_>,
    target: Rows<'_>,
    weight: Option<Rows<'_>>,
    gradient: &mut RowsMut<'_>,
    prediction: &mut RowsMut<'_>,
) -> Outcome {
    let mut found = Outcome::default();
    for row in 0..x.rows() {
        prediction.row_mut(row).copy_from_slice(x.row(row));
    }
    match loss {
        Loss::Softmax => {
            found.loss = kernels.softmax_loss(x, target, weight, gradient);
            kernels.softmax(prediction);
        }
        Loss::Values(loss) => {
            for row in 0..x.rows() {
                let weight = weight.map(|weight| weight.row(row));
                found.loss += kernels.loss(loss, x.row(row), target.row(row), weight, gradient.row_mut(row));
            }
        }
    }
    for row in 0..x.rows() {
        let (prediction, target) = (prediction.row(row), target.row(row));
        let (errors, counted) = match weight {
            None => (count(prediction.iter().zip(target).map(is_wrong)), prediction.len() as u32),
            Some(weight) => {
                let counts = weight.row(row).iter().map(|&weight| weight > 0.0);
                let wrong = prediction.iter().zip(target).map(is_wrong).zip(counts.clone());
                (count(wrong.map(|(wrong, counts)| wrong & counts)), count(counts))
            }
        };
        found.errors += f64::from(errors);
        found.counted += f64::from(counted);
    }
    found
}

/// Whether a value lies on the wrong side of one half.
fn is_wrong((value, target): (&f32, &f32)) -> bool {
    (*value > 0.5) != (*target > 0.5)
}

/// How many are true; in 32 bits, which vectors add well.
fn count(values: impl Iterator<Item = bool>) -> u32 {
    values.map(u32::from).sum()
}
