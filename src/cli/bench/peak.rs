//! `znn bench peak`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use znn::plan::{Label, PlanBuilder, PlanError};
use znn::{Engine, EngineOptions};
use znn_kernels::{Isa, Kernels};

use super::super::{CommandResult, Outcome, print};

/// Measure the machine's peak of multiply-adds for each instruction set, and its memory bandwidth.
///
/// The peak is what registers alone allow; figures of `znn bench conv` are fractions of it.
#[derive(Args)]
pub struct PeakArgs {
    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// Runs `znn bench peak`.
pub fn run(args: &PeakArgs) -> CommandResult {
    let all = Engine::new(&options(args.threads))?;
    let one = Engine::new(&options(1))?;
    let threads = all.pool().threads();
    let mut text = format!("multiply-adds, GFLOP/s{:>18} thread{:>10} threads\n", 1, threads);
    for kernels in Isa::ALL.into_iter().filter_map(Kernels::new) {
        let (one, all) = (fma(&one, kernels)?, fma(&all, kernels)?);
        text.push_str(&format!("  {:20} {one:>23.1}{all:>17.1}\n", kernels.isa()));
    }
    text.push_str("\nreading and adding, GB/s (three streams: two read, one written)\n");
    for (place, bytes) in
        [("16 KiB", 16 << 10), ("512 KiB", 512 << 10), ("8 MiB", 8 << 20), ("256 MiB", 256 << 20)]
    {
        let (one, all) = (stream(&one, bytes)?, stream(&all, bytes)?);
        text.push_str(&format!("  {place:>8} a thread     {one:>23.1}{all:>17.1}\n"));
    }
    print(&text)?;
    Ok(Outcome::Done)
}

fn options(threads: usize) -> EngineOptions {
    EngineOptions { threads: (threads > 0).then_some(threads), ..EngineOptions::default() }
}

/// The best of several runs of `work`, which tells how much it did, on every worker at once; in units per nanosecond.
fn rate(engine: &Engine, prepare: impl Fn(&mut PlanBuilder, &Arc<str>) -> f64) -> Result<f64, PlanError> {
    const RUNS: usize = 12;
    let mut plan = engine.plan();
    let name: Arc<str> = Arc::from("peak");
    let mut amount = 0.0;
    for _ in 0..engine.pool().threads() {
        amount += prepare(&mut plan, &name);
    }
    let mut plan = plan.build(engine.pool(), engine.kernels());
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        plan.step(&[], &mut [])?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(amount / best / 1e9)
}

/// GFLOP/s of multiply-adds in registers.
pub fn fma(engine: &Engine, kernels: Kernels) -> Result<f64, PlanError> {
    /// About ten milliseconds: long against the start of a step.
    const ROUNDS: usize = 4_000_000;
    rate(engine, |plan, name| {
        plan.task(Label::new(name, "fma"), 1e7).run(move |_| {
            kernels.fma_peak(ROUNDS);
        });
        (24 * kernels.lanes() * ROUNDS) as f64
    })
}

/// GB/s of `to += from` over arrays of `bytes` together.
fn stream(engine: &Engine, bytes: usize) -> Result<f64, PlanError> {
    let kernels = engine.kernels();
    let len = bytes / 2 / size_of::<f32>();
    let repeat = ((64 << 20) / bytes).max(1);
    rate(engine, |plan, name| {
        let (from, to) = (plan.persistent(1, len), plan.persistent(1, len));
        let (read, write) = (plan.whole(from), plan.whole(to));
        plan.task(Label::new(name, "stream"), 1e7).read(read).write(write).run(move |views| {
            let ([from], [mut to]) = (views.reads.take(), views.writes.take());
            for _ in 0..repeat {
                kernels.add(to.row_mut(0), from.row(0));
            }
        });
        (3 * len * size_of::<f32>() * repeat) as f64
    })
}
