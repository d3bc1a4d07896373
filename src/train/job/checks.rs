//! Whether the values of a job make sense.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Job, JobError, Malis, OptimiserKind, Target};
use crate::train::schedule::ScheduleKind;

/// The most patches of an iteration: their gradients are added in single precision.
const MAX_BATCH: u64 = 1 << 16;

impl Job {
    /// Whether the values make sense, alone and together. Files are not opened.
    pub fn validate(&self) -> Result<(), JobError> {
        self.validate_values()?;
        self.validate_files()
    }

    fn validate_values(&self) -> Result<(), JobError> {
        let check = |ok: bool, key, value: &dyn fmt::Display, expected| match ok {
            true => Ok(()),
            false => Err(JobError::Value { key, value: value.to_string(), expected }),
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        check(
            !self.output_size.is_empty(),
            "output-size",
            &self.output_size,
            "at least 1 voxel along each axis",
        )?;
        let is_semantic = self.target == Target::Semantic;
        let classes = self.classes.unwrap_or(2);
        check(
            self.classes.is_none() || (is_semantic && classes >= 2) || !self.outputs.is_empty(),
            "classes",
            &classes,
            "at least 2, with the target semantic, whose classes they are",
        )?;
        check(
            self.malis == Malis::Off || self.target == Target::Affinity,
            "malis",
            &self.malis,
            "off, or the target affinity, which is what it weighs",
        )?;
        let within = |value: f64, least: f64, most: f64| (least..=most).contains(&value);
        check(within(self.rotate, 0.0, 180.0), "rotate", &self.rotate, "an angle from 0 to 180 degrees")?;
        check(within(self.contrast, 0.0, 1.0), "contrast", &self.contrast, "a number from 0 to 1")?;
        let missing = self.missing_section;
        check(within(missing, 0.0, 1.0), "missing-section", &missing, "a probability from 0 to 1")?;
        let brightness = self.brightness;
        check(within(brightness, 0.0, 1e6), "brightness", &brightness, "a number from 0 to 1e6")?;
        check(within(self.misalign, 0.0, 1e3), "misalign", &self.misalign, "voxels, from 0 to 1000")?;
        check(within(self.blur, 0.0, 100.0), "blur", &self.blur, "voxels, from 0 to 100")?;
        check(positive(self.eta), "eta", &self.eta, "a number above 0")?;
        check((0.0..1.0).contains(&self.momentum), "momentum", &self.momentum, "a number from 0 to below 1")?;
        check(
            (0.0..=1.0).contains(&self.weight_decay),
            "weight-decay",
            &self.weight_decay,
            "a number from 0 to 1",
        )?;
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check((0.0..1.0).contains(&value), key, &value, "a number from 0 to below 1")?;
        }
        check(positive(self.epsilon), "epsilon", &self.epsilon, "a number above 0")?;
        check(positive(self.power), "power", &self.power, "a number above 0")?;
        for (key, value) in [("clip-norm", self.clip_norm), ("clip-value", self.clip_value)] {
            let value = value.unwrap_or(1.0);
            check(positive(value), key, &value, "a number above 0")?;
        }
        let is_sgd = self.optimiser == OptimiserKind::Sgd;
        check(
            !self.nesterov || (is_sgd && self.momentum > 0.0),
            "nesterov",
            &self.nesterov,
            "the optimiser sgd and a momentum above 0, by which it looks ahead",
        )?;
        check(self.batch <= MAX_BATCH, "batch", &self.batch, "at most 65536 patches")?;
        let factor = self.anneal_factor;
        let falls = matches!(self.schedule, ScheduleKind::Exponential | ScheduleKind::Plateau);
        check(
            !falls || factor < 1.0,
            "anneal-factor",
            &factor,
            "a number below 1, by which the schedules exponential and plateau fall",
        )?;
        check(factor > 0.0 && factor <= 1.0, "anneal-factor", &factor, "a number above 0 and at most 1")?;
        if let Some(limit) = self.time_limit {
            let is_time = Duration::try_from_secs_f64(limit).is_ok();
            check(
                positive(limit) && is_time,
                "time-limit",
                &limit,
                "a number of seconds above 0 and below 1e19",
            )?;
        }
        for (key, value) in [
            ("anneal-every", self.anneal_every),
            ("batch", self.batch),
            ("patience", self.patience),
            ("iterations", self.iterations),
            ("report-every", self.report_every),
            ("validate-every", self.validate_every),
            ("validate-patches", self.validate_patches),
            ("checkpoint-every", self.checkpoint_every),
        ] {
            check(value > 0, key, &value, "an integer above 0")?;
        }
        check(self.seed <= i64::MAX as u64, "seed", &self.seed, "an integer below 2^63")?;
        check(
            self.isa.isa().is_available(),
            "isa",
            &self.isa.isa(),
            "a tier that this machine has; `znn info` lists them",
        )
    }

    fn validate_files(&self) -> Result<(), JobError> {
        let lists = [
            ("images", &self.images),
            ("labels", &self.labels),
            ("masks", &self.masks),
            ("val-images", &self.val_images),
            ("val-labels", &self.val_labels),
        ];
        if self.demo {
            return match lists.iter().find(|(_, paths)| !paths.is_empty()) {
                Some((key, _)) => Err(JobError::Conflict {
                    key,
                    other: "demo",
                    reason: "the demo trains on its own synthetic volume",
                }),
                None => Ok(()),
            };
        }
        let need = |is_given: bool, key, reason| match is_given {
            true => Ok(()),
            false => Err(JobError::Missing { key, reason }),
        };
        need(self.net.is_some(), "net", "without demo, a network description (.znn) is needed")?;
        // Whether every group has files is known with the network.
        let images = has(&self.images, self.inputs.values().map(|input| &input.images));
        need(images, "images", "without demo, training images (TIFF) are needed")?;
        let labels = has(&self.labels, self.outputs.values().map(|output| &output.labels));
        need(labels, "labels", "the training images need labels (TIFF)")?;
        let has_val_images = has(&self.val_images, self.inputs.values().map(|input| &input.val_images));
        let has_val_labels = has(&self.val_labels, self.outputs.values().map(|output| &output.val_labels));
        if has_val_images {
            need(has_val_labels, "val-labels", "the validation images need labels (TIFF)")?;
        }
        if self.schedule == ScheduleKind::Plateau {
            let reason = "the schedule plateau follows the validation loss, which needs images";
            need(has_val_images, "val-images", reason)?;
        }
        if has_val_labels {
            need(has_val_images, "val-images", "the validation labels need images (TIFF)")?;
        }
        if !self.inputs.is_empty() || !self.outputs.is_empty() {
            return Ok(());
        }
        let [images, labels, masks, val_images, val_labels] = lists.map(|(_, paths)| paths.len());
        let same = |key, found: usize, of, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(JobError::Count { key, found, of, expected }),
        };
        same("labels", labels, "images", images)?;
        same("val-labels", val_labels, "val-images", val_images)?;
        if masks > 0 { same("masks", masks, "images", images) } else { Ok(()) }
    }
}

/// Whether the job or one of its groups has files.
fn has<'a>(top: &[PathBuf], mut groups: impl Iterator<Item = &'a Vec<PathBuf>>) -> bool {
    !top.is_empty() || groups.any(|paths| !paths.is_empty())
}
