//! One side of a comparison: a process that runs a network, so that its memory can be told from that of others.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::child::{AnsweringChild, ChildError};
use super::contest::Contestant;

/// What is timed of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// An iteration: forward, loss, backward, update.
    Training,
    /// Forward, with weights that stay.
    Inference,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Training => "training",
            Self::Inference => "inference",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Training, Self::Inference].into_iter().find(|mode| mode.to_string() == text);
        found.ok_or_else(|| format!("expected training or inference, found `{text}`"))
    }
}

/// Asks for the time of this many iterations in a row.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Question {
    pub iterations: usize,
}

/// The time of an iteration.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Answer {
    pub seconds: f64,
}

/// What a process says when it has been set up.
#[derive(Serialize, Deserialize)]
pub struct Ready {
    /// The version of the engine.
    pub ready: String,
}

/// A process that was set up for a network and answers [`Question`]s.
pub struct Side {
    child: AnsweringChild,
}

impl Side {
    /// Tells the process what to run, and waits until it is ready.
    pub fn new(mut child: AnsweringChild, setup: &impl Serialize) -> Result<Self, ChildError> {
        let Ready { .. } = child.ask(setup)?;
        Ok(Self { child })
    }

    /// The most memory that the process had resident so far, in MB.
    pub fn peak_resident_mb(&self) -> Option<f64> {
        Some(self.child.peak_resident_bytes()? as f64 / 1e6)
    }

    /// What it answers to another question.
    #[cfg(test)]
    pub fn ask<A: serde::de::DeserializeOwned>(&mut self, question: &impl Serialize) -> A {
        self.child.ask(question).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Contestant for Side {
    fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        let Answer { seconds } = self.child.ask(&Question { iterations: count })?;
        Ok(seconds)
    }
}
