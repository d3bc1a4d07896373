//! Single passes of layers in PyTorch.

use std::path::Path;

use serde::{Deserialize, Serialize};
use znn::stats::median;
use znn::{Extent, Problem};

use super::super::child::AnsweringChild;
use super::super::figures::RivalTime;
use super::{Rival, TorchError, start};

const SCRIPT: &str = include_str!("../../../../benches/rival_torch_pass.py");

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

/// An operation with its sizes, in the words of `benches/rival_torch_pass.py`.
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

/// A pass in one memory format.
#[derive(Clone, Copy, Deserialize)]
struct InFormat {
    ms: f64,
    single: bool,
}

/// In both.
#[derive(Deserialize)]
struct Answer {
    contiguous: InFormat,
    channels_last: InFormat,
}

/// A Python process that times passes.
pub struct TorchPasses {
    child: AnsweringChild,
}

impl TorchPasses {
    /// Starts Python.
    pub fn start(python: &Path) -> Result<Self, TorchError> {
        Ok(Self { child: start(python, SCRIPT)? })
    }

    /// The time of a pass in the faster memory format.
    fn time(&mut self, request: &Request<'_>) -> Result<RivalTime, TorchError> {
        let Answer { contiguous, channels_last } = self.child.ask(request)?;
        let faster = if contiguous.ms < channels_last.ms { contiguous } else { channels_last };
        Ok(RivalTime { engine: Rival::Torch, ms: faster.ms, single: faster.single })
    }
}

/// A pass that is timed again and again.
pub struct TorchTurns<'a> {
    torch: &'a mut TorchPasses,
    request: Request<'a>,
    times: Vec<f64>,
    single: bool,
}

impl<'a> TorchTurns<'a> {
    pub fn new(torch: &'a mut TorchPasses, request: Request<'a>) -> Self {
        Self { torch, request, times: Vec::new(), single: false }
    }

    /// Times it once more.
    pub fn turn(&mut self) -> Result<(), TorchError> {
        let time = self.torch.time(&self.request)?;
        self.times.push(time.ms);
        self.single = time.single;
        Ok(())
    }

    /// The median of all turns, of which there must be one.
    pub fn end(mut self) -> RivalTime {
        RivalTime { engine: Rival::Torch, ms: median(&mut self.times), single: self.single }
    }
}
