//! Maps normalised to mean 0 and variance 1 over their voxels, then scaled, shifted, and passed through a function.
//!
//! `y = f((x - mean) * scale / sqrt(variance + epsilon) + bias)`. The parameters are one row: a bias for each map, then a
//! scale for each. In training, mean and variance are those of the image itself.

use znn_kernels::{Affine, Kernels, Transfer};

use super::{Maps, Site, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// What is the same for all maps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The function.
    pub transfer: Transfer,
    /// Added to the variance.
    pub epsilon: f32,
}

/// The mean of a row, and the mean square of what lies beside it.
fn mean_and_variance(kernels: Kernels, x: &[f32]) -> [f64; 2] {
    let len = x.len() as f64;
    let mean = kernels.deviations(x, 0.0)[0] / len;
    // The deviations are from a rounded mean.
    let [rest, squares] = kernels.deviations(x, mean as f32);
    [mean, (squares / len - (rest / len).powi(2)).max(0.0)]
}

/// The forward pass of training, from `x` to `y`. `moments` gets the means (a row) and the inverses of the deviations (a
/// row). `running`: the running means and variances (two rows) move towards the image's by a fraction; the variance that they
/// average is the unbiased one.
#[allow(clippy::too_many_arguments, reason = "all that a normalisation has")]
pub fn forward(
    plan: &mut PlanBuilder,
    site: &Site,
    rule: Rule,
    x: Maps,
    y: Maps,
    parameters: Buffer,
    moments: Buffer,
    running: Option<(Buffer, f32)>,
) {
    let maps = x.count;
    for map in 0..maps {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(y.buffer, map..map + 1));
        let parameters = plan.whole(parameters);
        let moments = plan.region(moments, 0..2, map..map + 1);
        let kept = running.map(|(buffer, _)| plan.region(buffer, 0..2, map..map + 1));
        let kernels = site.kernels;
        let mut task = plan
            .task(site.label("normalise"), 4.0 * pass_cost(x.extent.len()))
            .read(read)
            .read(parameters)
            .write(write)
            .write(moments);
        if let Some(kept) = kept {
            task = task.write(kept);
        }
        task.run(move |views| {
            let [x, parameters] = views.reads.take();
            let (x, (biases, scales)) = (x.row(0), parameters.row(0).split_at(maps));
            let [mean, variance] = mean_and_variance(kernels, x);
            let (mut y, mut moments) = if let Some((_, fraction)) = running {
                let [y, moments, mut kept] = views.writes.take();
                let count = x.len() as f64;
                let unbiased = variance * count / (count - 1.0).max(1.0);
                for (row, found) in [mean, unbiased].into_iter().enumerate() {
                    let kept = &mut kept.row_mut(row)[0];
                    *kept += fraction * (found as f32 - *kept);
                }
                (y, moments)
            } else {
                let [y, moments] = views.writes.take();
                (y, moments)
            };
            let (centre, inverse) = (mean as f32, (variance + f64::from(rule.epsilon)).sqrt().recip() as f32);
            (moments.row_mut(0)[0], moments.row_mut(1)[0]) = (centre, inverse);
            let affine = Affine { centre, factor: scales[map] * inverse, addend: biases[map] };
            kernels.affine_transfer(rule.transfer, affine, Some(x), y.row_mut(0));
        });
    }
}

/// The forward pass of inference, in place: by the running means and variances, or the image's own.
pub fn infer(
    plan: &mut PlanBuilder,
    site: &Site,
    rule: Rule,
    y: Maps,
    parameters: Buffer,
    running: Option<Buffer>,
) {
    let maps = y.count;
    for map in 0..maps {
        let write = plan.rows(y.buffer, map..map + 1);
        let parameters = plan.whole(parameters);
        let kept = running.map(|buffer| plan.whole(buffer));
        let kernels = site.kernels;
        let cost = if running.is_some() { 1.0 } else { 3.0 } * pass_cost(y.extent.len());
        let mut task = plan.task(site.label("normalise"), cost).read(parameters).write(write);
        if let Some(kept) = kept {
            task = task.read(kept);
        }
        task.run(move |views| {
            let [mut y] = views.writes.take();
            let (parameters, [mean, variance]) = if running.is_some() {
                let [parameters, kept] = views.reads.take();
                (parameters, [0, 1].map(|row| f64::from(kept.row(row)[map])))
            } else {
                let [parameters] = views.reads.take();
                (parameters, mean_and_variance(kernels, y.row(0)))
            };
            let (biases, scales) = parameters.row(0).split_at(maps);
            let inverse = (variance + f64::from(rule.epsilon)).sqrt().recip() as f32;
            let affine = Affine { centre: mean as f32, factor: scales[map] * inverse, addend: biases[map] };
            kernels.affine_transfer(rule.transfer, affine, None, y.row_mut(0));
        });
    }
}

/// `g`, the gradient by the values `y`, becomes that by `x`; `gradient` gets that by the parameters, in their order.
#[allow(clippy::too_many_arguments, reason = "all that a normalisation has")]
pub fn backward(
    plan: &mut PlanBuilder,
    site: &Site,
    transfer: Transfer,
    x: Maps,
    y: Maps,
    g: Maps,
    parameters: Buffer,
    moments: Buffer,
    gradient: Buffer,
) {
    let (maps, voxels) = (x.count, x.extent.len());
    for map in 0..maps {
        let row = |plan: &PlanBuilder, maps: Maps| plan.rows(maps.buffer, map..map + 1);
        let (x, y, g) = (row(plan, x), row(plan, y), row(plan, g));
        let (parameters, moments) = (plan.whole(parameters), plan.whole(moments));
        let [bias, scale] = [map, maps + map].map(|at| plan.region(gradient, 0..1, at..at + 1));
        let kernels = site.kernels;
        plan.task(site.label("normalise_backward"), 4.0 * pass_cost(voxels))
            .read(x)
            .read(y)
            .read(parameters)
            .read(moments)
            .write(g)
            .write(bias)
            .write(scale)
            .run(move |views| {
                let [x, y, parameters, moments] = views.reads.take();
                let [mut g, mut bias, mut scale] = views.writes.take();
                let (x, g) = (x.row(0), g.row_mut(0));
                let (mean, inverse) = (moments.row(0)[map], moments.row(1)[map]);
                let of_bias = kernels.transfer_backward(transfer, y.row(0), g);
                let of_scale = kernels.centred_dot(g, x, mean) as f32 * inverse;
                (bias.row_mut(0)[0], scale.row_mut(0)[0]) = (of_bias, of_scale);
                // dx = slope * (g - mean of g - normalised x * mean of (g * normalised x))
                let slope = parameters.row(0)[maps + map] * inverse;
                let len = x.len() as f32;
                let factor = -slope * inverse * (of_scale / len);
                let affine = Affine { centre: mean, factor, addend: -slope * (of_bias / len) };
                kernels.affine_gradient(slope, affine, x, g);
            });
    }
}
