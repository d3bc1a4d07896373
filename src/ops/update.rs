//! The update of parameters by their gradients.
//!
//! Each block of a gradient has one deferred task, which looks whether it is finite, adds it to those of the batch's other
//! patches where there are several, and at the last of them changes the parameters. Where the gradients are clipped by their
//! common norm, the changes are tasks of their own, which wait for the norm, and this for all gradients.

use znn_kernels::{Adam, Kernels, RowsMut, Sgd};

use super::{Site, pass_cost};
use crate::conv::WeightGradient;
use crate::ops::repeat::average_blocks;
use crate::plan::{Buffer, PlanBuilder, Region, Sum};
use crate::volume::Extent;

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Look ahead: the parameters go where the velocity would take them next.
        nesterov: bool,
    },
    /// Adam: steps of a size that the mean of squared gradients sets.
    Adam {
        /// The part of the mean gradient that stays, in [0, 1).
        beta1: f64,
        /// The part of the mean squared gradient that stays, in [0, 1).
        beta2: f64,
        /// Added to the root of the mean squared gradient; above 0.
        epsilon: f64,
        /// Whether the weight decay is apart from the gradient (AdamW), not a part of it.
        decoupled: bool,
    },
}

impl Optimiser {
    /// Stochastic gradient descent without looking ahead.
    pub const SGD: Self = Self::Sgd { nesterov: false };

    /// Whether it keeps the mean of squared gradients.
    pub(crate) fn has_variance(self) -> bool {
        matches!(self, Self::Adam { .. })
    }

    /// What update number `update`, from 1, multiplies the learning rate and the root of the mean squared gradient by,
    /// because both means start at 0.
    pub(crate) fn corrections(self, update: u64) -> [f64; 2] {
        match self {
            Self::Sgd { .. } => [1.0; 2],
            Self::Adam { beta1, beta2, .. } => {
                let rest = |beta: f64| 1.0 - beta.powf(update as f64);
                [rest(beta1).recip(), rest(beta2).sqrt().recip()]
            }
        }
    }
}

/// How far gradients may go. They are means over the voxels of the output and the patches of the batch here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Each value is brought within minus this and this.
    pub value: Option<f32>,
    /// All are shortened by one factor where the root of the sum of their squares is above this.
    pub norm: Option<f32>,
}

/// The rule for one group of parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// How they follow.
    pub optimiser: Optimiser,
    /// The learning rate, where the group has its own.
    pub eta: Option<f32>,
    /// Momentum of gradient descent.
    pub momentum: f32,
    /// Weight decay.
    pub decay: f32,
    /// Factor of the gradient: one over the voxels of the output patch and the patches of a batch.
    pub scale: f32,
}

/// Where the columns of the step's row of settings are.
pub mod settings {
    /// The learning rate of groups without one of their own.
    pub const ETA: usize = 0;
    /// The schedule's factor for groups with their own rate.
    pub const FACTOR: usize = 1;
    /// Two words of random bits, which differ from step to step.
    pub const KEY: std::ops::Range<usize> = 2..4;
    /// 1 for the first patch of a batch, else 0.
    pub const FIRST: usize = 4;
    /// 1 for the last patch of a batch, else 0.
    pub const LAST: usize = 5;
    /// The corrections of the update, see `Optimiser::corrections`.
    pub const CORRECTIONS: std::ops::Range<usize> = 6..8;
    /// The number of columns.
    pub const LEN: usize = 8;
}

impl Rule {
    fn rate(&self, settings: &[f32]) -> f32 {
        match self.eta {
            Some(eta) => eta * settings[settings::FACTOR],
            None => settings[settings::ETA],
        }
    }
}

/// A group of parameters, and what its update needs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The parameters.
    pub values: Buffer,
    /// Their velocities, or mean gradients, of the same shape.
    pub momentum: Buffer,
    /// Their mean squared gradients, of the same shape, where the optimiser keeps them.
    pub variance: Option<Buffer>,
    /// Where the gradients of a batch are added up, of the same shape: where there are several patches, or the norm is
    /// clipped.
    pub total: Option<Buffer>,
    /// Where to keep the raw gradient, of the same shape.
    pub gradient: Option<Buffer>,
    /// How.
    pub rule: Rule,
}

