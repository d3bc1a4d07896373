//! Random patches for training, regular ones for validation.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::candidates::Candidates;
use super::distort::{Distort, Distortion, Role};
use super::patch::{Margins, Orientation, Patch, gather};
use super::rebalance::Rebalance;
use super::weighting::{OutputOptions, Weighting};
use super::{DataError, LabelWarning, Target, TrainingVolume};
use crate::volume::{Extent, Tensor};

/// What may be done to a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Flips along z, y, x, each with probability one half.
    pub flip: [bool; 3],
    /// Exchange of y and x, with probability one half.
    pub transpose: bool,
    /// Distortions of random strength.
    pub distort: Distort,
}

impl Augment {
    /// Patches as they are.
    pub const NONE: Self = Self { flip: [false; 3], transpose: false, distort: Distort::NONE };
    /// All sixteen symmetries, no distortion.
    pub const ALL: Self = Self { flip: [true; 3], transpose: true, distort: Distort::NONE };
}

/// What to make of a volume.
#[derive(Clone, Copy, Debug)]
pub struct SamplerOptions {
    /// Equal seeds give equal samples.
    pub seed: u64,
    /// Independent sequences of one seed, such as training and validation.
    pub stream: u64,
    /// What the network is trained to give.
    pub target: Target,
    /// Whether the image continues beyond its border by reflection, so that every voxel of the label is used.
    pub mirror: bool,
    /// How patches are turned.
    pub augment: Augment,
    /// Weights against unequal class sizes.
    pub rebalance: Option<Rebalance>,
}

/// What one training iteration needs. Made by [`Sampler::new_sample`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The patch for each input of the network.
    pub inputs: Vec<Tensor>,
    /// What is wanted of each output of the network.
    pub outputs: Vec<SampleOutput>,
}

/// What one output of the network should give.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOutput {
    /// The values.
    pub target: Tensor,
    /// The factor of each voxel's loss gradient: 0 where the mask is not valid, the class weight elsewhere. Absent
    /// where neither mask nor weights of classes are asked for.
    pub weight: Option<Tensor>,
    /// The patch of the label or mask, with the context of the target.
    labels: Tensor,
}

/// Draws patches from a set of volumes. Sample `i` depends on the options and on `i` only: training resumes
/// without stored state, and patches can be prepared ahead.
///
/// ```
/// use znn::data::{Augment, OutputOptions, Sampler, SamplerOptions, Target, TrainingVolume};
/// use znn::{Extent, data};
///
/// let (image, label) = data::synthetic(1, Extent::new(4, 32, 32));
/// let volume = TrainingVolume::new("cells", vec![image], label, None)?;
/// let target = Target::Boundary { channels: 1 };
/// let options = SamplerOptions { seed: 1, stream: 0, target, mirror: false, augment: Augment::ALL, rebalance: None };
/// let (input, output) = (Extent::new(1, 12, 12), Extent::new(1, 8, 8));
/// let sampler = Sampler::new(vec![volume.clone()], &[input], output, options)?;
/// assert_eq!(sampler.volumes()[0].name(), "cells");
/// assert!(sampler.warnings().is_empty());
///
/// // Random patches, each a function of the seed and its number; and regular ones.
/// let mut sample = sampler.new_sample();
/// sampler.sample(3, &mut sample);
/// let patch = sampler.draw(3);
/// let mut again = sampler.new_sample();
/// sampler.read(&patch, &mut again);
/// assert_eq!(sample, again);
/// assert_eq!(sampler.tiles(10).len(), 10);
///
/// // A network of two outputs takes as many labels.
/// let label = volume.labels()[0].values.clone();
/// let volume = volume.with_label(label, None)?;
/// let outputs = vec![OutputOptions::new(target), OutputOptions::new(Target::Raw)];
/// let sampler = Sampler::with_outputs(vec![volume], &[input], output, options, outputs)?;
/// assert_eq!(sampler.new_sample().outputs.len(), 2);
/// # Ok::<(), znn::data::DataError>(())
/// ```
pub struct Sampler {
    volumes: Vec<TrainingVolume>,
    inputs: Vec<Extent>,
    output: Extent,
    options: SamplerOptions,
    /// For patches as they are and transposed ones (empty where not needed): the centres of each volume.
    candidates: [Vec<Candidates>; 2],
    /// For each output, its target and the weights of its voxels.
    outputs: Vec<Weighting>,
    warnings: Vec<LabelWarning>,
}

