//! One training iteration as a plan: forward, loss, backward, update.

mod inspect;

use std::ops::Range;
use std::sync::Arc;

pub use inspect::Inspection;

use crate::conv::Choice;
use crate::engine::Engine;
use crate::fft::FftError;
use crate::machine::memory::{self, TooLittleMemory};
use crate::network::{
    EdgeId, Lowering, Network, NodeId, Parameter, Parameters, Phase, ShapeError, Shapes, UpdateOverrides,
};
use crate::ops::loss::{self, Loss, Outcome};
use crate::ops::update::{Clip, Optimiser, REPORT_ROWS, Rule, Shared, Target, Updates, settings};
use crate::ops::{Maps, Site, copy, guard};
use crate::plan::{Buffer, Label, Plan, PlanBuilder, PlanError};
use crate::segment;
use crate::volume::{Extent, Tensor};

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// What is minimised.
    pub loss: Loss,
    /// How the gradients of affinities are weighted by what they decide; `None`: alike. The outputs have three maps then.
    pub malis: Option<segment::Mode>,
    /// Momentum of groups without one of their own.
    pub momentum: f32,
    /// Weight decay of groups without one of their own.
    pub weight_decay: f32,
    /// How parameters follow their gradients.
    pub optimiser: Optimiser,
    /// The patches, one iteration each, whose gradients are averaged for one update; at least 1.
    pub batch: usize,
    /// How far the gradients of an update may go.
    pub clip: Clip,
    /// How convolutions are computed, where the network's file does not say.
    pub algorithm: Choice,
    /// Keep a copy of all values and gradients of an iteration for [`TrainingStep::inspect`].
    #[doc(hidden)]
    pub inspect: bool,
}

impl Default for StepOptions {
    /// The squared difference, by plain gradient descent with an update after each patch.
    fn default() -> Self {
        Self {
            loss: Loss::SQUARE,
            malis: None,
            momentum: 0.0,
            weight_decay: 0.0,
            optimiser: Optimiser::SGD,
            batch: 1,
            clip: Clip::default(),
            algorithm: Choice::Measure,
            inspect: false,
        }
    }
}

/// The loss of one output node, for [`TrainingStep::with_losses`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputLoss {
    /// What is minimised.
    pub loss: Loss,
    /// Its factor in the sum over the outputs.
    pub factor: f32,
    /// As [`StepOptions::malis`].
    pub malis: Option<segment::Mode>,
}

/// What changes from iteration to iteration of a [`TrainingStep`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The learning rate of groups without one of their own.
    pub eta: f32,
    /// What the schedule multiplies the rate of the others by.
    pub factor: f32,
    /// The seed of this iteration's dropout masks.
    pub key: u64,
}

/// The images of one output node, for [`TrainingStep::run`].
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the output should be.
    pub target: &'a Tensor,
    /// A factor for each voxel's loss and gradient; `None`: one.
    pub weight: Option<&'a Tensor>,
}

/// A network cannot be trained with these sizes.
///
/// ```
/// use std::sync::Arc;
/// use znn::network::spec;
/// use znn::train::{StepError, StepOptions, TrainingStep};
/// use znn::{Engine, EngineOptions, Extent};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// # let network = Arc::new(spec::read("examples/networks/hello.znn".as_ref())?.network);
/// let none = Extent::new(0, 8, 8);
/// let error = TrainingStep::new(&engine, &network, none, &StepOptions::default()).err().expect("no voxel");
/// assert!(matches!(error, StepError::Shape(_)), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Its images do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A transform cannot be made.
    #[error(transparent)]
    Fft(#[from] FftError),
    /// The machine is too small.
    #[error(
        "training on output patches of {output} voxels (z,y,x), of which smaller ones need less: {source}"
    )]
    Memory {
        /// The output patch.
        output: Extent,
        /// How much is missing.
        source: TooLittleMemory,
    },
}

