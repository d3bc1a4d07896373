//! Where the first numbers that are not finite come from.
//!
//! The iteration that met them is computed once more with all maps and gradients kept, and looked through in the order in
//! which they come about: images, parameters, targets, the nodes from the inputs to the outputs, the losses, and the gradients
//! from the outputs to the inputs.

use std::fmt;
use std::sync::Arc;

use super::step::{Inspection, OutputLoss, Settings, StepError, StepOptions, TrainingStep, Wanted};
use crate::engine::Engine;
use crate::network::{EdgeId, Network, NodeId, Parameters};
use crate::plan::PlanError;
use crate::volume::{Extent, Tensor};

/// Where numbers arose that are not finite, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// The values there.
    pub values: Summary,
    /// The values that they are computed from, by their names.
    pub from: Vec<(String, Summary)>,
}

/// Where numbers arose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the image of this input group.
    Image(String),
    /// In the parameters of this group (`edges NAME` or `nodes NAME`).
    Parameters(String),
    /// In the target of this output group, or its weights.
    Target(String),
    /// In the forward pass, in the maps of this node group.
    Forward(String),
    /// In the gradient of the loss of this output group.
    Loss(String),
    /// In the backward pass, in the gradient of this group's parameters.
    Backward(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Image(name) => write!(f, "the image of input group `{name}`"),
            Place::Parameters(group) => write!(f, "the parameters of `{group}`"),
            Place::Target(name) => write!(f, "the target of output group `{name}`"),
            Place::Forward(name) => write!(f, "the forward pass, the maps of `nodes {name}`"),
            Place::Loss(name) => write!(f, "the loss of output group `{name}`, its gradient"),
            Place::Backward(group) => write!(f, "the backward pass, the gradient of `{group}`"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first in {}: {}", self.place, self.values)?;
        for (name, values) in &self.from {
            write!(f, "; {name}: {values}")?;
        }
        Ok(())
    }
}

/// What values there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many.
    pub len: usize,
    /// How many of them are NaN.
    pub nan: usize,
    /// How many of them are infinite.
    pub infinite: usize,
    /// The least and the largest of the finite ones, where there is one.
    pub range: Option<[f32; 2]>,
    /// Map and voxel of the first that is not finite, of images.
    pub first: Option<(usize, Extent)>,
}

impl Summary {
    fn of(values: &[f32]) -> Self {
        let mut found = Self { len: values.len(), nan: 0, infinite: 0, range: None, first: None };
        for &value in values {
            if value.is_finite() {
                let [low, high] = found.range.unwrap_or([value; 2]);
                found.range = Some([low.min(value), high.max(value)]);
            } else if value.is_nan() {
                found.nan += 1;
            } else {
                found.infinite += 1;
            }
        }
        found
    }

    fn of_maps(maps: &Tensor) -> Self {
        let extent = maps.extent();
        let first = maps.data().iter().position(|value| !value.is_finite()).map(|i| {
            let voxel = i % extent.len();
            let plane = extent.y * extent.x;
            (i / extent.len(), Extent::new(voxel / plane, voxel / extent.x % extent.y, voxel % extent.x))
        });
        Self { first, ..Self::of(maps.data()) }
    }

    fn is_finite(&self) -> bool {
        self.nan + self.infinite == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_finite() {
            write!(f, "of {} values {} are NaN and {} infinite", self.len, self.nan, self.infinite)?;
        }
        if let Some((map, voxel)) = self.first {
            write!(f, ", the first in map {map} at {voxel} (z,y,x)")?;
        }
        match self.range {
            Some([low, high]) if self.is_finite() => write!(f, "from {low:e} to {high:e}"),
            Some([low, high]) => write!(f, ", the others from {low:e} to {high:e}"),
            None => Ok(()),
        }
    }
}

/// The diagnosis could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiagnosisError {
    /// The iteration cannot be planned with all that is to be kept.
    #[error(transparent)]
    Step(#[from] StepError),
    /// It failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// An iteration to be looked through.
#[derive(Clone, Copy)]
pub struct Suspect<'a> {
    /// The network.
    pub network: &'a Arc<Network>,
    /// How it is trained.
    pub options: &'a StepOptions,
    /// The losses of its outputs.
    pub losses: &'a [OutputLoss],
    /// The parameters before the iteration.
    pub parameters: &'a Parameters,
    /// The patch of each input.
    pub inputs: &'a [&'a Tensor],
    /// What each output should be.
    pub wanted: &'a [Wanted<'a>],
    /// As in the iteration.
    pub settings: Settings,
}

