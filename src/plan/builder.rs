//! Collecting buffers and tasks.

use std::ops::Range;
use std::sync::Arc;

use super::reduction::Reduction;
use super::views::Views;
use crate::machine::memory::{self, TooLittleMemory};

/// A matrix of floats in the arena of a plan: `rows` feature maps of `cols` voxels, or anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(pub(super) usize);

/// Contributions of several tasks that are added up for one other task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sum(pub(super) usize);

/// The rows and columns of a buffer that a task touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub(super) buffer: Buffer,
    pub(super) rows: Range<usize>,
    pub(super) cols: Range<usize>,
}

/// Where a buffer lives, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// Within an iteration, from its first to its last task.
    Transient,
    /// As long as the plan.
    Persistent,
    /// The caller's memory, read during a step.
    Input(usize),
    /// The caller's memory, written during a step.
    Output(usize),
}

#[derive(Debug)]
pub(super) struct BufferInfo {
    pub storage: Storage,
    pub rows: usize,
    pub cols: usize,
    /// Floats from the start of a row to that of the next.
    pub pitch: usize,
}

impl BufferInfo {
    /// Floats from the first to the last.
    pub fn len(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.pitch + self.cols }
    }
}

/// What a task is, for traces and error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The layer or group that it works for.
    pub layer: Arc<str>,
    /// The step of that layer's work, such as `forward` or `backward_weights`.
    pub stage: &'static str,
}

impl Label {
    /// The stage `stage` of layer `layer`.
    pub fn new(layer: &Arc<str>, stage: &'static str) -> Self {
        Self { layer: layer.clone(), stage }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.layer, self.stage)
    }
}

/// A task's part in a [`Sum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SumRole {
    Contribute(Sum),
    Collect(Sum),
}

