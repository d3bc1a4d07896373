//! The update of parameters by their gradients.

use znn_kernels::Sgd;

use super::{Site, pass_cost};
use crate::conv::WeightGradient;
use crate::ops::repeat::average_blocks;
use crate::plan::{Buffer, PlanBuilder};
use crate::volume::Extent;

/// Stochastic gradient descent for one group of parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The learning rate, where the group has its own.
    pub eta: Option<f32>,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub decay: f32,
    /// Factor of the gradient: one over the voxels of the output patch.
    pub scale: f32,
}

/// Where the columns of the step's row of settings are; see `Rule::sgd`.
pub mod settings {
    /// The learning rate of groups without one of their own.
    pub const ETA: usize = 0;
    /// The schedule's factor for groups with their own rate.
    pub const FACTOR: usize = 1;
    /// Two words of random bits, which differ from step to step.
    pub const KEY: std::ops::Range<usize> = 2..4;
    /// The number of columns.
    pub const LEN: usize = 4;
}

impl Rule {
    fn sgd(&self, settings: &[f32]) -> Sgd {
        let rate = match self.eta {
            Some(eta) => eta * settings[settings::FACTOR],
            None => settings[settings::ETA],
        };
        Sgd { rate, scale: self.scale, momentum: self.momentum, decay: self.decay }
    }
}

/// A group of parameters, and what its update needs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The parameters.
    pub values: Buffer,
    /// Their velocities, of the same shape.
    pub momentum: Buffer,
    /// Where to keep the raw gradient, of the same shape.
    pub gradient: Option<Buffer>,
    /// How.
    pub rule: Rule,
    /// The step's settings: one row of [`settings::LEN`] columns.
    pub settings: Buffer,
}

/// Updates a convolution's weights by `gradients`; kernels stay constant over blocks of `repeat`. Deferred.
pub fn weights(
    plan: &mut PlanBuilder,
    site: &Site,
    gradients: Vec<WeightGradient>,
    target: Target,
    kernel: Extent,
    repeat: Extent,
) {
    for WeightGradient { rows, cols, sum } in gradients {
        let region = |plan: &PlanBuilder, buffer| plan.region(buffer, rows.clone(), cols.clone());
        let (values, momentum) = (region(plan, target.values), region(plan, target.momentum));
        let gradient = target.gradient.map(|buffer| region(plan, buffer));
        let settings = plan.whole(target.settings);
        let kernels = site.kernels;
        let mut task = plan
            .task(site.label("update"), pass_cost(rows.len() * cols.len()))
            .read(settings)
            .write(values)
            .write(momentum)
            .collect(sum)
            .deferred();
        let keep = gradient.is_some();
        if let Some(gradient) = gradient {
            task = task.write(gradient);
        }
        let update = move |sgd: &Sgd, row: usize, w: &mut [f32], v: &mut [f32], sum: &[f32]| {
            let g = &sum[row * w.len()..][..w.len()];
            kernels.sgd(*sgd, w, (sgd.momentum != 0.0).then_some(v), g);
            average_blocks(w, kernel, repeat);
        };
        task.run(move |views| {
            let [settings] = views.reads.take();
            let sgd = target.rule.sgd(settings.row(0));
            if keep {
                let [mut values, mut momentum, mut gradient] = views.writes.take();
                for row in 0..values.rows() {
                    let kept = gradient.row_mut(row);
                    kept.copy_from_slice(&views.sum[row * kept.len()..][..kept.len()]);
                    update(&sgd, row, values.row_mut(row), momentum.row_mut(row), views.sum);
                }
            } else {
                let [mut values, mut momentum] = views.writes.take();
                for row in 0..values.rows() {
                    update(&sgd, row, values.row_mut(row), momentum.row_mut(row), views.sum);
                }
            }
        });
    }
}

/// Updates the biases of a node by the gradient in `gradient` (one row). Deferred.
pub fn biases(plan: &mut PlanBuilder, site: &Site, gradient: Buffer, target: Target) {
    let (g, settings) = (plan.whole(gradient), plan.whole(target.settings));
    let (values, momentum) = (plan.whole(target.values), plan.whole(target.momentum));
    let kept = target.gradient.map(|buffer| plan.whole(buffer));
    let kernels = site.kernels;
    let keep = kept.is_some();
    let mut task = plan
        .task(site.label("update_bias"), 0.0)
        .read(settings)
        .read(g)
        .write(values)
        .write(momentum)
        .deferred();
    if let Some(kept) = kept {
        task = task.write(kept);
    }
    let update = move |settings: &[f32], values: &mut [f32], momentum: &mut [f32], g: &[f32]| {
        kernels.sgd(target.rule.sgd(settings), values, Some(momentum), g);
    };
    task.run(move |views| {
        let [settings, g] = views.reads.take();
        if keep {
            let [mut values, mut momentum, mut kept] = views.writes.take();
            kept.row_mut(0).copy_from_slice(g.row(0));
            update(settings.row(0), values.row_mut(0), momentum.row_mut(0), g.row(0));
        } else {
            let [mut values, mut momentum] = views.writes.take();
            update(settings.row(0), values.row_mut(0), momentum.row_mut(0), g.row(0));
        }
    });
}
