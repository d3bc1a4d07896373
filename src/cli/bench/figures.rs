//! The figures of a benchmark: a line each as they come, then a file and the mean of the ratios.

use std::error::Error;
use std::fmt::{self, Display};
use std::path::Path;

use serde::Serialize;

use super::super::print;
use super::rivals::Rival;

/// A line of the result.
pub trait Figure: Serialize + Display {
    /// How much longer the rival takes, where there is one.
    fn ratio(&self) -> Option<f64>;
}

/// What has been measured so far.
pub struct Figures<F> {
    figures: Vec<F>,
}

impl<F: Figure> Figures<F> {
    /// Prints the header of the columns.
    pub fn begin(header: &str) -> std::io::Result<Self> {
        print(&format!("{header}\n"))?;
        Ok(Self { figures: Vec::new() })
    }

    /// Prints a line.
    pub fn add(&mut self, figure: F) -> std::io::Result<()> {
        print(&format!("{figure}\n"))?;
        self.figures.push(figure);
        Ok(())
    }

    /// All lines so far.
    pub fn all(&self) -> &[F] {
        &self.figures
    }

    /// Writes the figures to `json`, an array of objects, and prints the geometric mean of the ratios.
    pub fn end(&self, json: Option<&Path>) -> Result<(), Box<dyn Error>> {
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&self.figures)?;
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let ratios: Vec<f64> = self.figures.iter().filter_map(Figure::ratio).collect();
        if !ratios.is_empty() {
            let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            print(&format!("geometric mean of the ratios {mean:.2}\n"))?;
        }
        Ok(())
    }
}

/// The time of a rival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RivalTime {
    pub engine: Rival,
    pub ms: f64,
    /// Whether one run took so long that it is the only one, without any before it.
    pub single: bool,
}

/// A figure's comparison with the fastest rival.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Versus {
    rival: Option<Rival>,
    rival_ms: Option<f64>,
    /// See [`RivalTime::single`].
    rival_single: Option<bool>,
    pub ratio: Option<f64>,
}

impl Versus {
    /// The header of the columns, where there is a rival.
    pub fn header(rival: bool) -> &'static str {
        if rival { "  rival ms   ratio (* of a single run)" } else { "" }
    }

    pub fn new(own_ms: f64, rival: Option<RivalTime>) -> Self {
        Self {
            rival: rival.map(|rival| rival.engine),
            rival_ms: rival.map(|rival| rival.ms),
            rival_single: rival.map(|rival| rival.single),
            ratio: rival.map(|rival| rival.ms / own_ms),
        }
    }
}

impl Display for Versus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rival, self.rival_ms, self.ratio) {
            (Some(rival), Some(ms), Some(ratio)) => {
                let mark = if self.rival_single == Some(true) { " *" } else { "" };
                let name = if rival == Rival::Torch { String::new() } else { format!(" ({rival})") };
                write!(f, " {ms:>9.3} {ratio:>6.2}x{mark}{name}")
            }
            _ => Ok(()),
        }
    }
}