pub(super) type Work = Box<dyn Fn(Views<'_>) + Send + Sync>;

pub(super) struct TaskInfo {
    pub label: Label,
    pub cost: u32,
    pub reads: Vec<Region>,
    pub writes: Vec<Region>,
    pub scratch: usize,
    pub sum: Option<SumRole>,
    pub deferred: bool,
    pub preparation: bool,
    pub work: Work,
}

pub(super) struct SumInfo {
    pub len: usize,
    pub contributions: usize,
}

/// Collects the buffers and tasks of one iteration; see the [module](super).
///
/// Methods panic on programming errors: a region outside its buffer, a task that writes what it also reads.
pub struct PlanBuilder {
    pub(super) buffers: Vec<BufferInfo>,
    pub(super) tasks: Vec<TaskInfo>,
    pub(super) sums: Vec<SumInfo>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    splits: usize,
    pub(super) deterministic: bool,
    synchronous: bool,
}

impl PlanBuilder {
    /// A builder for `threads` workers. In deterministic mode, the work is divided and added up in a way that
    /// does not depend on them, so that results have the same bits for any number of threads.
    pub fn new(threads: usize, deterministic: bool) -> Self {
        /// Tasks per layer in deterministic mode.
        const FIXED_SPLITS: usize = 32;
        /// Enough tasks per worker that an uneven end costs little.
        const TASKS_PER_WORKER: usize = 8;
        let splits = if deterministic {
            FIXED_SPLITS
        } else if threads == 1 {
            1
        } else {
            threads * TASKS_PER_WORKER
        };
        Self {
            buffers: Vec::new(),
            tasks: Vec::new(),
            sums: Vec::new(),
            inputs: 0,
            outputs: 0,
            splits,
            deterministic,
            synchronous: false,
        }
    }

    /// No task is deferred: all is done when a step returns. Tasks declared as [deferred](TaskBuilder::deferred) may
    /// then touch inputs and outputs.
    pub fn synchronous(self) -> Self {
        Self { synchronous: true, ..self }
    }

    /// How many tasks a layer's pass should be divided into, where its work allows.
    pub fn splits(&self) -> usize {
        self.splits
    }

    /// The part `index` of `0..len` cut into `parts` nearly equal parts, each but the last a multiple of `unit`.
    pub fn part(len: usize, unit: usize, parts: usize, index: usize) -> Range<usize> {
        let units = len.div_ceil(unit);
        let cut = |i: usize| (units * i / parts * unit).min(len);
        cut(index)..cut(index + 1)
    }

    fn add_buffer(&mut self, storage: Storage, rows: usize, cols: usize, pitch: usize) -> Buffer {
        assert!(cols <= pitch || rows <= 1, "rows of {cols} overlap at a distance of {pitch}");
        self.buffers.push(BufferInfo { storage, rows, cols, pitch });
        Buffer(self.buffers.len() - 1)
    }

    /// A buffer whose content lives within an iteration. A task must write it before another one reads it.
    pub fn transient(&mut self, rows: usize, cols: usize) -> Buffer {
        self.add_buffer(Storage::Transient, rows, cols, cols)
    }

    /// A buffer that keeps its content between iterations; zero at first.
    pub fn persistent(&mut self, rows: usize, cols: usize) -> Buffer {
        self.add_buffer(Storage::Persistent, rows, cols, cols)
    }

    /// The next input slice of [`Plan::step`](super::Plan::step), of `rows * cols` floats.
    pub fn input(&mut self, rows: usize, cols: usize) -> Buffer {
        self.input_rows(rows, cols, cols)
    }

    /// The next input slice, of rows whose starts lie `pitch` floats apart: `(rows - 1) * pitch + cols` floats.
    pub fn input_rows(&mut self, rows: usize, cols: usize, pitch: usize) -> Buffer {
        self.inputs += 1;
        self.add_buffer(Storage::Input(self.inputs - 1), rows, cols, pitch)
    }

    /// The next output slice of [`Plan::step`](super::Plan::step), of `rows * cols` floats.
    pub fn output(&mut self, rows: usize, cols: usize) -> Buffer {
        self.output_rows(rows, cols, cols)
    }

    /// The next output slice, of rows whose starts lie `pitch` floats apart: `(rows - 1) * pitch + cols` floats. What
    /// lies between the rows stays as it is.
    pub fn output_rows(&mut self, rows: usize, cols: usize, pitch: usize) -> Buffer {
        self.outputs += 1;
        self.add_buffer(Storage::Output(self.outputs - 1), rows, cols, pitch)
    }

    /// A sum of `contributions` slices of `len` floats.
    pub fn sum(&mut self, len: usize, contributions: usize) -> Sum {
        assert!(contributions > 0, "a sum of nothing");
        self.sums.push(SumInfo { len, contributions });
        Sum(self.sums.len() - 1)
    }

    /// The rows and columns of a buffer.
    pub fn dimensions(&self, buffer: Buffer) -> (usize, usize) {
        let info = &self.buffers[buffer.0];
        (info.rows, info.cols)
    }

    /// All of a buffer.
    pub fn whole(&self, buffer: Buffer) -> Region {
        let (rows, cols) = self.dimensions(buffer);
        Region { buffer, rows: 0..rows, cols: 0..cols }
    }

    /// The given rows of a buffer, with all columns.
    pub fn rows(&self, buffer: Buffer, rows: Range<usize>) -> Region {
        let cols = self.dimensions(buffer).1;
        self.region(buffer, rows, 0..cols)
    }

    /// The given rows and columns of a buffer.
    pub fn region(&self, buffer: Buffer, rows: Range<usize>, cols: Range<usize>) -> Region {
        let (all_rows, all_cols) = self.dimensions(buffer);
        assert!(rows.start <= rows.end && rows.end <= all_rows, "rows {rows:?} of {all_rows}");
        assert!(cols.start <= cols.end && cols.end <= all_cols, "columns {cols:?} of {all_cols}");
        Region { buffer, rows, cols }
    }

    /// The memory that the plan will hold on `threads` workers, in bytes.
    pub fn bytes(&self, threads: usize) -> usize {
        let scratch = self.tasks.iter().map(|task| task.scratch).max().unwrap_or(0);
        let slices = |sum: &SumInfo| Reduction::slices(sum.contributions, threads, self.deterministic);
        let sums: usize = self.sums.iter().map(|sum| sum.len * slices(sum)).sum();
        (super::layout::place(self).len.max(1) + threads * scratch.max(1) + sums) * size_of::<f32>()
    }

    /// Whether the machine has the memory that the plan will hold on `threads` workers. To be asked before the plan
    /// is built.
    ///
    /// # Errors
    /// Where it has not.
    pub fn check_memory(&self, threads: usize) -> Result<(), TooLittleMemory> {
        memory::check(self.bytes(threads) as u64)
    }

    /// Begins the next task in program order; `cost` is its estimated time in nanoseconds.
    pub fn task(&mut self, label: Label, cost: f64) -> TaskBuilder<'_> {
        let task = TaskInfo {
            label,
            cost: cost.clamp(100.0, u32::MAX as f64) as u32,
            reads: Vec::new(),
            writes: Vec::new(),
            scratch: 0,
            sum: None,
            deferred: false,
            preparation: false,
            work: Box::new(|_| ()),
        };
        TaskBuilder { builder: self, task }
    }
}

