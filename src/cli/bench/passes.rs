//! `znn bench passes`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};
use znn::ops::pool::{self, Maximum};
use znn::ops::{Maps, Site, transfer};
use znn::plan::{Buffer, Label, Plan, PlanBuilder};
use znn::stats::median;
use znn::{Engine, EngineOptions, Extent};
use znn_kernels::Transfer;

use super::super::{CommandResult, Outcome};
use super::figures::{Figure, Figures, Versus};
use super::table::{Case, TableArgs};
use super::torch::TorchArgs;
use super::torch::pass::{Operation as TorchOperation, Request, TorchPasses, TorchTurns};

/// Measure the passes between convolutions: maxima over windows, bias and transfer functions.
///
/// With one thread and with all, each pass runs in turn with a plain vector loop that loads and stores as many bytes on
/// the same threads; "of memory" is how many times longer it takes. The operands of both come from memory, not from
/// caches. Bytes are those of the operands, each counted once for being read and once for being written; a window's
/// winner is one byte.
#[derive(Args)]
pub struct PassesArgs {
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    torch: TorchArgs,
}

/// An operation on an image.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassCase {
    name: String,
    maps: usize,
    input: Extent,
    operation: Operation,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Operation {
    MaxFilter {
        size: Extent,
        #[serde(default = "one")]
        dilation: Extent,
    },
    MaxPool {
        size: Extent,
    },
    Transfer(Function),
}

fn one() -> Extent {
    Extent::ONE
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Function {
    Linear,
    RectifyLinear,
    Tanh,
    SoftSign,
    Logistic,
    ForwardLogistic,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Linear => "linear",
            Function::RectifyLinear => "rectify-linear",
            Function::Tanh => "tanh",
            Function::SoftSign => "soft-sign",
            Function::Logistic => "logistic",
            Function::ForwardLogistic => "forward-logistic",
        }
    }

    fn transfer(self) -> Transfer {
        match self {
            Function::Linear => Transfer::IDENTITY,
            Function::RectifyLinear => Transfer::RectifyLinear,
            Function::Tanh => Transfer::Tanh { amplitude: 1.7159, slope: 0.6666 },
            Function::SoftSign => Transfer::SoftSign,
            Function::Logistic => Transfer::Logistic,
            Function::ForwardLogistic => Transfer::ForwardLogistic,
        }
    }
}

impl PassCase {
    fn maximum(&self) -> Option<Maximum> {
        match self.operation {
            Operation::MaxFilter { size, dilation } => Some(Maximum::Filter { size, dilation }),
            Operation::MaxPool { size } => Some(Maximum::Pool { size }),
            Operation::Transfer(_) => None,
        }
    }

    fn in_torch(&self) -> TorchOperation<'static> {
        let &Self { maps, input, .. } = self;
        match self.operation {
            Operation::MaxFilter { size, dilation } => {
                TorchOperation::Maximum { maps, input, size, dilation, stride: Extent::ONE }
            }
            Operation::MaxPool { size } => {
                TorchOperation::Maximum { maps, input, size, dilation: Extent::ONE, stride: size }
            }
            Operation::Transfer(function) => {
                TorchOperation::Transfer { maps, input, function: function.name() }
            }
        }
    }
}

