//! The observer that shows a run on the terminal and in the files of its folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::metrics::{MetricsWriter, Phase, Record};
use super::progress::{Progress, Status, Verbosity, clock};
use super::tensorboard::EventFile;
use super::{ClassScore, Observer, ReportError, TrainStep, Validation, curve, preview};
use crate::volume::Tensor;

/// The names of the files that a [`Reporter`] keeps in the folder of the run.
pub struct FileNames;

impl FileNames {
    /// The history, one JSON object a line.
    pub const METRICS: &str = "metrics.jsonl";
    /// The learning curve.
    pub const CURVE: &str = "curve.png";
    /// Input, prediction and label.
    pub const PREVIEW: &str = "preview.png";
    /// The history for TensorBoard, which knows it by the middle of its name.
    pub const EVENTS: &str = "events.out.tfevents.znn";
}

/// How a [`Reporter`] reports.
#[derive(Clone, Copy, Debug)]
pub struct ReporterOptions {
    /// The iterations of the whole run.
    pub iterations: u64,
    /// The iterations between two records of training.
    pub report_every: u64,
    /// When training stops at the latest, counted from now.
    pub time_limit: Option<Duration>,
    /// How much is said on standard error.
    pub verbosity: Verbosity,
}

/// The least time between two drawings of the learning curve, which costs about a tenth of a second.
const CURVE_INTERVAL: Duration = Duration::from_secs(5);
/// The progress shows means over about this many iterations.
const PROGRESS_WINDOW: f64 = 30.0;

/// Shows a run on the terminal and keeps `metrics.jsonl`, the same for TensorBoard, `curve.png` and `preview.png`.
///
/// ```
/// use std::time::Duration;
/// use znn::train::report::{FileNames, Observer, Reporter, ReporterOptions, TrainStep, Verbosity};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let verbosity = Verbosity::Quiet;
/// let options = ReporterOptions { iterations: 2, report_every: 1, time_limit: None, verbosity };
/// let mut reporter = Reporter::create(folder, options)?;
/// let step = TrainStep {
///     iteration: 1,
///     loss: 0.5,
///     pixel_error: 0.25,
///     rand_error: None,
///     gradient_norm: None,
///     batch: 1,
///     voxels: 64,
///     elapsed: Duration::from_millis(3),
///     eta: 0.01,
/// };
/// reporter.on_train(&step)?;
/// reporter.finish()?;
/// assert!(std::fs::read_to_string(folder.join(FileNames::METRICS))?.contains("0.5"));
/// // After an interruption, from the first iteration on.
/// Reporter::resume(folder, options, 1)?.on_train(&TrainStep { iteration: 2, ..step })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reporter {
    options: ReporterOptions,
    folder: PathBuf,
    progress: Progress,
    metrics: MetricsWriter,
    events: EventFile,
    records: Vec<Record>,
    /// Since the last record of training.
    window: Sums,
    /// Fading with the iterations, for the progress.
    recent: Sums,
    first_iteration: u64,
    started: Instant,
    /// The training time before an interruption.
    seconds_before: f64,
    curve_drawn: Option<Instant>,
}

/// Sums over iterations, whose means are reported.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    iterations: f64,
    loss: f64,
    pixel_error: f64,
    rand_error: f64,
    /// The iterations that have a Rand error.
    segmented: f64,
    voxels: f64,
    seconds: f64,
}

impl Sums {
    /// Multiplies what has been added by `keep` and adds one iteration.
    fn add(&mut self, step: &TrainStep, keep: f64) {
        let add = |sum: &mut f64, value: f64| *sum = *sum * keep + value;
        add(&mut self.iterations, 1.0);
        add(&mut self.loss, step.loss);
        add(&mut self.pixel_error, step.pixel_error);
        add(&mut self.rand_error, step.rand_error.unwrap_or_default());
        add(&mut self.segmented, f64::from(step.rand_error.is_some()));
        add(&mut self.voxels, step.voxels as f64);
        add(&mut self.seconds, step.elapsed.as_secs_f64());
    }

    fn voxels_per_second(&self) -> f64 {
        rate(self.voxels, self.seconds)
    }
}

