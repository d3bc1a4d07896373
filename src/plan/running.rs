//! A plan that runs.
#![allow(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use znn_kernels::Kernels;

use super::arena::Arena;
use super::builder::{Buffer, BufferInfo, Label, PlanBuilder, Region, Storage, Sum, SumRole, Work};
use super::dependencies::{self, Dependencies};
use super::layout;
use super::merge;
use super::reduction::Reduction;
use super::views::{Place, Reads, Views, Writes};
use crate::pool::{Class, Executor, Graph, GraphBuilder, Pool, TaskId, TaskInfo, TaskPanic, WorkerId};

/// A step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task `{task}` failed: {message}")]
pub struct PlanError {
    /// The task that panicked. The iteration was abandoned; the plan can be used again.
    pub task: String,
    /// What its panic said.
    pub message: String,
}

/// The buffers and tasks of an iteration, ready to run it any number of times.
pub struct Plan {
    executor: Executor,
    shared: Arc<Shared>,
    buffers: Vec<BufferInfo>,
    places: Vec<Range<usize>>,
    /// The lengths of the inputs, then of the outputs.
    callers: Vec<usize>,
    inputs: usize,
}

/// What the workers see.
struct Shared {
    arena: Arena,
    /// Private memory of each worker.
    scratch: Vec<Arena>,
    tasks: Vec<Task>,
    /// The tasks of each node of the graph; joints come after them and have none.
    nodes: Vec<Range<usize>>,
    sums: Vec<Reduction>,
    /// First the inputs, then the outputs: where the caller's memory is during a step.
    callers: Vec<AtomicPtr<f32>>,
    /// Whether preparation tasks must run in the current step.
    stale: AtomicBool,
}

struct Task {
    label: Label,
    reads: Vec<Resolved>,
    writes: Vec<Resolved>,
    scratch: usize,
    sum: Option<SumPart>,
    preparation: bool,
    work: Work,
}

#[derive(Clone, Copy)]
enum SumPart {
    Contribute { sum: usize, index: usize },
    Collect { sum: usize },
}

/// A region with its place in memory.
#[derive(Clone, Copy)]
struct Resolved {
    base: Base,
    offset: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

#[derive(Clone, Copy)]
enum Base {
    Arena,
    Caller(usize),
}

impl PlanBuilder {
    /// Lays out the memory, derives the order, and makes the plan ready to run on `pool`.
    pub fn build(mut self, pool: &Pool, kernels: Kernels) -> Plan {
        let layout = layout::place(&self);
        let nodes = merge::nodes(&self);
        let mut order = merge::contract(&dependencies::derive(&self, &layout), &nodes);
        dependencies::insert_joints(&mut order);
        let graph = self.graph(&nodes, &order);

        let input_count = self.inputs;
        let caller = |storage| match storage {
            Storage::Input(i) => Some(i),
            Storage::Output(i) => Some(input_count + i),
            Storage::Transient | Storage::Persistent => None,
        };
        let mut callers = vec![0; self.inputs + self.outputs];
        for info in &self.buffers {
            if let Some(i) = caller(info.storage) {
                callers[i] = info.len();
            }
        }
        let resolve = |region: &Region| {
            let info = &self.buffers[region.buffer.0];
            Resolved {
                base: caller(info.storage).map_or(Base::Arena, Base::Caller),
                offset: layout.places[region.buffer.0].start
                    + region.rows.start * info.pitch
                    + region.cols.start,
                rows: region.rows.len(),
                cols: region.cols.len(),
                stride: info.pitch,
            }
        };
        let mut contributions = vec![0; self.sums.len()];
        let mut part = |role| match role {
            SumRole::Contribute(Sum(sum)) => {
                contributions[sum] += 1;
                SumPart::Contribute { sum, index: contributions[sum] - 1 }
            }
            SumRole::Collect(Sum(sum)) => SumPart::Collect { sum },
        };
        let tasks: Vec<Task> = std::mem::take(&mut self.tasks)
            .into_iter()
            .map(|task| Task {
                reads: task.reads.iter().map(resolve).collect(),
                writes: task.writes.iter().map(resolve).collect(),
                label: task.label,
                scratch: task.scratch,
                sum: task.sum.map(&mut part),
                preparation: task.preparation,
                work: task.work,
            })
            .collect();
        let workers = pool.threads();
        let scratch = tasks.iter().map(|task| task.scratch).max().unwrap_or(0);
        let reduction = |sum: &super::builder::SumInfo| {
            Reduction::new(sum.len, sum.contributions, workers, self.deterministic, kernels)
        };
        let shared = Arc::new(Shared {
            arena: Arena::new(layout.len),
            scratch: (0..workers).map(|_| Arena::new(scratch)).collect(),
            tasks,
            nodes,
            sums: self.sums.iter().map(reduction).collect(),
            callers: callers.iter().map(|_| AtomicPtr::default()).collect(),
            stale: AtomicBool::new(true),
        });
        let work = {
            let shared = shared.clone();
            move |node: TaskId, worker: WorkerId| shared.run(node.index(), worker.index())
        };
        let executor = Executor::new(pool, graph, Box::new(work));
        executor.describe_tasks(|node| shared.info(node.index()));
        Plan { executor, shared, buffers: self.buffers, places: layout.places, callers, inputs: self.inputs }
    }

