//! What the voxels of an output count.

use super::rebalance::{ClassCounts, ClassWeights, Rebalance};
use super::training_volume::Label;
use super::{DataError, Target, TrainingVolume};
use crate::volume::{Extent, Tensor};

/// What one output of a network is trained to give.
///
/// ```
/// use znn::data::{OutputOptions, Rebalance, Target};
///
/// let plain = OutputOptions::new(Target::Semantic { classes: 3 });
/// let options = OutputOptions { class_weights: vec![1.0, 1.0, 5.0], ..plain };
/// assert_eq!(options.rebalance, None::<Rebalance>);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OutputOptions {
    /// What its channels mean.
    pub target: Target,
    /// Weights against unequal class sizes.
    pub rebalance: Option<Rebalance>,
    /// A further factor for each class: of [`Target::Semantic`] its classes, else what is 0 and what is above. Empty: none.
    pub class_weights: Vec<f32>,
}

impl OutputOptions {
    /// All voxels count alike.
    pub fn new(target: Target) -> Self {
        Self { target, rebalance: None, class_weights: Vec::new() }
    }
}

/// The factors of the classes.
#[derive(Clone, Debug, PartialEq)]
enum Factors {
    /// Each channel has two classes of its own.
    Channels(Vec<ClassWeights>),
    /// Each channel is a class.
    Classes(Vec<f32>),
}

impl Factors {
    fn apply(&self, target: &Tensor, weight: &mut Tensor) {
        match self {
            Self::Channels(channels) => {
                for (channel, class) in channels.iter().enumerate() {
                    let values = target.channel(channel);
                    for (factor, &value) in weight.channel_mut(channel).iter_mut().zip(values) {
                        *factor *= class.of_voxel(value);
                    }
                }
            }
            Self::Classes(classes) => {
                // A voxel is of the class whose channel is 1: its factor is for all channels.
                let len = target.extent().len();
                let mut of_voxel = vec![1.0; len];
                for (channel, &class) in classes.iter().enumerate() {
                    let values = target.channel(channel).iter();
                    of_voxel
                        .iter_mut()
                        .zip(values)
                        .filter(|(_, value)| **value > 0.5)
                        .for_each(|(f, _)| *f = class);
                }
                for channel in 0..weight.channels() {
                    weight
                        .channel_mut(channel)
                        .iter_mut()
                        .zip(&of_voxel)
                        .for_each(|(w, factor)| *w *= factor);
                }
            }
        }
    }

    /// The factors by the counts of each channel's two classes; `of_mean_one` where they are of a whole volume.
    fn by_counts(target: Target, counts: Vec<ClassCounts>, is_global: bool) -> Self {
        match target {
            // N / (C n): the mean factor is one. A class that is absent has no voxel to count.
            Target::Semantic { classes } => {
                let all: u64 = counts.iter().map(|counts| counts.positive).sum();
                let factor = |counts: ClassCounts| match counts.positive {
                    0 => 1.0,
                    n => (all as f64 / (classes as f64 * n as f64)) as f32,
                };
                Self::Classes(counts.into_iter().map(factor).collect())
            }
            Target::Boundary { .. } | Target::Raw if is_global => {
                Self::Channels(counts.into_iter().map(ClassWeights::of_mean_one).collect())
            }
            _ => Self::Channels(counts.into_iter().map(ClassWeights::of_sum_one).collect()),
        }
    }
}

/// Weighs the voxels of one output.
pub(super) struct Weighting {
    options: OutputOptions,
    given: Option<Factors>,
    /// For each volume, where the classes are counted over it.
    global: Option<Vec<Factors>>,
}

impl Weighting {
    /// For output number `output` of the volumes.
    ///
    /// # Errors
    /// Where a label has a class that is none, or the factors are not one for each class.
    pub fn new(volumes: &[TrainingVolume], output: usize, options: OutputOptions) -> Result<Self, DataError> {
        let target = options.target;
        if let Target::Semantic { classes } = target {
            volumes
                .iter()
                .try_for_each(|volume| check_classes(volume.name(), &volume.labels()[output], classes))?;
        }
        let given = match (target, &options.class_weights[..]) {
            (_, []) => None,
            (Target::Semantic { classes }, weights) if weights.len() == classes => {
                Some(Factors::Classes(weights.to_vec()))
            }
            (Target::Boundary { .. } | Target::Affinity, &[zero, positive]) => {
                // The second channel of a boundary is the complement of the first.
                let class = |channel| match (target, channel) {
                    (Target::Boundary { .. }, 1) => ClassWeights { positive: zero, zero: positive },
                    _ => ClassWeights { positive, zero },
                };
                Some(Factors::Channels((0..target.channels()).map(class).collect()))
            }
            (_, weights) => {
                let (found, expected) = (weights.len(), target.classes());
                return Err(DataError::ClassWeights { found, expected });
            }
        };
        let global = (options.rebalance == Some(Rebalance::Global)).then(|| {
            let counts = |volume: &TrainingVolume| count(&volume.labels()[output], target);
            volumes.iter().map(|volume| Factors::by_counts(target, counts(volume), true)).collect()
        });
        Ok(Self { options, given, global })
    }

    pub fn target(&self) -> Target {
        self.options.target
    }

    /// Whether valid voxels count unequally.
    pub fn is_needed(&self) -> bool {
        self.options.rebalance.is_some() || self.given.is_some()
    }

