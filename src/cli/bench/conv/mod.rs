//! `znn bench conv`.

pub mod layer;

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use znn::conv::{Accuracy, Choice};
use znn::stats::median;
use znn::{Engine, EngineOptions};

use self::layer::{LayerCase, Pass};
use super::super::{CommandResult, Outcome};
use super::contest::breathe;
use super::figures::{Figure, Figures, Versus};
use super::peak;
use super::rivals::layer::{LayerRivals, LayerTimes};
use super::rivals::{LayerRivalArgs, Rival};
use super::table::TableArgs;
use super::torch::network::Format;

/// Measure convolution layers: each pass, with one thread and with all, against the machine's peak.
///
/// `step` is all that training computes for a layer, in one plan, so that the passes share what they transform; `forward`
/// prepares weights that have changed, `inference` has them prepared. GFLOP/s count the operations of the direct method,
/// whatever the algorithm. With --vs each case also runs in other engines, in turn with this one; of several, and of
/// PyTorch's two memory formats, the fastest counts. burn and candle run in a program that
/// `cargo build --release --manifest-path benches/rivals/rust/Cargo.toml` builds.
#[derive(Args)]
#[command(after_help = "Examples:
  znn bench conv --only k3 --threads 1
  znn bench conv --cases benches/transform.toml --algorithm auto --passes forward,step,inference --vs torch
  znn bench conv --only k3 --passes forward --vs torch,burn,candle --json layers.json")]
pub struct ConvArgs {
    /// The algorithm; auto measures which is fastest for each layer.
    #[arg(long, value_name = "NAME", default_value = "direct")]
    algorithm: Choice,
    /// How exact results must be: standard, or fast, which admits larger Winograd tiles.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    accuracy: Accuracy,
    /// Only these passes: forward, backward_data, backward_weights, step, inference.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    passes: Vec<Pass>,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    rivals: LayerRivalArgs,
}

/// A line of the result.
#[derive(Serialize)]
struct ConvFigure {
    case: String,
    pass: Pass,
    threads: usize,
    /// The methods and their tiles.
    algorithm: String,
    isa: &'static str,
    ms: f64,
    gflops: f64,
    peak_fraction: f64,
    #[serde(flatten)]
    versus: Versus,
    /// All rivals in all their formats, with their milliseconds.
    all: Vec<(Rival, Format, f64)>,
    /// Rivals that lack the pass, and what they say.
    cannot: Vec<(Rival, String)>,
}

impl Figure for ConvFigure {
    fn ratio(&self) -> Option<f64> {
        self.versus.ratio
    }
}

impl fmt::Display for ConvFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, pass, threads, algorithm, ms, gflops, versus, .. } = self;
        let percent = 100.0 * self.peak_fraction;
        write!(
            f,
            "{case:18} {:16} {threads:>7} {algorithm:>20} {ms:>9.3} {gflops:>8.1} {percent:>6.1}%{versus}",
            pass.name()
        )
    }
}

/// Runs `znn bench conv`.
pub fn run(args: &ConvArgs) -> CommandResult {
    let cases: Vec<LayerCase> = args.table.read()?;
    let passes = if args.passes.is_empty() { &Pass::ALL[..] } else { &args.passes[..] };
    let options = |threads| EngineOptions {
        threads,
        isa: args.table.isa,
        accuracy: args.accuracy,
        ..EngineOptions::default()
    };
    let all = Engine::new(&options(None))?.pool().threads();
    let mut figures = Figures::begin(&format!(
        "{:18} {:16} {:>7} {:>20} {:>9} {:>8} {:>7}{}",
        "layer",
        "pass",
        "threads",
        "algorithm",
        "ms",
        "GFLOP/s",
        "of peak",
        Versus::header(!args.rivals.vs.is_empty())
    ))?;
    for threads in args.table.thread_counts(all) {
        let engine = Engine::new(&options(Some(threads)))?;
        let peak = peak::fma(&engine, engine.kernels())?;
        let mut rivals = LayerRivals::start(&args.rivals, threads)?;
        for case in &cases {
            for &pass in passes.iter().filter(|pass| pass.is_of(case)) {
                figures.add(measure(&engine, case, pass, args.algorithm, peak, &mut rivals)?)?;
            }
        }
    }
    figures.end(args.table.json.as_deref())?;
    Ok(Outcome::Done)
}

/// Times one pass, in turn with the rivals.
fn measure(
    engine: &Engine,
    case: &LayerCase,
    pass: Pass,
    choice: Choice,
    peak: f64,
    rivals: &mut LayerRivals,
) -> Result<ConvFigure, Box<dyn Error>> {
    /// Turns of the engine and its rivals: as many, or until they have taken so long.
    const ROUNDS: usize = 7;
    const ENOUGH: Duration = Duration::from_secs(10);
    const TURN: Duration = Duration::from_millis(60);
    let problem = case.problem();
    let decision = engine.method(choice, &problem, pass.tuned_for(case));
    let mut plan = layer::plan(engine, case, pass, decision)?;
    let mut rivals = rivals.turns(&problem, pass)?;
    let mut own = Vec::new();
    plan.step(&[], &mut [])?;
    plan.finish()?;
    let begin = Instant::now();
    for round in 0..ROUNDS {
        if round > 0 && begin.elapsed() > ENOUGH {
            break;
        }
        if !rivals.is_empty() {
            breathe();
            plan.step(&[], &mut [])?;
            plan.finish()?;
        }
        let start = Instant::now();
        let mut steps = 0;
        while steps == 0 || start.elapsed() < TURN {
            plan.step(&[], &mut [])?;
            plan.finish()?;
            steps += 1;
        }
        own.push(start.elapsed().as_secs_f64() * 1e3 / f64::from(steps));
        rivals.turn()?;
    }
    let ms = median(&mut own);
    let gflops = pass.flops(case) / ms / 1e6;
    let LayerTimes { fastest, all, cannot } = rivals.end();
    Ok(ConvFigure {
        case: case.name.clone(),
        pass,
        threads: engine.pool().threads(),
        algorithm: pass.variant(case, &decision),
        isa: engine.kernels().isa().name(),
        ms,
        gflops,
        peak_fraction: gflops / peak,
        versus: Versus::new(ms, fastest),
        all,
        cannot,
    })
}
