//! What the input and output groups of a network get: targets, losses and volumes.

use std::path::{Path, PathBuf};

use super::TrainError;
use super::job::{ClassWeighting, Job, LossKind};
use super::step::OutputLoss;
use crate::data::{
    Augment, DataError, OutputOptions, Rebalance, Sampler, SamplerOptions, Target, TrainingVolume,
    check_finite, synthetic, volume_file,
};
use crate::network::{Network, NodeId};
use crate::ops::loss::Loss;
use crate::volume::{Extent, Tensor};

/// What one output group learns.
pub(super) struct OutputGroup {
    /// As it was asked for, `auto` resolved.
    pub kind: LossKind,
    pub loss: OutputLoss,
    pub options: OutputOptions,
}

/// Whether the network's inputs are for images of one channel, which is what a file gives, and the tables of the job are of
/// groups that there are.
pub(super) fn check(network: &Network, job: &Job) -> Result<(), TrainError> {
    if let Some(node) = network.inputs().map(|node| &network[node]).find(|node| node.size != 1) {
        return Err(TrainError::Inputs { node: node.name.clone(), maps: node.size });
    }
    let names = |nodes: &mut dyn Iterator<Item = NodeId>| -> Vec<String> {
        nodes.map(|node| network[node].name.clone()).collect()
    };
    let sides = [
        ("inputs", job.inputs.keys().collect::<Vec<_>>(), names(&mut network.inputs())),
        ("outputs", job.outputs.keys().collect(), names(&mut network.outputs())),
    ];
    for (side, keys, names) in sides {
        if let Some(key) = keys.into_iter().find(|key| !names.contains(key)) {
            let known = names.join(", ");
            return Err(TrainError::Group { side, name: key.clone(), known });
        }
    }
    Ok(())
}

/// How the images are normalised, as the notes of a model tell it: one word, or with commas one for each input group.
pub(super) fn preprocess(network: &Network, job: &Job) -> String {
    let of = |node: NodeId| {
        let own = job.input(&network[node].name).preprocess;
        own.map_or(job.preprocess, |text| text.0).name().to_owned()
    };
    let mut names: Vec<String> = network.inputs().map(of).collect();
    if names.iter().all(|name| *name == names[0]) {
        names.truncate(1);
    }
    names.join(",")
}

/// What each output group learns.
pub(super) fn outputs(network: &Network, job: &Job) -> Result<Vec<OutputGroup>, TrainError> {
    let all: Vec<NodeId> = network.outputs().collect();
    let found = || {
        let groups =
            all.iter().map(|&node| format!("`{}` of {} maps", network[node].name, network[node].size));
        groups.collect::<Vec<_>>().join(" and ")
    };
    all.iter()
        .map(|&node| {
            let (name, maps) = (&network[node].name, network[node].size);
            let plan = job.output(name);
            let wanted = plan.target.unwrap_or(job.target);
            let classes = plan.classes.and_then(|classes| usize::try_from(classes).ok());
            let target = wanted.with_channels(maps).filter(|target| match target {
                Target::Semantic { classes: maps } => classes.is_none_or(|classes| classes == *maps),
                _ => true,
            });
            let Some(target) = target else {
                let expected = match classes.filter(|_| wanted == super::job::Target::Semantic) {
                    Some(classes) => classes.to_string(),
                    None => wanted.expected_channels().to_owned(),
                };
                return Err(TrainError::Outputs { found: found(), target: wanted.to_string(), expected });
            };
            let kind = plan.loss.unwrap_or(job.loss).resolve(target)?;
            let gives_probabilities = network.gives_probabilities(node);
            let rebalance = match plan.class_weights {
                Some(ClassWeighting::Balanced) => Some(Rebalance::Global),
                _ => plan.rebalance.and_then(Into::into),
            };
            let class_weights = plan.class_weights.unwrap_or_default().factors();
            let loss = OutputLoss {
                loss: loss_of(kind, gives_probabilities),
                factor: plan.loss_weight.unwrap_or(1.0) as f32,
                malis: plan.malis.unwrap_or(job.malis).mode(),
            };
            Ok(OutputGroup { kind, loss, options: OutputOptions { target, rebalance, class_weights } })
        })
        .collect()
}

/// The loss of that kind; the softmax is not taken again where the network ends in one.
fn loss_of(kind: LossKind, gives_probabilities: bool) -> Loss {
    match kind {
        LossKind::Square => Loss::SQUARE,
        LossKind::SquareSquare => Loss::SQUARE_SQUARE,
        LossKind::BinomialCrossEntropy => Loss::BINOMIAL_CROSS_ENTROPY,
        LossKind::Softmax if gives_probabilities => Loss::CROSS_ENTROPY,
        LossKind::Softmax => Loss::Softmax,
        LossKind::Auto => unreachable!("resolved"),
    }
}