    /// Multiplies `weight`, 1 where the label is valid, by the factors of the voxels' classes.
    pub fn apply(&self, volume: usize, target: &Tensor, weight: &mut Tensor) {
        match (self.options.rebalance, &self.global) {
            (None, _) => {}
            (Some(_), Some(global)) => global[volume].apply(target, weight),
            (Some(_), None) => {
                let counts = (0..target.channels())
                    .map(|c| ClassCounts::of(target.channel(c), Some(weight.channel(c))))
                    .collect();
                Factors::by_counts(self.options.target, counts, false).apply(target, weight);
            }
        }
        if let Some(given) = &self.given {
            given.apply(target, weight);
        }
    }
}

/// The classes of each target channel over a whole volume, counted section by section.
fn count(label: &Label, target: Target) -> Vec<ClassCounts> {
    let context = target.context();
    let around = Extent::new(context, context, context);
    let mut counts = vec![ClassCounts::default(); target.channels()];
    if let Some(inner) = label.values.extent().checked_sub(around).filter(|inner| !inner.is_empty()) {
        let section = Extent::new(1, inner.y, inner.x);
        let mut values = Tensor::zeros(target.channels(), section);
        let mut valid = Tensor::zeros(target.channels(), section);
        for z in 0..inner.z {
            let origin = Extent::new(z, 0, 0);
            target.compute(&label.values.crop(origin, section + around), &mut values);
            if let Some(mask) = &label.mask {
                target.mask(&mask.crop(origin, section + around), &mut valid);
            }
            for (channel, counts) in counts.iter_mut().enumerate() {
                let mask = label.mask.as_ref().map(|_| valid.channel(channel));
                *counts += ClassCounts::of(values.channel(channel), mask);
            }
        }
    }
    counts
}

/// Whether every valid voxel has the number of a class.
fn check_classes(name: &str, label: &Label, classes: usize) -> Result<(), DataError> {
    let values = label.values.data();
    let is_wrong = |i: &usize| {
        let is_valid = label.mask.as_ref().is_none_or(|mask| mask.data()[*i] > 0.0);
        is_valid && !(values[*i] >= 0.0 && values[*i] < classes as f32 && values[*i].fract() == 0.0)
    };
    match (0..values.len()).find(is_wrong) {
        None => Ok(()),
        Some(i) => {
            let extent = label.values.extent();
            let plane = extent.y * extent.x;
            let position = Extent::new(i / plane, i / extent.x % extent.y, i % extent.x);
            Err(DataError::Class { name: name.to_owned(), value: values[i], position, classes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Extent = Extent { z: 1, y: 2, x: 4 };

    fn volume(labels: &[f32], mask: Option<&[f32]>) -> TrainingVolume {
        let tensor = |values: &[f32]| Tensor::from_slice(1, SIZE, values);
        TrainingVolume::new("v", vec![Tensor::zeros(1, SIZE)], tensor(labels), mask.map(tensor)).unwrap()
    }

    /// The weights of all voxels of the volume.
    fn weights(volume: &TrainingVolume, options: OutputOptions) -> Tensor {
        let target = options.target;
        let weighting = Weighting::new(std::slice::from_ref(volume), 0, options).unwrap();
        let (mut values, mut weight) =
            (Tensor::zeros(target.channels(), SIZE), Tensor::from_fn(target.channels(), SIZE, |_| 1.0));
        target.compute(volume.label(), &mut values);
        if let Some(mask) = volume.mask() {
            target.mask(mask, &mut weight);
        }
        assert!(weighting.is_needed());
        weighting.apply(0, &values, &mut weight);
        weight
    }

    #[test]
    fn classes_are_balanced_over_the_volume_and_over_the_patch() {
        let target = Target::Semantic { classes: 3 };
        let volume = volume(
            &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0],
            Some(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
        );
        for rebalance in [Rebalance::Global, Rebalance::Patch] {
            let found =
                weights(&volume, OutputOptions { rebalance: Some(rebalance), ..OutputOptions::new(target) });
            // Of seven valid voxels four, two and one; the mean is one.
            let [a, b, c] = [4.0, 2.0, 1.0].map(|n| 7.0f32 / (3.0 * n));
            for channel in 0..3 {
                assert_eq!(found.channel(channel), [a, a, a, a, b, b, c, 0.0]);
            }
        }
    }

    #[test]
    fn factors_are_those_of_the_voxels_classes() {
        let volume = volume(&[0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0], None);
        let given = |target, weights: &[f32]| {
            let class_weights = weights.to_vec();
            OutputOptions { class_weights, ..OutputOptions::new(target) }
        };
        let found = weights(&volume, given(Target::Semantic { classes: 3 }, &[1.0, 2.0, 0.5]));
        for channel in 0..3 {
            assert_eq!(found.channel(channel), [1.0, 2.0, 0.5, 0.5, 2.0, 1.0, 1.0, 1.0]);
        }
        // Boundary (0) and inside, in both channels.
        let found = weights(&volume, given(Target::Boundary { channels: 2 }, &[3.0, 0.5]));
        for channel in 0..2 {
            assert_eq!(found.channel(channel), [3.0, 0.5, 0.5, 0.5, 0.5, 3.0, 3.0, 3.0]);
        }
        let refuse =
            |options| Weighting::new(std::slice::from_ref(&volume), 0, options).err().unwrap().to_string();
        assert_eq!(
            refuse(given(Target::Semantic { classes: 3 }, &[1.0, 2.0])),
            "class-weights: 2 numbers, expected 3: one for each class"
        );
        assert_eq!(
            refuse(OutputOptions::new(Target::Semantic { classes: 2 })),
            "v: the label has the value 2 at z,y,x = 0,0,2, expected the number of a class, 0 to 1, or a mask of 0"
        );
    }
}