/// A training iteration, ready to run.
///
/// ```
/// use std::sync::Arc;
/// use znn::conv::Choice;
/// use znn::network::{Parameters, spec};
/// use znn::train::{Clip, Loss, Optimiser, OutputLoss, Settings, StepOptions, TrainingStep, Wanted};
/// use znn::{Engine, EngineOptions, Extent, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// let network = Arc::new(spec::read("examples/networks/hello.znn".as_ref())?.network);
/// let options = StepOptions {
///     loss: Loss::BINOMIAL_CROSS_ENTROPY,
///     optimiser: Optimiser::Sgd { nesterov: true },
///     momentum: 0.9,
///     clip: Clip { norm: Some(10.0), ..Clip::default() },
///     algorithm: Choice::Estimate,
///     ..StepOptions::default()
/// };
/// let output = Extent::new(2, 6, 6);
/// let mut step = TrainingStep::new(&engine, &network, output, &options)?;
/// println!("{} bytes", step.bytes());
/// let mut parameters = Parameters::init(&network, 1);
/// step.load(&parameters)?;
///
/// // Where the image is bright, the first map shall be 1, else the second.
/// let extent = step.extent(network.inputs().next().expect("an input"));
/// let image = Tensor::from_fn(1, extent, |i| if i % 5 < 2 { 1.0 } else { -1.0 });
/// let margin = extent - output;
/// let middle = image.crop(Extent::new(margin.z / 2, margin.y / 2, margin.x / 2), output);
/// let target = Tensor::from_fn(2, output, |i| {
///     let is_bright = middle.data()[i % output.len()] > 0.0;
///     if is_bright == (i < output.len()) { 1.0 } else { 0.0 }
/// });
/// let wanted = [Wanted { target: &target, weight: None }];
/// let mut losses = Vec::new();
/// for iteration in 0..20 {
///     let settings = Settings { eta: 0.05, factor: 1.0, key: iteration };
///     losses.push(step.run(&[&image], &wanted, settings)?.mean_loss());
/// }
/// assert!(losses[19] < losses[0] / 2.0, "{losses:?}");
/// assert_eq!(step.predictions()[0].extent(), output);
/// assert!(!step.has_fault()? && step.gradient_norm()?.is_some());
/// // That is of affinities.
/// assert_eq!(step.rand_error(), None);
/// step.finish()?;
/// step.store(&mut parameters)?;
///
/// // With a loss for each output, where there are several.
/// let losses = [OutputLoss { loss: Loss::SQUARE, factor: 0.5, malis: None }];
/// let step = TrainingStep::with_losses(&engine, &network, output, &options, &losses)?;
/// # drop(step);
/// # Ok(())
/// # }
/// ```
pub struct TrainingStep {
    plan: Plan,
    network: Arc<Network>,
    shapes: Shapes,
    edges: Vec<(EdgeId, Group)>,
    nodes: Vec<(NodeId, Group)>,
    statistics: Vec<(NodeId, Buffer)>,
    /// Copies of node values and gradients, and of output gradients, where they are kept.
    kept_values: Vec<(NodeId, Buffer)>,
    kept_gradients: Vec<(NodeId, Buffer)>,
    predictions: Vec<Tensor>,
    stats: Vec<f32>,
    /// For each output with MALIS weights.
    rand_errors: Vec<f32>,
    has_malis: Vec<bool>,
    ones: Vec<f32>,
    shared: Shared,
    /// The blocks of gradients.
    blocks: usize,
    optimiser: Optimiser,
    batch: usize,
    /// The patches of the batch so far.
    patches: usize,
    /// The updates before.
    updates: u64,
    /// 1 where a gradient of the iteration before the last was not finite.
    fault: [f32; 1],
}

/// The buffers of one group of parameters.
#[derive(Clone, Copy)]
struct Group {
    values: Buffer,
    momentum: Buffer,
    variance: Option<Buffer>,
    total: Option<Buffer>,
    gradient: Option<Buffer>,
}

