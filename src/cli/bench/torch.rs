//! PyTorch as a rival: a Python process that times what it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use znn::conv::Problem;

use super::conv::Pass;

const SCRIPT: &str = include_str!("../../../benches/torch_conv.py");

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
pub struct Request {
    c_in: usize,
    c_out: usize,
    input: [usize; 3],
    kernel: [usize; 3],
    dilation: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    pass: Pass,
    threads: usize,
    seconds: f64,
}

impl Request {
    pub fn new(problem: &Problem, pass: Pass, threads: usize) -> Self {
        Self {
            c_in: problem.c_in,
            c_out: problem.c_out,
            input: problem.input.to_array(),
            kernel: problem.kernel.to_array(),
            dilation: problem.dilation.to_array(),
            stride: problem.stride.to_array(),
            padding: problem.padding[0].to_array(),
            pass,
            threads,
            seconds: 0.06,
        }
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
    pub fn time(&mut self, request: &Request) -> Result<f64, TorchError> {
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