/// `amount / seconds`, or 0 before any time has passed.
fn rate(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

impl Reporter {
    /// The reporter of a run that starts now, with an empty history in `folder`, which must exist.
    pub fn create(folder: &Path, options: ReporterOptions) -> Result<Self, ReportError> {
        let metrics = MetricsWriter::create(&folder.join(FileNames::METRICS))?;
        Self::new(folder, options, metrics, Vec::new(), 0)
    }

    /// The reporter of a run that goes on after `iteration` iterations with the history in `folder`.
    pub fn resume(folder: &Path, options: ReporterOptions, iteration: u64) -> Result<Self, ReportError> {
        let (metrics, records) = MetricsWriter::resume(&folder.join(FileNames::METRICS), iteration)?;
        Self::new(folder, options, metrics, records, iteration)
    }

    fn new(
        folder: &Path,
        options: ReporterOptions,
        metrics: MetricsWriter,
        records: Vec<Record>,
        first_iteration: u64,
    ) -> Result<Self, ReportError> {
        let path = folder.join(FileNames::EVENTS);
        let events = EventFile::create(&path, &records)
            .map_err(|source| ReportError::Events { path: path.clone(), source })?;
        Ok(Self {
            events,
            progress: Progress::new(options.iterations, options.verbosity),
            folder: folder.to_owned(),
            seconds_before: records.last().map_or(0.0, |record| record.seconds),
            options,
            metrics,
            records,
            window: Sums::default(),
            recent: Sums::default(),
            first_iteration,
            started: Instant::now(),
            curve_drawn: None,
        })
    }

    /// The history so far.
    #[doc(hidden)]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Says `line` on standard error, above the progress bar, unless quiet.
    #[doc(hidden)]
    pub fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// The wall-clock time since the start of the run, interruptions left out.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn record(&mut self, record: Record) -> Result<(), ReportError> {
        self.metrics.append(&record)?;
        let fail = |source| ReportError::Events { path: self.folder.join(FileNames::EVENTS), source };
        self.events.append(&record).map_err(fail)?;
        self.records.push(record);
        Ok(())
    }

    /// The time to the last iteration at the pace so far, or to the time limit where that comes first.
    fn left(&self, iteration: u64) -> Option<Duration> {
        let done = iteration.saturating_sub(self.first_iteration);
        if done == 0 {
            return None;
        }
        let passed = self.started.elapsed();
        let missing = self.options.iterations.saturating_sub(iteration);
        // A time beyond what a `Duration` holds is no time that a person can wait for.
        let left = Duration::try_from_secs_f64(passed.as_secs_f64() * missing as f64 / done as f64).ok()?;
        Some(self.options.time_limit.map_or(left, |limit| left.min(limit.saturating_sub(passed))))
    }

    fn draw_curve(&mut self) -> Result<(), ReportError> {
        curve::draw(&self.records)?.write_png(&self.folder.join(FileNames::CURVE))?;
        self.curve_drawn = Some(Instant::now());
        Ok(())
    }
}

impl Observer for Reporter {
    fn on_train(&mut self, step: &TrainStep) -> Result<(), ReportError> {
        self.window.add(step, 1.0);
        self.recent.add(step, 1.0 - 1.0 / PROGRESS_WINDOW);
        let recent = self.recent;
        self.progress.update(&Status {
            iteration: step.iteration,
            loss: recent.loss / recent.iterations,
            pixel_error: recent.pixel_error / recent.iterations,
            voxels_per_second: recent.voxels_per_second(),
            left: self.left(step.iteration),
        });
        if step.iteration.is_multiple_of(self.options.report_every)
            || step.iteration == self.options.iterations
        {
            let window = std::mem::take(&mut self.window);
            self.record(Record {
                iteration: step.iteration,
                phase: Phase::Train,
                loss: window.loss / window.iterations,
                pixel_error: window.pixel_error / window.iterations,
                rand_error: (window.segmented > 0.0).then(|| window.rand_error / window.segmented),
                constant_error: None,
                eta: step.eta,
                gradient_norm: step.gradient_norm,
                batch: step.batch,
                classes: Vec::new(),
                voxels_per_second: window.voxels_per_second(),
                seconds: self.seconds(),
            })?;
        }
        Ok(())
    }

    fn on_validation(&mut self, validation: &Validation) -> Result<(), ReportError> {
        let constant =
            validation.constant_error.map_or(String::new(), |error| format!(" (constant {error:.4})"));
        let segments =
            validation.rand_error.map_or(String::new(), |error| format!(", Rand error {error:.4}"));
        let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let list = |of: fn(&ClassScore) -> Option<f64>| {
            validation.classes.iter().map(|score| ratio(of(score))).collect::<Vec<_>>().join(" ")
        };
        let segments = match validation.classes.is_empty() {
            true => segments,
            false => format!(
                "{segments}, of the classes accuracy {} and IoU {}",
                list(|score| score.accuracy),
                list(|score| score.iou)
            ),
        };
        self.say(&format!(
            "iteration {}: validation loss {:.4}, pixel error {:.4}{constant}{segments}, {} since the start",
            validation.iteration,
            validation.loss,
            validation.pixel_error,
            clock(Duration::from_secs_f64(self.seconds())),
        ));
        self.record(Record {
            iteration: validation.iteration,
            phase: Phase::Validation,
            loss: validation.loss,
            pixel_error: validation.pixel_error,
            rand_error: validation.rand_error,
            constant_error: validation.constant_error,
            eta: validation.eta,
            gradient_norm: None,
            batch: 1,
            classes: validation.classes.clone(),
            voxels_per_second: rate(validation.voxels as f64, validation.elapsed.as_secs_f64()),
            seconds: self.seconds(),
        })?;
        if self.curve_drawn.is_none_or(|drawn| drawn.elapsed() >= CURVE_INTERVAL) {
            self.draw_curve()?;
        }
        Ok(())
    }