impl TrainingStep {
    /// Plans the iteration for output patches of extent `output`, with one loss for all outputs. Parameters are zero until
    /// [`load`](TrainingStep::load).
    pub fn new(
        engine: &Engine,
        network: &Arc<Network>,
        output: Extent,
        options: &StepOptions,
    ) -> Result<Self, StepError> {
        let loss = OutputLoss { loss: options.loss, factor: 1.0, malis: options.malis };
        let losses = vec![loss; network.outputs().count()];
        Self::with_losses(engine, network, output, options, &losses)
    }

    /// As [`new`](TrainingStep::new), but with a loss for each output node, in their order, in place of those of `options`.
    pub fn with_losses(
        engine: &Engine,
        network: &Arc<Network>,
        output: Extent,
        options: &StepOptions,
        losses: &[OutputLoss],
    ) -> Result<Self, StepError> {
        assert!(options.batch > 0, "a batch of no patch");
        let shapes = network.shapes(output)?;
        let too_large = |source| StepError::Memory { output, source };
        memory::check(network.least_bytes(&shapes)).map_err(too_large)?;
        let mut plan = engine.plan();
        let name: Arc<str> = Arc::from("step");
        let given = plan.input(1, settings::LEN);
        let constants = plan.transient(1, settings::LEN);
        let site = Site { name: name.clone(), kernels: engine.kernels() };
        load(&mut plan, &name, (given, 0..settings::LEN), constants);
        let key = plan.transient(1, settings::KEY.len());
        load(&mut plan, &name, (given, settings::KEY), key);

        let phase = Phase::Train { key };
        let mut lowering = Lowering::new(&mut plan, network, &shapes, engine.tools(), phase);
        for node in network.inputs() {
            // Deferred tasks read the input, so that the caller's memory has to be copied.
            let len = shapes[node].extent.len();
            let (from, to) = (plan.input(network[node].size, len), plan.transient(network[node].size, len));
            let extent = shapes[node].extent;
            let maps = |buffer| Maps { buffer, count: network[node].size, extent };
            copy::copy(&mut plan, &site, maps(from), maps(to), false);
            lowering.set_values(node, to);
        }
        lowering.forward(&mut plan, |edge, problem| {
            engine.method(network.algorithm(edge, options.algorithm), problem, network.passes(edge))
        })?;

        let mut kept_values = Vec::new();
        let mut kept_gradients = Vec::new();
        let keep = |plan: &mut PlanBuilder, maps: Maps| {
            let kept = plan.persistent(maps.count, maps.extent.len());
            copy::copy(plan, &site, maps, Maps { buffer: kept, ..maps }, false);
            kept
        };
        if options.inspect {
            for node in network.node_ids() {
                let values = lowering.values(node).expect("forward was lowered");
                kept_values.push((node, keep(&mut plan, values)));
            }
        }

        let outputs: Vec<NodeId> = network.outputs().collect();
        assert_eq!(losses.len(), outputs.len(), "a loss for each output node");
        let mut all_stats = Vec::new();
        let mut gradients = Vec::new();
        for (&node, of_output) in outputs.iter().zip(losses) {
            let values = lowering.values(node).expect("forward was lowered");
            let len = values.extent.len();
            let (target, weight) = (plan.input(values.count, len), plan.input(values.count, len));
            let gradient = plan.transient(values.count, len);
            let prediction = plan.output(values.count, len);
            let stats = plan.transient(1, loss::stats_len(values.count, values.extent));
            all_stats.push(stats);
            let emphasis = of_output.malis.map(|mode| {
                let emphasis = plan.transient(values.count, len);
                let rand_error = plan.output(1, 1);
                loss::malis(&mut plan, &site, mode, values, target, [emphasis, rand_error]);
                emphasis
            });
            let factor = of_output.factor;
            let operands = loss::Operands { target, weight, emphasis, gradient, prediction, stats, factor };
            loss::loss(&mut plan, &site, of_output.loss, values, operands);
            if options.inspect {
                kept_gradients.push((node, keep(&mut plan, Maps { buffer: gradient, ..values })));
            }
            gradients.push((node, gradient));
        }

        let stats_len = all_stats.iter().map(|&stats| plan.dimensions(stats).1).sum();
        let (all_found, fault) = (plan.output(1, stats_len), plan.output(1, 1));

        let found = lowering.backward(&mut plan, &gradients);
        let blocks = found.weights.iter().map(|(_, blocks)| blocks.len()).sum::<usize>() + found.biases.len();
        let shared = Shared {
            settings: constants,
            guard: plan.transient(1, 1),
            report: plan.persistent(REPORT_ROWS, blocks),
            norm: plan.persistent(1, 2),
            clip: options.clip,
        };
        guard::guard(&mut plan, &site, &all_stats, &shared, all_found, fault);
        let step_site = site;
        let scale = 1.0 / (output.len() * options.batch) as f32;
        let rule = |update: &UpdateOverrides| Rule {
            optimiser: options.optimiser,
            eta: update.eta,
            momentum: update.momentum.unwrap_or(options.momentum),
            decay: update.weight_decay.unwrap_or(options.weight_decay),
            scale,
        };
        let group = |plan: &mut PlanBuilder, values: Buffer| {
            let (rows, cols) = plan.dimensions(values);
            let momentum = plan.persistent(rows, cols);
            let variance = options.optimiser.has_variance().then(|| plan.persistent(rows, cols));
            let is_gathered = options.batch > 1 || options.clip.norm.is_some();
            let total = is_gathered.then(|| plan.persistent(rows, cols));
            let gradient = options.inspect.then(|| plan.persistent(rows, cols));
            Group { values, momentum, variance, total, gradient }
        };
        let target = |group: Group, rule: Rule| Target {
            values: group.values,
            momentum: group.momentum,
            variance: group.variance,
            total: group.total,
            gradient: group.gradient,
            rule,
        };
        let mut updates = Updates::new(shared);
        let site = |name: &str| Site { name: Arc::from(name), kernels: engine.kernels() };
        let mut edges = Vec::new();
        for (edge, gradients) in found.weights {
            let group = group(&mut plan, lowering.weights(edge).expect("a convolution has weights"));
            let blocks = network.weight_blocks(edge);
            let to = target(group, rule(&network[edge].update));
            let site = site(&network[edge].name);
            updates.weights(&mut plan, &site, gradients, to, blocks.kernel, blocks.repeat);
            edges.push((edge, group));
        }
        let mut nodes = Vec::new();
        for (node, gradient) in found.biases {
            let group = group(&mut plan, lowering.biases(node).expect("a transfer node has biases"));
            let to = target(group, rule(&network[node].update));
            updates.biases(&mut plan, &site(&network[node].name), gradient, to);
            nodes.push((node, group));
        }
        updates.finish(&mut plan, &step_site);

        let statistics = network.node_ids().filter_map(|node| Some((node, lowering.statistics(node)?)));
        let statistics = statistics.collect();
        plan.check_memory(engine.pool().threads()).map_err(too_large)?;
        let predictions: Vec<Tensor> =
            outputs.iter().map(|&node| Tensor::zeros(network[node].size, shapes[node].extent)).collect();
        let largest = predictions.iter().map(|p| p.data().len()).max().unwrap_or(0);
        Ok(Self {
            plan: plan.build(engine.pool(), engine.kernels()),
            network: network.clone(),
            shapes,
            edges,
            nodes,
            statistics,
            kept_values,
            kept_gradients,
            predictions,
            stats: vec![0.0; stats_len],
            rand_errors: vec![0.0; losses.iter().filter(|of_output| of_output.malis.is_some()).count()],
            has_malis: losses.iter().map(|of_output| of_output.malis.is_some()).collect(),
            ones: vec![1.0; largest],
            shared,
            blocks,
            optimiser: options.optimiser,
            batch: options.batch,
            patches: 0,
            updates: 0,
            fault: [0.0],
        })
    }
}

