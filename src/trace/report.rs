//! A trace summed up.

use std::collections::BTreeMap;
use std::fmt;

use super::file::{TraceEvent, TraceFile, TraceGraph};
use crate::stats::median;

/// What a trace tells, as a text ([`fmt::Display`]). Times are in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// From the first to the last event.
    pub(crate) span: f64,
    /// Events that the trace has lost.
    pub(crate) lost: u64,
    /// Each worker's time.
    pub(crate) workers: Vec<WorkerTimes>,
    /// Each layer and pass, the longest first.
    pub(crate) passes: Vec<PassTimes>,
    /// Each graph that ran whole iterations, the longest first.
    pub(crate) graphs: Vec<GraphTimes>,
}

/// What a worker did with its time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkerTimes {
    /// In tasks.
    pub busy: f64,
    /// Looking for one.
    pub search: f64,
    /// Asleep.
    pub sleep: f64,
    /// Between tasks: counters and queues.
    pub dispatch: f64,
    /// How many tasks.
    pub tasks: usize,
    /// How many of them were stolen.
    pub stolen: usize,
}

/// The tasks of one layer and pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PassTimes {
    /// The layer.
    pub layer: String,
    /// The pass.
    pub pass: String,
    /// How many tasks ran.
    pub tasks: usize,
    /// Their time together.
    pub busy: f64,
    /// Their median.
    pub median: f64,
    /// How many were stolen.
    pub stolen: usize,
    /// Their estimated time together.
    pub estimated: f64,
}

/// A graph's iterations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GraphTimes {
    /// Its number.
    pub graph: u32,
    /// Its tasks.
    pub tasks: usize,
    /// The iterations in the trace.
    pub steps: usize,
    /// The median of their times, without deferred tasks that ran on after them.
    pub step: f64,
    /// The time of all tasks one after another: T_1 of Brent's theorem, from each task's median.
    pub total: f64,
    /// The longest chain of tasks: T_inf, likewise.
    pub longest: f64,
    /// The layers and passes of that chain, in order, with their times.
    pub chain: Vec<(String, f64)>,
}

impl GraphTimes {
    /// Brent's bound on the time of an iteration with `workers`: T_1 / P + T_inf.
    pub fn brent(&self, workers: usize) -> f64 {
        self.total / workers as f64 + self.longest
    }
}

impl Report {
    /// Sums up a trace.
    pub fn new(file: &TraceFile) -> Self {
        let spans = || file.trace_events.iter().filter(|event| event.ph == 'X');
        let start = spans().map(|event| event.ts).fold(f64::INFINITY, f64::min);
        let end = spans().map(|event| event.ts + event.dur).fold(start, f64::max);
        let workers = (0..file.znn.workers).map(|w| worker_times(spans().filter(|event| event.tid == w)));
        let mut graphs: Vec<GraphTimes> =
            file.znn.graphs.iter().filter_map(|graph| graph_times(graph, spans)).collect();
        graphs.sort_by(|a, b| b.total.total_cmp(&a.total));
        Self {
            span: if end > start { end - start } else { 0.0 },
            lost: file.znn.lost,
            workers: workers.collect(),
            passes: pass_times(file, spans()),
            graphs,
        }
    }
}

fn worker_times<'a>(events: impl Iterator<Item = &'a TraceEvent>) -> WorkerTimes {
    let mut times = WorkerTimes::default();
    let mut last: Option<f64> = None;
    for event in events {
        match (event.cat.as_str(), event.name.as_str()) {
            ("task", _) => {
                times.busy += event.dur;
                times.tasks += 1;
                times.stolen += usize::from(event.args.stolen_from.is_some());
            }
            (_, "sleep") => times.sleep += event.dur,
            _ => times.search += event.dur,
        }
        times.dispatch += last.map_or(0.0, |end| (event.ts - end).max(0.0));
        last = Some(event.ts + event.dur);
    }
    times
}

