//! One training iteration as a plan: forward, loss, backward, update.

use std::ops::Range;
use std::sync::Arc;

use crate::conv::Choice;
use crate::engine::Engine;
use crate::fft::FftError;
use crate::machine::memory::{self, TooLittleMemory};
use crate::network::{
    EdgeId, Lowering, Network, NodeId, Parameters, Phase, ShapeError, Shapes, UpdateOverrides,
};
pub use crate::ops::loss::Outcome;
use crate::ops::loss::{self, Loss};
use crate::ops::update::{self, Rule, Target, settings};
use crate::ops::{Maps, Site, copy};
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
    /// How convolutions are computed, where the network's file does not say.
    pub algorithm: Choice,
    /// Keep a copy of all values and gradients of an iteration for [`TrainingStep::inspect`].
    pub inspect: bool,
}

/// What changes from iteration to iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The learning rate of groups without one of their own.
    pub eta: f32,
    /// What the schedule multiplies the rate of the others by.
    pub factor: f32,
    /// The seed of this iteration's dropout masks.
    pub key: u64,
}

/// The images of one output node.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the output should be.
    pub target: &'a Tensor,
    /// A factor for each voxel's loss and gradient; `None`: one.
    pub weight: Option<&'a Tensor>,
}

/// A network cannot be trained with these sizes.
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
    rand_errors: Vec<f32>,
    ones: Vec<f32>,
}

/// The buffers of one group of parameters.
#[derive(Clone, Copy)]
struct Group {
    values: Buffer,
    momentum: Buffer,
    gradient: Option<Buffer>,
}

impl TrainingStep {
    /// Plans the iteration for output patches of extent `output`. Parameters are zero until
    /// [`load`](TrainingStep::load).
    pub fn new(
        engine: &Engine,
        network: &Arc<Network>,
        output: Extent,
        options: &StepOptions,
    ) -> Result<Self, StepError> {
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
        let mut stats_len = 0;
        let mut gradients = Vec::new();
        for &node in &outputs {
            let values = lowering.values(node).expect("forward was lowered");
            let len = values.extent.len();
            let (target, weight) = (plan.input(values.count, len), plan.input(values.count, len));
            let gradient = plan.transient(values.count, len);
            let prediction = plan.output(values.count, len);
            let blocks = loss::stats_len(values.count, values.extent);
            let stats = plan.output(1, blocks);
            stats_len += blocks;
            let emphasis = options.malis.map(|mode| {
                let emphasis = plan.transient(values.count, len);
                let rand_error = plan.output(1, 1);
                loss::malis(&mut plan, &site, mode, values, target, [emphasis, rand_error]);
                emphasis
            });
            let operands = loss::Operands { target, weight, emphasis, gradient, prediction, stats };
            loss::loss(&mut plan, &site, options.loss, values, operands);
            if options.inspect {
                kept_gradients.push((node, keep(&mut plan, Maps { buffer: gradient, ..values })));
            }
            gradients.push((node, gradient));
        }

        let found = lowering.backward(&mut plan, &gradients);
        let scale = 1.0 / output.len() as f32;
        let rule = |update: &UpdateOverrides| Rule {
            eta: update.eta,
            momentum: update.momentum.unwrap_or(options.momentum),
            decay: update.weight_decay.unwrap_or(options.weight_decay),
            scale,
        };
        let group = |plan: &mut PlanBuilder, values: Buffer| {
            let (rows, cols) = plan.dimensions(values);
            let momentum = plan.persistent(rows, cols);
            let gradient = options.inspect.then(|| plan.persistent(rows, cols));
            Group { values, momentum, gradient }
        };
        let target = |group: Group, rule: Rule| Target {
            values: group.values,
            momentum: group.momentum,
            gradient: group.gradient,
            rule,
            settings: constants,
        };
        let site = |name: &str| Site { name: Arc::from(name), kernels: engine.kernels() };
        let mut edges = Vec::new();
        for (edge, gradients) in found.weights {
            let group = group(&mut plan, lowering.weights(edge).expect("a convolution has weights"));
            let blocks = network.weight_blocks(edge);
            let to = target(group, rule(&network[edge].update));
            let site = site(&network[edge].name);
            update::weights(&mut plan, &site, gradients, to, blocks.kernel, blocks.repeat);
            edges.push((edge, group));
        }
        let mut nodes = Vec::new();
        for (node, gradient) in found.biases {
            let group = group(&mut plan, lowering.biases(node).expect("a transfer node has biases"));
            let to = target(group, rule(&network[node].update));
            update::biases(&mut plan, &site(&network[node].name), gradient, to);
            nodes.push((node, group));
        }

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
            rand_errors: if options.malis.is_some() { vec![0.0; outputs.len()] } else { Vec::new() },
            ones: vec![1.0; largest],
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
        let mut given: Vec<&[f32]> = vec![&values];
        given.extend(inputs.iter().map(|input| input.data()));
        for wanted in wanted {
            let target = wanted.target.data();
            given.push(target);
            given.push(wanted.weight.map_or(&self.ones[..target.len()], Tensor::data));
        }
        let mut outputs: Vec<&mut [f32]> = Vec::new();
        let mut stats = &mut self.stats[..];
        let mut rand_errors = self.rand_errors.chunks_mut(1);
        for prediction in &mut self.predictions {
            let (own, rest) = stats.split_at_mut(loss::stats_len(prediction.channels(), prediction.extent()));
            stats = rest;
            outputs.push(prediction.data_mut());
            outputs.push(own);
            outputs.extend(rand_errors.next());
        }
        step(&mut self.plan, &given, &mut outputs)?;
        Ok(loss::total(&self.stats))
    }
}