/// Adds the task that copies some of the step's settings.
fn load(plan: &mut PlanBuilder, name: &Arc<str>, (from, columns): (Buffer, Range<usize>), to: Buffer) {
    let (read, write) = (plan.region(from, 0..1, columns), plan.whole(to));
    plan.task(Label::new(name, "settings"), 0.0).read(read).write(write).run(|views| {
        let ([from], [mut to]) = (views.reads.take(), views.writes.take());
        to.row_mut(0).copy_from_slice(from.row(0));
    });
}

impl TrainingStep {
    /// Runs one iteration. `inputs` and `wanted` in the order of the network's input and output nodes.
    ///
    /// The update of the weights may still go on when this returns. Panics where an image has the wrong shape.
    pub fn run(
        &mut self,
        inputs: &[&Tensor],
        wanted: &[Wanted<'_>],
        settings: Settings,
    ) -> Result<Outcome, PlanError> {
        self.run_by(Plan::step, inputs, wanted, settings)
    }

    /// [`run`](Self::run) in the calling thread, without any scheduling: see [`Plan::step_in_order`].
    #[doc(hidden)]
    pub fn run_in_order(
        &mut self,
        inputs: &[&Tensor],
        wanted: &[Wanted<'_>],
        settings: Settings,
    ) -> Result<Outcome, PlanError> {
        self.run_by(Plan::step_in_order, inputs, wanted, settings)
    }

    fn run_by(
        &mut self,
        step: impl FnOnce(&mut Plan, &[&[f32]], &mut [&mut [f32]]) -> Result<(), PlanError>,
        inputs: &[&Tensor],
        wanted: &[Wanted<'_>],
        settings: Settings,
    ) -> Result<Outcome, PlanError> {
        let mut values = [0.0; settings::LEN];
        values[settings::ETA] = settings.eta;
        values[settings::FACTOR] = settings.factor;
        values[settings::KEY.start] = f32::from_bits(settings.key as u32);
        values[settings::KEY.start + 1] = f32::from_bits((settings.key >> 32) as u32);
        let is_last = self.patches + 1 == self.batch;
        values[settings::FIRST] = f32::from(self.patches == 0);
        values[settings::LAST] = f32::from(is_last);
        let corrections = self.optimiser.corrections(self.updates + 1).map(|factor| factor as f32);
        values[settings::CORRECTIONS].copy_from_slice(&corrections);
        let mut given: Vec<&[f32]> = vec![&values];
        given.extend(inputs.iter().map(|input| input.data()));
        for wanted in wanted {
            let target = wanted.target.data();
            given.push(target);
            given.push(wanted.weight.map_or(&self.ones[..target.len()], Tensor::data));
        }
        let mut outputs: Vec<&mut [f32]> = Vec::new();
        let mut rand_errors = self.rand_errors.chunks_mut(1);
        for (prediction, &has_malis) in self.predictions.iter_mut().zip(&self.has_malis) {
            outputs.push(prediction.data_mut());
            outputs.extend(has_malis.then(|| rand_errors.next().expect("one for each such output")));
        }
        outputs.extend([&mut self.stats[..], &mut self.fault]);
        step(&mut self.plan, &given, &mut outputs)?;
        self.patches = if is_last { 0 } else { self.patches + 1 };
        self.updates += u64::from(is_last);
        Ok(loss::total(&self.stats))
    }
}

impl TrainingStep {
    /// Waits for the updates of the iterations so far.
    pub fn finish(&mut self) -> Result<(), PlanError> {
        self.plan.finish()
    }

    /// Takes over the parameters of the network with the state of the optimiser. A new batch begins.
    pub fn load(&mut self, parameters: &Parameters) -> Result<(), PlanError> {
        let edges = self.edges.iter().map(|&(edge, group)| (parameters.edge(edge), group));
        let nodes = self.nodes.iter().map(|&(node, group)| (parameters.node(node), group));
        for (parameter, group) in edges.chain(nodes) {
            let parameter = parameter.expect("parameters of this network");
            self.plan.buffer_mut(group.values)?.copy_from_slice(parameter.values());
            self.plan.buffer_mut(group.momentum)?.copy_from_slice(parameter.momentum());
            if let Some(variance) = group.variance {
                let to = self.plan.buffer_mut(variance)?;
                match parameter.variance() {
                    Some(variance) => to.copy_from_slice(variance),
                    None => to.fill(0.0),
                }
            }
        }
        for &(node, buffer) in &self.statistics {
            self.plan.buffer_mut(buffer)?.copy_from_slice(parameters.statistics(node));
        }
        // What an earlier gradient was is forgotten.
        self.plan.buffer_mut(self.shared.report)?.fill(0.0);
        self.plan.buffer_mut(self.shared.norm)?.fill(0.0);
        self.updates = parameters.updates();
        self.patches = 0;
        self.fault = [0.0];
        Ok(())
    }

    /// Gives the parameters of the network after all updates, and the state of the optimiser.
    pub fn store(&mut self, parameters: &mut Parameters) -> Result<(), PlanError> {
        for &(edge, group) in &self.edges {
            store(&mut self.plan, group, parameters.edge_mut(edge).expect("parameters of this network"))?;
        }
        for &(node, group) in &self.nodes {
            store(&mut self.plan, group, parameters.node_mut(node).expect("parameters of this network"))?;
        }
        for &(node, buffer) in &self.statistics {
            parameters.statistics_mut(node).copy_from_slice(self.plan.buffer(buffer)?);
        }
        parameters.set_updates(self.updates);
        Ok(())
    }

    /// Whether a gradient of the iteration before the last one was not finite. Where one is not, or a loss, nothing is
    /// updated by it; nor by the iteration after such a gradient.
    #[doc(hidden)]
    pub fn had_fault(&self) -> bool {
        self.fault[0] != 0.0
    }

    /// Whether a gradient of the last iteration was not finite, after waiting for the updates.
    pub fn has_fault(&mut self) -> Result<bool, PlanError> {
        let is_sound = guard::is_sound(&self.plan.buffer(self.shared.report)?[..self.blocks], &[]);
        Ok(!is_sound || !guard::is_sound(&[], self.plan.buffer(self.shared.norm)?))
    }

    /// The norm of the last update's gradients before it was clipped, after waiting for the updates; `None` where it is not
    /// clipped.
    pub fn gradient_norm(&mut self) -> Result<Option<f32>, PlanError> {
        match self.shared.clip.norm {
            Some(_) => Ok(Some(self.plan.buffer(self.shared.norm)?[0])),
            None => Ok(None),
        }
    }

    /// The extent of the images of a node.
    pub fn extent(&self, node: NodeId) -> Extent {
        self.shapes[node].extent
    }

    /// What the output nodes gave in the last iteration, in their order; after the softmax, where the loss has one.
    pub fn predictions(&self) -> &[Tensor] {
        &self.predictions
    }

    /// The Rand error of the segments that the affinities of the last iteration made, on average over the output nodes;
    /// `None` without [`StepOptions::malis`], or where the targets have no pair of voxels.
    pub fn rand_error(&self) -> Option<f64> {
        let mean = self.rand_errors.iter().map(|&error| f64::from(error)).sum::<f64>()
            / self.rand_errors.len() as f64;
        mean.is_finite().then_some(mean)
    }

    /// The memory of the plan, in bytes.
    pub fn bytes(&self) -> usize {
        self.plan.bytes()
    }
}

fn store(plan: &mut Plan, group: Group, parameter: &mut Parameter) -> Result<(), PlanError> {
    parameter.values_mut().copy_from_slice(plan.buffer(group.values)?);
    parameter.momentum_mut().copy_from_slice(plan.buffer(group.momentum)?);
    match group.variance {
        Some(variance) => parameter.variance_mut().copy_from_slice(plan.buffer(variance)?),
        None => parameter.forget_variance(),
    }
    Ok(())
}
