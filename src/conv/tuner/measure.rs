//! Measurements of a layer on its own problem and workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use znn_kernels::Transfer;

use super::model::{Candidates, shares};
use crate::conv::{
    Decision, Destination, Layer, Pass, Passes, Problem, Tools, Variant, WeightGradient, begin,
};
use crate::plan::{Buffer, Label, Plan, PlanBuilder};
use crate::pool::Pool;

/// A layer whose variants are measured.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub problem: &'a Problem,
    pub passes: Passes,
    pub pool: &'a Pool,
    pub tools: Tools<'a>,
}

/// What takes part in a race: passes of the layer.
struct Runner {
    decision: Decision,
    plan: Plan,
    best: Duration,
}

impl Runner {
    /// The time of a step; `None` where it fails.
    fn step(&mut self) -> Option<Duration> {
        let start = Instant::now();
        self.plan.step(&[], &mut []).and_then(|()| self.plan.finish()).ok()?;
        let elapsed = start.elapsed();
        self.best = self.best.min(elapsed);
        Some(elapsed)
    }
}

impl Bench<'_> {
    /// The fastest decision; that of the model where nothing can be measured.
    pub fn fastest(&self, estimate: Decision) -> Decision {
        let Candidates { single, fft } = Candidates::new(self.problem, self.passes, self.tools).prune();
        let all = self.passes.list();
        if let [pass] = *all {
            // Nothing is shared: all variants are rivals.
            let variants = fft.into_iter().chain(single.into_iter().flat_map(|(_, variants)| variants));
            let decisions = variants.map(|(variant, _)| (Decision::all(variant), vec![pass])).collect();
            return self.race(decisions).first().map_or(estimate, |&(decision, _)| decision);
        }
        // Each pass by itself.
        let mut alone = Some((Decision::all(Variant::Direct), Duration::ZERO));
        let mut times = Vec::new();
        for (pass, variants) in &single {
            let rivals = variants.iter().map(|&(variant, _)| (Decision::all(variant), vec![*pass])).collect();
            let winner = self.race(rivals).first().copied();
            alone = alone.zip(winner).map(|((decision, sum), (winner, time))| {
                (decision.with(&[*pass], winner.of(*pass)), sum + time)
            });
            times.extend(winner.map(|(_, time)| time));
        }
        alone = alone.filter(|_| !single.is_empty());
        let rivals = fft.iter().map(|&(variant, _)| (Decision::all(variant), all.to_vec())).collect();
        let shared = self.race(rivals).first().copied();
        let (Some((alone, sum)), Some((shared, time))) = (alone, shared) else {
            return alone.or(shared).map_or(estimate, |(decision, _)| decision);
        };
        // Both kinds, and mixtures of them, as whole layers.
        let mut finalists = vec![(alone, sum), (shared, time)];
        for share in shares(self.passes).iter().filter(|share| share.len() < all.len()) {
            if let Some(bound) = least_time(all, share, &times, time) {
                finalists.push((alone.with(share, shared.forward), bound));
            }
        }
        self.finish(finalists).unwrap_or(estimate)
    }

    /// Which of some decisions, each with a time that it cannot beat by much, is the fastest as a whole.
    fn finish(&self, mut finalists: Vec<(Decision, Duration)>) -> Option<Decision> {
        /// As many as are measured once more.
        const FINALISTS: usize = 3;
        const CLOSE: f64 = 1.2;
        finalists.sort_by_key(|&(_, time)| time);
        let limit = finalists.first()?.1.mul_f64(CLOSE);
        finalists.retain(|&(_, time)| time <= limit);
        finalists.truncate(FINALISTS);
        if let [(only, _)] = finalists[..] {
            return Some(only);
        }
        let all = self.passes.list();
        let decisions = finalists.into_iter().map(|(decision, _)| (decision, all.to_vec())).collect();
        self.race(decisions).first().map(|&(decision, _)| decision)
    }

    /// The times of those that are fastest, the winner first: the least of several interleaved steps, since all
    /// disturbance adds to a time. Who is clearly behind leaves early; where a step takes long, the first ones, which the
    /// model prefers, are all that is measured, and twice.
    fn race(&self, rivals: Vec<(Decision, Vec<Pass>)>) -> Vec<(Decision, Duration)> {
        /// The first step touches fresh memory and prepares weights: so much slower it may be than the best of others.
        const COLD: f64 = 4.0;
        /// Who is so much slower leaves after the second step, and after each round of the others.
        const WARM: f64 = 1.3;
        const ROUND: f64 = 1.1;
        const ROUNDS: usize = 12;
        const ENOUGH: Duration = Duration::from_millis(25);
        /// What takes longer is less disturbed, and fresh memory matters less.
        const LONG: Duration = Duration::from_millis(50);
        const LONG_COLD: f64 = 1.8;
        const LONG_RIVALS: usize = 2;
        let mut field: Vec<Runner> = Vec::new();
        let mut least = Duration::MAX;
        for (place, (decision, passes)) in rivals.into_iter().enumerate() {
            let is_long = !field.is_empty() && least > LONG;
            if is_long && place >= LONG_RIVALS {
                break;
            }
            let Some(mut runner) = self.runner(decision, &passes) else { continue };
            let Some(cold) = runner.step() else { continue };
            let factor = if is_long { LONG_COLD } else { COLD };
            let is_hopeless = !field.is_empty() && cold > least.mul_f64(factor);
            if is_hopeless || runner.step().is_none() {
                continue;
            }
            least = least.min(runner.best);
            field.push(runner);
            field.retain(|runner| runner.best <= least.mul_f64(WARM));
        }
        let start = Instant::now();
        for _ in 0..ROUNDS {
            if start.elapsed() > ENOUGH || least > LONG {
                break;
            }
            field.retain_mut(|runner| runner.step().is_some());
            let best = field.iter().map(|runner| runner.best).min().unwrap_or_default();
            field.retain(|runner| runner.best <= best.mul_f64(ROUND));
        }
        field.sort_by_key(|runner| runner.best);
        field.into_iter().map(|runner| (runner.decision, runner.best)).collect()
    }

    /// `None` where the passes cannot be run: for want of memory or of a transform.
    fn runner(&self, decision: Decision, passes: &[Pass]) -> Option<Runner> {
        let plan = self.plan(decision, passes)?;
        plan.check_memory(self.pool.threads()).ok()?;
        let plan = plan.build(self.pool, self.tools.kernels);
        Some(Runner { decision, plan, best: Duration::MAX })
    }

    /// Passes of the layer alone, on images of zeros. (Times do not depend on the values: there are no denormals among
    /// them.)
    fn plan(&self, decision: Decision, passes: &[Pass]) -> Option<PlanBuilder> {
        let mut plan = PlanBuilder::new(self.pool.threads(), false);
        let Problem { c_in, c_out, input, kernel, .. } = *self.problem;
        let weights = plan.persistent(c_out, c_in * kernel.len());
        let name: Arc<str> = Arc::from("tuner");
        let x = plan.persistent(c_in, input.len());
        let y = plan.persistent(c_out, self.problem.output().len());
        let layer =
            Layer { name: name.clone(), problem: *self.problem, weights, frozen: self.passes.is_frozen() };
        let mut algorithm = begin(decision, layer, self.tools).ok()?;
        for pass in passes {
            match pass {
                Pass::Forward => {
                    let to = Destination { y, accumulate: false, bias: None, transfer: Transfer::IDENTITY };
                    algorithm.forward(&mut plan, x, to);
                }
                Pass::BackwardData => {
                    let dx = plan.persistent(c_in, input.len());
                    algorithm.backward_data(&mut plan, y, dx, false);
                }
                Pass::BackwardWeights => {
                    for gradient in algorithm.backward_weights(&mut plan, x, y) {
                        collect(&mut plan, &name, weights, gradient);
                    }
                }
            }
        }
        Some(plan)
    }
}

