//! A pool of workers that are not there: a graph with measured times is run in virtual time, through the same counters,
//! queues and choices as on a real pool ([`Policy`]).
//!
//! What it leaves out: contention for the cache lines of counters and queues, the time in which sleepers are woken one
//! after another, and the effect of who ran what on caches. What many threads cost each other in a core or at the memory
//! is what the [`Machine`] says.

use super::graph::{Exit, Graph, TaskId};
use super::policy::Policy;
use super::schedule::Schedule;
use super::topology::{Cpu, steal_order};

/// The machine to be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Physical cores.
    pub cores: usize,
    /// Workers on each core.
    pub threads_per_core: usize,
    /// What a core does with 1, 2, ... of its workers busy, in units of what it does with one; the last holds beyond.
    /// Empty: a core does the same for any number.
    pub smt: Vec<f64>,
    /// The bytes that all workers together can move in a nanosecond, if that is a limit.
    pub bandwidth: Option<f64>,
    /// What scheduling costs.
    pub overheads: Overheads,
}

/// What scheduling costs, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overheads {
    /// From one task to the next of the same worker.
    pub dispatch: f64,
    /// More than that, for a task of another worker's queue.
    pub steal: f64,
    /// Until a sleeping worker runs a task that was released.
    pub wake: f64,
    /// How long a worker without tasks looks for one before it sleeps.
    pub patience: f64,
    /// From the end of an iteration to the first task of the next.
    pub step: f64,
}

/// What a task takes on one worker alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Nanoseconds.
    pub time: f64,
    /// Bytes that it moves to and from the memory.
    pub bytes: f64,
}

/// The outcome of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulated {
    /// The time of an iteration among many, in nanoseconds.
    pub step: f64,
    /// The share of the workers' time in which they ran tasks.
    pub busy: f64,
    /// The share of tasks that were stolen.
    pub stolen: f64,
}

impl Machine {
    /// A core for each of `workers`, nothing shared.
    pub fn flat(workers: usize, overheads: Overheads) -> Self {
        Self { cores: workers, threads_per_core: 1, smt: Vec::new(), bandwidth: None, overheads }
    }

    /// All of them.
    pub fn workers(&self) -> usize {
        self.cores * self.threads_per_core
    }

    /// What one of `busy` busy workers of a core does, in units of what it does alone.
    fn share(&self, busy: usize) -> f64 {
        let core = self.smt.get(busy - 1).or(self.smt.last()).copied().unwrap_or(1.0);
        core / busy as f64
    }
}

/// A worker's task.
#[derive(Clone, Copy)]
struct Job {
    rank: u32,
    /// What is left of the way to it.
    overhead: f64,
    /// What is left of its time alone.
    work: f64,
    /// Bytes in a nanosecond of that.
    intensity: f64,
    /// How fast it goes now.
    rate: f64,
}

struct Simulation<'a> {
    schedule: Schedule,
    machine: &'a Machine,
    steal_order: Vec<Box<[usize]>>,
    jobs: Vec<Option<Job>>,
    idle_since: Vec<f64>,
    /// How many workers of each core have a job.
    busy: Vec<usize>,
    now: f64,
    busy_time: f64,
    tasks: usize,
    stolen: usize,
}

/// The number of iterations of a simulation, of which the first is not counted.
const STEPS: usize = 4;

/// Runs iterations of `graph` in virtual time on `machine`; `load` is what each task takes.
pub fn simulate(
    graph: &Graph,
    load: impl Fn(TaskId) -> Load,
    machine: &Machine,
    policy: Policy,
) -> Simulated {
    let workers = machine.workers();
    assert!(workers > 0, "a machine without workers");
    let loads: Vec<Load> = (0..graph.len() as u32).map(|rank| load(graph.task_at(rank))).collect();
    let gates = graph.exit_count(Exit::Gate);
    if gates == 0 {
        return Simulated { step: machine.overheads.step, busy: 0.0, stolen: 0.0 };
    }
    // One worker of each core first, as a real pool is placed.
    let place = |worker| Some(Cpu { id: worker, core: worker % machine.cores, cluster: 0, node: 0 });
    let places: Vec<Option<Cpu>> = (0..workers).map(place).collect();
    let mut simulation = Simulation {
        schedule: Schedule::new(graph.clone(), workers, policy),
        machine,
        steal_order: steal_order(&places),
        jobs: vec![None; workers],
        idle_since: vec![0.0; workers],
        busy: vec![0; machine.cores],
        now: 0.0,
        busy_time: 0.0,
        tasks: 0,
        stolen: 0,
    };
    let mut opened = Vec::new();
    let (mut missing, mut begin) = (gates, Some(0.0));
    while opened.len() < STEPS {
        if begin.is_some_and(|at| at <= simulation.now) {
            begin = None;
            missing = gates;
            simulation.schedule.begin();
            simulation.employ(0, &loads);
        }
        simulation.set_rates();
        let (after, done) = simulation.next_end();
        match begin {
            Some(at) if at < simulation.now + after => simulation.advance(at - simulation.now),
            _ => {
                let worker = done.expect("a graph has no cycle");
                simulation.advance(after);
                let rank = simulation.end(worker, &loads);
                if graph.exits[rank as usize] == Exit::Gate {
                    missing -= 1;
                    if missing == 0 {
                        opened.push(simulation.now);
                        begin = Some(simulation.now + machine.overheads.step);
                    }
                }
            }
        }
    }
    let steps = (STEPS - 1) as f64;
    Simulated {
        step: (opened[STEPS - 1] - opened[0]) / steps,
        busy: simulation.busy_time / (simulation.now * workers as f64),
        stolen: simulation.stolen as f64 / simulation.tasks.max(1) as f64,
    }
}

