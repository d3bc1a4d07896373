//! The inside of an iteration.

use super::TrainingStep;
use crate::network::NodeId;
use crate::plan::{Plan, PlanError};
use crate::volume::Tensor;

impl TrainingStep {
    /// What the last iteration computed; for a step made with [`StepOptions::inspect`](super::StepOptions::inspect), else all
    /// `None`.
    #[doc(hidden)]
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