impl Case for PassCase {
    const BUILT_IN: &'static str = include_str!("../../../benches/passes.toml");
    const FILE: &'static str = "benches/passes.toml";

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), String> {
        let sizes = match self.operation {
            Operation::MaxFilter { size, dilation } => [size, dilation],
            Operation::MaxPool { size } => [size, Extent::ONE],
            Operation::Transfer(_) => [Extent::ONE; 2],
        };
        if self.maps == 0 || self.input.is_empty() || sizes.iter().any(|size| size.is_empty()) {
            return Err("expected sizes of at least 1".to_owned());
        }
        match self.operation {
            Operation::MaxFilter { size, dilation }
                if !size.zip(dilation, |k, d| (k - 1) * d).all(self.input, |reach, n| reach < n) =>
            {
                Err("the window is larger than the image".to_owned())
            }
            Operation::MaxPool { size } if !self.input.all(size, |n, size| n.is_multiple_of(size)) => {
                Err("the image is no multiple of the blocks".to_owned())
            }
            _ if self.maximum().is_some_and(|maximum| maximum.stages().len() > 1) => {
                Err("a window has at most 256 voxels here".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A line of the result.
#[derive(Serialize)]
struct PassFigure {
    case: String,
    pass: &'static str,
    threads: usize,
    isa: &'static str,
    ms: f64,
    /// Read and written, each operand once.
    bytes: usize,
    /// Milliseconds of the plain pass over as many bytes.
    memory_ms: f64,
    /// The time in units of it.
    of_memory: f64,
    #[serde(flatten)]
    versus: Versus,
}

impl Figure for PassFigure {
    fn ratio(&self) -> Option<f64> {
        self.versus.ratio
    }
}

impl fmt::Display for PassFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, pass, threads, ms, of_memory, versus, .. } = self;
        let megabytes = self.bytes as f64 / 1e6;
        let rate = megabytes / ms;
        write!(
            f,
            "{case:18} {pass:9} {threads:>7} {ms:>8.3} {megabytes:>7.1} {rate:>7.1} {of_memory:>8.2}x{versus}"
        )
    }
}

/// Runs `znn bench passes`.
pub fn run(args: &PassesArgs) -> CommandResult {
    let cases: Vec<PassCase> = args.table.read()?;
    let options = |threads| EngineOptions { threads, isa: args.table.isa, ..EngineOptions::default() };
    let all = Engine::new(&options(None))?.pool().threads();
    let mut torch = args.torch.python().map(TorchPasses::start).transpose()?;
    let mut figures = Figures::begin(&format!(
        "{:18} {:9} {:>7} {:>8} {:>7} {:>7} {:>9}{}",
        "operation",
        "pass",
        "threads",
        "ms",
        "MB",
        "GB/s",
        "of memory",
        Versus::header(torch.is_some())
    ))?;
    for threads in args.table.thread_counts(all) {
        let engine = Engine::new(&options(Some(threads)))?;
        for case in &cases {
            for backward in [false, true] {
                figures.add(measure(&engine, case, backward, torch.as_mut())?)?;
            }
        }
    }
    figures.end(args.table.json.as_deref())?;
    Ok(Outcome::Done)
}

/// Times one pass, in turn with the plain pass over memory. Before each, the caches are filled with something else, so
/// that all operands come from memory.
fn measure(
    engine: &Engine,
    case: &PassCase,
    backward: bool,
    torch: Option<&mut TorchPasses>,
) -> Result<PassFigure, Box<dyn Error>> {
    const ROUNDS: usize = 17;
    /// More than the caches of the machines at hand.
    const OTHER_BYTES: usize = 96 << 20;
    let (mut plan, operands) = single_pass(engine, case, backward)?;
    let mut plain = plain_pass(engine, case.maps, operands)?;
    let mut other = plain_pass(engine, case.maps, [OTHER_BYTES / size_of::<f32>() / case.maps, 0, 0])?;
    let threads = engine.pool().threads();
    let (mut own, mut memory) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (plan, times) in [(&mut plan, &mut own), (&mut plain, &mut memory)] {
            other.step(&[], &mut [])?;
            other.finish()?;
            let start = Instant::now();
            plan.step(&[], &mut [])?;
            plan.finish()?;
            // The first rounds touch the memory.
            if round >= 2 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let pass = if backward { "backward" } else { "forward" };
    let rival = torch.map(|torch| {
        let mut turns = TorchTurns::new(torch, Request::new(case.in_torch(), pass, threads));
        (0..5).try_for_each(|_| turns.turn()).map(|()| turns.end())
    });
    let (ms, memory_ms) = (median(&mut own), median(&mut memory));
    let [read, write, update] = operands;
    Ok(PassFigure {
        case: case.name.clone(),
        pass,
        threads,
        isa: engine.kernels().isa().name(),
        ms,
        bytes: case.maps * (read + write + 2 * update) * size_of::<f32>(),
        memory_ms,
        of_memory: ms / memory_ms,
        versus: Versus::new(ms, rival.transpose()?),
    })
}

/// How many floats' worth of a map a pass reads, writes, and changes in place.
type Operands = [usize; 3];

/// A plan of one pass of one operation, and its operands.
fn single_pass(engine: &Engine, case: &PassCase, backward: bool) -> Result<(Plan, Operands), Box<dyn Error>> {
    let mut plan = engine.plan();
    let site = Site { name: Arc::from(case.name.as_str()), kernels: engine.kernels() };
    let &PassCase { maps, input, .. } = case;
    let new = |plan: &mut PlanBuilder, extent: Extent| Maps {
        buffer: plan.persistent(maps, extent.len()),
        count: maps,
        extent,
    };
    let x = new(&mut plan, input);
    let mut filled = vec![x.buffer];
    let mut winning = None;
    let operands = match (case.operation, case.maximum()) {
        (_, Some(maximum)) => {
            let y = new(&mut plan, maximum.output(input));
            let winners_len = y.extent.len().div_ceil(size_of::<f32>());
            let winners = plan.persistent(maps, winners_len);
            if backward {
                filled = vec![y.buffer];
                winning = Some(winners);
                pool::backward(&mut plan, &site, maximum, y, winners, x, false);
                [y.extent.len() + winners_len, x.extent.len(), 0]
            } else {
                pool::forward(&mut plan, &site, maximum, x, y, Some(winners));
                [x.extent.len(), y.extent.len() + winners_len, 0]
            }
        }
        (Operation::Transfer(function), _) => {
            let bias = plan.persistent(1, maps);
            if backward {
                let g = new(&mut plan, input);
                filled.push(g.buffer);
                transfer::backward(&mut plan, &site, x, g, bias, function.transfer());
                [input.len(), 0, input.len()]
            } else {
                transfer::forward(&mut plan, &site, x, bias, function.transfer());
                [0, 0, input.len()]
            }
        }
        (Operation::MaxFilter { .. } | Operation::MaxPool { .. }, None) => unreachable!("these are maxima"),
    };
    let mut plan = plan.build(engine.pool(), engine.kernels());
    for buffer in filled {
        fill(plan.buffer_mut(buffer)?);
    }
    if let Some(winners) = winning {
        // Any winners will do: the time does not depend on them.
        bytemuck::cast_slice_mut::<f32, u8>(plan.buffer_mut(winners)?)
            .iter_mut()
            .zip([0u8, 1].into_iter().cycle())
            .for_each(|(winner, offset)| *winner = offset);
    }
    Ok((plan, operands))
}

/// Values of which every derivative's power stays a normal number over all rounds.
fn fill(values: &mut [f32]) {
    let mut state = 1u32;
    for value in values {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = 0.3 + 0.3 * (state >> 8) as f32 / (1 << 24) as f32;
    }
}

/// A plan of one plain pass over as much memory, a task for each map.
fn plain_pass(engine: &Engine, maps: usize, operands: Operands) -> Result<Plan, Box<dyn Error>> {
    let mut plan = engine.plan();
    let name: Arc<str> = Arc::from("memory");
    let kernels = engine.kernels();
    let [read, write, update]: [Buffer; 3] = operands.map(|len| plan.persistent(maps, len));
    for map in 0..maps {
        let [read, write, update] = [read, write, update].map(|buffer| plan.rows(buffer, map..map + 1));
        plan.task(Label::new(&name, "pass"), 1e5).read(read).write(write).write(update).run(move |views| {
            let ([read], [mut write, mut update]) = (views.reads.take(), views.writes.take());
            kernels.stream(read.row(0), write.row_mut(0), update.row_mut(0));
        });
    }
    let mut plan = plan.build(engine.pool(), kernels);
    fill(plan.buffer_mut(read)?);
    fill(plan.buffer_mut(update)?);
    Ok(plan)
}
