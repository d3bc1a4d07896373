//! The file of a trace: the JSON object form of the Trace Event Format, as Chrome and Perfetto read it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::pool::{Activity, Event, RecordedGraph, Recording};

/// A trace cannot be written or read.
///
/// ```
/// use znn::trace::{TraceError, TraceFile};
///
/// let error = TraceFile::read("Cargo.toml".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("Cargo.toml"), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be written or read.
    #[error("{}: cannot {action} the trace: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It is not such a file.
    #[error("{}: not a trace of znn: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Its parts do not fit each other.
    #[error("{}: not a trace of znn: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// A trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceFile {
    /// What viewers show.
    pub(crate) trace_events: Vec<TraceEvent>,
    /// The unit in which viewers show times: `ns`.
    pub(crate) display_time_unit: String,
    /// What the format has no place for; viewers leave it out.
    pub(crate) znn: Pool,
}

/// What the events do not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// The number of workers. Their lanes are the threads 0, 1, ...; the lane after them is that of the callers.
    pub workers: usize,
    /// How many events there was no room for; they are older than those kept.
    pub lost: u64,
    /// The graphs of which tasks ran.
    pub graphs: Vec<TraceGraph>,
}

/// A graph of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TraceGraph {
    /// Its number, as [`Args::graph`].
    pub graph: u32,
    /// Its tasks, as [`Args::task`].
    pub tasks: Vec<TraceTask>,
    /// Pairs of tasks of which the second waits for the first in each iteration.
    pub edges: Vec<(u32, u32)>,
}

/// A task of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TraceTask {
    /// What it works for; empty for a task that stands only between others.
    pub layer: String,
    /// Its pass.
    pub pass: String,
    /// 0 goes first.
    pub priority: u32,
    /// The estimated time in nanoseconds.
    pub cost: u32,
}

/// An event; see the [format](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TraceEvent {
    /// What is shown.
    pub name: String,
    /// `task`, `idle`, `step`, or empty for names of lanes.
    pub cat: String,
    /// `X` for something that takes time, `M` for the name of a lane.
    pub ph: char,
    /// The process: always 1.
    pub pid: u32,
    /// The lane.
    pub tid: usize,
    /// The beginning in microseconds.
    pub ts: f64,
    /// The time that it took, in microseconds.
    pub dur: f64,
    /// What viewers show on request.
    pub args: Args,
}

/// Details of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Args {
    /// The name of a lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The graph of a task or step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<u32>,
    /// The task, by its number in the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u32>,
    /// The layer of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The pass of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// The priority of a task: 0 goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The worker from whom a task was stolen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stolen_from: Option<u32>,
}

impl TraceFile {
    /// The trace of what a pool has recorded.
    pub(crate) fn new(recording: &Recording) -> Self {
        let mut graphs: Vec<TraceGraph> = recording.graphs.iter().map(graph).collect();
        let workers = recording.workers.len();
        let lanes = (0..workers).map(|worker| format!("worker {worker}")).chain(["caller".to_owned()]);
        let mut trace_events: Vec<TraceEvent> = lanes.enumerate().map(lane).collect();
        for (tid, events) in recording.workers.iter().chain([&recording.steps]).enumerate() {
            trace_events.extend(events.iter().map(|event| shown(event, tid, &graphs)));
        }
        let mut ran: Vec<u32> = trace_events.iter().filter_map(|event| event.args.graph).collect();
        ran.sort_unstable();
        graphs.retain(|graph| ran.binary_search(&graph.graph).is_ok());
        let znn = Pool { workers, lost: recording.lost, graphs };
        Self { trace_events, display_time_unit: "ns".to_owned(), znn }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), TraceError> {
        let fail = |source| TraceError::Io { path: path.to_owned(), action: "write", source };
        atomic_file::write(path, |writer| Ok(serde_json::to_writer(writer, self)?)).map_err(fail)
    }

    /// Reads such a file.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let text = std::fs::read(path).map_err(|source| TraceError::Io {
            path: path.to_owned(),
            action: "read",
            source,
        })?;
        let file: Self = serde_json::from_slice(&text)
            .map_err(|source| TraceError::Format { path: path.to_owned(), source })?;
        let fail = |what| Err(TraceError::Content { path: path.to_owned(), what });
        for graph in &file.znn.graphs {
            if graph.edges.iter().any(|&(a, b)| a.max(b) as usize >= graph.tasks.len()) {
                return fail("an edge to a task that is not there");
            }
            let rank = |task: u32| graph.tasks[task as usize].priority;
            if graph.edges.iter().any(|&(a, b)| rank(a) >= rank(b)) {
                return fail("a task has a lower priority than one that waits for it");
            }
        }
        for event in &file.trace_events {
            let graph = event.args.graph.map(|number| file.znn.graphs.iter().find(|g| g.graph == number));
            let lacks =
                |graph: &TraceGraph| event.args.task.is_some_and(|task| task as usize >= graph.tasks.len());
            if graph.is_some_and(|graph| graph.is_none_or(lacks)) || event.tid > file.znn.workers {
                return fail("an event of a graph, task or lane that is not there");
            }
        }
        Ok(file)
    }
}

