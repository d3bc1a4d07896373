//! `znn stats`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use znn::network::hdf5_file::Statistics;
use znn::train::records;
use znn::train::report::FileNames;
use znn::train::report::comparison::{self, Quantity, Run};
use znn::train::report::metrics::{self, Phase, Record};

use super::{CommandResult, Outcome, print};

/// Compare runs of training: a table, and their learning curves in one picture.
///
/// A run is its folder, its metrics.jsonl, or an HDF5 file of the original ZNN: of statistics, or of a network with its
/// statistics in it or beside it.
#[derive(Args)]
#[command(after_help = "Examples:
  znn stats run
  znn stats run-a run-b --out curves.svg
  znn stats run old/net_current.h5 --show loss,pixel-error --out curves.png")]
pub struct StatsArgs {
    /// The runs.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Draw the learning curves: a PNG, or an SVG.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What is drawn, a panel each.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "loss,pixel-error")]
    show: Vec<Shown>,
    /// Over about how many points of training a curve is smoothed; 1 shows each.
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    window: f64,
}

/// A quantity on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shown {
    Loss,
    PixelError,
    RandError,
    LearningRate,
}

impl Shown {
    fn quantity(self) -> Quantity {
        match self {
            Self::Loss => Quantity::Loss,
            Self::PixelError => Quantity::PixelError,
            Self::RandError => Quantity::RandError,
            Self::LearningRate => Quantity::Eta,
        }
    }
}

/// Runs `znn stats`.
pub fn run(args: &StatsArgs) -> CommandResult {
    if args.window.is_nan() || args.window < 1.0 {
        return Err("--window is at least 1".into());
    }
    let read = |path: &PathBuf| Ok(Run { name: path.display().to_string(), records: history(path)? });
    let runs = args.runs.iter().map(read).collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
    print(&table(&runs))?;
    if let Some(path) = &args.out {
        let quantities: Vec<Quantity> = args.show.iter().map(|shown| shown.quantity()).collect();
        comparison::write(&runs, &quantities, args.window, path)?;
    }
    Ok(Outcome::Done)
}

/// The history of a run.
fn history(path: &Path) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    if path.extension().is_some_and(|extension| extension == "h5" || extension == "hdf5") {
        let statistics = Statistics::load(path)?;
        let statistics = statistics.ok_or_else(|| {
            format!("{}: it has no statistics, and no file of them is beside it", path.display())
        })?;
        return Ok(records(&statistics));
    }
    let file = if path.is_dir() { path.join(FileNames::METRICS) } else { path.to_owned() };
    Ok(metrics::read(&file)?)
}

/// A line for each run: how far it is, and the best that it reached.
fn table(runs: &[Run]) -> String {
    let width = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or(0).max(3);
    let mut text = format!(
        "{:width$} {:>10} {:>9} {:>10} {:>11} {:>10} {:>11} {:>10}\n",
        "run", "iterations", "time", "train loss", "pixel error", "val. loss", "pixel error", "at"
    );
    for run in runs {
        let last = run.records.last();
        let train = run.records.iter().rfind(|record| record.phase == Phase::Train);
        let validations = run.records.iter().filter(|record| record.phase == Phase::Validation);
        let best = validations
            .filter(|record| record.pixel_error.is_finite())
            .min_by(|a, b| a.pixel_error.total_cmp(&b.pixel_error));
        let number = |record: Option<&Record>, value: fn(&Record) -> f64| {
            record.map_or("-".to_owned(), |record| format!("{:.4}", value(record)))
        };
        text.push_str(&format!(
            "{:width$} {:>10} {:>9} {:>10} {:>11} {:>10} {:>11} {:>10}\n",
            run.name,
            last.map_or(0, |record| record.iteration),
            last.map_or("-".to_owned(), |record| time(record.seconds)),
            number(train, |record| record.loss),
            number(train, |record| record.pixel_error),
            number(best, |record| record.loss),
            number(best, |record| record.pixel_error),
            best.map_or("-".to_owned(), |record| record.iteration.to_string()),
        ));
    }
    text.push_str("training: of the last report; validation: of the one of the least pixel error\n");
    text
}

/// Hours, minutes and seconds.
fn time(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_the_best_validation() {
        let record = |iteration, phase, pixel_error| Record {
            iteration,
            phase,
            loss: 0.5,
            pixel_error,
            rand_error: None,
            constant_error: None,
            eta: 0.01,
            gradient_norm: None,
            batch: 1,
            classes: Vec::new(),
            voxels_per_second: 1.0,
            seconds: 3725.5,
        };
        let records = vec![
            record(10, Phase::Train, 0.3),
            record(10, Phase::Validation, 0.25),
            record(20, Phase::Train, 0.2),
            record(20, Phase::Validation, 0.27),
        ];
        let runs =
            [Run { name: "a run".to_owned(), records }, Run { name: "b".to_owned(), records: Vec::new() }];
        let text = table(&runs);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["a", "run", "20", "1:02:05", "0.5000", "0.2000", "0.5000", "0.2500", "10"]);
        assert_eq!(lines[2], ["b", "0", "-", "-", "-", "-", "-", "-"]);
    }
}
