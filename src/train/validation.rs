//! The error on volumes that training does not see.

use std::sync::Arc;

use super::Outcome;
use super::groups::OutputGroup;
use super::job::Job;
use super::report::ClassScore;
use crate::data::{Patch, Sample, SampleOutput, Sampler, Target};
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
    /// Of each output: the loss, its factor in the sum, and what is learned.
    outputs: Vec<(loss::Loss, f64, Target)>,
}

/// What a validation found.
pub(super) struct Found {
    pub outcome: Outcome,
    /// Of affinities: the mean Rand error of the patches that have a pair of voxels.
    pub rand_error: Option<f64>,
    /// The pixel error of the best prediction that is the same everywhere, for each channel.
    pub constant_error: f64,
    /// Of the classes of the first output that has some.
    pub classes: Vec<ClassScore>,
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
        outputs: &[OutputGroup],
    ) -> Result<Self, InferError> {
        let predictor = Predictor::new(engine, network, parameters, job.output_size, job.algorithm)?;
        let patches = sampler.tiles(usize::try_from(job.validate_patches).unwrap_or(usize::MAX));
        let sample = sampler.new_sample();
        Ok(Self {
            kernels: engine.kernels(),
            predictor,
            sampler,
            patches,
            sample,
            outputs: outputs
                .iter()
                .map(|output| (output.loss.loss, f64::from(output.loss.factor), output.options.target))
                .collect(),
        })
    }

    pub fn run(&mut self, parameters: &Parameters) -> Result<Found, PlanError> {
        self.predictor.load(parameters)?;
        let mut outcome = Outcome::default();
        let mut voxels = 0;
        let mut classes = Classes::default();
        let semantic = self.outputs.iter().position(|(.., target)| matches!(target, Target::Semantic { .. }));
        let mut confusion = Confusion::default();
        let mut shown = None;
        let mut rand_errors = Vec::new();
        for (index, patch) in self.patches.iter().enumerate() {
            self.sampler.read(patch, &mut self.sample);
            let sample = &self.sample;
            let inputs: Vec<&Tensor> = sample.inputs.iter().collect();
            let predictions = self.predictor.predict(&inputs)?;
            for (i, (prediction, wanted)) in predictions.iter().zip(&sample.outputs).enumerate() {
                let (loss, factor, what) = self.outputs[i];
                let SampleOutput { target, weight, .. } = wanted;
                let (mut found, prediction) =
                    loss::of_tensors(self.kernels, loss, prediction, target, weight.as_ref());
                found.loss *= factor;
                outcome.add(&found);
                if what == Target::Affinity {
                    let weights = segment::weights(&prediction, target, segment::Mode::Plain(Norm::None));
                    rand_errors.extend(weights.map(|weights| weights.rand_error));
                }
                if semantic == Some(i) {
                    confusion.add(&prediction, target, weight.as_ref());
                }
                classes.add(i, target, weight.as_ref());
                if i == 0 {
                    voxels += prediction.extent().len() as u64;
                    if index == self.patches.len() / 2 {
                        shown = Some((sample.inputs[0].clone(), prediction, target.clone()));
                    }
                }
            }
        }
        let (input, prediction, target) = shown.expect("a sampler has at least one patch");
        let rand_error =
            (!rand_errors.is_empty()).then(|| rand_errors.iter().sum::<f64>() / rand_errors.len() as f64);
        Ok(Found {
            outcome,
            rand_error,
            constant_error: classes.constant_error(),
            classes: confusion.scores(),
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
    /// Of each output.
    outputs: Vec<Vec<[f64; 2]>>,
}

impl Classes {
    fn add(&mut self, output: usize, target: &Tensor, weight: Option<&Tensor>) {
        self.outputs.resize(self.outputs.len().max(output + 1), Vec::new());
        let channels = &mut self.outputs[output];
        channels.resize(target.channels(), [0.0; 2]);
        for (channel, counts) in channels.iter_mut().enumerate() {
            for (i, &value) in target.channel(channel).iter().enumerate() {
                if weight.is_none_or(|weight| weight.channel(channel)[i] > 0.0) {
                    counts[usize::from(value > 0.5)] += 1.0;
                }
            }
        }
    }

    fn constant_error(&self) -> f64 {
        let channels = || self.outputs.iter().flatten();
        let wrong: f64 = channels().map(|[below, above]| below.min(*above)).sum();
        let all: f64 = channels().flatten().sum();
        wrong / all.max(1.0)
    }
}

/// How many counted voxels of each class are taken for each.
#[derive(Default)]
struct Confusion {
    classes: usize,
    /// Rows are what is true, columns what is predicted.
    counts: Vec<f64>,
}

impl Confusion {
    fn add(&mut self, prediction: &Tensor, target: &Tensor, weight: Option<&Tensor>) {
        self.classes = target.channels();
        self.counts.resize(self.classes * self.classes, 0.0);
        for voxel in 0..target.extent().len() {
            if weight.is_none_or(|weight| weight.channel(0)[voxel] > 0.0) {
                self.counts[largest(target, voxel) * self.classes + largest(prediction, voxel)] += 1.0;
            }
        }
    }

    fn scores(&self) -> Vec<ClassScore> {
        let classes = self.classes;
        let at = |truth: usize, found: usize| self.counts[truth * classes + found];
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        (0..classes)
            .map(|class| {
                let hits = at(class, class);
                let truth: f64 = (0..classes).map(|other| at(class, other)).sum();
                let found: f64 = (0..classes).map(|other| at(other, class)).sum();
                ClassScore { accuracy: ratio(hits, truth), iou: ratio(hits, truth + found - hits) }
            })
            .collect()
    }
}

/// The channel of the largest value, the first of equal ones.
fn largest(maps: &Tensor, voxel: usize) -> usize {
    let value = |channel: usize| maps.channel(channel)[voxel];
    (1..maps.channels()).fold(0, |best, channel| if value(channel) > value(best) { channel } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Extent;

    #[test]
    fn classes_are_scored_where_they_count() {
        let size = Extent::new(1, 1, 6);
        let one_hot =
            |classes: [usize; 6]| Tensor::from_fn(3, size, |i| f32::from(u8::from(classes[i % 6] == i / 6)));
        let (target, prediction) = (one_hot([0, 0, 0, 1, 1, 0]), one_hot([0, 0, 1, 1, 1, 2]));
        let weight = Tensor::from_fn(3, size, |i| f32::from(u8::from(i % 6 != 5)));
        let mut confusion = Confusion::default();
        confusion.add(&prediction, &target, Some(&weight));
        let score = |accuracy, iou| ClassScore { accuracy, iou };
        let two_thirds = Some(2.0 / 3.0);
        let expected = [score(two_thirds, two_thirds), score(Some(1.0), two_thirds), score(None, None)];
        assert_eq!(confusion.scores(), expected);
    }
}