impl Sampler {
    /// A sampler for a network with one output that maps patches of the extents `inputs` (one for each input) to patches
    /// of the extent `output`. Each input must be at least as large as the output; the difference is the field of view
    /// less one.
    ///
    /// # Errors
    /// When a volume is too small for the patches, its mask leaves no place for them, or it does not have an image
    /// for each input.
    pub fn new(
        volumes: Vec<TrainingVolume>,
        inputs: &[Extent],
        output: Extent,
        options: SamplerOptions,
    ) -> Result<Self, DataError> {
        let SamplerOptions { target, rebalance, .. } = options;
        let of_output = OutputOptions { rebalance, ..OutputOptions::new(target) };
        Self::with_outputs(volumes, inputs, output, options, vec![of_output])
    }

    /// As [`new`](Self::new), for a network of several outputs: `outputs` are in place of target and rebalancing of
    /// `options`. Patches are centred where the label of the first is valid.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when a volume does not have a label for each output.
    pub fn with_outputs(
        volumes: Vec<TrainingVolume>,
        inputs: &[Extent],
        output: Extent,
        options: SamplerOptions,
        outputs: Vec<OutputOptions>,
    ) -> Result<Self, DataError> {
        check_request(&volumes, inputs, output, &outputs)?;
        let context = outputs.iter().map(|output| output.target.context()).max().unwrap_or(0);
        let turns = if options.augment.transpose { &[false, true][..] } else { &[false] };
        let mut candidates = [Vec::new(), Vec::new()];
        for volume in &volumes {
            for &transpose in turns {
                let (first, size) = fitting_centres(volume, inputs, output, (&options, context), transpose)?;
                let found = Candidates::new(first, size, volume.mask());
                if found.len() == 0 {
                    return Err(DataError::EmptyMask { name: volume.name().to_owned() });
                }
                candidates[usize::from(transpose)].push(found);
            }
        }
        let outputs: Vec<Weighting> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, of_output)| Weighting::new(&volumes, i, of_output))
            .collect::<Result<_, _>>()?;
        let warnings = match outputs[0].target() {
            Target::Raw | Target::Semantic { .. } => Vec::new(),
            _ => volumes.iter().filter_map(TrainingVolume::warning).collect(),
        };
        Ok(Self { volumes, inputs: inputs.to_vec(), output, options, candidates, outputs, warnings })
    }

    /// The volumes.
    pub fn volumes(&self) -> &[TrainingVolume] {
        &self.volumes
    }

    /// Labels that training will learn little from.
    pub fn warnings(&self) -> &[LabelWarning] {
        &self.warnings
    }

    /// A sample of zeros, with memory for [`sample`](Self::sample) to fill.
    pub fn new_sample(&self) -> Sample {
        let output = |(i, weighting): (usize, &Weighting)| {
            let (channels, context) = (weighting.target().channels(), weighting.target().context());
            let has_mask = |volume: &TrainingVolume| volume.labels()[i].mask.is_some();
            let has_weight = weighting.is_needed() || self.volumes.iter().any(has_mask);
            SampleOutput {
                target: Tensor::zeros(channels, self.output),
                weight: has_weight.then(|| Tensor::zeros(channels, self.output)),
                labels: Tensor::zeros(1, self.output + Extent::new(context, context, context)),
            }
        };
        Sample {
            inputs: self
                .inputs
                .iter()
                .zip(self.volumes[0].images())
                .map(|(&extent, image)| Tensor::zeros(image.channels(), extent))
                .collect(),
            outputs: self.outputs.iter().enumerate().map(output).collect(),
        }
    }

    /// The patch of iteration `iteration`: the turn is drawn first, then the centre, uniformly among all centres
    /// of all volumes at which the turned patch fits and the mask is > 0.
    pub fn draw(&self, iteration: u64) -> Patch {
        // One block of the generator, 16 words, is more than a sample takes; the word position has room for
        // the blocks of all iterations.
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        rng.set_stream(self.options.stream);
        rng.set_word_pos(u128::from(iteration) * 16);
        let Augment { flip, transpose, .. } = self.options.augment;
        // Four coins in any case, so that a seed gives the same flips whatever else is allowed.
        let coins: [bool; 4] = [rng.random(), rng.random(), rng.random(), rng.random()];
        let orientation = Orientation {
            flip: [flip[0] && coins[0], flip[1] && coins[1], flip[2] && coins[2]],
            transpose: transpose && coins[3],
        };
        let candidates = &self.candidates[usize::from(orientation.transpose)];
        let mut index = rng.random_range(0..candidates.iter().map(Candidates::len).sum());
        let mut volume = 0;
        while index >= candidates[volume].len() {
            index -= candidates[volume].len();
            volume += 1;
        }
        Patch { volume, centre: candidates[volume].get(index, self.volumes[volume].mask()), orientation }
    }

    /// Writes the sample of iteration `iteration` to `sample`. Panics when that is not from a sampler of the same
    /// network and options.
    pub fn sample(&self, iteration: u64, sample: &mut Sample) {
        self.read_distorted(&self.draw(iteration), self.distortion(iteration).as_ref(), sample);
    }

    /// The distortion of iteration `iteration`.
    fn distortion(&self, iteration: u64) -> Option<Distortion> {
        let SamplerOptions { seed, stream, augment: Augment { distort, .. }, target, .. } = &self.options;
        if *distort == Distort::NONE {
            return None;
        }
        let margins = self.inputs.iter().map(|&input| Margins::of_input(input, self.output));
        let before = margins.clone().map(|m| m.before.z).max().unwrap_or(0).max(target.context());
        let after = margins.map(|m| m.after.z).max().unwrap_or(0);
        Some(Distortion::draw(distort, [*seed, *stream, iteration], before, before + self.output.z + after))
    }

    /// Patches beside each other, none turned, that cover the volumes as far as output patches fit without
    /// overlap; those without a valid voxel are left out. Of more than `limit` patches, `limit` are chosen evenly.
    pub fn tiles(&self, limit: usize) -> Vec<Patch> {
        let mut tiles = Vec::new();
        let half = self.output.zip(Extent::ONE, |s, one| (s - one) / 2);
        for (volume, candidates) in self.candidates[0].iter().enumerate() {
            let (first, size) = candidates.bounds();
            let covered = size + self.output - Extent::ONE;
            let count = covered.zip(self.output, |c, s| c / s);
            let rest = covered - count * self.output;
            let start = first + rest.zip(rest, |r, _| r / 2);
            for z in 0..count.z {
                for y in 0..count.y {
                    for x in 0..count.x {
                        let centre = start + Extent::new(z, y, x) * self.output;
                        let is_valid = self.volumes[volume].mask().is_none_or(|mask| {
                            mask.crop(centre - half, self.output).data().iter().any(|&m| m > 0.0)
                        });
                        if is_valid {
                            tiles.push(Patch { volume, centre, orientation: Orientation::default() });
                        }
                    }
                }
            }
        }
        let chosen = limit.min(tiles.len());
        (0..chosen).map(|i| tiles[(2 * i + 1) * tiles.len() / (2 * chosen)]).collect()
    }

    /// Writes the sample at `patch`, one of [`draw`](Self::draw) or [`tiles`](Self::tiles), to `sample`. Panics as
    /// [`sample`](Self::sample).
    pub fn read(&self, patch: &Patch, sample: &mut Sample) {
        self.read_distorted(patch, None, sample);
    }

    fn read_distorted(&self, patch: &Patch, distortion: Option<&Distortion>, sample: &mut Sample) {
        let take = |volume: &Tensor, origin, margins, role, out: &mut Tensor| match distortion {
            Some(d) => d.gather(volume, origin, patch.orientation, (margins, self.output), role, out),
            None => gather(volume, origin, patch.orientation, out),
        };
        let volume = &self.volumes[patch.volume];
        let Sample { inputs, outputs } = sample;
        let fits = |(output, weighting): (&SampleOutput, &Weighting)| {
            let shape = (output.target.extent(), output.target.channels());
            shape == (self.output, weighting.target().channels())
        };
        assert!(
            inputs.iter().map(Tensor::extent).eq(self.inputs.iter().copied())
                && outputs.len() == self.outputs.len()
                && outputs.iter().zip(&self.outputs).all(fits),
            "a sample for another network"
        );
        for (input, image) in inputs.iter_mut().zip(volume.images()) {
            let margins = Margins::of_input(input.extent(), self.output);
            let origin = self.origin(patch, margins, centre_offset(image.extent(), volume.extent()));
            take(image, origin, margins, Role::Image, input);
            if let Some(distortion) = distortion {
                distortion.retouch(margins.before.z, input);
            }
        }
        for ((output, weighting), label) in outputs.iter_mut().zip(&self.outputs).zip(volume.labels()) {
            let SampleOutput { target, weight, labels } = output;
            let margins = Margins::of_labels(weighting.target().context());
            let origin = self.origin(patch, margins, [0; 3]);
            take(&label.values, origin, margins, Role::Labels, labels);
            weighting.target().compute(labels, target);
            if let Some(weight) = weight {
                match &label.mask {
                    Some(mask) => {
                        take(mask, origin, margins, Role::Labels, labels);
                        weighting.target().mask(labels, weight);
                    }
                    None => weight.data_mut().fill(1.0),
                }
                weighting.apply(patch.volume, target, weight);
            }
        }
    }

    /// The first voxel of the box that a patch with `margins` covers in a part of the volume, whose coordinates
    /// are those of the label plus `offset`.
    fn origin(&self, patch: &Patch, margins: Margins, offset: [isize; 3]) -> [isize; 3] {
        let centre = patch.centre.to_array();
        let output = patch.orientation.source_extent(self.output).to_array();
        let [before, _] = margins.in_volume(patch.orientation);
        [0, 1, 2].map(|a| centre[a] as isize + offset[a] - ((output[a] - 1) / 2 + before[a]) as isize)
    }
}

