//! The static graph of one iteration.

use std::fmt;

use thiserror::Error;

use super::rank;

/// A task of a graph: its number in the order of [`GraphBuilder::task`], from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u32);

impl TaskId {
    /// The number.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

/// Whether a step waits for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A step returns when all gated tasks of its iteration are done.
    Gated,
    /// Goes on after the step has returned, beside the next one; what must wait for it says so by a carried edge.
    /// Weight updates are such. A task marked deferred before which a gated one cannot run is gated too.
    Deferred,
}

/// Why a graph cannot be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    /// The edges inside an iteration form a cycle.
    #[error("{0} waits for itself: the edges inside an iteration form a cycle")]
    Cycle(TaskId),
    /// Nothing orders the iterations of the two ends of a carried edge.
    #[error("the carried edge from {before} to {after} needs a path of edges from {after} to {before}")]
    CarriedWithoutPath {
        /// Where the edge starts, in one iteration.
        before: TaskId,
        /// Where it ends, in the next.
        after: TaskId,
    },
    /// A deferred task could be overtaken by the next run of a task it waits for.
    #[error(
        "the next iteration of {before} does not wait for the deferred {after}, which reads its results: \
         a carried edge from {after} to {before}, or to a task before that, is missing"
    )]
    Overtaken {
        /// A predecessor of the deferred task.
        before: TaskId,
        /// The deferred task.
        after: TaskId,
    },
    /// A deferred task that waits for nothing in its iteration.
    #[error("the deferred {0} has no predecessor in its iteration, so nothing keeps its iterations apart")]
    DeferredSource(TaskId),
}

/// Collects the tasks and edges of a [`Graph`].
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    pub(super) costs: Vec<u32>,
    pub(super) classes: Vec<Class>,
    pub(super) edges: Vec<(u32, u32)>,
    pub(super) carried: Vec<(u32, u32)>,
}

impl GraphBuilder {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task that takes about `cost` nanoseconds.
    ///
    /// Costs decide priorities only: a task goes before another when the longest way from it to the end of the
    /// iteration takes longer. Among equals, those that converge on the same task lie together, in the order in which
    /// they were added. Panics beyond 2^32 - 1 tasks.
    pub fn task(&mut self, cost: u32, class: Class) -> TaskId {
        let id = u32::try_from(self.costs.len())
            .ok()
            .filter(|&id| id != u32::MAX)
            .expect("at most 2^32 - 1 tasks");
        self.costs.push(cost);
        self.classes.push(class);
        TaskId(id)
    }

    /// `after` runs after `before` within each iteration. Panics where a task is not of this builder.
    pub fn edge(&mut self, before: TaskId, after: TaskId) {
        self.check(before, after);
        self.edges.push((before.0, after.0));
    }

    /// `after` of each iteration but the first runs after `before` of the iteration before it.
    ///
    /// A path of edges from `after` to `before` must exist: [`GraphBuilder::build`] checks it. Without one, `before`
    /// could run twice before `after` does. A carried edge from a gated task says what holds anyway, because a step
    /// begins after all gated tasks of the last one; it costs nothing. Panics where a task is not of this builder.
    pub fn carried(&mut self, before: TaskId, after: TaskId) {
        self.check(before, after);
        self.carried.push((before.0, after.0));
    }

    fn check(&self, before: TaskId, after: TaskId) {
        let len = self.costs.len();
        assert!(
            before.index() < len && after.index() < len,
            "{before} and {after} of a graph of {len} tasks"
        );
    }

    /// The graph, with priorities.
    ///
    /// Checks that no run of a task can be released before the last one has ended, whatever the timing: by the gate
    /// for gated tasks, by carried edges for deferred ones. The executor's counters rely on it.
    pub fn build(&self) -> Result<Graph, GraphError> {
        rank::graph(self)
    }
}

/// What a task reports besides its successors: only the last tasks of each class do, the others are before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Other tasks of its class come after it.
    None,
    /// A gated task without gated successors.
    Gate,
    /// A deferred task without successors in its iteration.
    Drain,
}