fn pass_times<'a>(file: &TraceFile, events: impl Iterator<Item = &'a TraceEvent>) -> Vec<PassTimes> {
    let mut passes: BTreeMap<(&str, &str), (PassTimes, Vec<f64>)> = BTreeMap::new();
    for event in events.filter(|event| event.cat == "task") {
        let (Some(layer), Some(pass)) = (&event.args.layer, &event.args.pass) else { continue };
        let (times, all) = passes.entry((layer, pass)).or_default();
        times.tasks += 1;
        times.busy += event.dur;
        times.stolen += usize::from(event.args.stolen_from.is_some());
        let graph = file.znn.graphs.iter().find(|graph| Some(graph.graph) == event.args.graph);
        if let (Some(graph), Some(task)) = (graph, event.args.task) {
            times.estimated += f64::from(graph.tasks[task as usize].cost) / 1e3;
        }
        all.push(event.dur);
    }
    let mut passes: Vec<PassTimes> = passes
        .into_iter()
        .map(|((layer, pass), (times, mut all))| PassTimes {
            layer: layer.to_owned(),
            pass: pass.to_owned(),
            median: median(&mut all),
            ..times
        })
        .collect();
    passes.sort_by(|a, b| b.busy.total_cmp(&a.busy));
    passes
}

fn graph_times<'a, I: Iterator<Item = &'a TraceEvent>>(
    graph: &TraceGraph,
    events: impl Fn() -> I,
) -> Option<GraphTimes> {
    let own = || events().filter(|event| event.args.graph == Some(graph.graph));
    let mut steps: Vec<f64> = own().filter(|event| event.cat == "step").map(|event| event.dur).collect();
    if steps.is_empty() {
        return None;
    }
    let mut times: Vec<Vec<f64>> = vec![vec![]; graph.tasks.len()];
    for event in own().filter(|event| event.cat == "task") {
        if let Some(task) = event.args.task {
            times[task as usize].push(event.dur);
        }
    }
    // Preparations run only after the caller has changed something: where they did not, they took nearly nothing.
    let times: Vec<f64> =
        times.iter_mut().map(|times| if times.is_empty() { 0.0 } else { median(times) }).collect();
    let path = longest_path(graph, &times);
    let mut chain: Vec<(String, f64)> = Vec::new();
    for &task in &path {
        let info = &graph.tasks[task as usize];
        let name = format!("{} {}", info.layer, info.pass).trim_start().to_owned();
        match chain.last_mut().filter(|last| last.0 == name) {
            Some(last) => last.1 += times[task as usize],
            None => chain.push((name, times[task as usize])),
        }
    }
    Some(GraphTimes {
        graph: graph.graph,
        tasks: graph.tasks.len(),
        steps: steps.len(),
        step: median(&mut steps),
        total: times.iter().sum(),
        longest: path.iter().map(|&task| times[task as usize]).sum(),
        chain,
    })
}

