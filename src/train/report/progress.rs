//! The state of a run on the terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much a [`Reporter`](super::Reporter) says on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only errors.
    Quiet,
    /// The progress and each validation.
    #[default]
    Normal,
    /// Also each checkpoint and the choices that were made.
    Verbose,
}

/// The time between two lines where standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The numbers that the progress shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Status {
    /// The iterations done.
    pub iteration: u64,
    /// The mean loss of late.
    pub loss: f64,
    /// The mean pixel error of late.
    pub pixel_error: f64,
    /// Output voxels for each second.
    pub voxels_per_second: f64,
    /// The time to the end, where it can be told.
    pub left: Option<Duration>,
}

/// A bar on a terminal, a line every few seconds elsewhere, or nothing.
#[derive(Debug)]
pub struct Progress {
    iterations: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Progress {
    /// Progress on standard error towards `iterations`.
    pub fn new(iterations: u64, verbosity: Verbosity) -> Self {
        let sink = if verbosity == Verbosity::Quiet {
            Sink::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(iterations), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{pos}/{len} [{wide_bar}] {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            Sink::Bar(bar)
        } else {
            Sink::Lines { last: None }
        };
        Self { iterations, sink }
    }

    /// Shows `status`.
    pub fn update(&mut self, status: &Status) {
        match &mut self.sink {
            Sink::Nothing => {}
            Sink::Bar(bar) => {
                bar.set_position(status.iteration);
                bar.set_message(message(status));
            }
            Sink::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
                    *last = Some(Instant::now());
                    say(&format!("iteration {}/{}  {}", status.iteration, self.iterations, message(status)));
                }
            }
        }
    }

    /// Says `line` above the bar.
    pub fn say(&self, line: &str) {
        match &self.sink {
            Sink::Nothing => {}
            Sink::Bar(bar) => bar.suspend(|| say(line)),
            Sink::Lines { .. } => say(line),
        }
    }

    /// Leaves the last state on the terminal.
    pub fn finish(&self) {
        if let Sink::Bar(bar) = &self.sink {
            bar.abandon();
        }
    }
}

/// Writes a line on standard error; a run goes on where that has been closed.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `loss 0.2345  pixel error 0.0912  1.23 Mvoxel/s  2:05 left`
fn message(status: &Status) -> String {
    let left = status.left.map_or(String::new(), |left| format!("  {} left", clock(left)));
    format!(
        "loss {:.4}  pixel error {:.4}  {}voxel/s{left}",
        status.loss,
        status.pixel_error,
        scaled(status.voxels_per_second)
    )
}

/// Three digits and the prefix of the unit: `1.23 M`.
pub(super) fn scaled(value: f64) -> String {
    let (value, prefix) = match value {
        v if v >= 999.5e6 => (v / 1e9, "G"),
        v if v >= 999.5e3 => (v / 1e6, "M"),
        v if v >= 999.5 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {prefix}")
}

/// Hours, minutes and seconds: `1:02:05`, `2:05`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0.00 "),
            (9.994, "9.99 "),
            (9.996, "10.0 "),
            (999.4, "999 "),
            (999.6, "1.00 k"),
            (123_456.0, "123 k"),
            (1_234_567.0, "1.23 M"),
            (2.5e9, "2.50 G"),
        ] {
            assert_eq!(scaled(value), text);
        }
        assert_eq!(
            [5, 125, 3725].map(|seconds| clock(Duration::from_secs(seconds))),
            ["0:05", "2:05", "1:02:05"]
        );
    }

    #[test]
    fn the_message_has_every_number() {
        let status = Status {
            iteration: 7,
            loss: 0.23456,
            pixel_error: 0.0912,
            voxels_per_second: 1.234e6,
            left: Some(Duration::from_secs(125)),
        };
        assert_eq!(message(&status), "loss 0.2346  pixel error 0.0912  1.23 Mvoxel/s  2:05 left");
        assert_eq!(
            message(&Status { left: None, ..status }),
            "loss 0.2346  pixel error 0.0912  1.23 Mvoxel/s"
        );
    }
}
