//! Gradients against finite differences.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::step::{Settings, StepError, StepOptions, TrainingStep, Wanted};
use crate::conv::Choice;
use crate::engine::Engine;
use crate::network::{Network, NodeId, NodeKind, Parameter, Parameters};
use crate::ops::loss::Loss;
use crate::plan::PlanError;
use crate::volume::{Extent, Tensor};
use znn_kernels::Transfer;

/// The derivative of the loss along one direction of one group's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivative {
    /// The group: `edges NAME` or `nodes NAME`.
    pub group: String,
    /// The number of parameters.
    pub parameters: usize,
    /// By the backward pass.
    pub backward: f64,
    /// By the difference of two forward passes that comes closest.
    pub difference: f64,
    /// The distance of both, relative to the length of the gradient.
    pub error: f64,
}

impl Derivative {
    /// What f32 arithmetic and the curvature of the loss excuse.
    pub const TOLERANCE: f64 = 0.01;

    /// Whether both agree.
    pub fn is_right(&self) -> bool {
        self.error <= Self::TOLERANCE
    }
}

/// The check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The iteration cannot be planned.
    #[error(transparent)]
    Step(#[from] StepError),
    /// It failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The loss whose gradient a network is made for: the cross entropy of probabilities where all outputs are a softmax; the
/// binomial one where an output passes gradients through its logistic function unchanged, because only there both together are
/// a true gradient; else the square.
pub fn natural_loss(network: &Network) -> Loss {
    let passes = |node: NodeId| network[node].kind == NodeKind::Transfer(Transfer::ForwardLogistic);
    if network.outputs().all(|node| network.gives_probabilities(node)) {
        return Loss::CROSS_ENTROPY;
    }
    if network.outputs().any(passes) { Loss::BINOMIAL_CROSS_ENTROPY } else { Loss::SQUARE }
}

/// Compares, for each group of parameters, the derivative of the loss along random directions by the backward pass
/// with a difference of losses, on random images. Dropout masks are held fixed.
pub fn check(
    engine: &Engine,
    network: &Arc<Network>,
    output: Extent,
    loss: Loss,
    algorithm: Choice,
    seed: u64,
) -> Result<Vec<Derivative>, CheckError> {
    /// Directions for each group.
    const DIRECTIONS: usize = 3;
    /// Shorter steps are not tried after one that agrees so well.
    const ENOUGH: f64 = Derivative::TOLERANCE / 10.0;
    let options = StepOptions { loss, algorithm, inspect: true, ..StepOptions::default() };
    let mut step = TrainingStep::new(engine, network, output, &options)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Parameters::init(network, seed);
    for parameter in groups(network, &mut parameters) {
        // Away from zeros and constants, whose derivatives prove little.
        parameter.1.values_mut().iter_mut().for_each(|value| *value += rng.random_range(-0.05..0.05));
    }
    let problem = RandomProblem::new(network, &step, loss, &mut rng);

    let centre = problem.loss(&mut step, &parameters)?;
    let found = step.inspect()?;
    let gradients: Vec<Vec<f32>> = found
        .weight_gradients
        .into_iter()
        .flatten()
        .chain(found.bias_gradients.into_iter().flatten())
        .collect();
    let names: Vec<String> = groups(network, &mut parameters).into_iter().map(|(name, _)| name).collect();

    let mut derivatives = Vec::new();
    for (group, (name, gradient)) in names.into_iter().zip(&gradients).enumerate() {
        let length = norm(gradient);
        for _ in 0..DIRECTIONS {
            let direction: Vec<f32> =
                gradient.iter().map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
            let backward = dot(gradient, &direction);
            // Too long a step sees the curvature and the kinks of maxima, too short a one the rounding, and where a kink
            // is near, one side is free of it: a wrong gradient agrees at none. The lengths are those of the whole
            // step, however many parameters it moves.
            let mut best: Option<(f64, f64)> = None;
            for step_length in [3e-2, 1e-2, 3e-3, 1e-3, 3e-4] {
                let size = step_length / (gradient.len() as f32).sqrt();
                let mut at = |sign: f32| {
                    let mut moved = parameters.clone();
                    let values = groups(network, &mut moved).swap_remove(group).1.values_mut();
                    for (value, direction) in values.iter_mut().zip(&direction) {
                        *value += sign * size * direction;
                    }
                    problem.loss(&mut step, &moved)
                };
                let (before, after, size) = (at(-1.0)?, at(1.0)?, f64::from(size));
                let differences = [(after - before) / 2.0, after - centre, centre - before];
                for difference in differences.map(|difference| difference / size) {
                    let error = (difference - backward).abs() / length.max(1e-6);
                    if best.is_none_or(|(least, _)| error < least) {
                        best = Some((error, difference));
                    }
                }
                if best.is_some_and(|(least, _)| least < ENOUGH) {
                    break;
                }
            }
            let (error, difference) = best.expect("several sizes were tried");
            derivatives.push(Derivative {
                group: name.clone(),
                parameters: gradient.len(),
                backward,
                difference,
                error,
            });
        }
    }
    Ok(derivatives)
}

/// The parameters of all groups: convolutions, then transfer nodes.
fn groups<'a>(network: &'a Network, parameters: &'a mut Parameters) -> Vec<(String, &'a mut Parameter)> {
    parameters.groups_mut(network).map(|(group, parameter)| (group.to_string(), parameter)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Random images and targets.
struct RandomProblem {
    inputs: Vec<Tensor>,
    targets: Vec<Tensor>,
}

impl RandomProblem {
    fn new(network: &Network, step: &TrainingStep, loss: Loss, rng: &mut ChaCha8Rng) -> Self {
        let inputs = network
            .inputs()
            .map(|node| {
                Tensor::from_fn(network[node].size, step.extent(node), |_| rng.random_range(-1.0f32..1.0))
            })
            .collect();
        let targets = network
            .outputs()
            .map(|node| {
                let (maps, extent) = (network[node].size, step.extent(node));
                match loss {
                    // One map of each voxel is the right one.
                    Loss::Softmax => {
                        let mut target = Tensor::zeros(maps, extent);
                        for voxel in 0..extent.len() {
                            target.channel_mut(rng.random_range(0..maps))[voxel] = 1.0;
                        }
                        target
                    }
                    _ => Tensor::from_fn(maps, extent, |_| rng.random_range(0.0f32..1.0)),
                }
            })
            .collect();
        Self { inputs, targets }
    }

    /// The loss at these parameters; nothing is updated.
    fn loss(&self, step: &mut TrainingStep, parameters: &Parameters) -> Result<f64, PlanError> {
        step.load(parameters)?;
        let inputs: Vec<&Tensor> = self.inputs.iter().collect();
        let wanted: Vec<Wanted<'_>> =
            self.targets.iter().map(|target| Wanted { target, weight: None }).collect();
        Ok(step.run(&inputs, &wanted, Settings { eta: 0.0, factor: 0.0, key: 1 })?.loss)
    }
}