fn graph(recorded: &RecordedGraph) -> TraceGraph {
    let graph = &recorded.graph;
    let tasks = graph.task_ids().zip(&recorded.tasks).map(|(task, info)| TraceTask {
        layer: info.as_ref().map_or(String::new(), |info| info.layer.to_string()),
        pass: info.as_ref().map_or("joint", |info| info.stage).to_owned(),
        priority: graph.rank(task) as u32,
        cost: graph.cost(task),
    });
    let edges = graph.task_ids().flat_map(|task| {
        graph.successors(task).map(move |after| (task.index() as u32, after.index() as u32))
    });
    TraceGraph { graph: recorded.executor, tasks: tasks.collect(), edges: edges.collect() }
}

fn lane((tid, name): (usize, String)) -> TraceEvent {
    TraceEvent {
        name: "thread_name".to_owned(),
        cat: String::new(),
        ph: 'M',
        pid: 1,
        tid,
        ts: 0.0,
        dur: 0.0,
        args: Args { name: Some(name), ..Args::default() },
    }
}

fn shown(event: &Event, tid: usize, graphs: &[TraceGraph]) -> TraceEvent {
    let (name, cat, args) = match event.activity {
        Activity::Task { executor, task, stolen_from } => {
            let known = graphs.iter().find(|graph| graph.graph == executor);
            let details = known.map(|graph| &graph.tasks[task.index()]);
            let args = Args {
                graph: known.map(|graph| graph.graph),
                task: known.map(|_| task.index() as u32),
                layer: details.map(|task| task.layer.clone()),
                pass: details.map(|task| task.pass.clone()),
                priority: details.map(|task| task.priority),
                stolen_from,
                ..Args::default()
            };
            let name = details.map_or("task".to_owned(), |task| {
                format!("{} {}", task.layer, task.pass).trim_start().to_owned()
            });
            (name, "task", args)
        }
        Activity::Search => ("search".to_owned(), "idle", Args::default()),
        Activity::Sleep => ("sleep".to_owned(), "idle", Args::default()),
        Activity::Step { executor } => {
            let known = graphs.iter().any(|graph| graph.graph == executor);
            ("step".to_owned(), "step", Args { graph: known.then_some(executor), ..Args::default() })
        }
    };
    TraceEvent {
        name,
        cat: cat.to_owned(),
        ph: 'X',
        pid: 1,
        tid,
        ts: event.start as f64 / 1e3,
        dur: (event.end - event.start) as f64 / 1e3,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};
    use crate::plan::Label;

    #[test]
    fn a_trace_is_read_as_it_was_written() {
        let options = EngineOptions { threads: Some(2), events: Some(1000), ..EngineOptions::default() };
        let engine = Engine::new(&options).unwrap();
        let mut plan = engine.plan();
        let buffer = plan.transient(2, 8);
        for row in 0..2 {
            let region = plan.rows(buffer, row..row + 1);
            plan.task(Label::new(&"conv1".into(), "forward"), 9000.0).write(region).run(|_| ());
        }
        let whole = plan.whole(buffer);
        plan.task(Label::new(&"loss".into(), "loss"), 700.0).read(whole).run(|_| ());
        let mut plan = plan.build(engine.pool(), engine.kernels());
        for _ in 0..3 {
            plan.step(&[], &mut []).unwrap();
        }
        let trace = engine.trace().unwrap();
        let graph = &trace.znn.graphs[0];
        assert_eq!((graph.tasks.len(), &graph.edges[..]), (3, &[(0, 2), (1, 2)][..]));
        assert_eq!(
            (&graph.tasks[2].layer[..], graph.tasks[2].cost, graph.tasks[2].priority),
            ("loss", 700, 2)
        );
        let named = |name: &str| trace.trace_events.iter().filter(|event| event.name == name).count();
        assert_eq!(
            [named("conv1 forward"), named("loss loss"), named("step"), named("thread_name")],
            [6, 3, 3, 3]
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        trace.write(&path).unwrap();
        assert_eq!(TraceFile::read(&path).unwrap(), trace);

        let mut broken = trace.clone();
        broken.znn.graphs[0].edges.push((0, 9));
        broken.write(&path).unwrap();
        let error = TraceFile::read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("trace.json: not a trace of znn: an edge to a task that is not there"),
            "{error}"
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(TraceFile::read(&path), Err(TraceError::Format { .. })));
        assert!(matches!(TraceFile::read(folder.path()), Err(TraceError::Io { .. })));
    }
}