/// What to add to a voxel of the label to get that of the image, when the centres coincide.
fn centre_offset(image: Extent, label: Extent) -> [isize; 3] {
    let (image, label) = (image.to_array(), label.to_array());
    [0, 1, 2].map(|a| ((image[a] - 1) / 2) as isize - ((label[a] - 1) / 2) as isize)
}

fn check_request(
    volumes: &[TrainingVolume],
    inputs: &[Extent],
    output: Extent,
    outputs: &[OutputOptions],
) -> Result<(), DataError> {
    let refuse = |reason: String| Err(DataError::Patches(reason));
    let Some(first) = volumes.first() else {
        return refuse("there is no volume".to_owned());
    };
    if output.is_empty() {
        return refuse(format!("the output patch is empty ({output})"));
    }
    for target in outputs.iter().map(|output| output.target) {
        match target {
            Target::Boundary { channels } if !matches!(channels, 1 | 2) => {
                return refuse(format!("a boundary target has 1 or 2 channels, not {channels}"));
            }
            Target::Semantic { classes } if classes < 2 => {
                return refuse(format!("a semantic target has at least 2 classes, not {classes}"));
            }
            _ => {}
        }
    }
    if let Some(input) = inputs.iter().find(|input| !input.all(output, |i, o| i >= o)) {
        return refuse(format!("the input patch {input} is smaller than the output patch {output}"));
    }
    for volume in volumes {
        let name = || volume.name().to_owned();
        if volume.images().len() != inputs.len() {
            return Err(DataError::Inputs {
                name: name(),
                found: volume.images().len(),
                expected: inputs.len(),
            });
        }
        if volume.labels().len() != outputs.len() {
            return Err(DataError::Outputs {
                name: name(),
                found: volume.labels().len(),
                expected: outputs.len(),
            });
        }
        for (i, (image, like)) in volume.images().iter().zip(first.images()).enumerate() {
            let (found, expected) = (image.channels(), like.channels());
            if found != expected {
                return Err(DataError::ImageChannels { name: name(), input: i + 1, found, expected });
            }
        }
    }
    Ok(())
}

