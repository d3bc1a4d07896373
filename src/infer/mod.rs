//! Dense prediction: a network applied around every voxel of a volume of any size.

mod blend;
mod cascade;
mod dense;
mod flips;
mod fragments;
mod input;
mod plan;
mod progress;
mod run;
mod tiling;

use std::sync::Arc;

pub use cascade::{ParsePoolingError, Pooling, Stage};
pub use dense::{Border, DenseOptions, dense};
pub use flips::{Flips, ParseFlipsError};
pub use input::Input;
pub use plan::DensePlan;
#[doc(hidden)]
pub use progress::{ParseShardError, Progress, Shard, SharedPlan, fingerprint};
pub use run::Part;
use tiling::Block;
#[doc(hidden)]
pub use tiling::Tiling;

use crate::conv::{Choice, Passes, Problem};
use crate::data::DataError;
use crate::engine::Engine;
use crate::fft::FftError;
use crate::machine::memory::{self, Bytes, TooLittleMemory};
use crate::network::{EdgeId, Lowering, Network, NodeId, Parameters, Phase, ShapeError, Shapes};
use crate::plan::{Buffer, Plan, PlanBuilder, PlanError};
use crate::volume::{Extent, Tensor};

/// A network cannot be applied.
///
/// ```
/// use znn::infer::{Border, DenseOptions, InferError, dense};
/// use znn::network::{Parameters, spec};
/// use znn::{Engine, EngineOptions, Extent, Tensor};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// # let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// # let parameters = Parameters::init(&network, 1);
/// let options = DenseOptions { border: Border::Valid, ..DenseOptions::default() };
/// let small = Tensor::zeros(1, Extent::new(1, 20, 20));
/// let error = dense(&engine, &network, &parameters, &small, &options, |_, _| true).unwrap_err();
/// assert!(matches!(error, InferError::TooSmall { .. }), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The images do not fit it.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A transform cannot be made.
    #[error(transparent)]
    Fft(#[from] FftError),
    /// A task failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The volume is smaller than the field of view.
    #[error(
        "the volume has extent {volume}, but the network's field of view is {fov}: a valid prediction needs at least that"
    )]
    TooSmall {
        /// The volume.
        volume: Extent,
        /// The field of view.
        fov: Extent,
    },
    /// The volume has the wrong number of channels.
    #[error("the volume has {found} channels, but input group `{node}` of the network has {expected} maps")]
    Channels {
        /// Channels of the volume.
        found: usize,
        /// The input group.
        node: String,
        /// Its maps.
        expected: usize,
    },
    /// A network has not the inputs for what the one before it makes.
    #[error(
        "the stage before makes {maps} maps of a volume of {channels} channels, but input group `{node}` of the next network \
         has {expected} maps, expected {maps}, or {} with the volume", maps + channels
    )]
    Stage {
        /// Maps of the stage before.
        maps: usize,
        /// Channels of the volume.
        channels: usize,
        /// The input group.
        node: String,
        /// Its maps.
        expected: usize,
    },
    /// The network sees more along one axis than along the other.
    #[error("y and x cannot be exchanged for a field of view of {fov} (z,y,x), which is not square")]
    Transpose {
        /// The field of view.
        fov: Extent,
    },
    /// The network or the tiles do not admit fragments.
    #[error(
        "fragments are for networks of one input and one output whose paths all go through each pooling, and tiles of a \
         multiple of {step} voxels"
    )]
    Fragments {
        /// What tiles have to be multiples of.
        step: Extent,
    },
    /// The volume cannot be read or its prediction not be written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Not even the smallest tile fits the memory bound.
    #[error("a tile of one output voxel needs {needed} of memory, more than the bound of {bound}")]
    Memory {
        /// What it takes.
        needed: Bytes,
        /// What is allowed.
        bound: Bytes,
    },
    /// The machine is too small for the volume and what is predicted of it.
    #[error("a volume of extent {volume} (z,y,x) and its prediction: {source}")]
    Volume {
        /// The volume.
        volume: Extent,
        /// How much is missing.
        source: TooLittleMemory,
    },
    /// The machine is too small for a tile.
    #[error("a tile of {tile} output voxels (z,y,x), of which smaller ones need less: {source}")]
    Tile {
        /// The tile.
        tile: Extent,
        /// How much is missing.
        source: TooLittleMemory,
    },
}

/// A network applied to patches of one extent, with weights that stay.
///
/// ```
/// use std::sync::Arc;
/// use znn::conv::Choice;
/// use znn::infer::Predictor;
/// use znn::network::{Parameters, spec};
/// use znn::{Engine, EngineOptions, Extent, Tensor};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// let network = Arc::new(spec::read("examples/networks/hello.znn".as_ref())?.network);
/// let output = Extent::new(2, 4, 4);
/// let zero = Parameters::zeros(&network);
/// let mut predictor = Predictor::new(&engine, &network, &zero, output, Choice::Estimate)?;
/// println!("{} bytes", predictor.bytes());
///
/// let image = predictor.input_extent(network.inputs().next().expect("an input"));
/// let patch = Tensor::from_fn(1, image, |i| (i % 5) as f32);
/// // The network ends in a logistic function.
/// assert_eq!(predictor.predict(&[&patch])?[0].data(), [0.5; 2 * 32]);
///
/// // Other weights, and arrays of one's own.
/// predictor.load(&Parameters::init(&network, 1))?;
/// let mut maps = vec![0.0; 2 * output.len()];
/// predictor.apply(&[patch.data()], &mut [&mut maps])?;
/// assert!(maps.iter().any(|&value| value != 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Predictor {
    plan: Plan,
    network: Arc<Network>,
    shapes: Shapes,
    outputs: Vec<Tensor>,
    weights: Vec<(EdgeId, Buffer)>,
    biases: Vec<(NodeId, Buffer)>,
    statistics: Vec<(NodeId, Buffer)>,
}