/// The declarations of one task.
pub struct TaskBuilder<'a> {
    builder: &'a mut PlanBuilder,
    task: TaskInfo,
}

impl TaskBuilder<'_> {
    /// The task reads `region`: the next of [`Views::reads`].
    pub fn read(mut self, region: Region) -> Self {
        let storage = self.builder.buffers[region.buffer.0].storage;
        assert!(!matches!(storage, Storage::Output(_)), "{} reads an output", self.task.label);
        self.task.reads.push(region);
        self
    }

    /// The task writes `region`, of which it may also read: the next of [`Views::writes`].
    pub fn write(mut self, region: Region) -> Self {
        let storage = self.builder.buffers[region.buffer.0].storage;
        assert!(!matches!(storage, Storage::Input(_)), "{} writes an input", self.task.label);
        self.task.writes.push(region);
        self
    }

    /// The task gets `len` floats of its worker's private memory, of undefined content.
    pub fn scratch(mut self, len: usize) -> Self {
        self.task.scratch = self.task.scratch.max(len);
        self
    }

    /// The task overwrites [`Views::sum`] with a contribution to `sum`.
    pub fn contribute(mut self, sum: Sum) -> Self {
        self.task.sum = Some(SumRole::Contribute(sum));
        self
    }

    /// The task gets the completed `sum` as [`Views::sum`], after all contributions.
    pub fn collect(mut self, sum: Sum) -> Self {
        self.task.sum = Some(SumRole::Collect(sum));
        self
    }

    /// A step need not wait for this task: it may still run during the next step. It must not touch inputs or
    /// outputs, unless the plan is [synchronous](PlanBuilder::synchronous).
    pub fn deferred(mut self) -> Self {
        self.task.deferred = !self.builder.synchronous;
        self
    }

    /// The task derives something from persistent buffers that only the caller changes: it runs in the step
    /// after [`Plan::buffer_mut`](super::Plan::buffer_mut), and is skipped in the following ones.
    /// All that it writes must be persistent.
    pub fn preparation(mut self) -> Self {
        self.task.preparation = true;
        self
    }

    /// Ends the declaration: the task does `work`.
    pub fn run(self, work: impl Fn(Views<'_>) + Send + Sync + 'static) {
        let Self { builder, mut task } = self;
        task.work = Box::new(work);
        let all = || task.reads.iter().chain(&task.writes);
        for (i, written) in task.writes.iter().enumerate() {
            let others = task.reads.iter().chain(&task.writes[..i]);
            for other in others {
                assert!(!written.overlaps(other), "{} declares overlapping regions", task.label);
            }
        }
        if task.deferred {
            assert!(
                all().all(|region| matches!(
                    builder.buffers[region.buffer.0].storage,
                    Storage::Transient | Storage::Persistent
                )),
                "{}: a deferred task touches the caller's memory",
                task.label
            );
        }
        if task.preparation {
            assert!(
                task.sum.is_none()
                    && task.writes.iter().all(|w| builder.buffers[w.buffer.0].storage == Storage::Persistent),
                "{}: what a preparation writes must be persistent",
                task.label
            );
        }
        builder.tasks.push(task);
    }
}

impl Region {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both name a common element of one buffer.
    pub(super) fn overlaps(&self, other: &Region) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start) < a.end.min(b.end);
        self.buffer == other.buffer && meet(&self.rows, &other.rows) && meet(&self.cols, &other.cols)
    }

    /// Whether every element of `other` belongs to `self`.
    pub(super) fn covers(&self, other: &Region) -> bool {
        let within = |a: &Range<usize>, b: &Range<usize>| a.start <= b.start && b.end <= a.end;
        self.buffer == other.buffer && within(&self.rows, &other.rows) && within(&self.cols, &other.cols)
    }
}