/// The tasks of the longest path. A task's priority is before that of all that wait for it.
fn longest_path(graph: &TraceGraph, times: &[f64]) -> Vec<u32> {
    let mut successors: Vec<Vec<u32>> = vec![vec![]; times.len()];
    graph.edges.iter().for_each(|&(a, b)| successors[a as usize].push(b));
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_unstable_by_key(|&task| std::cmp::Reverse(graph.tasks[task as usize].priority));
    let mut rest = vec![0.0_f64; times.len()];
    let longer = |rest: &[f64], a: &u32, b: &u32| rest[*a as usize].total_cmp(&rest[*b as usize]);
    for &task in &order {
        let after = successors[task as usize].iter().map(|&after| rest[after as usize]);
        rest[task as usize] = times[task as usize] + after.fold(0.0, f64::max);
    }
    let mut path: Vec<u32> = order.iter().copied().max_by(|a, b| longer(&rest, a, b)).into_iter().collect();
    while let Some(&last) = path.last()
        && let Some(&next) = successors[last as usize].iter().max_by(|a, b| longer(&rest, a, b))
    {
        path.push(next);
    }
    path
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let tasks: usize = self.workers.iter().map(|worker| worker.tasks).sum();
        let busy: f64 = self.workers.iter().map(|worker| worker.busy).sum();
        writeln!(f, "{:.3} ms, {} workers, {tasks} tasks", self.span / 1e3, self.workers.len())?;
        if self.lost > 0 {
            writeln!(f, "{} older events were not kept", self.lost)?;
        }
        writeln!(
            f,
            "\n{:8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "worker", "busy", "dispatch", "search", "sleep", "tasks", "stolen"
        )?;
        for (index, worker) in self.workers.iter().enumerate() {
            let share = |part| percent(part, self.span);
            writeln!(
                f,
                "{index:<8} {:>7.2}% {:>7.2}% {:>7.2}% {:>7.2}% {:>8} {:>8}",
                share(worker.busy),
                share(worker.dispatch),
                share(worker.search),
                share(worker.sleep),
                worker.tasks,
                worker.stolen
            )?;
        }
        for graph in &self.graphs {
            let workers = self.workers.len();
            writeln!(
                f,
                "\ngraph {}: {} tasks, {} steps of {:.3} ms (median)",
                graph.graph,
                graph.tasks,
                graph.steps,
                graph.step / 1e3
            )?;
            writeln!(
                f,
                "  all tasks T_1 {:.3} ms, longest chain T_inf {:.3} ms, T_1 / T_inf {:.1}, Brent's bound T_1 / {workers} + T_inf {:.3} ms",
                graph.total / 1e3,
                graph.longest / 1e3,
                graph.total / graph.longest.max(f64::MIN_POSITIVE),
                graph.brent(workers) / 1e3
            )?;
            writeln!(f, "  the longest chain:")?;
            for (name, time) in graph.chain.iter().filter(|(_, time)| *time > 0.0) {
                writeln!(f, "    {:>10.1} us  {name}", time)?;
            }
        }
        writeln!(
            f,
            "\n{:32} {:>8} {:>10} {:>7} {:>10} {:>10} {:>8}",
            "layer and pass", "tasks", "ms", "share", "median us", "estimated", "stolen"
        )?;
        for pass in &self.passes {
            writeln!(
                f,
                "{:32} {:>8} {:>10.3} {:>6.1}% {:>10.1} {:>9.2}x {:>8}",
                format!("{} {}", pass.layer, pass.pass).trim_start(),
                pass.tasks,
                pass.busy / 1e3,
                percent(pass.busy, busy),
                pass.median,
                pass.estimated / pass.busy.max(f64::MIN_POSITIVE),
                pass.stolen
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{Args, TraceTask};
    use super::*;

    fn task(tid: usize, ts: f64, dur: f64, task: u32, stolen_from: Option<u32>) -> TraceEvent {
        let (layer, pass) = (["a", "a", "b"][task as usize], "forward");
        let args = Args {
            graph: Some(4),
            task: Some(task),
            layer: Some(layer.into()),
            pass: Some(pass.into()),
            stolen_from,
            ..Args::default()
        };
        event(tid, "task", "", ts, dur, args)
    }

    fn event(tid: usize, cat: &str, name: &str, ts: f64, dur: f64, args: Args) -> TraceEvent {
        TraceEvent { name: name.into(), cat: cat.into(), ph: 'X', pid: 1, tid, ts, dur, args }
    }

    #[test]
    fn what_a_trace_tells() {
        let node = |layer: &str, priority| TraceTask {
            layer: layer.into(),
            pass: "forward".into(),
            priority,
            cost: 2000,
        };
        let graph = TraceGraph {
            graph: 4,
            tasks: vec![node("a", 0), node("a", 1), node("b", 2)],
            edges: vec![(0, 2), (1, 2)],
        };
        let step = Args { graph: Some(4), ..Args::default() };
        let file = TraceFile {
            trace_events: vec![
                task(0, 10.0, 5.0, 0, None),
                task(0, 16.0, 2.0, 2, None),
                event(0, "idle", "search", 18.0, 3.0, Args::default()),
                event(1, "idle", "sleep", 10.0, 1.0, Args::default()),
                task(1, 11.0, 4.0, 1, Some(0)),
                event(2, "step", "step", 10.0, 8.5, step),
            ],
            display_time_unit: "ns".into(),
            znn: super::super::file::Pool { workers: 2, lost: 0, graphs: vec![graph] },
        };
        let report = Report::new(&file);
        assert_eq!(report.span, 11.0);
        let zero = WorkerTimes { busy: 7.0, search: 3.0, dispatch: 1.0, tasks: 2, ..WorkerTimes::default() };
        let one = WorkerTimes { busy: 4.0, sleep: 1.0, tasks: 1, stolen: 1, ..WorkerTimes::default() };
        assert_eq!(report.workers, [zero, one]);
        let graph = &report.graphs[0];
        assert_eq!((graph.steps, graph.step, graph.total, graph.longest), (1, 8.5, 11.0, 7.0));
        assert_eq!(graph.chain, [("a forward".into(), 5.0), ("b forward".into(), 2.0)]);
        assert_eq!(graph.brent(2), 12.5);
        let passes: Vec<_> =
            report.passes.iter().map(|pass| (&pass.layer[..], pass.busy, pass.estimated)).collect();
        assert_eq!(passes, [("a", 9.0, 4.0), ("b", 2.0, 2.0)]);
        let text = report.to_string();
        assert!(text.contains("longest chain T_inf 0.007 ms"), "{text}");
    }
}
