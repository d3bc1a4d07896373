//! `znn bench conv`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use znn::conv::{self, Accuracy, Choice, Decision, Destination, Layer, Pass, Passes, Problem};
use znn::engine::{Engine, EngineOptions};
use znn::plan::{Label, Plan};
use znn::stats::median;
use znn::volume::Extent;
use znn_kernels::{Isa, Transfer};

use super::super::{CommandResult, Outcome, print};
use super::torch::{Request, Torch};
use super::{peak, print_mean, read_table, write_json};

/// The cases that are measured unless a file is given.
const CASES: &str = include_str!("../../../benches/conv.toml");

/// Measure convolution layers: each pass, with one thread and with all, against the machine's peak.
///
/// GFLOP/s count the operations of the direct method, whatever the algorithm. With --vs torch each case also runs in
/// PyTorch (`pip install torch`), in turn with the engine, in both of its memory formats, of which the faster one counts.
#[derive(Args)]
pub struct ConvArgs {
    /// The algorithm; auto measures which is fastest for each layer.
    #[arg(long, value_name = "NAME", default_value = "direct")]
    algorithm: Choice,
    /// How exact results must be: standard, or fast, which admits larger Winograd tiles.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    accuracy: Accuracy,
    /// Measure with this number of threads only, in place of one and all.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The instruction set [default: the widest of the machine].
    #[arg(long, value_name = "TIER")]
    isa: Option<Isa>,
    /// Cases of your own, in a file of the form of benches/conv.toml.
    #[arg(long, value_name = "FILE.toml")]
    cases: Option<PathBuf>,
    /// Only the cases whose names contain this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run the same cases in another engine.
    #[arg(long, value_name = "ENGINE", value_parser = ["torch"])]
    vs: Option<String>,
    /// The Python that has PyTorch.
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "vs")]
    python: PathBuf,
    /// Also write the figures to a file, an array of JSON objects.
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// A layer.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    name: String,
    c_in: usize,
    c_out: usize,
    kernel: Extent,
    output: Extent,
    #[serde(default = "one")]
    dilation: Extent,
    #[serde(default = "one")]
    stride: Extent,
    /// Zeros on each side.
    #[serde(default = "zero")]
    padding: Extent,
}

fn one() -> Extent {
    Extent::ONE
}

fn zero() -> Extent {
    Extent::ZERO
}

impl Case {
    fn problem(&self) -> Problem {
        let Self { c_in, c_out, kernel, output, dilation, stride, padding, .. } = *self;
        let padded = (output - Extent::ONE) * stride + Extent::ONE + kernel.zip(dilation, |k, d| (k - 1) * d);
        let input = padded.zip(padding, |padded, padding| padded.saturating_sub(2 * padding).max(1));
        Problem { stride, padding: [padding; 2], ..Problem::valid(c_in, c_out, input, kernel, dilation) }
    }
}

/// A line of the result.
#[derive(Serialize)]
struct Figure {
    case: String,
    pass: Pass,
    threads: usize,
    algorithm: &'static str,
    isa: &'static str,
    ms: f64,
    gflops: f64,
    peak_fraction: f64,
    torch_ms: Option<f64>,
    ratio: Option<f64>,
}

/// Runs `znn bench conv`.
pub fn run(args: &ConvArgs) -> CommandResult {
    let cases = read_cases(args)?;
    let all = Engine::new(&options(args, None))?.pool().threads();
    let mut counts = args.threads.map_or(vec![1, all], |n| vec![n]);
    counts.dedup();
    let mut torch = match &args.vs {
        Some(_) => Some(Torch::start(&args.python)?),
        None => None,
    };
    print(&format!(
        "{:18} {:16} {:>7} {:>9} {:>9} {:>8} {:>7}{}\n",
        "layer",
        "pass",
        "threads",
        "algorithm",
        "ms",
        "GFLOP/s",
        "of peak",
        if torch.is_some() { "  torch ms   ratio" } else { "" }
    ))?;
    let mut figures = Vec::new();
    for threads in counts {
        let engine = Engine::new(&options(args, Some(threads)))?;
        let peak = peak::fma(&engine, engine.kernels())?;
        for case in &cases {
            for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeights] {
                // Nobody wants the gradient of an image.
                if case.c_in == 1 && pass == Pass::BackwardData {
                    continue;
                }
                let figure = measure(&engine, case, pass, args.algorithm, peak, torch.as_mut())?;
                print(&line(&figure))?;
                figures.push(figure);
            }
        }
    }
    if let Some(path) = &args.json {
        write_json(path, &figures)?;
    }
    print_mean(&figures.iter().filter_map(|figure| figure.ratio).collect::<Vec<_>>())?;
    Ok(Outcome::Done)
}

