//! Single passes of layers in PyTorch.

use std::path::Path;

use serde::{Deserialize, Serialize};
use znn::stats::median;
use znn::{Extent, Problem};

use super::super::child::AnsweringChild;
use super::super::figures::RivalTime;
use super::super::rivals::Rival;
use super::network::Format;
use super::{TorchError, start};

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
    /// How long a turn lasts.
    pub const SECONDS: f64 = 0.06;

    pub fn new(operation: Operation<'a>, pass: &'static str, threads: usize) -> Self {
        Self { operation, pass, threads, seconds: Self::SECONDS }
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

/// The time of a pass in one memory format.
#[derive(Clone, Copy, Deserialize)]
pub struct InFormat {
    /// Milliseconds of a call.
    pub ms: f64,
    /// Whether one call took so long that it is the only one.
    pub single: bool,
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

    /// The time of a pass in each memory format.
    pub fn times(&mut self, request: &Request<'_>) -> Result<[(Format, InFormat); 2], TorchError> {
        let Answer { contiguous, channels_last } = self.child.ask(request)?;
        Ok([(Format::Contiguous, contiguous), (Format::ChannelsLast, channels_last)])
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

    /// Times it once more, in the faster memory format.
    pub fn turn(&mut self) -> Result<(), TorchError> {
        let [(_, contiguous), (_, channels_last)] = self.torch.times(&self.request)?;
        let faster = if contiguous.ms < channels_last.ms { contiguous } else { channels_last };
        self.times.push(faster.ms);
        self.single = faster.single;
        Ok(())
    }

    /// The median of all turns, of which there must be one.
    pub fn end(mut self) -> RivalTime {
        RivalTime { engine: Rival::Torch, ms: median(&mut self.times), single: self.single }
    }
}