/// A checked graph of one iteration with its priorities. Made by [`GraphBuilder::build`].
///
/// Inside, tasks are known by *rank*, 0 first: the priority, unique, in an order that the edges permit, gated tasks
/// before deferred ones. `successors` of a rank are ranks in `starts[rank]..starts[rank + 1]`, those of the same and of
/// the next iteration alike.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) tasks: Box<[TaskId]>,
    pub(super) ranks: Box<[u32]>,
    pub(super) costs: Box<[u32]>,
    pub(super) starts: Box<[u32]>,
    pub(super) successors: Box<[u32]>,
    /// Predecessors of a run: edges, carried edges and, for a source, the step itself.
    pub(super) waits: Box<[u32]>,
    /// The same at the first iteration, which has nothing carried to it.
    pub(super) first_waits: Box<[u32]>,
    pub(super) exits: Box<[Exit]>,
    /// Ranks without predecessors in their iteration, ascending: a step releases them.
    pub(super) sources: Box<[u32]>,
    /// Ranks below are gated, the others deferred.
    pub(super) n_gated: u32,
}

impl Graph {
    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The priority of a task: 0 goes first. Unique.
    pub fn rank(&self, task: TaskId) -> usize {
        self.ranks[task.index()] as usize
    }

    /// The tasks, in the order in which they were added.
    pub fn task_ids(&self) -> impl Iterator<Item = TaskId> + use<> {
        (0..self.len()).map(task_id)
    }

    /// The tasks that wait for `task` within each iteration.
    pub fn successors(&self, task: TaskId) -> impl Iterator<Item = TaskId> {
        let rank = self.ranks[task.index()];
        // Ranks agree with the edges inside an iteration; a carried edge leads back.
        self.successors_of(rank).iter().filter(move |&&after| after > rank).map(|&after| self.task_at(after))
    }

    /// The estimated time of `task`, in nanoseconds.
    pub fn cost(&self, task: TaskId) -> u32 {
        self.costs[task.index()]
    }

    /// The longest path of edges inside an iteration where each task takes its `time`, by task: its length and its tasks.
    pub fn longest_path(&self, time: impl Fn(TaskId) -> f64) -> (f64, Vec<TaskId>) {
        // By rank: the path from there to the end, and its next rank.
        let mut paths: Vec<(f64, Option<u32>)> = vec![(0.0, None); self.len()];
        for rank in (0..self.len() as u32).rev() {
            let after = self.successors_of(rank).iter().copied().filter(|&after| after > rank);
            let next = after.max_by(|&a, &b| paths[a as usize].0.total_cmp(&paths[b as usize].0));
            let rest = next.map_or(0.0, |next| paths[next as usize].0);
            paths[rank as usize] = (time(self.task_at(rank)) + rest, next);
        }
        let mut at =
            (0..self.len() as u32).max_by(|&a, &b| paths[a as usize].0.total_cmp(&paths[b as usize].0));
        let length = at.map_or(0.0, |rank| paths[rank as usize].0);
        let mut tasks = Vec::new();
        while let Some(rank) = at {
            tasks.push(self.task_at(rank));
            at = paths[rank as usize].1;
        }
        (length, tasks)
    }

    /// Runs one iteration in the calling thread, in order of rank: what one worker does when nothing disturbs it. The
    /// order is fixed, and no other thread is needed.
    #[cfg(test)]
    pub fn run_serial(&self, mut work: impl FnMut(TaskId)) {
        self.tasks.iter().for_each(|&task| work(task));
    }

    pub(super) fn task_at(&self, rank: u32) -> TaskId {
        self.tasks[rank as usize]
    }

    pub(super) fn successors_of(&self, rank: u32) -> &[u32] {
        let rank = rank as usize;
        &self.successors[self.starts[rank] as usize..self.starts[rank + 1] as usize]
    }

    pub(super) fn exit_count(&self, kind: Exit) -> usize {
        self.exits.iter().filter(|&&exit| exit == kind).count()
    }
}

pub(super) fn task_id(index: usize) -> TaskId {
    TaskId(index as u32)
}
