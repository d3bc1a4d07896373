//! `znn info`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use znn::volume::Extent;
use znn_kernels::Isa;

use super::{CommandResult, Outcome, print};

/// Show what this machine and this build can do, and how a network would be run.
#[derive(Args)]
pub struct InfoArgs {
    /// Describe this network: its groups, sizes, field of view and weights.
    #[arg(long, value_name = "FILE.znn")]
    net: Option<PathBuf>,
    /// The output patch, in voxels.
    #[arg(long, value_name = "Z,Y,X", requires = "net", default_value = "1,100,100")]
    output_size: Extent,
    /// Also show which algorithm each layer gets, and its memory.
    #[arg(long, requires = "net")]
    plan: bool,
}

/// Runs `znn info`.
pub fn run(args: &InfoArgs) -> CommandResult {
    print(&machine())?;
    if let Some(net) = &args.net {
        let InfoArgs { output_size, plan, .. } = args;
        return Err(format!("this build cannot describe {net:?}: {output_size} {plan}").into());
    }
    Ok(Outcome::Done)
}

/// Version, processor, threads and instruction sets, a line each.
fn machine() -> String {
    let mut text = format!("version          {}\n", env!("CARGO_PKG_VERSION"));
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
    text
}

/// The processor's name for itself, where Linux tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