fn options(args: &ConvArgs, threads: Option<usize>) -> EngineOptions {
    EngineOptions { threads, isa: args.isa, accuracy: args.accuracy, ..EngineOptions::default() }
}

fn read_cases(args: &ConvArgs) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let (table, place): (Table, String) = read_table(args.cases.as_deref(), CASES, "benches/conv.toml")?;
    for case in &table.case {
        let sizes = [case.kernel, case.output, case.dilation, case.stride];
        if case.c_in == 0 || case.c_out == 0 || sizes.iter().any(|size| size.is_empty()) {
            return Err(format!("{place}: case `{}`: expected sizes of at least 1", case.name).into());
        }
        if case.problem().output() != case.output {
            return Err(format!("{place}: case `{}`: so much padding leaves no input", case.name).into());
        }
    }
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|text| case.name.contains(text));
    let cases: Vec<Case> = table.case.into_iter().filter(wanted).collect();
    if cases.is_empty() { Err(format!("{place}: no case is chosen").into()) } else { Ok(cases) }
}

fn line(figure: &Figure) -> String {
    let pass = figure.pass.name();
    let rival = match (figure.torch_ms, figure.ratio) {
        (Some(ms), Some(ratio)) => format!(" {ms:>9.3} {ratio:>6.2}x"),
        _ => String::new(),
    };
    format!(
        "{:18} {pass:16} {:>7} {:>9} {:>9.3} {:>8.1} {:>6.1}%{rival}\n",
        figure.case,
        figure.threads,
        figure.algorithm,
        figure.ms,
        figure.gflops,
        100.0 * figure.peak_fraction,
    )
}

/// Times one pass, in turn with the rival.
fn measure(
    engine: &Engine,
    case: &Case,
    pass: Pass,
    choice: Choice,
    peak: f64,
    mut torch: Option<&mut Torch>,
) -> Result<Figure, Box<dyn std::error::Error>> {
    /// Turns of the engine and its rival.
    const ROUNDS: usize = 7;
    const TURN: Duration = Duration::from_millis(60);
    let problem = case.problem();
    let passes = if case.c_in == 1 { Passes::FirstLayer } else { Passes::Training };
    let method = engine.method(choice, &problem, passes);
    let mut plan = single_pass(engine, &problem, pass, method)?;
    let threads = engine.pool().threads();
    let request = Request::new((&problem).into(), pass.name(), threads);
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    plan.step(&[], &mut [])?;
    plan.finish()?;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut steps = 0;
        while steps == 0 || start.elapsed() < TURN {
            plan.step(&[], &mut [])?;
            plan.finish()?;
            steps += 1;
        }
        own.push(start.elapsed().as_secs_f64() * 1e3 / f64::from(steps));
        if let Some(torch) = &mut torch {
            theirs.push(torch.time(&request)?);
        }
    }
    let ms = median(&mut own);
    let gflops = problem.flops() / ms / 1e6;
    let torch_ms = (!theirs.is_empty()).then(|| median(&mut theirs));
    Ok(Figure {
        case: case.name.clone(),
        pass,
        threads,
        algorithm: method.of(pass).method().name(),
        isa: engine.kernels().isa().name(),
        ms,
        gflops,
        peak_fraction: gflops / peak,
        torch_ms,
        ratio: torch_ms.map(|theirs| theirs / ms),
    })
}

/// A plan of one pass of one layer. What the pass needs of the weights is derived from them in every step, as training
/// does.
fn single_pass(
    engine: &Engine,
    problem: &Problem,
    pass: Pass,
    method: Decision,
) -> Result<Plan, Box<dyn std::error::Error>> {
    let mut plan = engine.plan();
    let Problem { c_in, c_out, input, kernel, .. } = *problem;
    let weights = plan.persistent(c_out, c_in * kernel.len());
    let x = plan.persistent(c_in, input.len());
    let y = plan.persistent(c_out, problem.output().len());
    let name: Arc<str> = Arc::from("layer");
    let layer = Layer { name: name.clone(), problem: *problem, weights, frozen: false };
    let mut algorithm = conv::begin(method, layer, engine.tools())?;
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
            // the completed sum is the gradient; an update would read it where it is
            for found in algorithm.backward_weights(&mut plan, x, y) {
                plan.task(Label::new(&name, "collect"), 0.0).collect(found.sum).deferred().run(|views| {
                    std::hint::black_box(views.sum);
                });
            }
        }
    }
    Ok(plan.build(engine.pool(), engine.kernels()))
}
