//! How training went, as a file tells it.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Layout, statistics_path};
use crate::hdf5::{self, FinishedGroup, Hdf5Error, Hdf5File, Number};

/// One point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The iterations done (`it`).
    pub iteration: u64,
    /// The loss for each output voxel and channel (`err`).
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// The fraction of output voxels and channels on the wrong side of one half (`cls`).
    #[serde(deserialize_with = "null_is_nan")]
    pub pixel_error: f64,
}

/// Numbers that are not finite are `null` in JSON.
fn null_is_nan<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(number)?.unwrap_or(f64::NAN))
}

/// The learning curves of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// On the training data.
    pub train: Vec<Measure>,
    /// On the validation data.
    pub test: Vec<Measure>,
    /// Seconds of training; in the original's files, those since the last report.
    pub elapsed: f64,
}

impl Statistics {
    /// The iterations done: the last of which anything is told.
    pub fn iteration(&self) -> u64 {
        let last = |curve: &[Measure]| curve.last().map_or(0, |measure| measure.iteration);
        last(&self.train).max(last(&self.test))
    }

    /// The statistics in a file: one of a whole run, of statistics alone, or of a network with its statistics beside it
    /// ([`statistics_path`](super::statistics_path)); `None` where there are none.
    ///
    /// # Errors
    /// Where a file cannot be read, or its curves are damaged.
    pub fn load(path: &Path) -> Result<Option<Self>, Hdf5Error> {
        let file = Hdf5File::open(path)?;
        for layout in [Layout::Single, Layout::Root] {
            if let Some(found) = Self::read(&file, layout)? {
                return Ok(Some(found));
            }
        }
        match statistics_path(path).filter(|beside| beside.exists()) {
            Some(beside) => Self::read(&Hdf5File::open(&beside)?, Layout::Root),
            None => Ok(None),
        }
    }

    /// What the file tells, `None` where it has no statistics.
    pub(super) fn read(file: &Hdf5File, layout: Layout) -> Result<Option<Self>, Hdf5Error> {
        if !file.has_dataset(&layout.statistics("train/it")) {
            return Ok(None);
        }
        let elapsed = layout.statistics("elapsed");
        let elapsed = match file.has_dataset(&elapsed) {
            true => values::<f64>(file, &elapsed)?.first().copied().filter(|e| e.is_finite()).unwrap_or(0.0),
            false => 0.0,
        };
        let train = curve(file, &layout.statistics("train"))?;
        let test = curve(file, &layout.statistics("test"))?;
        Ok(Some(Self { train, test, elapsed }))
    }

    /// The groups of the two curves.
    pub(super) fn curves(&self) -> [FinishedGroup; 2] {
        [("train", &self.train), ("test", &self.test)].map(|(name, curve)| {
            let mut group = hdf5::group(name);
            let column = |of: fn(&Measure) -> f64| curve.iter().map(of).collect::<Vec<_>>();
            let iterations: Vec<i64> = curve.iter().map(|measure| measure.iteration as i64).collect();
            group.create_dataset("it").with_data(&iterations);
            group.create_dataset("err").with_data(&column(|measure| measure.loss));
            group.create_dataset("cls").with_data(&column(|measure| measure.pixel_error));
            group.finish()
        })
    }
}

fn values<T: Number>(file: &Hdf5File, dataset: &str) -> Result<Vec<T>, Hdf5Error> {
    Ok(file.numbers(dataset)?.1)
}

/// The curve in a group; empty where there is none.
fn curve(file: &Hdf5File, group: &str) -> Result<Vec<Measure>, Hdf5Error> {
    let path = |name: &str| format!("{group}/{name}");
    if !file.has_dataset(&path("it")) {
        return Ok(Vec::new());
    }
    let iterations = values::<f64>(file, &path("it"))?;
    let (losses, errors) = (values::<f64>(file, &path("err"))?, values::<f64>(file, &path("cls"))?);
    for (name, len) in [("err", losses.len()), ("cls", errors.len())] {
        if len != iterations.len() {
            let reason = format!("{len} values, expected {} like `it`", iterations.len());
            return Err(file.error(&path(name), reason));
        }
    }
    let mut before = 0;
    iterations
        .iter()
        .zip(losses.iter().zip(&errors))
        .map(|(&iteration, (&loss, &pixel_error))| {
            let rounded = iteration as u64;
            if rounded as f64 != iteration || rounded < before {
                let reason = format!("the iteration {iteration}, expected whole numbers that do not fall");
                return Err(file.error(&path("it"), reason));
            }
            before = rounded;
            Ok(Measure { iteration: rounded, loss, pixel_error })
        })
        .collect()
}