impl Predictor {
    /// Plans the forward pass for output patches of extent `output`.
    pub fn new(
        engine: &Engine,
        network: &Arc<Network>,
        parameters: &Parameters,
        output: Extent,
        algorithm: Choice,
    ) -> Result<Self, InferError> {
        let shapes = network.shapes(output)?;
        let too_large = |source| InferError::Tile { tile: output, source };
        memory::check(network.least_bytes(&shapes)).map_err(too_large)?;
        let lowered = lower(engine, network, &shapes, |edge, problem| {
            engine.method(network.algorithm(edge, algorithm), problem, Passes::Inference)
        })?;
        lowered.plan.check_memory(engine.pool().threads()).map_err(too_large)?;
        let outputs =
            network.outputs().map(|node| Tensor::zeros(network[node].size, shapes[node].extent)).collect();
        let mut predictor = Self {
            plan: lowered.plan.build(engine.pool(), engine.kernels()),
            network: network.clone(),
            shapes,
            outputs,
            weights: lowered.weights,
            biases: lowered.biases,
            statistics: lowered.statistics,
        };
        predictor.load(parameters)?;
        Ok(predictor)
    }

    /// Takes over the parameters of the network.
    pub fn load(&mut self, parameters: &Parameters) -> Result<(), PlanError> {
        for &(edge, buffer) in &self.weights {
            let values = parameters.edge(edge).expect("parameters of this network").values();
            self.plan.buffer_mut(buffer)?.copy_from_slice(values);
        }
        for &(node, buffer) in &self.biases {
            let values = parameters.node(node).expect("parameters of this network").values();
            self.plan.buffer_mut(buffer)?.copy_from_slice(values);
        }
        for &(node, buffer) in &self.statistics {
            self.plan.buffer_mut(buffer)?.copy_from_slice(parameters.statistics(node));
        }
        Ok(())
    }

    /// The extent of the images of an input node.
    pub fn input_extent(&self, node: NodeId) -> Extent {
        self.shapes[node].extent
    }

    /// Applies the network; `inputs` in the order of the input nodes. Returns the output nodes' maps.
    ///
    /// Panics where an input has the wrong extent or number of maps.
    pub fn predict(&mut self, inputs: &[&Tensor]) -> Result<&[Tensor], PlanError> {
        for (node, input) in self.network.inputs().zip(inputs) {
            assert_eq!(input.extent(), self.shapes[node].extent, "input {}", self.network[node].name);
        }
        let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.data()).collect();
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Tensor::data_mut).collect();
        self.plan.step(&inputs, &mut outputs)?;
        Ok(&self.outputs)
    }

    /// Applies the network to the caller's arrays, `[map][z][y][x]` in the order of the input and of the output nodes.
    ///
    /// Panics where an array has the wrong length.
    pub fn apply(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), PlanError> {
        self.plan.step(inputs, outputs)
    }

    /// The memory that the plan holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.plan.bytes()
    }
}

/// The bytes of the plan of a network for output patches of extent `output`; where they are more than `bound`, at least
/// so many. Which algorithm measures fastest is not known yet; the one estimated is near enough for a bound.
fn plan_bytes(
    engine: &Engine,
    network: &Network,
    output: Extent,
    algorithm: Choice,
    bound: usize,
) -> Result<usize, InferError> {
    let shapes = network.shapes(output)?;
    let least = network.least_bytes(&shapes) as usize;
    // A plan of far too large a tile would take long to make.
    if least > bound {
        return Ok(least);
    }
    let method = |edge, problem: &Problem| {
        let choice = match network.algorithm(edge, algorithm) {
            Choice::Measure => Choice::Estimate,
            choice => choice,
        };
        engine.method(choice, problem, Passes::Inference)
    };
    Ok(lower(engine, network, &shapes, method)?.plan.bytes(engine.pool().threads()))
}

struct Lowered {
    plan: PlanBuilder,
    weights: Vec<(EdgeId, Buffer)>,
    biases: Vec<(NodeId, Buffer)>,
    statistics: Vec<(NodeId, Buffer)>,
}

fn lower(
    engine: &Engine,
    network: &Network,
    shapes: &Shapes,
    method: impl FnMut(EdgeId, &crate::conv::Problem) -> crate::conv::Decision,
) -> Result<Lowered, FftError> {
    let mut plan = engine.plan();
    let mut lowering = Lowering::new(&mut plan, network, shapes, engine.tools(), Phase::Infer);
    for node in network.inputs() {
        let input = plan.input(network[node].size, shapes[node].extent.len());
        lowering.set_values(node, input);
    }
    for node in network.outputs() {
        let output = plan.output(network[node].size, shapes[node].extent.len());
        lowering.set_values(node, output);
    }
    lowering.forward(&mut plan, method)?;
    let weights = network.edge_ids().filter_map(|edge| Some((edge, lowering.weights(edge)?))).collect();
    let biases = network.node_ids().filter_map(|node| Some((node, lowering.biases(node)?))).collect();
    let statistics = network.node_ids().filter_map(|node| Some((node, lowering.statistics(node)?))).collect();
    Ok(Lowered { plan, weights, biases, statistics })
}
