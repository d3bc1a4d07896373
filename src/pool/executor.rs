//! Runs a graph on a pool.

use std::sync::Arc;

use thiserror::Error;

use super::graph::{Graph, TaskId};
use super::pool::{Inner, Pool};
use super::recorder::{RecordedGraph, Recorder, TaskInfo};
use super::run::{Run, Work};
use super::worker::is_worker_of;

/// A task of the iteration panicked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{task} panicked: {message}")]
pub struct TaskPanic {
    /// The task; the first if several did.
    pub task: TaskId,
    /// What it said.
    pub message: String,
}

/// A graph on a pool, run one iteration a call.
///
/// **Memory**: what the caller wrote before a step is visible to its tasks; what a task wrote is visible to those after
/// it, and after the step (deferred tasks: after [`Executor::finish`]) to the caller. Between two steps deferred tasks
/// may still be running.
///
/// **Several executors** of one pool take turns: one that begins while another's deferred tasks are running waits for
/// them, and one that begins while another is within a call waits for the end of that call.
///
/// **Panics**: a task that panics ends the iteration. The tasks that have not begun are skipped, those of the iteration
/// before included, and the call (or the next one, if the task was deferred) returns the panic. What the tasks compute is
/// then in an unknown state; the executor and the pool are not, and the next step runs as usual.
///
/// Dropping an executor waits for its tasks, then drops its work in the dropping thread. The methods block, and so must
/// not be called by a task of the same pool: they panic there.
pub struct Executor {
    pool: Arc<Inner>,
    run: Arc<Run>,
    id: usize,
}

impl Executor {
    /// Prepares `graph` to be run on `pool` by calls of `work`, for one task each: every counter and queue is made here.
    ///
    /// `work` is called by several workers at a time, for different tasks. It must not wait for other tasks: edges say
    /// what comes first.
    pub fn new(pool: &Pool, graph: Graph, work: Box<dyn Fn(TaskId, super::WorkerId) + Send + Sync>) -> Self {
        let pool = Arc::clone(&pool.inner);
        let work: Work = work;
        let id = pool.new_id();
        let run = Arc::new(Run::new(graph, pool.threads(), pool.shared.policy, id, work));
        Self { pool, run, id }
    }

    /// Describes the tasks, for what the pool records ([`Pool::recording`]); nothing where it records nothing.
    pub fn describe_tasks(&self, info: impl FnMut(TaskId) -> Option<TaskInfo>) {
        if let Some(recorder) = &self.pool.shared.recorder {
            let graph = self.graph().clone();
            let tasks = graph.task_ids().map(info).collect();
            recorder.add_graph(RecordedGraph { executor: self.id as u32, graph, tasks });
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        self.run.graph()
    }

    /// Runs one iteration and returns when its gated tasks are done. Deferred ones go on.
    pub fn step(&mut self) -> Result<(), TaskPanic> {
        let turn = HostTurn::new(self);
        if turn.previous != self.id {
            self.take_over();
        }
        if !self.run.is_skipping() {
            let recorder = self.pool.shared.recorder.as_ref();
            let start = recorder.map(Recorder::now);
            self.run.begin(&self.pool.shared.sleepers);
            self.run.wait_gate();
            if let (Some(recorder), Some(start)) = (recorder, start) {
                recorder.record_step(start, self.id);
            }
        }
        self.outcome()
    }

    /// Waits for the deferred tasks of all steps so far.
    pub fn finish(&mut self) -> Result<(), TaskPanic> {
        let mut turn = HostTurn::new(self);
        if turn.previous == self.id {
            self.run.wait_drain();
        } else {
            // Another graph runs now; the one that brought it has waited for this one's tasks.
            turn.next = turn.previous;
        }
        self.outcome()
    }

    /// Makes this graph the one that the workers run, once the one before has drained.
    fn take_over(&self) {
        let shared = &self.pool.shared;
        if let (_, Some(before)) = shared.current_run() {
            before.wait_drain();
        }
        shared.set_current(Some(Arc::clone(&self.run)));
    }

    /// After the gate, or with nothing running: what there is to report.
    fn outcome(&self) -> Result<(), TaskPanic> {
        if !self.run.is_skipping() {
            return Ok(());
        }
        // Nothing of the failed iteration may be left when tasks run again.
        self.run.wait_drain();
        self.run.take_panic().map_or(Ok(()), Err)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let mut turn = HostTurn::new(self);
        turn.next = turn.previous;
        if turn.previous == self.id {
            self.run.wait_drain();
            self.pool.shared.set_current(None);
            turn.next = 0;
        }
        drop(turn);
        // Workers may keep the counters and queues until they next look; what the tasks own must go now.
        drop(self.run.take_work());
    }
}

/// The turn of an executor; ends when it is dropped.
struct HostTurn {
    pool: Arc<Inner>,
    id: usize,
    /// The executor whose graph the workers know, 0 for none.
    previous: usize,
    /// The same after this turn.
    next: usize,
}

impl HostTurn {
    fn new(executor: &Executor) -> Self {
        let pool = Arc::clone(&executor.pool);
        assert!(!is_worker_of(&pool.shared), "a task must not use an executor of the pool that runs it");
        let previous = pool.turn.enter(executor.id);
        Self { pool, id: executor.id, previous, next: executor.id }
    }
}

impl Drop for HostTurn {
    fn drop(&mut self) {
        self.pool.turn.leave(self.id, self.next);
    }
}