/// What all updates of a step share.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// The step's settings: one row of [`settings::LEN`] columns.
    pub settings: Buffer,
    /// One value: 0 forbids any change.
    pub guard: Buffer,
    /// For each block of gradients a column: whether it was not finite, as 1 or 0, and the sum of its squares. Persistent, so
    /// that the next step knows.
    pub report: Buffer,
    /// The norm of all gradients, and the factor that clips them. Persistent. Written where the norm is clipped.
    pub norm: Buffer,
    /// The bounds.
    pub clip: Clip,
}

/// The rows of [`Shared::report`].
pub const REPORT_ROWS: usize = 2;

/// Adds the updates of a step, group by group.
pub struct Updates {
    shared: Shared,
    /// The next column of the report.
    column: usize,
    /// What changes parameters once the norm is known.
    changes: Vec<(Site, Change, Regions)>,
}

/// Where the gradient of a block comes from.
#[derive(Clone, Copy)]
enum Source {
    /// A sum to be collected.
    Sum(Sum),
    /// A buffer of one row.
    Row(Buffer),
}

/// The regions of a block.
#[derive(Clone)]
struct Regions {
    values: Region,
    momentum: Region,
    variance: Option<Region>,
    total: Option<Region>,
    gradient: Option<Region>,
}

impl Regions {
    fn new(region: impl Fn(Buffer) -> Region, target: &Target) -> Self {
        Self {
            values: region(target.values),
            momentum: region(target.momentum),
            variance: target.variance.map(&region),
            total: target.total.map(&region),
            gradient: target.gradient.map(&region),
        }
    }
}

impl Updates {
    /// For the step of `shared`.
    pub fn new(shared: Shared) -> Self {
        Self { shared, column: 0, changes: Vec::new() }
    }

    /// Updates a convolution's weights by `gradients`; kernels stay constant over blocks of `repeat`. Deferred.
    pub fn weights(
        &mut self,
        plan: &mut PlanBuilder,
        site: &Site,
        gradients: Vec<WeightGradient>,
        target: Target,
        kernel: Extent,
        repeat: Extent,
    ) {
        let change = Change { kernels: site.kernels, rule: target.rule, kernel, repeat, is_bias: false };
        for WeightGradient { rows, cols, sum } in gradients {
            let region = |buffer| plan.region(buffer, rows.clone(), cols.clone());
            let regions = Regions::new(region, &target);
            let cost = pass_cost(rows.len() * cols.len());
            self.block(plan, site, ("update", cost), Source::Sum(sum), change, regions);
        }
    }

    /// Updates the biases of a node by the gradient in `gradient` (one row). Deferred.
    pub fn biases(&mut self, plan: &mut PlanBuilder, site: &Site, gradient: Buffer, target: Target) {
        let (kernel, repeat) = (Extent::ONE, Extent::ONE);
        let change = Change { kernels: site.kernels, rule: target.rule, kernel, repeat, is_bias: true };
        let regions = Regions::new(|buffer| plan.whole(buffer), &target);
        self.block(plan, site, ("update_bias", 0.0), Source::Row(gradient), change, regions);
    }