/// The first centre and the extent of the box of centres at which a patch, turned by any allowed flip and
/// transposed or not, lies in the label, of which it needs `context` voxels more in front, and, unless mirrored, in the images.
fn fitting_centres(
    volume: &TrainingVolume,
    inputs: &[Extent],
    output: Extent,
    (options, context): (&SamplerOptions, usize),
    transpose: bool,
) -> Result<(Extent, Extent), DataError> {
    let label = volume.extent();
    let turned = Orientation { flip: [false; 3], transpose };
    let core = turned.source_extent(output).to_array();
    let mut parts = vec![("label", label, [0; 3], Margins::of_labels(context))];
    if !options.mirror {
        for (image, &input) in volume.images().iter().zip(inputs) {
            let offset = centre_offset(image.extent(), label);
            parts.push(("image", image.extent(), offset, Margins::of_input(input, output)));
        }
    }
    // First and past-the-end centre, in voxels of the label.
    let (mut first, mut end) = ([isize::MIN; 3], [isize::MAX; 3]);
    for (role, size, offset, margins) in parts {
        let [mut before, mut after] = margins.in_volume(turned);
        for axis in (0..3).filter(|&axis| options.augment.flip[axis]) {
            let larger = before[axis].max(after[axis]);
            (before[axis], after[axis]) = (larger, larger);
        }
        let size_axes = size.to_array();
        for axis in 0..3 {
            let low = (core[axis] - 1) / 2 + before[axis];
            let high = core[axis] / 2 + after[axis];
            first[axis] = first[axis].max(low as isize - offset[axis]);
            end[axis] = end[axis].min(size_axes[axis] as isize - high as isize - offset[axis]);
        }
        if (0..3).any(|axis| first[axis] >= end[axis]) {
            let needed = Extent::from([0, 1, 2].map(|a| core[a] + before[a] + after[a]));
            return Err(DataError::TooSmall {
                name: volume.name().to_owned(),
                found: label,
                transposed: if transpose && output.y != output.x {
                    ", transposed by augmentation"
                } else {
                    ""
                },
                need: format!("the {role}, of extent {size}, must have at least {needed} voxels (z,y,x)"),
                advice: match role {
                    "image" => {
                        "; a smaller output patch (--output-size) or mirrored borders (--mirror) need less"
                    }
                    _ => "; a smaller output patch (--output-size) needs less",
                },
            });
        }
    }
    let first = Extent::from(first.map(|v| v as usize));
    Ok((first, Extent::from(end.map(|v| v as usize)) - first))
}

#[cfg(test)]
mod tests;