    fn on_preview(
        &mut self,
        input: &Tensor,
        prediction: &Tensor,
        target: &Tensor,
    ) -> Result<(), ReportError> {
        Ok(preview::draw(input, prediction, target)?.write_png(&self.folder.join(FileNames::PREVIEW))?)
    }

    fn on_checkpoint(&mut self, iteration: u64, path: &Path) -> Result<(), ReportError> {
        if self.options.verbosity >= Verbosity::Verbose {
            self.say(&format!("iteration {iteration}: checkpoint {}", path.display()));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.progress.finish();
        self.draw_curve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::report::metrics;
    use crate::train::report::picture::Picture;
    use crate::volume::Extent;

    fn options() -> ReporterOptions {
        ReporterOptions { iterations: 25, report_every: 10, time_limit: None, verbosity: Verbosity::Quiet }
    }

    fn step(iteration: u64) -> TrainStep {
        TrainStep {
            iteration,
            loss: iteration as f64,
            pixel_error: 0.5 * iteration as f64,
            rand_error: iteration.is_multiple_of(2).then_some(0.25),
            voxels: 1000,
            elapsed: Duration::from_millis(10),
            eta: 0.1,
            gradient_norm: None,
            batch: 1,
        }
    }

    fn validation(iteration: u64) -> Validation {
        Validation {
            iteration,
            loss: 0.5,
            pixel_error: 0.25,
            rand_error: None,
            classes: Vec::new(),
            constant_error: Some(0.3),
            voxels: 500,
            elapsed: Duration::from_millis(5),
            eta: 0.1,
        }
    }

    #[test]
    fn means_are_recorded_every_so_many_iterations_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut reporter = Reporter::create(folder.path(), options()).unwrap();
        for iteration in 1..=25 {
            reporter.on_train(&step(iteration)).unwrap();
            if iteration == 20 {
                reporter.on_validation(&validation(20)).unwrap();
            }
        }
        reporter.finish().unwrap();
        let records = metrics::read(&folder.path().join(FileNames::METRICS)).unwrap();
        assert_eq!(records.len(), reporter.records().len());
        let seen: Vec<(u64, Phase, f64, f64)> =
            records.iter().map(|r| (r.iteration, r.phase, r.loss, r.pixel_error)).collect();
        assert_eq!(
            seen,
            [
                (10, Phase::Train, 5.5, 2.75),
                (20, Phase::Train, 15.5, 7.75),
                (20, Phase::Validation, 0.5, 0.25),
                (25, Phase::Train, 23.0, 11.5),
            ]
        );
        assert!(records.iter().all(|r| (r.voxels_per_second - 1e5).abs() < 1e-3 && r.eta == 0.1));
        assert!(records.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds));
        let curve = Picture::read_png(&folder.path().join(FileNames::CURVE));
        assert_eq!((curve.width(), curve.height()), curve::SIZE);
    }

    #[test]
    fn a_resumed_history_goes_on_from_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut reporter = Reporter::create(folder.path(), options()).unwrap();
        (1..=20).for_each(|iteration| reporter.on_train(&step(iteration)).unwrap());
        drop(reporter);
        let mut reporter = Reporter::resume(folder.path(), options(), 15).unwrap();
        assert_eq!(reporter.records().len(), 1);
        (16..=25).for_each(|iteration| reporter.on_train(&step(iteration)).unwrap());
        let records = metrics::read(&folder.path().join(FileNames::METRICS)).unwrap();
        assert_eq!(records.iter().map(|r| r.iteration).collect::<Vec<_>>(), [10, 20, 25]);
        assert_eq!(records[1].loss, 18.0, "only the iterations of the resumed run are in the mean");
        assert!(records[1].seconds >= records[0].seconds, "time goes on");
    }

    #[test]
    fn a_preview_is_a_picture_of_the_output_extent() {
        let folder = tempfile::tempdir().unwrap();
        let mut reporter = Reporter::create(folder.path(), options()).unwrap();
        let output = Tensor::zeros(2, Extent::new(1, 300, 280));
        reporter.on_preview(&Tensor::zeros(1, Extent::new(1, 336, 316)), &output, &output).unwrap();
        let preview = Picture::read_png(&folder.path().join(FileNames::PREVIEW));
        assert_eq!((preview.width(), preview.height()), (4 * 282 + 2, 26 + 300 + 2));
    }

    #[test]
    fn the_time_left_ends_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let limited = ReporterOptions {
            iterations: 1_000_000_000,
            time_limit: Some(Duration::from_secs(60)),
            ..options()
        };
        let mut reporter = Reporter::create(folder.path(), limited).unwrap();
        assert_eq!(reporter.left(0), None);
        std::thread::sleep(Duration::from_millis(2));
        let left = reporter.left(1).unwrap();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
        reporter.options.time_limit = None;
        assert!(reporter.left(1).unwrap() > Duration::from_secs(100_000));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = Reporter::create(Path::new("/nowhere"), options()).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/metrics.jsonl: cannot create the metrics");
    }
}
