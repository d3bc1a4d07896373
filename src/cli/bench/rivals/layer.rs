//! A pass of a layer in several engines, which take turns.

use std::error::Error;
use std::path::{Path, PathBuf};

use znn::Problem;
use znn::stats::median;

use super::super::contest::{Contestant, breathe};
use super::super::conv::layer::Pass;
use super::super::figures::RivalTime;
use super::super::side::{Mode, Side};
use super::super::torch::network::{self, Description, Format};
use super::super::torch::pass::{InFormat, Request, TorchPasses};
use super::native::{Answer, NativePasses};
use super::{LayerRivalArgs, Rival};

/// The engines that take part, with a number of threads.
pub struct LayerRivals {
    torch: Option<TorchPasses>,
    native: Vec<(Rival, NativePasses)>,
    /// Those that run what PyTorch exports, each layer in a process of its own.
    exported: Vec<Rival>,
    python: PathBuf,
    threads: usize,
}

impl LayerRivals {
    /// Starts the processes of those that run layer after layer.
    pub fn start(args: &LayerRivalArgs, threads: usize) -> Result<Self, Box<dyn Error>> {
        let python = args.python.clone();
        let mut started = Self { torch: None, native: Vec::new(), exported: Vec::new(), python, threads };
        for &rival in &args.vs {
            match rival {
                Rival::Torch => started.torch = Some(TorchPasses::start(&args.python)?),
                Rival::OnnxRuntime | Rival::OpenVino => started.exported.push(rival),
                Rival::Burn | Rival::Candle => {
                    let passes = NativePasses::start(&args.rivals, rival, threads)?;
                    started.native.push((rival, passes));
                }
            }
        }
        Ok(started)
    }

    /// A pass that all of them will time again and again.
    pub fn turns(&mut self, problem: &Problem, pass: Pass) -> Result<LayerTurns<'_>, Box<dyn Error>> {
        let mut ways = Vec::new();
        ways.extend(self.torch.as_mut().map(|passes| (Rival::Torch, Way::Torch(passes))));
        ways.extend(self.native.iter_mut().map(|(rival, passes)| (*rival, Way::Native(passes))));
        // Their weights are constants.
        if pass == Pass::Inference {
            for &rival in &self.exported {
                ways.push((rival, exported(&self.python, rival, problem, self.threads)?));
            }
        }
        let request = Request::new(problem.into(), pass.name(), self.threads);
        let timed = |(rival, way)| Timed { rival, way, columns: Vec::new(), cannot: None };
        Ok(LayerTurns { request, timed: ways.into_iter().map(timed).collect() })
    }
}

/// A layer in a process that runs exported networks.
fn exported(
    python: &Path,
    rival: Rival,
    problem: &Problem,
    threads: usize,
) -> Result<Way<'static>, Box<dyn Error>> {
    let layer = Description::from(problem);
    let mut side = network::side(python, rival, &layer, Mode::Inference, threads, Format::Contiguous)?;
    // The first iteration prepares.
    side.time(1)?;
    let count = (Request::SECONDS / side.time(1)?).clamp(1.0, 1000.0) as usize;
    Ok(Way::Exported { side, count })
}

/// How an engine is asked.
enum Way<'a> {
    Torch(&'a mut TorchPasses),
    Native(&'a mut NativePasses),
    Exported {
        side: Side,
        /// Iterations of a turn.
        count: usize,
    },
}

/// Times of one memory format.
struct Column {
    format: Format,
    ms: Vec<f64>,
    single: bool,
}

/// An engine and its times so far.
struct Timed<'a> {
    rival: Rival,
    way: Way<'a>,
    columns: Vec<Column>,
    /// Why there are none.
    cannot: Option<String>,
}

impl Timed<'_> {
    fn turn(&mut self, request: &Request<'_>) -> Result<(), Box<dyn Error>> {
        let found = match &mut self.way {
            Way::Torch(passes) => passes.times(request)?.to_vec(),
            Way::Native(passes) => match passes.time(request)? {
                Answer::Time { ms, single } => vec![(Format::Contiguous, InFormat { ms, single })],
                Answer::Cannot { cannot } => {
                    self.cannot = Some(cannot);
                    return Ok(());
                }
            },
            Way::Exported { side, count } => {
                let ms = 1e3 * side.time(*count)?;
                vec![(Format::Contiguous, InFormat { ms, single: false })]
            }
        };
        for (format, InFormat { ms, single }) in found {
            match self.columns.iter_mut().find(|column| column.format == format) {
                Some(column) => column.ms.push(ms),
                None => self.columns.push(Column { format, ms: vec![ms], single }),
            }
        }
        Ok(())
    }
}

/// A pass that is timed again and again.
pub struct LayerTurns<'a> {
    request: Request<'a>,
    timed: Vec<Timed<'a>>,
}

/// What came of it.
#[derive(Debug, Default, PartialEq)]
pub struct LayerTimes {
    /// The engine and format of the least time.
    pub fastest: Option<RivalTime>,
    /// The medians of the turns, in milliseconds.
    pub all: Vec<(Rival, Format, f64)>,
    /// Who lacks the pass, and why.
    pub cannot: Vec<(Rival, String)>,
}

impl LayerTurns<'_> {
    /// Whether nobody takes part.
    pub fn is_empty(&self) -> bool {
        self.timed.is_empty()
    }

    /// Times it once more in each engine that has it.
    pub fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        for timed in self.timed.iter_mut().filter(|timed| timed.cannot.is_none()) {
            breathe();
            timed.turn(&self.request)?;
        }
        Ok(())
    }

    /// The medians of all turns.
    pub fn end(self) -> LayerTimes {
        let mut times = LayerTimes::default();
        for Timed { rival, columns, cannot, .. } in self.timed {
            times.cannot.extend(cannot.map(|cannot| (rival, cannot)));
            for Column { format, mut ms, single } in columns {
                let ms = median(&mut ms);
                times.all.push((rival, format, ms));
                if times.fastest.is_none_or(|fastest| ms < fastest.ms) {
                    times.fastest = Some(RivalTime { engine: rival, ms, single });
                }
            }
        }
        times
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use znn::Extent;

    use super::*;

    #[test]
    fn the_fastest_engine_counts_and_all_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("rivals");
        let script = r#"#!/bin/sh
            case $1-$RAYON_NUM_THREADS in
                burn-3) answer='{"ms": 2.5, "single": true}';;
                *) answer='{"cannot": "no such layer"}';;
            esac
            while read line; do echo "$answer"; done"#;
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let args = |vs| LayerRivalArgs { vs, python: "python3".into(), rivals: program.clone() };
        let problem = Problem::valid(1, 2, Extent::new(5, 5, 5), Extent::new(3, 3, 3), Extent::ONE);

        let mut rivals = LayerRivals::start(&args(vec![Rival::Candle, Rival::Burn]), 3).unwrap();
        let mut turns = rivals.turns(&problem, Pass::Step).unwrap();
        assert!(!turns.is_empty());
        (0..3).for_each(|_| turns.turn().unwrap());
        let expected = LayerTimes {
            fastest: Some(RivalTime { engine: Rival::Burn, ms: 2.5, single: true }),
            all: vec![(Rival::Burn, Format::Contiguous, 2.5)],
            cannot: vec![(Rival::Candle, "no such layer".to_owned())],
        };
        assert_eq!(turns.end(), expected);

        let mut rivals = LayerRivals::start(&args(vec![]), 3).unwrap();
        let turns = rivals.turns(&problem, Pass::Step).unwrap();
        assert!(turns.is_empty() && turns.end() == LayerTimes::default());
    }
}
