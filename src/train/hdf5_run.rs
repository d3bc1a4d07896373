//! Checkpoints in the format of the original system, and runs of it that go on here.

use std::collections::BTreeMap;
use std::path::Path;

use super::TrainError;
use super::job::Job;
use super::job::cfg::suffixed;
use super::report::FileNames as ReportFiles;
use super::report::metrics::{self, MetricsWriter, Phase, Record};
use super::trainer::{FileNames, make_folder, notes, read_network};
use crate::network::hdf5_file::{self, Contents, Measure, Rates, Statistics};
use crate::network::model_file::ModelFileError;
use crate::network::{Network, Parameters, weights_file};

/// Makes the folder of `job` hold the run whose last checkpoint is the HDF5 file `checkpoint`, so that it can be
/// resumed: weights and momentum of groups of the same name, the iterations done, the learning curve. Returns what
/// the person who trains should know.
///
/// # Errors
/// Where the network of the job or the checkpoint cannot be read, or the folder cannot be written.
pub fn import(job: &Job, checkpoint: &Path) -> Result<Vec<String>, TrainError> {
    let mut warnings = Vec::new();
    let network = read_network(job, &mut Vec::new())?;
    let loaded = hdf5_file::load(checkpoint).map_err(ModelFileError::from)?;
    let mut parameters = Parameters::init(&network, job.seed);
    let left = parameters.resume_from(&network, &loaded.model);
    warnings.extend(left.iter().map(|group| format!("{}: {group}", checkpoint.display())));
    let statistics = loaded.statistics.unwrap_or_default();
    if statistics.iteration() == 0 {
        let name = checkpoint.display();
        warnings
            .push(format!("{name}: it does not tell how many iterations are done; they are counted from 0"));
    }
    parameters.set_updates(statistics.iteration());
    let notes = BTreeMap::from([
        (notes::ITERATION.to_owned(), statistics.iteration().to_string()),
        (notes::SECONDS.to_owned(), statistics.elapsed.to_string()),
        (notes::PREPROCESS.to_owned(), job.preprocess.name().to_owned()),
    ]);
    let model = job.out.join(FileNames::MODEL);
    make_folder(&job.out, &model)?;
    let records = records(&statistics);
    let mut metrics = MetricsWriter::create(&job.out.join(ReportFiles::METRICS)).map_err(report)?;
    for record in &records {
        metrics.append(record).map_err(report)?;
    }
    // Last: with this file the folder holds a run.
    weights_file::save(&model, &network, &parameters, &notes, true)?;
    Ok(warnings)
}

fn report(error: metrics::MetricsError) -> TrainError {
    TrainError::Report(error.into())
}

/// The history that statistics of the original system tell.
pub fn records(statistics: &Statistics) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (phase, curve) in [(Phase::Train, &statistics.train), (Phase::Validation, &statistics.test)] {
        records.extend(curve.iter().map(|measure| record(phase, measure)));
    }
    records.sort_by_key(|record| record.iteration);
    records
}

/// The original counts neither voxels nor time for each point.
fn record(phase: Phase, measure: &Measure) -> Record {
    Record {
        iteration: measure.iteration,
        phase,
        loss: measure.loss,
        pixel_error: measure.pixel_error,
        rand_error: None,
        constant_error: None,
        gradient_norm: None,
        batch: 1,
        classes: Vec::new(),
        eta: f64::NAN,
        voxels_per_second: f64::NAN,
        seconds: 0.0,
    }
}

/// The history of the run in `folder` up to `iteration`, after `seconds` of training.
///
/// # Errors
/// Where the history is there but cannot be read.
pub fn statistics(folder: &Path, iteration: u64, seconds: f64) -> Result<Statistics, TrainError> {
    let history = folder.join(ReportFiles::METRICS);
    let records = if history.exists() { metrics::read(&history).map_err(report)? } else { Vec::new() };
    let curve = |phase| {
        let measures = records.iter().filter(|record| record.phase == phase && record.iteration <= iteration);
        let measure = |record: &Record| Measure {
            iteration: record.iteration,
            loss: record.loss,
            pixel_error: record.pixel_error,
        };
        measures.map(measure).collect::<Vec<_>>()
    };
    let mut statistics =
        Statistics { train: curve(Phase::Train), test: curve(Phase::Validation), elapsed: seconds };
    // The last point of the curve says from which iteration the run goes on.
    if statistics.iteration() < iteration {
        let last = statistics.train.last().copied();
        let (loss, pixel_error) = last.map_or((f64::NAN, f64::NAN), |last| (last.loss, last.pixel_error));
        statistics.train.push(Measure { iteration, loss, pixel_error });
    }
    Ok(statistics)
}

/// Writes a checkpoint of `job` under the names of the original system, where the job asks for it:
/// `PREFIX_ITERATION.h5` with the learning rate `eta`, at the start `PREFIX_init.h5`, and the same as `PREFIX_current.h5`.
pub(super) fn export(
    job: &Job,
    network: &Network,
    parameters: &Parameters,
    (iteration, eta): (u64, f64),
    seconds: f64,
) -> Result<(), TrainError> {
    let Some(prefix) = &job.hdf5 else { return Ok(()) };
    let statistics = statistics(&job.out, iteration, seconds)?;
    let rates = Rates { eta, momentum: job.momentum, weight_decay: job.weight_decay };
    let contents = Contents { network, parameters, rates, statistics: Some(&statistics) };
    let name = if iteration == 0 { "_init.h5".to_owned() } else { format!("_{iteration}.h5") };
    for suffix in [&name, "_current.h5"] {
        let path = suffixed(prefix, suffix);
        hdf5_file::save(&path, &contents, job.hdf5_layout).map_err(ModelFileError::from)?;
    }
    Ok(())
}