/// Finds where the first numbers arise that are not finite; `None` where all are finite.
///
/// # Errors
/// Where the memory does not suffice to keep everything.
pub fn diagnose(engine: &Engine, suspect: Suspect<'_>) -> Result<Option<Finding>, DiagnosisError> {
    if let Some(finding) = given(&suspect) {
        return Ok(Some(finding));
    }
    let Suspect { network, options, losses, parameters, inputs, wanted, settings } = suspect;
    let Some(first) = wanted.first() else { return Ok(None) };
    let options = StepOptions { inspect: true, batch: 1, ..*options };
    let mut step = TrainingStep::with_losses(engine, network, first.target.extent(), &options, losses)?;
    step.load(parameters)?;
    step.run(inputs, wanted, settings)?;
    let found = step.inspect()?;
    Ok(forward(network, parameters, &found).or_else(|| backward(network, &found)))
}

fn finding(place: Place, values: Summary) -> Option<Finding> {
    (!values.is_finite()).then_some(Finding { place, values, from: Vec::new() })
}

/// What is not finite from the start.
fn given(suspect: &Suspect<'_>) -> Option<Finding> {
    let network = suspect.network;
    let name = |node: NodeId| network[node].name.clone();
    let images = network.inputs().zip(suspect.inputs);
    let images = images.map(|(node, image)| (Place::Image(name(node)), Summary::of_maps(image)));
    let edges = network.edge_ids().filter_map(|edge| {
        let values = suspect.parameters.edge(edge)?.values();
        Some((Place::Parameters(format!("edges {}", network[edge].name)), Summary::of(values)))
    });
    let nodes = network.node_ids().filter_map(|node| {
        let values = suspect.parameters.node(node)?.values();
        Some((Place::Parameters(format!("nodes {}", network[node].name)), Summary::of(values)))
    });
    let targets = network.outputs().zip(suspect.wanted).flat_map(|(node, wanted)| {
        let parts = [Some(wanted.target), wanted.weight].into_iter().flatten();
        parts.map(move |part| (Place::Target(name(node)), Summary::of_maps(part))).collect::<Vec<_>>()
    });
    images.chain(edges).chain(nodes).chain(targets).find_map(|(place, values)| finding(place, values))
}

/// The first node whose maps are not finite.
fn forward(network: &Network, parameters: &Parameters, found: &Inspection) -> Option<Finding> {
    let maps = |node: NodeId| found.values[node.0].as_ref().map(Summary::of_maps);
    let node = network
        .topological_order()
        .iter()
        .copied()
        .find(|&node| maps(node).is_some_and(|m| !m.is_finite()))?;
    let mut from = Vec::new();
    for &edge in network.in_edges(node) {
        let source = network[edge].input;
        from.extend(
            maps(source).map(|values| (format!("the maps of `nodes {}`", network[source].name), values)),
        );
        let weights = parameters.edge(edge).map(|parameter| Summary::of(parameter.values()));
        from.extend(weights.map(|values| (format!("the weights of `edges {}`", network[edge].name), values)));
    }
    Some(Finding { place: Place::Forward(network[node].name.clone()), values: maps(node)?, from })
}

/// The first gradient that is not finite, from the outputs on.
fn backward(network: &Network, found: &Inspection) -> Option<Finding> {
    let summary = |values: &Option<Vec<f32>>| values.as_ref().map(|values| Summary::of(values));
    let of_loss = |node: NodeId| {
        let values = Summary::of_maps(found.output_gradients[node.0].as_ref()?);
        finding(Place::Loss(network[node].name.clone()), values)
    };
    let of_node = |node: NodeId| {
        let values = summary(&found.bias_gradients[node.0])?;
        finding(Place::Backward(format!("nodes {}", network[node].name)), values)
    };
    let of_edge = |edge: EdgeId| {
        let values = summary(&found.weight_gradients[edge.0])?;
        let from = found.values[network[edge].input.0].as_ref().map(Summary::of_maps);
        let name = format!("the maps of `nodes {}`", network[network[edge].input].name);
        let finding = finding(Place::Backward(format!("edges {}", network[edge].name)), values)?;
        Some(Finding { from: from.map(|values| (name, values)).into_iter().collect(), ..finding })
    };
    network.outputs().find_map(of_loss).or_else(|| {
        let mut nodes = network.topological_order().iter().rev();
        nodes.find_map(|&node| {
            of_node(node).or_else(|| network.in_edges(node).iter().find_map(|&edge| of_edge(edge)))
        })
    })
}