impl Simulation<'_> {
    /// Gives tasks to workers that have none, the one after `first` first.
    fn employ(&mut self, first: usize, loads: &[Load]) {
        let n = self.jobs.len();
        for worker in (0..n).map(|step| (first + step) % n) {
            if self.jobs[worker].is_some() {
                continue;
            }
            let found = self.schedule.find(worker, &self.steal_order[worker], || {});
            let Some(found) = found else {
                if self.schedule.is_static() {
                    continue;
                }
                return;
            };
            let overheads = &self.machine.overheads;
            let asleep = self.now - self.idle_since[worker] > overheads.patience;
            let overhead = overheads.dispatch
                + if found.stolen_from.is_some() { overheads.steal } else { 0.0 }
                + if asleep { overheads.wake } else { 0.0 };
            self.stolen += usize::from(found.stolen_from.is_some());
            self.give(worker, found.rank, overhead, loads);
        }
    }

    fn give(&mut self, worker: usize, rank: u32, overhead: f64, loads: &[Load]) {
        self.schedule.start(rank);
        let Load { time, bytes } = loads[rank as usize];
        let intensity = if time > 0.0 { bytes / time } else { 0.0 };
        self.jobs[worker] = Some(Job { rank, overhead, work: time, intensity, rate: 1.0 });
        self.busy[worker % self.machine.cores] += 1;
        self.busy_time += time;
        self.tasks += 1;
    }

    /// How fast each job goes: what its core gives it, and of that what the memory allows to all.
    fn set_rates(&mut self) {
        let mut demand = 0.0;
        for (worker, job) in self.jobs.iter_mut().enumerate() {
            if let Some(job) = job {
                job.rate = self.machine.share(self.busy[worker % self.machine.cores]);
                demand += job.intensity * job.rate;
            }
        }
        let allowed = self.machine.bandwidth.map_or(1.0, |bandwidth| (bandwidth / demand).min(1.0));
        if allowed < 1.0 {
            for job in self.jobs.iter_mut().flatten().filter(|job| job.intensity > 0.0) {
                job.rate *= allowed;
            }
        }
    }

    /// When the next task ends, from now, and whose.
    fn next_end(&self) -> (f64, Option<usize>) {
        let mut next = (f64::INFINITY, None);
        for (worker, job) in self.jobs.iter().enumerate() {
            if let Some(job) = job {
                let after = job.overhead + job.work / job.rate;
                if after < next.0 {
                    next = (after, Some(worker));
                }
            }
        }
        next
    }

    fn advance(&mut self, time: f64) {
        self.now += time;
        for job in self.jobs.iter_mut().flatten() {
            let way = job.overhead.min(time);
            job.overhead -= way;
            job.work = (job.work - (time - way) * job.rate).max(0.0);
        }
    }

    /// The worker's task ends: releases what waited for it and gives tasks to those without.
    fn end(&mut self, worker: usize, loads: &[Load]) -> u32 {
        let job = self.jobs[worker].take().expect("the worker has a task");
        self.busy[worker % self.machine.cores] -= 1;
        self.idle_since[worker] = self.now;
        let next = self.schedule.complete(job.rank, worker, |_| {});
        if let Some(next) = next {
            self.give(worker, next, self.machine.overheads.dispatch, loads);
        }
        self.employ(worker, loads);
        job.rank
    }
}
