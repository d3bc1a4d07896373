//! This engine's side of a comparison.

use std::error::Error;
use std::io::{self, BufRead, Lines, StdinLock};
use std::process::Command;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use znn::conv::{Accuracy, Choice, Method};
use znn::network::{Network, spec};
use znn::{Engine, EngineOptions, Extent};
use znn_kernels::Isa;

use super::super::super::{CommandResult, Outcome, print};
use super::super::child::AnsweringChild;
use super::super::contest::Contestant;
use super::super::runner::{Applier, Subject, Trainer};
use super::super::side::{Answer, Mode, Question, Ready, Side};

/// How the engine is to run a network.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub mode: Mode,
    pub threads: usize,
    pub isa: Option<Isa>,
    pub algorithm: Choice,
    pub accuracy: Accuracy,
}

/// What the process is told first.
#[derive(Serialize, Deserialize)]
struct Setup {
    /// The text of its file.
    network: String,
    output: Extent,
    mode: Mode,
    threads: usize,
    isa: Option<String>,
    algorithm: String,
    accuracy: String,
}

/// Starts a process of this program with this network.
pub fn side(network: &Network, output: Extent, way: &Way) -> Result<Side, Box<dyn Error>> {
    let algorithm = match way.algorithm {
        Choice::Measure => "auto",
        Choice::Estimate => "estimate",
        Choice::Fixed(Method::Direct) => "direct",
        Choice::Fixed(Method::Fft) => "fft",
        Choice::Fixed(Method::Winograd) => "winograd",
    };
    let accuracy = match way.accuracy {
        Accuracy::Standard => "standard",
        Accuracy::Fast => "fast",
    };
    let setup = Setup {
        network: network.to_string(),
        output,
        mode: way.mode,
        threads: way.threads,
        isa: way.isa.map(|isa| isa.name().to_owned()),
        algorithm: algorithm.to_owned(),
        accuracy: accuracy.to_owned(),
    };
    let mut command = Command::new(std::env::current_exe()?);
    Ok(Side::new(AnsweringChild::start(command.args(["bench", "net-server"]))?, &setup)?)
}

/// Runs `znn bench net-server`: what [`side`] starts.
pub fn serve() -> CommandResult {
    let mut lines = io::stdin().lock().lines();
    let Some(setup) = next::<Setup>(&mut lines)? else { return Ok(Outcome::Done) };
    let mut contestant = contestant(&setup)?;
    say(&Ready { ready: env!("CARGO_PKG_VERSION").to_owned() })?;
    while let Some(Question { iterations }) = next(&mut lines)? {
        say(&Answer { seconds: contestant.time(iterations)? })?;
    }
    Ok(Outcome::Done)
}

fn next<T: DeserializeOwned>(lines: &mut Lines<StdinLock<'_>>) -> Result<Option<T>, Box<dyn Error>> {
    Ok(lines.next().transpose()?.map(|line| serde_json::from_str(&line)).transpose()?)
}

fn say(answer: &impl Serialize) -> Result<(), Box<dyn Error>> {
    Ok(print(&format!("{}\n", serde_json::to_string(answer)?))?)
}

fn contestant(setup: &Setup) -> Result<Box<dyn Contestant>, Box<dyn Error>> {
    let engine = Engine::new(&EngineOptions {
        threads: Some(setup.threads),
        isa: setup.isa.as_deref().map(str::parse).transpose()?,
        accuracy: setup.accuracy.parse()?,
        ..EngineOptions::default()
    })?;
    let subject = Subject {
        network: Arc::new(spec::parse(&setup.network, "the network")?.network),
        output: setup.output,
        algorithm: setup.algorithm.parse()?,
    };
    Ok(match setup.mode {
        Mode::Training => Box::new(Trainer::new(&subject, engine)?),
        Mode::Inference => Box::new(Applier::new(&subject, engine)?),
    })
}