/// What the passes of a mixture take at least: those that are alone their times, the others their part of the time of all
/// that share. `None` where that is no gain.
fn least_time(all: &[Pass], share: &[Pass], alone: &[Duration], shared: Duration) -> Option<Duration> {
    let part = shared.mul_f64(share.len() as f64 / all.len() as f64);
    let others = all.iter().zip(alone).filter(|(pass, _)| !share.contains(pass));
    let bound = part + others.map(|(_, &time)| time).sum::<Duration>();
    (bound < shared && bound < alone.iter().sum()).then_some(bound)
}

/// Takes a gradient without using it.
fn collect(plan: &mut PlanBuilder, name: &Arc<str>, weights: Buffer, gradient: WeightGradient) {
    let block = plan.region(weights, gradient.rows, gradient.cols);
    let label = Label::new(name, "collect");
    plan.task(label, 0.0).write(block).collect(gradient.sum).deferred().run(|_| ());
}

/// What a pass of a layer costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassCost {
    /// The pass.
    pub pass: Pass,
    /// What it is computed by.
    pub variant: Variant,
    /// How long it takes after the passes before it, whose spectra it may use; `None` where it cannot be measured.
    pub time: Option<Duration>,
    /// Bytes that it takes beside images, weights and their gradients, in addition to the passes before it.
    pub bytes: usize,
}

/// Measures the passes of a layer, in the order of an iteration.
pub fn costs(
    decision: Decision,
    problem: &Problem,
    passes: Passes,
    pool: &Pool,
    tools: Tools<'_>,
) -> Vec<PassCost> {
    let bench = Bench { problem, passes, pool, tools };
    let list = passes.list();
    let mut before = (Some(Duration::ZERO), 0);
    let mut found = Vec::new();
    for count in 1..=list.len() {
        let first = &list[..count];
        let time = bench.race(vec![(decision, first.to_vec())]).first().map(|&(_, time)| time);
        let plan = bench.plan(decision, first);
        let bytes =
            plan.map_or(0, |plan| plan.bytes(pool.threads()).saturating_sub(operand_bytes(problem, first)));
        found.push(PassCost {
            pass: list[count - 1],
            variant: decision.of(list[count - 1]),
            time: time.zip(before.0).map(|(all, before)| all.saturating_sub(before)),
            bytes: bytes.saturating_sub(before.1),
        });
        before = (time, bytes);
    }
    found
}

/// Bytes of the images and weights that some passes read and write.
fn operand_bytes(problem: &Problem, passes: &[Pass]) -> usize {
    let inputs = 1 + usize::from(passes.contains(&Pass::BackwardData));
    let images = inputs * problem.c_in * problem.input.len() + problem.c_out * problem.output().len();
    (images + problem.weights()) * size_of::<f32>()
}
