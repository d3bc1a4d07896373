//! The time of iterations, and of each task in them.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use znn::conv::Choice;
use znn::engine::{Engine, EngineOptions};
use znn::network::{Network, Parameters};
use znn::ops::loss::Loss;
use znn::plan::PlanError;
use znn::pool::{Activity, Graph, Load, TaskId};
use znn::stats::median;
use znn::trace::TraceFile;
use znn::train::{Settings, StepOptions, TrainingStep, Wanted};
use znn::volume::{Extent, Tensor};

/// What is trained.
#[derive(Clone)]
pub struct Subject {
    pub network: Arc<Network>,
    pub output: Extent,
    pub algorithm: Choice,
}

/// Training of a network on noise.
pub struct Runner {
    engine: Engine,
    step: TrainingStep,
    input: Tensor,
    target: Tensor,
}

impl Runner {
    /// `tuned` has measured which algorithms are fastest, or will: all runners of a comparison use the same.
    pub fn new(subject: &Subject, options: &EngineOptions, tuned: &Engine) -> Result<Self, Box<dyn Error>> {
        let engine = Engine::new(options)?.with_measurements_of(tuned);
        let step_options = StepOptions {
            loss: Loss::SQUARE,
            malis: None,
            momentum: 0.9,
            weight_decay: 0.0,
            algorithm: subject.algorithm,
            inspect: false,
        };
        let Subject { network, output, .. } = subject;
        let mut step = TrainingStep::new(&engine, network, *output, &step_options)?;
        step.load(&Parameters::init(network, 1))?;
        let (from, to) = (network.inputs().next(), network.outputs().next());
        let (from, to) = from.zip(to).ok_or("the network has no input or no output")?;
        let noise =
            |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32;
        Ok(Self {
            input: Tensor::from_fn(network[from].size, step.extent(from), noise),
            target: Tensor::zeros(network[to].size, *output),
            engine,
            step,
        })
    }

    /// Seconds of an iteration in a row of `count` of them, whose last updates count too.
    pub fn time(&mut self, count: usize) -> Result<f64, PlanError> {
        let start = Instant::now();
        for key in 0..count as u64 {
            let settings = Settings { eta: 1e-6, factor: 1.0, key };
            let wanted = Wanted { target: &self.target, weight: None };
            self.step.run(&[&self.input], &[wanted], settings)?;
        }
        self.step.finish()?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }

    /// A trace of what was recorded.
    pub fn trace(&self) -> Option<TraceFile> {
        self.engine.trace()
    }
}

/// Seconds of an iteration of each runner: the medians of turns in which each runs for a while.
pub fn compare(runners: &mut [Runner], turns: usize, turn_seconds: f64) -> Result<Vec<f64>, PlanError> {
    let mut counts = Vec::with_capacity(runners.len());
    for runner in &mut *runners {
        runner.time(2)?;
        counts.push(((turn_seconds / runner.time(1)?) as usize).clamp(1, 1000));
    }
    let mut times = vec![Vec::with_capacity(turns); runners.len()];
    for _ in 0..turns {
        for ((runner, times), &count) in runners.iter_mut().zip(&mut times).zip(&counts) {
            times.push(runner.time(count)?);
        }
    }
    Ok(times.iter_mut().map(|times| median(times)).collect())
}

/// The graph of an iteration with the times of its tasks.
pub struct Profile {
    pub graph: Graph,
    loads: Vec<Load>,
}

impl Profile {
    /// Records some iterations of an engine of these options.
    pub fn new(subject: &Subject, options: EngineOptions, tuned: &Engine) -> Result<Self, Box<dyn Error>> {
        const STEPS: usize = 7;
        let options = EngineOptions { events: Some(1 << 18), ..options };
        let mut runner = Runner::new(subject, &options, tuned)?;
        runner.time(STEPS)?;
        let recording = runner.engine.pool().recording().ok_or("nothing was recorded")?;
        let recorded = recording.graphs.last().ok_or("no graph was recorded")?;
        let mut times = vec![Vec::new(); recorded.graph.len()];
        for event in recording.workers.concat() {
            if let Activity::Task { executor, task, .. } = event.activity
                && executor == recorded.executor
            {
                times[task.index()].push((event.end - event.start) as f64);
            }
        }
        let loads = times.iter_mut().zip(&recorded.tasks).map(|(times, info)| Load {
            time: if times.is_empty() { 0.0 } else { median(times) },
            bytes: info.as_ref().map_or(0.0, |info| info.bytes as f64),
        });
        Ok(Self { loads: loads.collect(), graph: recorded.graph.clone() })
    }

    pub fn load(&self, task: TaskId) -> Load {
        self.loads[task.index()]
    }

    /// Seconds of all tasks one after another: T_1.
    pub fn total(&self) -> f64 {
        self.loads.iter().map(|load| load.time).sum::<f64>() / 1e9
    }

    /// Seconds of the longest chain of tasks: T_inf.
    pub fn longest(&self) -> f64 {
        self.graph.longest_path(|task| self.load(task).time).0 / 1e9
    }

    /// Brent's bound on the seconds of an iteration on `workers`.
    pub fn brent(&self, workers: usize) -> f64 {
        self.total() / workers as f64 + self.longest()
    }
}
