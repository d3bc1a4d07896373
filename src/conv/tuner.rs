//! Which algorithm solves a problem fastest.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Destination, Layer, Method, Problem, Tools, begin, fft::WholeImage};
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
#[error("expected auto, estimate, direct or fft, found `{0}`")]
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
        let candidates = Method::ALL.into_iter().filter(|&method| admissible(method, problem, tools));
        let timed =
            candidates.filter_map(|method| Some((time(method, problem, passes, pool, tools)?, method)));
        let best = timed.min_by_key(|&(time, _)| time).map_or(Method::Direct, |(_, method)| method);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, best);
        best
    }
}

fn admissible(method: Method, problem: &Problem, tools: Tools<'_>) -> bool {
    match method {
        Method::Direct => true,
        // A kernel of one tap is a product of matrices already.
        Method::Fft => {
            let size = tools.planner.good_extent(problem.input);
            problem.kernel.len() > 1 && WholeImage::bytes(problem, size) <= Tuner::MEMORY_LIMIT
        }
    }
}

/// The shortest of a few steps of the layer alone; `None` where it cannot be run.
fn time(
    method: Method,
    problem: &Problem,
    passes: Passes,
    pool: &Pool,
    tools: Tools<'_>,
) -> Option<Duration> {
    const STEPS: usize = 4;
    const ENOUGH: Duration = Duration::from_millis(200);
    let mut plan = single_layer(method, problem, passes, pool, tools)?;
    let begin = Instant::now();
    let mut best: Option<Duration> = None;
    for step in 0..STEPS {
        let start = Instant::now();
        plan.step(&[], &mut []).and_then(|()| plan.finish()).ok()?;
        // The first step touches fresh memory.
        if step > 0 {
            best = Some(best.unwrap_or(Duration::MAX).min(start.elapsed()));
        }
        if begin.elapsed() > ENOUGH && best.is_some() {
            break;
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
pub fn estimate(problem: &Problem, tools: Tools<'_>) -> Method {
    if !admissible(Method::Fft, problem, tools) {
        return Method::Direct;
    }
    /// Rates in floating-point operations per unit of time, of direct kernels, transforms and products.
    const DIRECT: f64 = 8.0;
    const TRANSFORMS: f64 = 2.0;
    const PRODUCTS: f64 = 1.0;
    let n = tools.planner.good_extent(problem.input).len() as f64;
    let (c_in, c_out) = (problem.c_in as f64, problem.c_out as f64);
    // Per training iteration: each of x, w, dy once; an inverse for each of y, dx, dw.
    let transforms = 2.0 * (c_in + c_out + c_in * c_out) * 2.5 * n * n.log2();
    let products = 3.0 * c_in * c_out * 8.0 * n / 2.0;
    let fft = transforms / TRANSFORMS + products / PRODUCTS;
    let direct = 3.0 * problem.flops() / DIRECT;
    if fft < direct { Method::Fft } else { Method::Direct }
}
