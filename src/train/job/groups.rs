//! What each input and output group of a network gets, where they are several: the tables `[inputs.NAME]` and
//! `[outputs.NAME]` of a job. A key that a table does not have is that of the job itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Job, LossKind, Malis, Target, one_or_more};
use crate::data::{Preprocess, Rebalance};

/// The images of one input group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InputJob {
    /// The training images, one file for each volume.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// The validation images.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub val_images: Vec<PathBuf>,
    /// How the values are normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Text<Preprocess>>,
}

/// What one output group learns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OutputJob {
    /// The labels of the training images, one file for each volume.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<PathBuf>,
    /// Which voxels of the labels count.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<PathBuf>,
    /// The labels of the validation images.
    #[serde(with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub val_labels: Vec<PathBuf>,
    /// What is learned from the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The classes of the target `semantic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<u64>,
    /// The loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossKind>,
    /// The factor of the loss in the sum over the outputs; 1 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_weight: Option<f64>,
    /// Over which voxels classes are counted whose weights are made equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceKind>,
    /// The factors of the classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeighting>,
    /// How the gradients of affinities are weighted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malis: Option<Malis>,
}

/// The groups' tables of a job.
pub type Groups<T> = BTreeMap<String, T>;

impl Job {
    /// What the input group `name` gets.
    pub(crate) fn input(&self, name: &str) -> InputJob {
        let own = self.inputs.get(name).cloned().unwrap_or_default();
        let or = |own: Vec<PathBuf>, job: &[PathBuf]| if own.is_empty() { job.to_vec() } else { own };
        InputJob {
            images: or(own.images, &self.images),
            val_images: or(own.val_images, &self.val_images),
            preprocess: own.preprocess.or(Some(Text(self.preprocess))),
        }
    }

    /// What the output group `name` learns; every key but `classes` and `masks` has a value.
    pub(crate) fn output(&self, name: &str) -> OutputJob {
        let own = self.outputs.get(name).cloned().unwrap_or_default();
        let has_labels = !own.labels.is_empty();
        let or = |own: Vec<PathBuf>, job: &[PathBuf]| if own.is_empty() { job.to_vec() } else { own };
        OutputJob {
            // The masks of the job belong to its labels.
            masks: if has_labels { own.masks } else { or(own.masks, &self.masks) },
            labels: or(own.labels, &self.labels),
            val_labels: or(own.val_labels, &self.val_labels),
            target: own.target.or(Some(self.target)),
            classes: own.classes.or(self.classes),
            loss: own.loss.or(Some(self.loss)),
            loss_weight: own.loss_weight.or(Some(1.0)),
            rebalance: own.rebalance.or(Some(self.rebalance.into())),
            class_weights: own.class_weights.or_else(|| Some(self.class_weights.clone())),
            malis: own.malis.or(Some(self.malis)),
        }
    }
}

/// A value with a text of its own, as that text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Text<T>(pub T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: serde::Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        String::deserialize(text)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Over which voxels classes are counted: [`Rebalance`], or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebalanceKind {
    /// Not at all.
    None,
    /// The whole volume.
    Global,
    /// The patch.
    Patch,
}

impl From<Option<Rebalance>> for RebalanceKind {
    fn from(value: Option<Rebalance>) -> Self {
        match value {
            None => Self::None,
            Some(Rebalance::Global) => Self::Global,
            Some(Rebalance::Patch) => Self::Patch,
        }
    }
}

impl From<RebalanceKind> for Option<Rebalance> {
    fn from(kind: RebalanceKind) -> Self {
        match kind {
            RebalanceKind::None => None,
            RebalanceKind::Global => Some(Rebalance::Global),
            RebalanceKind::Patch => Some(Rebalance::Patch),
        }
    }
}

/// The factors of the classes: `none`, `balanced` or a list of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClassWeighting {
    /// All alike.
    #[default]
    None,
    /// By their frequency in the whole volume: the same as the rebalancing `global`.
    Balanced,
    /// A factor for each class.
    Given(Vec<f64>),
}

impl ClassWeighting {
    /// The factors that are given.
    pub(crate) fn factors(&self) -> Vec<f32> {
        match self {
            Self::Given(factors) => factors.iter().map(|&factor| factor as f32).collect(),
            Self::None | Self::Balanced => Vec::new(),
        }
    }
}

impl fmt::Display for ClassWeighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Balanced => f.pad("balanced"),
            Self::Given(factors) => {
                f.pad(&factors.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// The text names no factors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected none, balanced or numbers from 0 such as 1,2,0.5, found `{0}`")]
pub struct NoClassWeights(String);

impl FromStr for ClassWeighting {
    type Err = NoClassWeights;
    fn from_str(text: &str) -> Result<Self, NoClassWeights> {
        match text {
            "none" => return Ok(Self::None),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let factor = |part: &str| part.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        let factors: Option<Vec<f64>> = text.split(',').map(factor).collect();
        factors.map(Self::Given).ok_or_else(|| NoClassWeights(text.to_owned()))
    }
}

impl Serialize for ClassWeighting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClassWeighting {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected none, balanced or a list of numbers")]
        enum Form {
            Text(String),
            List(Vec<f64>),
        }
        let text = match Form::deserialize(value)? {
            Form::Text(text) => text,
            Form::List(factors) => Self::Given(factors).to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}