/// The training volumes, and those for validation.
fn volumes(job: &Job, network: &Network) -> Result<[Vec<TrainingVolume>; 2], TrainError> {
    if job.demo {
        /// Sections enough to learn from, and few enough to be made in a second.
        const TRAINING: Extent = Extent::new(24, 224, 224);
        const VALIDATION: Extent = Extent::new(10, 160, 160);
        let make = |name: &str, seed, extent| -> Result<_, TrainError> {
            let (mut image, label) = synthetic(seed, extent);
            job.preprocess.apply(&mut image);
            let images = vec![image; network.inputs().count()];
            let volume = TrainingVolume::new(name, images, label.clone(), None)?;
            let further = network.outputs().skip(1);
            Ok(further.into_iter().try_fold(volume, |volume, _| volume.with_label(label.clone(), None))?)
        };
        let training = make("the synthetic training volume", job.seed, TRAINING)?;
        let validation = make("the synthetic validation volume", job.seed.wrapping_add(1), VALIDATION)?;
        return Ok([vec![training], vec![validation]]);
    }
    Ok([false, true]
        .map(|is_validation| Files::new(job, network, is_validation).read(job))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .try_into()
        .expect("two"))
}

/// What draws the patches of training and, where there are volumes for it, of validation.
pub(super) fn samplers(
    job: &Job,
    network: &Network,
    outputs: &[OutputGroup],
) -> Result<(Sampler, Option<Sampler>), TrainError> {
    let shapes = network.shapes(job.output_size)?;
    let inputs: Vec<Extent> = network.inputs().map(|node| shapes[node].extent).collect();
    let sampler = |volumes, stream, augment| {
        let options = SamplerOptions {
            seed: job.seed,
            stream,
            target: outputs[0].options.target,
            mirror: job.mirror,
            augment,
            rebalance: outputs[0].options.rebalance,
        };
        let outputs = outputs.iter().map(|output| output.options.clone()).collect();
        Sampler::with_outputs(volumes, &inputs, job.output_size, options, outputs)
    };
    let [training, validation] = volumes(job, network)?;
    let training = sampler(training, 0, job.augmentation())?;
    let validation = match validation.is_empty() {
        true => None,
        false => Some(sampler(validation, 1, Augment::NONE)?),
    };
    Ok((training, validation))
}

/// The files of the volumes.
struct Files {
    /// Of each input group, with the normalisation.
    inputs: Vec<(Vec<PathBuf>, crate::data::Preprocess)>,
    /// Of each output group: labels and masks.
    outputs: Vec<[Vec<PathBuf>; 2]>,
}

impl Files {
    fn new(job: &Job, network: &Network, is_validation: bool) -> Self {
        let input = |node: NodeId| {
            let plan = job.input(&network[node].name);
            let preprocess = plan.preprocess.map_or(job.preprocess, |text| text.0);
            (if is_validation { plan.val_images } else { plan.images }, preprocess)
        };
        let output = |node: NodeId| {
            let plan = job.output(&network[node].name);
            if is_validation { [plan.val_labels, Vec::new()] } else { [plan.labels, plan.masks] }
        };
        Self {
            inputs: network.inputs().map(input).collect(),
            outputs: network.outputs().map(output).collect(),
        }
    }

    fn read(&self, job: &Job) -> Result<Vec<TrainingVolume>, TrainError> {
        let count = self.inputs.first().map_or(0, |(images, _)| images.len());
        let lengths = self.inputs.iter().map(|(images, _)| ("images", images.len()));
        let lengths = lengths.chain(self.outputs.iter().map(|[labels, _]| ("labels", labels.len())));
        if let Some((files, found)) = lengths.into_iter().find(|&(_, len)| len != count) {
            return Err(TrainError::Volumes { files, found, expected: count });
        }
        (0..count).map(|i| self.volume(job, i)).collect()
    }

    fn volume(&self, job: &Job, i: usize) -> Result<TrainingVolume, TrainError> {
        // Checked before they are normalised, which would spread one bad value over its section.
        let checked = |path: &Path, role, tensor: Tensor| {
            check_finite(&path.display().to_string(), role, &tensor).map(|()| tensor)
        };
        let mut images: Vec<Tensor> = Vec::new();
        for (input, (paths, preprocess)) in self.inputs.iter().enumerate() {
            let same = self.inputs[..input]
                .iter()
                .position(|other| (&other.0[i], other.1) == (&paths[i], *preprocess));
            images.push(match same {
                Some(same) => images[same].clone(),
                None => {
                    let mut image = checked(&paths[i], "image", volume_file::read_image(&paths[i])?)?;
                    preprocess.apply(&mut image);
                    image
                }
            });
        }
        let mut labels = self.outputs.iter().map(|[labels, masks]| {
            let label = checked(&labels[i], "label", volume_file::read_label(&labels[i])?)?;
            let mask = match masks.get(i).filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => Some(checked(path, "mask", volume_file::read_label(path)?)?),
                None => None,
            };
            Ok::<_, DataError>((label, mask))
        });
        let make = if job.centred { TrainingVolume::centred } else { TrainingVolume::new };
        let (label, mask) = labels.next().expect("a network has an output")?;
        let name = self.inputs[0].0[i].display().to_string();
        let mut volume = make(name, images, label, mask)?;
        for further in labels {
            let (label, mask) = further?;
            volume = volume.with_label(label, mask)?;
        }
        Ok(volume)
    }
}
