//! By which algorithms a problem is solved fastest.
//!
//! A model of the work ranks the variants of all methods. Those that it cannot tell apart are measured, on the layer's
//! own problem and workers: variants that share nothing between passes for each pass, those of the Fourier transform for
//! the layer as a whole, in the end both, and mixtures, as whole layers. What was decided is kept in a file, where there is
//! one.

mod file;
mod measure;
mod model;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use file::TuningFile;
pub use measure::{PassCost, costs};
pub use model::{estimate, of_method};

use super::{Decision, Method, Passes, Problem, Tools};
use crate::pool::Pool;
use measure::Bench;

/// How the algorithm of a layer is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Whichever measures fastest on the layer's own problem.
    #[default]
    Measure,
    /// Whichever a model of the work says is fastest; the same on every run.
    Estimate,
    /// This one, where it can compute the layer.
    Fixed(Method),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Choice::Measure => "auto",
            Choice::Estimate => "estimate",
            Choice::Fixed(method) => method.name(),
        })
    }
}

/// The text is not the name of a choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, estimate, direct, fft or winograd, found `{0}`")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;
    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let fixed = Method::ALL.map(Choice::Fixed);
        let mut choices = [Choice::Measure, Choice::Estimate].into_iter().chain(fixed);
        choices.find(|choice| choice.to_string() == text).ok_or_else(|| UnknownChoice(text.to_owned()))
    }
}

/// Measures algorithms on problems, and remembers the answers.
#[derive(Debug, Default)]
pub struct Tuner {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    found: HashMap<(Problem, Passes), Decision>,
    /// Read when it is needed first.
    unread: Option<TuningFile>,
    file: Option<TuningFile>,
    warnings: Vec<String>,
}

impl State {
    /// Reads the file, once. It is given up where that fails.
    fn read(&mut self) {
        let Some(file) = self.unread.take() else { return };
        match file.read() {
            Ok(found) => {
                self.found.extend(found);
                self.file = Some(file);
            }
            Err(error) => self.warnings.push(error.to_string()),
        }
    }
}

impl Tuner {
    /// A tuner that knows what is in `file`, and adds to it. A file that cannot be read, or written, is given up with a
    /// [warning](Self::take_warnings).
    pub fn with_file(file: TuningFile) -> Self {
        Self { state: Mutex::new(State { unread: Some(file), ..State::default() }) }
    }

    /// The fastest decision for `problem`, by measurement on `pool` the first time that it is asked for.
    pub fn measure(&self, problem: &Problem, passes: Passes, pool: &Pool, tools: Tools<'_>) -> Decision {
        let key = (*problem, passes);
        {
            let mut state = self.state();
            state.read();
            if let Some(&decision) = state.found.get(&key) {
                return decision;
            }
        }
        let bench = Bench { problem, passes, pool, tools };
        let decision = bench.fastest(estimate(problem, passes, tools));
        let mut state = self.state();
        state.found.insert(key, decision);
        if let Some(file) = &state.file
            && let Err(error) = file.add(*problem, passes, decision)
        {
            state.warnings.push(error.to_string());
            state.file = None;
        }
        decision
    }

    /// What went wrong with the file since this was asked last.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.state().warnings)
    }

    /// A panic elsewhere leaves no half-made state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
