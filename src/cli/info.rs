//! `znn info`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use znn::conv::Choice;
use znn::engine::{Engine, EngineOptions};
use znn::fft;
use znn::machine::memory;
use znn::network::{Network, Shapes, Summary, spec};
use znn::volume::Extent;
use znn_kernels::Isa;

use super::{CommandResult, Outcome, print, warn};

/// Show what this machine and this build can do, or how a network would be run.
#[derive(Args)]
pub struct InfoArgs {
    /// Describe this network: its groups, sizes, field of view and weights.
    #[arg(long, value_name = "FILE.znn")]
    net: Option<PathBuf>,
    /// The output patch, in voxels.
    #[arg(long, value_name = "Z,Y,X", requires = "net", default_value = "1,100,100")]
    output_size: Extent,
    /// Also measure which algorithm is fastest for each convolution.
    #[arg(long, requires = "net")]
    plan: bool,
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
    if args.plan {
        memory::check(network.least_bytes(&shapes))?;
        let engine = Engine::new(&EngineOptions::default())?;
        print(&plan(&engine, &network, &shapes))?;
    }
    Ok(Outcome::Done)
}

/// The algorithm of each convolution in training, a line each.
fn plan(engine: &Engine, network: &Network, shapes: &Shapes) -> String {
    let mut text = format!("\nalgorithms measured for training with {} threads:\n", engine.pool().threads());
    for id in network.edge_ids() {
        let edge = &network[id];
        let Some(problem) = network.problem(id, shapes) else { continue };
        let choice = network.algorithm(id, Choice::Measure);
        let source = if matches!(choice, Choice::Fixed(_)) { ", as the network's file asks" } else { "" };
        let method = engine.method(choice, &problem, network.passes(id));
        let _ = writeln!(text, "  {:16} {problem}: {method}{source}", edge.name);
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
    if let Some(name) = processor() {
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

/// The processor's name for itself, where Linux tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
