//! `znn bench net`.

mod case;
mod server;

use std::error::Error;
use std::fmt;

use clap::Args;
use serde::Serialize;
use znn::conv::{Accuracy, Choice, Passes};
use znn::{Engine, EngineOptions, Extent};

pub use self::server::serve;

use self::case::NetCase;
use self::server::Way;
use super::super::{CommandResult, Outcome, warn};
use super::contest::{Contestant, Time, Turns, compare};
use super::figures::{Figure, Figures, RivalTime, Versus};
use super::peak;
use super::rivals::{NetRivalArgs, Rival};
use super::side::Mode;
use super::table::{Case, TableArgs};
use super::torch::network::{self, Description, Format};

/// Measure whole networks: an iteration of training, or of inference, with all threads.
///
/// Each network runs in a process of its own, so that its peak of resident memory is known; of the table's files, those
/// that are missing are skipped. With --vs torch the same network, loss and update also run in PyTorch, in turn with the
/// engine, in a process for each of its memory formats, of which the faster one counts. ONNX Runtime and OpenVINO run, in
/// inference, what PyTorch exports; of several rivals the fastest counts. A first iteration of more than ten seconds is the
/// only one.
#[derive(Args)]
#[command(after_help = "Examples:
  znn bench net --vs torch --json net.json
  znn bench net --only paper --mode inference --vs torch,onnxruntime,openvino")]
pub struct NetArgs {
    /// What is timed: training, inference.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "training")]
    mode: Vec<Mode>,
    /// How convolutions are computed; auto measures which is fastest for each layer.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    algorithm: Choice,
    /// How exact results must be: standard, or fast, which admits larger Winograd tiles.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    accuracy: Accuracy,
    /// The seconds of each turn, of which there are seven.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3)]
    turn: f64,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    rivals: NetRivalArgs,
}

/// A line of the result.
#[derive(Serialize)]
struct NetFigure {
    net: String,
    output: Extent,
    mode: Mode,
    threads: usize,
    ms: f64,
    /// Of the convolutions by their definition, whatever the algorithm.
    gflops: f64,
    peak_fraction: f64,
    rss_mb: Option<f64>,
    #[serde(flatten)]
    versus: Versus,
    rival_rss_mb: Option<f64>,
    rival_format: Option<Format>,
    /// All rivals in all their formats, with their milliseconds.
    all: Vec<(Rival, Format, f64)>,
}

impl Figure for NetFigure {
    fn ratio(&self) -> Option<f64> {
        self.versus.ratio
    }
}

impl fmt::Display for NetFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, output, mode, threads, ms, gflops, versus, .. } = self;
        let percent = 100.0 * self.peak_fraction;
        let megabytes = |bytes: Option<f64>| bytes.map_or("?".to_owned(), |mb| format!("{mb:.0}"));
        let memory = match self.rival_rss_mb {
            Some(theirs) => format!("{} / {theirs:.0}", megabytes(self.rss_mb)),
            None => megabytes(self.rss_mb),
        };
        write!(
            f,
            "{net:24} {output:>10} {mode:10} {threads:>7} {ms:>10.3} {gflops:>8.1} {percent:>6.1}% {memory:>13}{versus}"
        )
    }
}

/// Runs `znn bench net`.
pub fn run(args: &NetArgs) -> CommandResult {
    let cases: Vec<NetCase> = args.table.read()?;
    let (threads, peak) = {
        let options =
            EngineOptions { threads: args.table.threads, isa: args.table.isa, ..EngineOptions::default() };
        let engine = Engine::new(&options)?;
        (engine.pool().threads(), peak::fma(&engine, engine.kernels())?)
    };
    let mut figures = Figures::begin(&format!(
        "{:24} {:>10} {:10} {:>7} {:>10} {:>8} {:>7} {:>13}{}",
        "network",
        "output",
        "mode",
        "threads",
        "ms",
        "GFLOP/s",
        "of peak",
        if !args.rivals.vs.is_empty() { "MB / rival MB" } else { "MB" },
        Versus::header(!args.rivals.vs.is_empty())
    ))?;
    for case in &cases {
        for &mode in &args.mode {
            match measure(args, case, mode, threads, peak)? {
                Some(figure) => figures.add(figure)?,
                None => warn(format_args!("{} is skipped: its file is not there", case.name())),
            }
        }
    }
    figures.end(args.table.json.as_deref())?;
    Ok(Outcome::Done)
}

/// Times one network, in turn with the rival; `None` where it is not there.
fn measure(
    args: &NetArgs,
    case: &NetCase,
    mode: Mode,
    threads: usize,
    peak: f64,
) -> Result<Option<NetFigure>, Box<dyn Error>> {
    let Some(network) = case.network(args.table.file::<NetCase>())? else { return Ok(None) };
    let shapes = network.shapes(case.output)?;
    let operations = |id| {
        let passes = if mode == Mode::Inference { Passes::Inference } else { network.passes(id) };
        Some(network.problem(id, &shapes)?.flops() * passes.list().len() as f64)
    };
    let flops: f64 = network.edge_ids().filter_map(operations).sum();
    let way = Way { mode, threads, isa: args.table.isa, algorithm: args.algorithm, accuracy: args.accuracy };
    let mut own = server::side(&network, case.output, &way)?;
    let mut rivals = Vec::new();
    let mut kinds = Vec::new();
    if !args.rivals.vs.is_empty() {
        let description = Description::new(&network, &shapes)?;
        for &engine in &args.rivals.vs {
            // The others choose the order in memory themselves, and do not train.
            let formats = match (engine, mode) {
                (Rival::Torch, _) => &Format::ALL[..],
                (_, Mode::Inference) => &[Format::Contiguous],
                (_, Mode::Training) => &[],
            };
            for &format in formats {
                let side = network::side(&args.rivals.python, engine, &description, mode, threads, format)?;
                rivals.push(side);
                kinds.push((engine, format));
            }
        }
    }
    let rest = rivals.iter_mut().map(|rival| rival as &mut dyn Contestant);
    let mut contestants: Vec<&mut dyn Contestant> =
        std::iter::once(&mut own as &mut dyn Contestant).chain(rest).collect();
    let times = compare(&mut contestants, Turns::of_seconds(args.turn))?;
    let ms = 1e3 * times[0].seconds;
    let faster = (0..rivals.len()).min_by(|&a, &b| times[1 + a].seconds.total_cmp(&times[1 + b].seconds));
    let rival = faster.map(|index| {
        let Time { seconds, single } = times[1 + index];
        RivalTime { engine: kinds[index].0, ms: 1e3 * seconds, single }
    });
    let gflops = flops / ms / 1e6;
    Ok(Some(NetFigure {
        net: case.name().to_owned(),
        output: case.output,
        mode,
        threads,
        ms,
        gflops,
        peak_fraction: gflops / peak,
        rss_mb: own.peak_resident_mb(),
        versus: Versus::new(ms, rival),
        rival_rss_mb: faster.and_then(|index| rivals[index].peak_resident_mb()),
        rival_format: faster.map(|index| kinds[index].1),
        all: kinds
            .iter()
            .zip(&times[1..])
            .map(|(&(engine, format), time)| (engine, format, 1e3 * time.seconds))
            .collect(),
    }))
}
