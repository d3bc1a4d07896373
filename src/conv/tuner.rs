//! Which algorithm solves a problem fastest.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Destination, Layer, Method, Problem, Tools, begin, fft, winograd};
use crate::plan::{Buffer, Plan, PlanBuilder};
use crate::pool::Pool;
use znn_kernels::Transfer;

/// How the algorithm of a layer is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Whichever measures fastest on the layer's own problem.
    #[default]
    Measure,
    /// Whichever a model of the work says is fastest; the same on every run.
    Estimate,
    /// This one.
    Fixed(Method),
}

/// The text is not the name of a choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, estimate, direct, fft or winograd, found `{0}`")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;
    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "auto" => Ok(Choice::Measure),
            "estimate" => Ok(Choice::Estimate),
            _ => Method::ALL
                .into_iter()
                .find(|method| method.name() == text)
                .map(Choice::Fixed)
                .ok_or_else(|| UnknownChoice(text.to_owned())),
        }
    }
}

/// The passes of a layer that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passes {
    /// Forward with weights that do not change.
    Inference,
    /// Forward and backward-weights: a layer on the input.
    FirstLayer,
    /// All three.
    Training,
}

/// Measures algorithms on problems, and remembers the answers.
#[derive(Debug, Default)]
pub struct Tuner {
    found: Mutex<HashMap<(Problem, Passes), Method>>,
}

impl Tuner {
    /// The spectra of one layer may take this much memory.
    const MEMORY_LIMIT: usize = 2 << 30;

    /// The fastest method for `problem`, by measurement on `pool` the first time that it is asked for.
    pub fn measure(&self, problem: &Problem, passes: Passes, pool: &Pool, tools: Tools<'_>) -> Method {
        let key = (*problem, passes);
        if let Some(&method) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return method;
        }
        /// A candidate that the model finds so much slower than the best one is not worth its measurement.
        const HOPELESS: f64 = 4.0;
        let cost = |method| modelled(method, problem, passes, tools);
        let least = cost(estimate(problem, passes, tools));
        let mut candidates: Vec<Method> = Method::ALL
            .into_iter()
            .filter(|&method| admissible(method, problem, passes, tools) && cost(method) <= HOPELESS * least)
            .collect();
        candidates.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        let best = match candidates[..] {
            [only] => only,
            _ => fastest(&candidates, problem, passes, pool, tools),
        };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, best);
        best
    }
}

fn admissible(method: Method, problem: &Problem, passes: Passes, tools: Tools<'_>) -> bool {
    match method {
        Method::Direct => true,
        Method::Winograd => winograd::admits(problem),
        // A kernel of one tap is a product of matrices already.
        Method::Fft => {
            problem.is_valid()
                && problem.kernel.len() > 1
                && fft::bytes(problem, passes, tools) <= Tuner::MEMORY_LIMIT
        }
    }
}

/// The candidate with the shortest step; the first one where none can be run.
fn fastest(
    candidates: &[Method],
    problem: &Problem,
    passes: Passes,
    pool: &Pool,
    tools: Tools<'_>,
) -> Method {
    let mut best: Option<(Duration, Method)> = None;
    for &method in candidates {
        let limit = best.map_or(Duration::MAX, |(time, _)| time);
        if let Some(time) = time(method, problem, passes, pool, tools, limit)
            && time < limit
        {
            best = Some((time, method));
        }
    }
    best.map_or(candidates[0], |(_, method)| method)
}

/// The shortest of a few steps of the layer alone; `None` where it cannot be run, or is far beyond `limit`.
fn time(
    method: Method,
    problem: &Problem,
    passes: Passes,
    pool: &Pool,
    tools: Tools<'_>,
    limit: Duration,
) -> Option<Duration> {
    const STEPS: usize = 4;
    const ENOUGH: Duration = Duration::from_millis(100);
    /// The first step touches fresh memory and prepares weights; so much slower it may be.
    const FIRST: u32 = 4;
    let mut plan = single_layer(method, problem, passes, pool, tools)?;
    let begin = Instant::now();
    let mut best: Option<Duration> = None;
    for step in 0..STEPS {
        let start = Instant::now();
        plan.step(&[], &mut []).and_then(|()| plan.finish()).ok()?;
        let elapsed = start.elapsed();
        if step == 0 {
            if elapsed > limit.saturating_mul(FIRST) {
                return None;
            }
        } else {
            best = Some(best.unwrap_or(Duration::MAX).min(elapsed));
            if begin.elapsed() > ENOUGH {
                break;
            }
        }
    }
    best
}

/// A plan of one layer on images of zeros. (Times do not depend on the values: there are no denormals among them.)
fn single_layer(
    method: Method,
    problem: &Problem,
    passes: Passes,
    pool: &Pool,
    tools: Tools<'_>,
) -> Option<Plan> {
    let mut plan = PlanBuilder::new(pool.threads(), false);
    let Problem { c_in, c_out, input, kernel, .. } = *problem;
    let output = problem.output();
    let weights = plan.persistent(c_out, c_in * kernel.len());
    let name: Arc<str> = Arc::from("tuner");
    let x = plan.persistent(c_in, input.len());
    let y = plan.persistent(c_out, output.len());
    let layer = Layer { name: name.clone(), problem: *problem, weights, frozen: passes == Passes::Inference };
    let mut algorithm = begin(method, layer, tools).ok()?;
    algorithm.forward(
        &mut plan,
        x,
        Destination { y, accumulate: false, bias: None, transfer: Transfer::IDENTITY },
    );
    if passes == Passes::Training {
        let dx = plan.persistent(c_in, input.len());
        algorithm.backward_data(&mut plan, y, dx, false);
    }
    if passes != Passes::Inference {
        for gradient in algorithm.backward_weights(&mut plan, x, y) {
            collect(&mut plan, &name, weights, gradient);
        }
    }
    plan.check_memory(pool.threads()).ok()?;
    Some(plan.build(pool, tools.kernels))
}

/// Takes a gradient without using it.
fn collect(plan: &mut PlanBuilder, name: &Arc<str>, weights: Buffer, gradient: super::WeightGradient) {
    let block = plan.region(weights, gradient.rows, gradient.cols);
    let label = crate::plan::Label::new(name, "collect");
    plan.task(label, 0.0).write(block).collect(gradient.sum).deferred().run(|_| ());
}

/// The method that a model of the work prefers; it depends on the problem alone.
pub fn estimate(problem: &Problem, passes: Passes, tools: Tools<'_>) -> Method {
    let candidates = Method::ALL.into_iter().filter(|&method| admissible(method, problem, passes, tools));
    let cost = |method: &Method| modelled(*method, problem, passes, tools);
    candidates.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Method::Direct)
}

/// The time of a method's passes by a model, in floating-point operations at full speed.
fn modelled(method: Method, problem: &Problem, passes: Passes, tools: Tools<'_>) -> f64 {
    /// The fraction of full speed that the direct kernels reach.
    const DIRECT: f64 = 0.85;
    let count = match passes {
        Passes::Inference => 1.0,
        Passes::FirstLayer => 2.0,
        Passes::Training => 3.0,
    };
    match method {
        Method::Direct => count * problem.flops() / DIRECT,
        Method::Winograd => winograd::work(problem, passes, tools.accuracy) / DIRECT,
        Method::Fft => fft::work(problem, passes, tools),
    }
}
