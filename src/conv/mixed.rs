//! Passes of one layer by several variants.

use super::{
    Algorithm, Decision, Destination, Layer, Pass, Tools, Variant, WeightGradient, direct, fft, winograd,
};
use crate::fft::FftError;
use crate::plan::{Buffer, PlanBuilder};

/// Begins to lower a layer by one variant, which can compute it.
fn begin_one(variant: Variant, layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    Ok(match variant {
        Variant::Direct => Box::new(direct::Direct::new(layer, tools)),
        Variant::WholeFft => fft::begin_whole(layer, tools)?,
        Variant::TiledFft(size) => fft::begin_tiled(layer, size, tools)?,
        Variant::Winograd(tile) => Box::new(winograd::Winograd::new(layer, tile, tools)),
    })
}

/// Each pass by its own variant; passes of one variant share an algorithm, and what it remembers.
pub(super) struct Mixed {
    decision: Decision,
    algorithms: Vec<(Variant, Box<dyn Algorithm>)>,
}

impl Mixed {
    pub fn new(decision: Decision, layer: Layer, tools: Tools<'_>) -> Result<Self, FftError> {
        let mut algorithms: Vec<(Variant, Box<dyn Algorithm>)> = Vec::new();
        for variant in [decision.forward, decision.backward_data, decision.backward_weights] {
            if algorithms.iter().all(|(known, _)| *known != variant) {
                algorithms.push((variant, begin_one(variant, layer.clone(), tools)?));
            }
        }
        Ok(Self { decision, algorithms })
    }

    fn of(&mut self, pass: Pass) -> &mut dyn Algorithm {
        let variant = self.decision.of(pass);
        let found = self.algorithms.iter_mut().find(|(known, _)| *known == variant);
        &mut *found.expect("each variant has an algorithm").1
    }
}

impl Algorithm for Mixed {
    fn forward(&mut self, plan: &mut PlanBuilder, x: Buffer, to: Destination) {
        self.of(Pass::Forward).forward(plan, x, to);
    }

    fn backward_data(&mut self, plan: &mut PlanBuilder, dy: Buffer, dx: Buffer, accumulate: bool) {
        self.of(Pass::BackwardData).backward_data(plan, dy, dx, accumulate);
    }

    fn backward_weights(&mut self, plan: &mut PlanBuilder, x: Buffer, dy: Buffer) -> Vec<WeightGradient> {
        self.of(Pass::BackwardWeights).backward_weights(plan, x, dy)
    }
}
