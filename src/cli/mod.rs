//! The command line: one file for each command, and what they share.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 and 143 stopped by Ctrl-C (SIGINT) and SIGTERM.

mod bench;
mod check;
mod convert;
mod convolutions;
mod infer;
mod info;
mod interrupt;
mod preview;
mod segment;
mod stats;
mod train;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use znn::train::TrainError;
use znn::train::job::JobError;
use znn::train::report::Verbosity;

/// Train and run 3D convolutional networks on many-core CPUs.
///
/// `znn train --demo` shows it on a synthetic volume, without any file.
#[derive(Parser)]
#[command(name = "znn", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    loudness: Loudness,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Loudness {
    /// Say more: the choices made, each checkpoint.
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = 1000)]
    verbose: bool,
    /// Say nothing but errors.
    #[arg(short, long, global = true, display_order = 1001)]
    quiet: bool,
}

impl Loudness {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Preview(preview::PreviewArgs),
    Infer(infer::InferArgs),
    Segment(segment::SegmentArgs),
    Convert(convert::ConvertArgs),
    Stats(stats::StatsArgs),
    Check(check::CheckArgs),
    Info(info::InfoArgs),
    /// Measure this machine, and the engine on it.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// What a command ends with; the error is shown with its causes.
type CommandResult = Result<Outcome, Box<dyn Error>>;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// With its work done.
    Done,
    /// Early and in order, because of this signal.
    Stopped {
        /// The number of the signal.
        signal: i32,
    },
}

/// Runs the command of the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let verbosity = cli.loudness.verbosity();
    let result = match &cli.command {
        Command::Train(args) => train::run(args, verbosity),
        Command::Preview(args) => preview::run(args),
        Command::Infer(args) => infer::run(args, verbosity),
        Command::Segment(args) => segment::run(args, verbosity),
        Command::Convert(args) => convert::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Check(args) => check::run(args),
        Command::Info(args) => info::run(args),
        Command::Bench(command) => bench::run(command),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        // The shell's convention for a process that a signal ended.
        Ok(Outcome::Stopped { signal }) => ExitCode::from(128 + signal as u8),
        Err(error) => {
            // There is no place left to report that standard error is closed.
            let _ = io::stderr().write_all(report(&*error).as_bytes());
            ExitCode::from(if is_usage(&*error) { 2 } else { 1 })
        }
    }
}

/// The command line with the defaults of a job in its help texts.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("train", train::with_defaults)
}

/// `error` and its causes, a line each. An error that lists several things has a line for each of them, and a cause
/// that the error before it has told already is left out.
fn report(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut text = format!("znn: error: {}\n", told.trim().replace('\n', "\n  "));
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !told.ends_with(&message) {
            text.push_str(&format!("  because: {}\n", message.trim().replace('\n', "\n  ")));
        }
        told = message;
        cause = error.source();
    }
    text
}

/// Whether the user asked for something that makes no sense, as opposed to something that failed.
fn is_usage(error: &(dyn Error + 'static)) -> bool {
    let job = match error.downcast_ref::<TrainError>() {
        Some(TrainError::Job(job)) => Some(job),
        _ => error.downcast_ref::<JobError>(),
    };
    job.is_some_and(|job| !matches!(job, JobError::Io { .. }))
}

/// Prints `text` on standard output. A reader that closed the pipe has seen enough.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Says on standard error what gives no reason to fail.
fn warn(remark: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "warning: {remark}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_is_explained() {
        for command in command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layered {
        message: &'static str,
        source: Option<Box<Layered>>,
    }

    fn layered(messages: &[&'static str]) -> Layered {
        let source = messages[1..].first().map(|_| Box::new(layered(&messages[1..])));
        Layered { message: messages[0], source }
    }

    #[test]
    fn errors_are_shown_with_their_causes_a_line_each() {
        for (messages, text) in [
            (
                &["a.tif: cannot read", "the disk is on fire"][..],
                "a.tif: cannot read\n  because: the disk is on fire\n",
            ),
            (&["a.znn:1: no such type\na.znn:7: no size"], "a.znn:1: no such type\n  a.znn:7: no size\n"),
            (&["a.znn: not found", "not found"], "a.znn: not found\n"),
            (&["c", "b", "a"], "c\n  because: b\n  because: a\n"),
        ] {
            assert_eq!(report(&layered(messages)), format!("znn: error: {text}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_apart_from_what_fails() {
        let source = io::Error::other("");
        assert!(!is_usage(&JobError::Io { path: "job.toml".into(), action: "read", source }));
        assert!(is_usage(&JobError::Layers(String::new())));
        assert!(is_usage(&TrainError::Job(JobError::Layers(String::new()))));
    }
}
