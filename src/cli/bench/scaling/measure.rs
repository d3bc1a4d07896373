//! The time of each task of an iteration.

use std::error::Error;

use znn::pool::{Activity, Graph, Load, TaskId};
use znn::stats::median;
use znn::{Engine, EngineOptions};

use super::super::contest::Contestant;
use super::super::runner::{Subject, Trainer};

/// The graph of an iteration with the times of its tasks.
pub struct Profile {
    pub graph: Graph,
    loads: Vec<Load>,
}

impl Profile {
    /// Records some iterations of an engine of these options.
    pub fn new(subject: &Subject, options: EngineOptions, tuned: &Engine) -> Result<Self, Box<dyn Error>> {
        const STEPS: usize = 7;
        let options = EngineOptions { events: Some(1 << 18), ..options };
        let mut trainer = Trainer::new(subject, Engine::new(&options)?.with_measurements_of(tuned))?;
        trainer.time(STEPS)?;
        let recording = trainer.engine().pool().recording().ok_or("nothing was recorded")?;
        let recorded = recording.graphs.last().ok_or("no graph was recorded")?;
        let mut times = vec![Vec::new(); recorded.graph.len()];
        for event in recording.workers.concat() {
            if let Activity::Task { executor, task, .. } = event.activity
                && executor == recorded.executor
            {
                times[task.index()].push((event.end - event.start) as f64);
            }
        }
        let loads = times.iter_mut().zip(&recorded.tasks).map(|(times, info)| Load {
            time: if times.is_empty() { 0.0 } else { median(times) },
            bytes: info.as_ref().map_or(0.0, |info| info.bytes as f64),
        });
        Ok(Self { loads: loads.collect(), graph: recorded.graph.clone() })
    }

    pub fn load(&self, task: TaskId) -> Load {
        self.loads[task.index()]
    }

    /// Seconds of all tasks one after another: T_1.
    pub fn total(&self) -> f64 {
        self.loads.iter().map(|load| load.time).sum::<f64>() / 1e9
    }

    /// Seconds of the longest chain of tasks: T_inf.
    pub fn longest(&self) -> f64 {
        self.graph.longest_path(|task| self.load(task).time).0 / 1e9
    }

    /// Brent's bound on the seconds of an iteration on `workers`.
    pub fn brent(&self, workers: usize) -> f64 {
        self.total() / workers as f64 + self.longest()
    }
}