    fn graph(&self, nodes: &[Range<usize>], order: &Dependencies) -> Graph {
        let count = order.before.len();
        // A joint is deferred where all that waits for it is, lest a step wait for what comes before it.
        let mut joint_is_deferred = vec![true; count];
        for (n, tasks) in nodes.iter().enumerate() {
            for &p in &order.before[n] {
                joint_is_deferred[p] &= self.tasks[tasks.start].deferred;
            }
        }
        let mut graph = GraphBuilder::new();
        let mut ids = Vec::with_capacity(count);
        for (n, joint_is_deferred) in joint_is_deferred.into_iter().enumerate() {
            let (cost, deferred) = nodes.get(n).map_or((0, joint_is_deferred), |tasks| {
                let tasks = &self.tasks[tasks.clone()];
                let cost = tasks.iter().fold(0_u32, |sum, task| sum.saturating_add(task.cost));
                (cost, tasks[0].deferred)
            });
            // Only what it waits for in its iteration keeps a deferred task from overtaking itself.
            let deferred = deferred && !order.before[n].is_empty();
            ids.push(graph.task(cost, if deferred { Class::Deferred } else { Class::Gated }));
        }
        for (t, (before, carried)) in order.before.iter().zip(&order.carried).enumerate() {
            for &p in before {
                graph.edge(ids[p], ids[t]);
            }
            for &p in carried {
                graph.carried(ids[p], ids[t]);
            }
        }
        graph.build().expect("edges follow program order")
    }
}

impl Plan {
    /// Runs one iteration on the caller's `inputs` and `outputs`, in the order of their declaration.
    ///
    /// Returns when all tasks but the deferred ones are done; those go on, and what depends on them waits.
    /// Panics where a slice has not the declared length.
    pub fn step(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), PlanError> {
        self.bind(inputs, outputs);
        let result = self.executor.step();
        // Relaxed: preparation tasks are not deferred, so that none runs now; see `bind` for the next step.
        self.shared.stale.store(result.is_err(), Ordering::Relaxed);
        result.map_err(|panic| self.error(panic))
    }

    /// [`step`](Self::step) in the calling thread, by a loop over the tasks in program order: the same work without any
    /// scheduling, deferred tasks included. It shows what scheduling costs.
    ///
    /// Panics where a task does.
    ///
    /// # Errors
    /// Where a deferred task of an earlier step failed.
    pub fn step_in_order(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), PlanError> {
        self.finish()?;
        self.bind(inputs, outputs);
        let nodes = 0..self.shared.nodes.len();
        // No worker runs a task of this plan, so that the first one's memory is free.
        let result = catch_unwind(AssertUnwindSafe(|| nodes.for_each(|node| self.shared.run(node, 0))));
        self.shared.stale.store(result.is_err(), Ordering::Relaxed);
        if let Err(payload) = result {
            self.shared.sums.iter().for_each(Reduction::reset);
            resume_unwind(payload);
        }
        Ok(())
    }

    /// Lets the tasks of the next iteration find the caller's memory.
    fn bind(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        assert_eq!(inputs.len(), self.inputs, "inputs of the plan");
        assert_eq!(inputs.len() + outputs.len(), self.callers.len(), "outputs of the plan");
        let lengths = inputs.iter().map(|slice| slice.len()).chain(outputs.iter().map(|slice| slice.len()));
        for (i, (given, &declared)) in lengths.zip(&self.callers).enumerate() {
            assert_eq!(given, declared, "length of the plan's slice {i}, inputs first");
        }
        let pointers = inputs
            .iter()
            .map(|slice| slice.as_ptr().cast_mut())
            .chain(outputs.iter_mut().map(|slice| slice.as_mut_ptr()));
        for (to, pointer) in self.shared.callers.iter().zip(pointers) {
            // Relaxed: no task of the previous step reads it any more (tasks that touch the caller's memory are
            // never deferred), and the start of the step orders it before the tasks of this one.
            to.store(pointer, Ordering::Relaxed);
        }
    }

    /// Waits for the deferred tasks.
    pub fn finish(&mut self) -> Result<(), PlanError> {
        let result = self.executor.finish();
        result.map_err(|panic| self.error(panic))
    }

