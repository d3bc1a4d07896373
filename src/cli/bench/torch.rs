//! PyTorch as a rival: a Python process that times what it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use znn::conv::Problem;
use znn::volume::Extent;

const SCRIPT: &str = include_str!("../../../benches/rival_torch.py");

/// The rival failed.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The process cannot be started.
    #[error("{python}: cannot be started: {source}")]
    Start { python: String, source: std::io::Error },
    /// It ended, or said something unexpected.
    #[error("PyTorch: {0}; install it with `pip install torch`, and name its Python with --python")]
    Talk(String),
}

/// What is to be timed.
#[derive(Serialize)]
pub struct Request<'a> {
    #[serde(flatten)]
    operation: Operation<'a>,
    /// The pass, by the name that figures have it.
    pass: &'static str,
    threads: usize,
    seconds: f64,
}

impl<'a> Request<'a> {
    pub fn new(operation: Operation<'a>, pass: &'static str, threads: usize) -> Self {
        Self { operation, pass, threads, seconds: 0.06 }
    }
}

/// An operation with its sizes, in the words of `benches/rival_torch.py`.
#[derive(Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation<'a> {
    Convolution {
        c_in: usize,
        c_out: usize,
        input: Extent,
        kernel: Extent,
        dilation: Extent,
        stride: Extent,
        padding: Extent,
    },
    Maximum {
        maps: usize,
        input: Extent,
        size: Extent,
        dilation: Extent,
        stride: Extent,
    },
    Transfer {
        maps: usize,
        input: Extent,
        function: &'a str,
    },
}

impl From<&Problem> for Operation<'_> {
    fn from(problem: &Problem) -> Self {
        let Problem { c_in, c_out, input, kernel, dilation, stride, padding: [padding, _], .. } = *problem;
        Self::Convolution { c_in, c_out, input, kernel, dilation, stride, padding }
    }
}

/// Milliseconds in each memory format.
#[derive(Deserialize)]
struct Answer {
    contiguous: f64,
    channels_last: f64,
}

/// A running Python process.
pub struct Torch {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    /// Starts Python and waits until PyTorch is loaded.
    pub fn start(python: &Path) -> Result<Self, TorchError> {
        let fail = |source| TorchError::Start { python: python.display().to_string(), source };
        let mut process = Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(TorchError::Talk("no pipes".to_owned()));
        };
        let mut torch = Self { process, requests, answers: BufReader::new(answers) };
        torch.line()?;
        Ok(torch)
    }

    /// The time of a pass in the faster memory format, in milliseconds.
    pub fn time(&mut self, request: &Request<'_>) -> Result<f64, TorchError> {
        let talk = |error: &dyn std::fmt::Display| TorchError::Talk(error.to_string());
        let text = serde_json::to_string(request).map_err(|error| talk(&error))?;
        writeln!(self.requests, "{text}").map_err(|error| talk(&error))?;
        let answer: Answer = serde_json::from_str(&self.line()?).map_err(|error| talk(&error))?;
        Ok(answer.contiguous.min(answer.channels_last))
    }

    fn line(&mut self) -> Result<String, TorchError> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err(TorchError::Talk("it ended".to_owned())),
            Ok(_) => Ok(line),
            Err(error) => Err(TorchError::Talk(error.to_string())),
        }
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
