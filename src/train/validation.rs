//! The error on volumes that training does not see.

use std::sync::Arc;

use super::job::{Job, Target};
use super::step::{Outcome, StepOptions};
use crate::data::{Patch, Sample, Sampler};
use crate::engine::Engine;
use crate::infer::{InferError, Predictor};
use crate::network::{Network, Parameters};
use crate::ops::loss;
use crate::plan::PlanError;
use crate::segment::{self, Norm};
use crate::volume::Tensor;
use znn_kernels::Kernels;

/// Validates on patches that lie beside each other.
pub(super) struct Validator {
    kernels: Kernels,
    predictor: Predictor,
    sampler: Sampler,
    patches: Vec<Patch>,
    sample: Sample,
    loss: loss::Loss,
    is_affinity: bool,
}

/// What a validation found.
pub(super) struct Found {
    pub outcome: Outcome,
    /// Of affinities: the mean Rand error of the patches that have a pair of voxels.
    pub rand_error: Option<f64>,
    /// The pixel error of the best prediction that is the same everywhere, for each channel.
    pub constant_error: f64,
    pub voxels: u64,
    /// Of the patch in the middle.
    pub input: Tensor,
    pub prediction: Tensor,
    pub target: Tensor,
}

impl Validator {
    pub fn new(
        engine: &Engine,
        network: &Arc<Network>,
        parameters: &Parameters,
        sampler: Sampler,
        job: &Job,
        options: &StepOptions,
    ) -> Result<Self, InferError> {
        let predictor = Predictor::new(engine, network, parameters, job.output_size, options.algorithm)?;
        let patches = sampler.tiles(usize::try_from(job.validate_patches).unwrap_or(usize::MAX));
        let sample = sampler.new_sample();
        Ok(Self {
            kernels: engine.kernels(),
            predictor,
            sampler,
            patches,
            sample,
            loss: options.loss,
            is_affinity: job.target == Target::Affinity,
        })
    }

    pub fn run(&mut self, parameters: &Parameters) -> Result<Found, PlanError> {
        self.predictor.load(parameters)?;
        let mut outcome = Outcome::default();
        let mut voxels = 0;
        let mut classes = Classes::default();
        let mut shown = None;
        let mut rand_errors = Vec::new();
        for (index, patch) in self.patches.iter().enumerate() {
            self.sampler.read(patch, &mut self.sample);
            let sample = &self.sample;
            let inputs: Vec<&Tensor> = sample.inputs.iter().collect();
            let prediction = &self.predictor.predict(&inputs)?[0];
            let (found, prediction) =
                loss::of_tensors(self.kernels, self.loss, prediction, &sample.target, sample.weight.as_ref());
            outcome.add(&found);
            if self.is_affinity {
                let weights = segment::weights(&prediction, &sample.target, segment::Mode::Plain(Norm::None));
                rand_errors.extend(weights.map(|weights| weights.rand_error));
            }
            classes.add(&sample.target, sample.weight.as_ref());
            voxels += prediction.extent().len() as u64;
            if index == self.patches.len() / 2 {
                shown = Some((sample.inputs[0].clone(), prediction, sample.target.clone()));
            }
        }
        let (input, prediction, target) = shown.expect("a sampler has at least one patch");
        let rand_error =
            (!rand_errors.is_empty()).then(|| rand_errors.iter().sum::<f64>() / rand_errors.len() as f64);
        Ok(Found {
            outcome,
            rand_error,
            constant_error: classes.constant_error(),
            voxels,
            input,
            prediction,
            target,
        })
    }
}

/// For each channel, the counted values above and below one half.
#[derive(Default)]
struct Classes {
    channels: Vec<[f64; 2]>,
}

impl Classes {
    fn add(&mut self, target: &Tensor, weight: Option<&Tensor>) {
        self.channels.resize(target.channels(), [0.0; 2]);
        for (channel, counts) in self.channels.iter_mut().enumerate() {
            for (i, &value) in target.channel(channel).iter().enumerate() {
                if weight.is_none_or(|weight| weight.channel(channel)[i] > 0.0) {
                    counts[usize::from(value > 0.5)] += 1.0;
                }
            }
        }
    }

    fn constant_error(&self) -> f64 {
        let wrong: f64 = self.channels.iter().map(|[below, above]| below.min(*above)).sum();
        let all: f64 = self.channels.iter().flatten().sum();
        wrong / all.max(1.0)
    }
}