    fn block(
        &mut self,
        plan: &mut PlanBuilder,
        site: &Site,
        (stage, cost): (&'static str, f64),
        source: Source,
        change: Change,
        regions: Regions,
    ) {
        let Shared { settings, guard, report, clip, .. } = self.shared;
        let has_norm = clip.norm.is_some();
        let column = self.column;
        self.column += 1;
        let own = plan.region(report, 0..REPORT_ROWS, column..column + 1);
        let (settings, guard) = (plan.whole(settings), plan.whole(guard));
        let row = match source {
            Source::Row(buffer) => Some(plan.whole(buffer)),
            Source::Sum(_) => None,
        };
        let stage = if has_norm { "gradient" } else { stage };
        let mut task = plan.task(site.label(stage), cost).read(settings).read(guard).write(own);
        if let Source::Sum(sum) = source {
            task = task.collect(sum);
        }
        // In the order in which the task takes them.
        let here = if has_norm {
            [row.clone(), regions.gradient.clone(), regions.total.clone(), None, None, None]
        } else {
            let (values, momentum) = (Some(regions.values.clone()), Some(regions.momentum.clone()));
            [
                row.clone(),
                regions.gradient.clone(),
                regions.total.clone(),
                values,
                momentum,
                regions.variance.clone(),
            ]
        };
        let declared = here.each_ref().map(Option::is_some);
        for region in here.into_iter().flatten() {
            task = task.write(region);
        }
        task.deferred().run(move |views| {
            let [settings, guard] = views.reads.take();
            let settings = settings.row(0);
            let mut writes = views.writes.each();
            let mut next = |is_declared: bool| is_declared.then(|| writes.next().expect("declared"));
            let [mut own, mut row, gradient, total, values, momentum, variance] = {
                let [row, gradient, total, values, momentum, variance] = declared;
                [true, row, gradient, total, values, momentum, variance].map(&mut next)
            };
            let own = own.as_mut().expect("declared");
            let raw: &mut [f32] = match &mut row {
                Some(row) => row.row_mut(0),
                None => views.sum,
            };
            let mut gathered = Gathered { kernels: change.kernels, raw, total };
            let mut is_finite = gathered.is_finite();
            if let Some(mut gradient) = gradient {
                gathered.keep(&mut gradient);
            }
            gathered.add(settings[settings::FIRST] != 0.0);
            let is_last = settings[settings::LAST] != 0.0;
            if is_last {
                // The sum of finite gradients may be too large.
                is_finite = is_finite && gathered.sum_is_finite();
                if let Some(bound) = clip.value {
                    gathered.clamp(bound / change.rule.scale);
                }
            }
            own.row_mut(0)[0] = f32::from(!is_finite);
            own.row_mut(1)[0] = match has_norm && is_last {
                true => gathered.sum_of_squares(change.rule.scale) as f32,
                false => 0.0,
            };
            if let (Some(values), Some(momentum)) = (values, momentum)
                && is_last
                && is_finite
                && guard.row(0)[0] != 0.0
            {
                let state = State { values, momentum, variance };
                change.apply(settings, 1.0, state, |row, len| gathered.row(row, len));
            }
        });
        if has_norm {
            self.changes.push((site.clone(), change, regions));
        }
    }

    /// Ends the updates: all groups have been added.
    pub fn finish(self, plan: &mut PlanBuilder, site: &Site) {
        let Shared { settings, guard, report, norm, clip } = self.shared;
        let Some(limit) = clip.norm else { return };
        let (read, write, settings) = (plan.whole(report), plan.whole(norm), plan.whole(settings));
        plan.task(site.label("norm"), 0.0).read(read).read(settings.clone()).write(write).deferred().run(
            move |views| {
                let [report, settings] = views.reads.take();
                let [mut norm] = views.writes.take();
                if settings.row(0)[settings::LAST] != 0.0 {
                    let is_finite = report.row(0).iter().all(|&fault| fault == 0.0);
                    let squares: f64 = report.row(1).iter().map(|&square| f64::from(square)).sum();
                    // One gradient that is not finite makes the norm so, also where its values are clipped.
                    let length = if is_finite { squares.sqrt() } else { f64::NAN };
                    let factor = (f64::from(limit) / length).min(1.0);
                    norm.row_mut(0).copy_from_slice(&[length as f32, factor as f32]);
                }
            },
        );
        let (norm, guard) = (plan.whole(norm), plan.whole(guard));
        for (site, change, regions) in self.changes {
            let Regions { values, momentum, variance, total, .. } = regions;
            let total = total.expect("a buffer for the gradients where their norm is clipped");
            let cost = pass_cost(total.len());
            let mut task = plan.task(site.label("update"), cost).read(settings.clone()).read(guard.clone());
            task = task.read(norm.clone()).read(total).write(values).write(momentum);
            let has_variance = variance.is_some();
            if let Some(variance) = variance {
                task = task.write(variance);
            }
            task.deferred().run(move |views| {
                let [settings, guard, norm, total] = views.reads.take();
                let settings = settings.row(0);
                let mut writes = views.writes.each();
                let mut next = || writes.next().expect("declared");
                let (values, momentum) = (next(), next());
                let variance = has_variance.then(next);
                let [length, factor] = [0, 1].map(|i| norm.row(0)[i]);
                if settings[settings::LAST] != 0.0 && guard.row(0)[0] != 0.0 && length.is_finite() {
                    let state = State { values, momentum, variance };
                    change.apply(settings, factor, state, |row, _| total.row(row));
                }
            });
        }
    }
}

/// The gradient of a block, and where it is added to those of the batch.
struct Gathered<'a, 'b> {
    kernels: Kernels,
    /// Rows one after another.
    raw: &'b mut [f32],
    total: Option<RowsMut<'a>>,
}

impl Gathered<'_, '_> {
    fn is_finite(&self) -> bool {
        self.kernels.is_finite(self.raw)
    }

