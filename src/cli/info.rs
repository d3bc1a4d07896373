//! `znn info`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use znn::conv::{Choice, PassCost, Passes};
use znn::fft;
use znn::machine::memory::{self, Bytes};
use znn::machine::processor;
use znn::network::{Network, Shapes, Summary, drawing, spec};
use znn::{Engine, EngineOptions, Extent};
use znn_kernels::Isa;

use super::convolutions::ConvolutionArgs;
use super::{CommandResult, Outcome, print, warn};

/// Show what this machine and this build can do, or how a network would be run.
#[derive(Args)]
pub struct InfoArgs {
    /// Describe this network: its groups, sizes, field of view and weights.
    #[arg(long, value_name = "FILE")]
    net: Option<PathBuf>,
    /// The output patch, in voxels.
    #[arg(long, value_name = "Z,Y,X", requires = "net", default_value = "1,100,100")]
    output_size: Extent,
    /// Also draw the network.
    #[arg(long, value_name = "FILE.svg", requires = "net")]
    draw: Option<PathBuf>,
    /// Also show the algorithm, the time and the memory of each pass of each convolution.
    #[arg(long, requires = "net")]
    plan: bool,
    /// Plan for inference in place of training.
    #[arg(long, requires = "plan")]
    inference: bool,
    /// How convolutions are computed: auto (whichever measures fastest for each layer), estimate (by a model, the same on
    /// every run), direct, fft or winograd.
    #[arg(long, value_name = "NAME", default_value = "auto", requires = "plan")]
    algorithm: Choice,
    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "plan")]
    threads: usize,
    #[command(flatten)]
    convolutions: ConvolutionArgs,
}

/// Runs `znn info`.
pub fn run(args: &InfoArgs) -> CommandResult {
    let Some(net) = &args.net else {
        print(&machine())?;
        return Ok(Outcome::Done);
    };
    let parsed = spec::read(net)?;
    parsed.warnings.iter().for_each(warn);
    let network = parsed.network;
    let shapes = network.shapes(args.output_size)?;
    print(&format!("{}\n", Summary::new(&network, &shapes)))?;
    if let Some(path) = &args.draw {
        std::fs::write(path, drawing::svg(&network, &shapes))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.plan {
        memory::check(network.least_bytes(&shapes))?;
        let engine = Engine::new(&EngineOptions {
            threads: (args.threads > 0).then_some(args.threads),
            ..args.convolutions.engine_options()
        })?;
        let text = plan(&engine, &network, &shapes, args);
        engine.take_warnings().iter().for_each(warn);
        print(&text)?;
    }
    Ok(Outcome::Done)
}

/// The passes of each convolution, a line each, and their sum.
fn plan(engine: &Engine, network: &Network, shapes: &Shapes, args: &InfoArgs) -> String {
    let mut rows = Vec::new();
    let (mut sum, mut is_complete, mut bytes) = (Duration::ZERO, true, 0);
    for id in network.edge_ids() {
        let Some(problem) = network.problem(id, shapes) else { continue };
        let passes = if args.inference { Passes::Inference } else { network.passes(id) };
        let choice = network.algorithm(id, args.algorithm);
        let decision = engine.method(choice, &problem, passes);
        let mut heads = [network[id].name.clone(), problem.to_string()];
        for PassCost { pass, variant, time, bytes: own } in engine.costs(decision, &problem, passes) {
            sum += time.unwrap_or_default();
            is_complete &= time.is_some();
            bytes += own;
            let [layer, problem] = std::mem::take(&mut heads);
            rows.push([layer, problem, pass.name().to_owned(), variant.to_string(), ms(time), memory(own)]);
        }
    }
    let sum = if is_complete { ms(Some(sum)) } else { format!("> {}", ms(Some(sum))) };
    rows.push(["sum", "", "", "", &sum, &memory(bytes)].map(str::to_owned));
    let use_ = if args.inference { "inference" } else { "training" };
    let choice =
        if args.algorithm == Choice::Measure { "measured as the fastest" } else { "chosen by --algorithm" };
    format!(
        "\nconvolutions in {use_}, {} threads, {}, accuracy {}; algorithms {choice}, where the network's file does not \
         say\nms: measured, of each layer alone; memory: spectra, transformed weights and workspace, of which layers share \
         what they do not keep\n{}",
        engine.pool().threads(),
        engine.kernels().isa(),
        args.convolutions.accuracy,
        table(["layer", "problem", "pass", "algorithm", "ms", "memory"], &rows)
    )
}

fn ms(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| format!("{:.3}", time.as_secs_f64() * 1e3))
}

fn memory(bytes: usize) -> String {
    if bytes == 0 { "0".to_owned() } else { Bytes(bytes as u64).to_string() }
}

/// Lines with columns of one width; the last two are numbers.
fn table(heads: [&str; 6], rows: &[[String; 6]]) -> String {
    let heads = heads.map(str::to_owned);
    let mut widths = heads.each_ref().map(String::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in [&heads].into_iter().chain(rows) {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column {
                4.. => write!(text, "{gap}{cell:>width$}"),
                _ => write!(text, "{gap}{cell:width$}"),
            };
        }
        text.push('\n');
    }
    text
}

/// Version, processor, threads, instruction sets and transforms, a line each.
fn machine() -> String {
    let mut text = format!("version          {}", env!("CARGO_PKG_VERSION"));
    let commit = env!("ZNN_GIT_HASH");
    if !commit.is_empty() {
        let _ = write!(text, " ({commit})");
    }
    let _ = writeln!(text, " for {}", env!("ZNN_TARGET"));
    if let Some(name) = processor::name() {
        let _ = writeln!(text, "processor        {name}");
    }
    if let Ok(threads) = std::thread::available_parallelism() {
        let _ = writeln!(text, "threads          {threads}");
    }
    let tiers: Vec<String> = Isa::ALL
        .iter()
        .map(|isa| match isa.is_available() {
            true => isa.name().to_owned(),
            false => format!("{isa} (not here)"),
        })
        .collect();
    let _ = writeln!(text, "instruction sets {}; best: {}", tiers.join(", "), Isa::best());
    let _ = writeln!(text, "transforms       {}", fft::backend_description());
    text
}