impl TrainingStep {
    /// Waits for the updates of the iterations so far.
    pub fn finish(&mut self) -> Result<(), PlanError> {
        self.plan.finish()
    }

    /// Takes over the parameters of the network, and their momentum.
    pub fn load(&mut self, parameters: &Parameters) -> Result<(), PlanError> {
        let edges = self.edges.iter().map(|&(edge, group)| (parameters.edge(edge), group));
        let nodes = self.nodes.iter().map(|&(node, group)| (parameters.node(node), group));
        for (parameter, group) in edges.chain(nodes) {
            let parameter = parameter.expect("parameters of this network");
            self.plan.buffer_mut(group.values)?.copy_from_slice(parameter.values());
            self.plan.buffer_mut(group.momentum)?.copy_from_slice(parameter.momentum());
        }
        for &(node, buffer) in &self.statistics {
            self.plan.buffer_mut(buffer)?.copy_from_slice(parameters.statistics(node));
        }
        Ok(())
    }

    /// Gives the parameters of the network after all updates, and their momentum.
    pub fn store(&mut self, parameters: &mut Parameters) -> Result<(), PlanError> {
        for &(edge, group) in &self.edges {
            let parameter = parameters.edge_mut(edge).expect("parameters of this network");
            parameter.values_mut().copy_from_slice(self.plan.buffer(group.values)?);
            parameter.momentum_mut().copy_from_slice(self.plan.buffer(group.momentum)?);
        }
        for &(node, group) in &self.nodes {
            let parameter = parameters.node_mut(node).expect("parameters of this network");
            parameter.values_mut().copy_from_slice(self.plan.buffer(group.values)?);
            parameter.momentum_mut().copy_from_slice(self.plan.buffer(group.momentum)?);
        }
        for &(node, buffer) in &self.statistics {
            parameters.statistics_mut(node).copy_from_slice(self.plan.buffer(buffer)?);
        }
        Ok(())
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

    /// What the last iteration computed; for a step made with [`StepOptions::inspect`], else all `None`.
    pub fn inspect(&mut self) -> Result<Inspection, PlanError> {
        let mut found = Inspection {
            values: vec![None; self.network.nodes().len()],
            output_gradients: vec![None; self.network.nodes().len()],
            weight_gradients: vec![None; self.network.edges().len()],
            bias_gradients: vec![None; self.network.nodes().len()],
        };
        let tensor = |plan: &mut Plan, node: NodeId, buffer| {
            Ok::<_, PlanError>(Tensor::from_slice(
                self.network[node].size,
                self.shapes[node].extent,
                plan.buffer(buffer)?,
            ))
        };
        for &(node, buffer) in &self.kept_values {
            found.values[node.0] = Some(tensor(&mut self.plan, node, buffer)?);
        }
        for &(node, buffer) in &self.kept_gradients {
            found.output_gradients[node.0] = Some(tensor(&mut self.plan, node, buffer)?);
        }
        for &(edge, group) in &self.edges {
            if let Some(buffer) = group.gradient {
                found.weight_gradients[edge.0] = Some(self.plan.buffer(buffer)?.to_vec());
            }
        }
        for &(node, group) in &self.nodes {
            if let Some(buffer) = group.gradient {
                found.bias_gradients[node.0] = Some(self.plan.buffer(buffer)?.to_vec());
            }
        }
        Ok(found)
    }
}

/// The inside of an iteration, by the places of nodes and edges in their network.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The maps of each node.
    pub values: Vec<Option<Tensor>>,
    /// The gradient of the loss by the output nodes' values.
    pub output_gradients: Vec<Option<Tensor>>,
    /// The gradient of the loss by each convolution's weights, summed over the voxels.
    pub weight_gradients: Vec<Option<Vec<f32>>>,
    /// The gradient of the loss by each transfer node's biases, summed over the voxels.
    pub bias_gradients: Vec<Option<Vec<f32>>>,
}