    fn keep(&self, to: &mut RowsMut<'_>) {
        let len = to.cols();
        for row in 0..to.rows() {
            to.row_mut(row).copy_from_slice(&self.raw[row * len..][..len]);
        }
    }

    /// Adds the gradient to those of the batch, of which it may be the `first`.
    fn add(&mut self, first: bool) {
        let Some(total) = &mut self.total else { return };
        let len = total.cols();
        for row in 0..total.rows() {
            let own = &self.raw[row * len..][..len];
            match first {
                true => total.row_mut(row).copy_from_slice(own),
                false => self.kernels.add(total.row_mut(row), own),
            }
        }
    }

    /// Calls `work` with each run of the batch's gradient.
    fn each(&mut self, mut work: impl FnMut(Kernels, &mut [f32])) {
        match &mut self.total {
            Some(total) => (0..total.rows()).for_each(|row| work(self.kernels, total.row_mut(row))),
            None => work(self.kernels, self.raw),
        }
    }

    fn sum_is_finite(&mut self) -> bool {
        let mut is_finite = true;
        if self.total.is_some() {
            self.each(|kernels, values| is_finite &= kernels.is_finite(values));
        }
        is_finite
    }

    fn clamp(&mut self, bound: f32) {
        self.each(|kernels, values| kernels.clamp(values, bound));
    }

    fn sum_of_squares(&mut self, scale: f32) -> f64 {
        let mut sum = 0.0;
        self.each(|kernels, values| sum += kernels.sum_of_squares(values, scale));
        sum
    }

    fn row(&self, row: usize, len: usize) -> &[f32] {
        match &self.total {
            Some(total) => total.row(row),
            None => &self.raw[row * len..][..len],
        }
    }
}

/// What a block's update changes.
struct State<'a> {
    values: RowsMut<'a>,
    momentum: RowsMut<'a>,
    variance: Option<RowsMut<'a>>,
}

/// How a block changes.
#[derive(Clone, Copy)]
struct Change {
    kernels: Kernels,
    rule: Rule,
    kernel: Extent,
    repeat: Extent,
    is_bias: bool,
}

impl Change {
    /// Updates by `factor` times the gradient, whose rows `gradient` gives by index and length.
    fn apply<'g>(
        &self,
        settings: &[f32],
        factor: f32,
        state: State<'_>,
        gradient: impl Fn(usize, usize) -> &'g [f32],
    ) {
        let State { mut values, mut momentum, mut variance } = state;
        let Rule { optimiser, decay, scale, .. } = self.rule;
        let (rate, scale) = (self.rule.rate(settings), scale * factor);
        for row in 0..values.rows() {
            let (w, m) = (values.row_mut(row), momentum.row_mut(row));
            let g = gradient(row, w.len());
            match (optimiser, &mut variance) {
                (Optimiser::Sgd { nesterov }, _) => {
                    let step = Sgd { rate, scale, momentum: self.rule.momentum, decay, nesterov };
                    let velocity = (self.is_bias || step.momentum != 0.0).then_some(m);
                    self.kernels.sgd(step, w, velocity, g);
                }
                (Optimiser::Adam { beta1, beta2, epsilon, decoupled }, Some(variance)) => {
                    let [corrected, correction] = [0, 1].map(|i| settings[settings::CORRECTIONS.start + i]);
                    let step = Adam {
                        rate: rate * corrected,
                        scale,
                        beta1: beta1 as f32,
                        beta2: beta2 as f32,
                        correction,
                        epsilon: epsilon as f32,
                        decay: if decoupled { 0.0 } else { decay },
                        shrink: if decoupled { rate * decay } else { 0.0 },
                    };
                    self.kernels.adam(step, w, m, variance.row_mut(row), g);
                }
                (Optimiser::Adam { .. }, None) => unreachable!("a buffer for the variance"),
            }
            if !self.is_bias {
                average_blocks(w, self.kernel, self.repeat);
            }
        }
    }
}
