//! Iterations of networks in this process.

use std::cell::RefCell;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use znn::conv::Choice;
use znn::infer::Predictor;
use znn::network::{Network, NodeId, Parameters};
use znn::plan::PlanError;
use znn::trace::TraceFile;
use znn::train::Loss;
use znn::train::{Outcome, Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, Extent, Tensor};

use super::contest::Contestant;

/// What runs.
#[derive(Clone)]
pub struct Subject {
    pub network: Arc<Network>,
    pub output: Extent,
    pub algorithm: Choice,
}

/// The momentum of training, and its rate: so small that the values stay what they are.
const MOMENTUM: f32 = 0.9;
const ETA: f32 = 1e-6;

/// Values within 0..1 without any pattern.
fn noise(channels: usize, extent: Extent) -> Tensor {
    let value = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32;
    Tensor::from_fn(channels, extent, value)
}

/// Training of a network on noise.
pub struct Trainer {
    engine: Engine,
    step: TrainingStep,
    inputs: Vec<Tensor>,
    targets: Vec<Tensor>,
}

impl Trainer {
    pub fn new(subject: &Subject, engine: Engine) -> Result<Self, Box<dyn Error>> {
        let Subject { network, output, algorithm } = subject;
        let options = StepOptions {
            loss: Loss::SQUARE,
            momentum: MOMENTUM,
            algorithm: *algorithm,
            ..StepOptions::default()
        };
        let mut step = TrainingStep::new(&engine, network, *output, &options)?;
        step.load(&Parameters::init(network, 1))?;
        Ok(Self {
            inputs: network.inputs().map(|node| noise(network[node].size, step.extent(node))).collect(),
            targets: network.outputs().map(|node| Tensor::zeros(network[node].size, *output)).collect(),
            engine,
            step,
        })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A trace of what was recorded.
    pub fn trace(&self) -> Option<TraceFile> {
        self.engine.trace()
    }
}

/// Runs an iteration: [`TrainingStep::run`] or [`TrainingStep::run_in_order`].
type Run = fn(&mut TrainingStep, &[&Tensor], &[Wanted<'_>], Settings) -> Result<Outcome, PlanError>;

impl Trainer {
    /// Seconds of an iteration, of `count`; the last updates count too.
    fn time_by(&mut self, run: Run, count: usize) -> Result<f64, Box<dyn Error>> {
        let inputs: Vec<&Tensor> = self.inputs.iter().collect();
        let wanted: Vec<Wanted<'_>> =
            self.targets.iter().map(|target| Wanted { target, weight: None }).collect();
        let start = Instant::now();
        for key in 0..count as u64 {
            run(&mut self.step, &inputs, &wanted, Settings { eta: ETA, factor: 1.0, key })?;
        }
        self.step.finish()?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }
}

impl Contestant for Trainer {
    fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        self.time_by(TrainingStep::run, count)
    }
}

/// One trainer that competes with itself: by its pool, or by a loop over the same tasks, on the same memory.
pub struct SameTrainer<'a> {
    trainer: &'a RefCell<Trainer>,
    run: Run,
}

impl<'a> SameTrainer<'a> {
    /// By the pool.
    pub fn by_pool(trainer: &'a RefCell<Trainer>) -> Self {
        Self { trainer, run: TrainingStep::run }
    }

    /// By a loop in the calling thread.
    pub fn in_order(trainer: &'a RefCell<Trainer>) -> Self {
        Self { trainer, run: TrainingStep::run_in_order }
    }
}

impl Contestant for SameTrainer<'_> {
    fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        self.trainer.borrow_mut().time_by(self.run, count)
    }
}

/// The forward pass of a network whose weights stay, on noise.
pub struct Applier {
    predictor: Predictor,
    inputs: Vec<Tensor>,
    /// Its workers run the predictor.
    _engine: Engine,
}

impl Applier {
    pub fn new(subject: &Subject, engine: Engine) -> Result<Self, Box<dyn Error>> {
        let Subject { network, output, algorithm } = subject;
        let parameters = Parameters::init(network, 1);
        let predictor = Predictor::new(&engine, network, &parameters, *output, *algorithm)?;
        let image = |node: NodeId| noise(network[node].size, predictor.input_extent(node));
        Ok(Self { inputs: network.inputs().map(image).collect(), predictor, _engine: engine })
    }
}

impl Contestant for Applier {
    fn time(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        let inputs: Vec<&Tensor> = self.inputs.iter().collect();
        let start = Instant::now();
        for _ in 0..count {
            self.predictor.predict(&inputs)?;
        }
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }
}