    fn error(&self, panic: TaskPanic) -> PlanError {
        self.shared.sums.iter().for_each(Reduction::reset);
        let node = self.shared.nodes.get(panic.task.index());
        let task = node.map_or("joint".to_owned(), |tasks| self.shared.tasks[tasks.start].label.to_string());
        PlanError { task, message: panic.message }
    }

    /// The content of a persistent buffer, after waiting for the deferred tasks.
    pub fn buffer(&mut self, buffer: Buffer) -> Result<&[f32], PlanError> {
        self.buffer_place(buffer).map(|(start, len)| {
            // SAFETY: within the arena, which is initialised; no task runs until the next step, which needs
            // `&mut self`.
            unsafe { std::slice::from_raw_parts(start, len) }
        })
    }

    /// The content of a persistent buffer, after waiting for the deferred tasks. The next step runs the
    /// preparation tasks again.
    pub fn buffer_mut(&mut self, buffer: Buffer) -> Result<&mut [f32], PlanError> {
        let (start, len) = self.buffer_place(buffer)?;
        self.shared.stale.store(true, Ordering::Relaxed);
        // SAFETY: as in `buffer`, and `&mut self` makes it unique.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    fn buffer_place(&mut self, buffer: Buffer) -> Result<(*mut f32, usize), PlanError> {
        let info = &self.buffers[buffer.0];
        assert_eq!(info.storage, Storage::Persistent, "only persistent buffers keep their content");
        let len = info.rows * info.cols;
        self.finish()?;
        Ok((self.shared.arena.at(self.places[buffer.0].start), len))
    }

    /// The memory that the plan holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.shared.arena.bytes()
            + self.shared.scratch.iter().map(Arena::bytes).sum::<usize>()
            + self.shared.sums.iter().map(Reduction::bytes).sum::<usize>()
    }

    /// The number of tasks of an iteration.
    #[cfg(test)]
    pub fn tasks(&self) -> usize {
        self.shared.tasks.len()
    }
}

impl Shared {
    /// Runs the tasks of a node. Called once per node and iteration, in the derived order.
    fn run(&self, node: usize, worker: usize) {
        // Joints have no work.
        let Some(tasks) = self.nodes.get(node) else { return };
        self.tasks[tasks.clone()].iter().for_each(|task| self.run_task(task, worker));
    }

    /// What is known of a node beforehand.
    fn info(&self, node: usize) -> Option<TaskInfo> {
        let tasks = &self.tasks[self.nodes.get(node)?.clone()];
        let regions = tasks.iter().flat_map(|task| task.reads.iter().chain(&task.writes));
        let floats: usize = regions.map(|region| region.rows * region.cols).sum();
        let label = &tasks[0].label;
        let bytes = (floats * size_of::<f32>()) as u64;
        Some(TaskInfo { layer: label.layer.clone(), stage: label.stage, bytes })
    }

    fn run_task(&self, task: &Task, worker: usize) {
        // Relaxed: see `Plan::step`.
        if task.preparation && !self.stale.load(Ordering::Relaxed) {
            return;
        }
        let place = |region: &Resolved| {
            let start = match region.base {
                Base::Arena => self.arena.at(region.offset),
                // Relaxed: see `Plan::bind`.
                Base::Caller(i) => self.callers[i].load(Ordering::Relaxed).wrapping_add(region.offset),
            };
            Place { start, rows: region.rows, cols: region.cols, stride: region.stride }
        };
        let read = |i: usize| place(&task.reads[i]);
        let write = |i: usize| place(&task.writes[i]);
        // SAFETY: the derived order lets no two tasks run at once of which one writes what the other touches,
        // and `TaskBuilder::run` refuses a task whose written regions overlap another of its own. The arena is
        // zero-initialised; the caller's memory is borrowed by `Plan::step` or `Plan::step_in_order`, which outlive
        // every task that touches it. Different buffers that share memory are ordered like one.
        let (reads, writes) =
            unsafe { (Reads::new(&read, task.reads.len()), Writes::new(&write, task.writes.len())) };
        let scratch = &self.scratch[worker];
        // SAFETY: a worker (or, while none runs, the caller in its place) runs one task at a time, and its scratch
        // belongs to it; `build` took the maximum
        // over all tasks as its size.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.at(0), task.scratch) };
        let run = |sum: &mut [f32]| (task.work)(Views { reads, writes, scratch, sum });
        match task.sum {
            None => run(&mut []),
            Some(SumPart::Contribute { sum, index }) => self.sums[sum].contribute(index, run),
            Some(SumPart::Collect { sum }) => self.sums[sum].collect(run),
        }
    }
}
