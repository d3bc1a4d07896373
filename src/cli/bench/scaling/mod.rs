//! `znn bench scaling`.

mod measure;
mod plot;

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use znn::conv::Choice;
use znn::pool::{Machine, Overheads, Policy, simulate};
use znn::trace;
use znn::{Engine, EngineOptions};

use self::measure::Profile;
use super::super::{CommandResult, Outcome, print};
use super::contest::{Contestant, Time, Turns, compare};
use super::figures::{Figure, Figures, RivalTime, Versus};
use super::paper::{Family, WIDTHS};
use super::pool;
use super::rivals::Rival;
use super::runner::{SameTrainer, Subject, Trainer};
use super::side::{Mode, Side};
use super::torch::TorchArgs;
use super::torch::network::{Description, Format, side};

/// Train the networks of the ZNN paper with 1, 2, ... threads: speedup and efficiency, against Brent's bound.
///
/// All numbers of threads use the same algorithms, and take turns. Brent's bound is T_1 / P + T_inf, from the times of the
/// tasks on one thread; efficiency is the speedup over the number of threads; `tasks' time` is what the same tasks take
/// together with all threads over what they take with one, which is no matter of scheduling. `overhead` is what one thread
/// of the pool takes beyond a plain loop over the same tasks on the same memory; the loop's thread is not bound to a
/// processor, so that on a machine with other load both should be (`taskset -c 0 znn bench scaling`).
///
/// With --simulate the recorded tasks also run in virtual time on machines that are not there, by the same scheduling
/// code; such lines are marked as simulated. Contention for queues and counters, and what tasks cost each other in shared
/// caches, are not simulated. With --vs torch the same iterations run in PyTorch with as many threads, in turn with these.
#[derive(Args)]
#[command(after_help = "Examples:
  znn bench scaling --widths 5,20,80 --json scaling.json --plot scaling.svg
  znn bench scaling --net 3d --widths 80 --simulate 8,18,40,60x4 --smt 1,1.7,1.9,2
  znn bench scaling --widths 20 --policy priority,fifo,lifo,random-stealing,static")]
pub struct ScalingArgs {
    /// The networks: 3d, 2d.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "3d,2d")]
    net: Vec<Family>,
    /// The maps of each hidden layer [default: those of the paper, 5 to 120].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    widths: Vec<usize>,
    /// The numbers of threads, beside 1 [default: up to one for each core].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    threads: Vec<usize>,
    /// How convolutions are computed; auto measures, with all threads, which is fastest for each layer.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    algorithm: Choice,
    /// Which ready task goes next: priority, fifo, lifo, random-stealing, static.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "priority")]
    policy: Vec<Policy>,
    /// The seconds of each turn, of which there are seven.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.2)]
    turn: f64,
    /// Machines to simulate: cores, or cores x threads of each core as in 60x4.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    simulate: Vec<Cores>,
    /// What a simulated core does with 1, 2, ... of its threads busy, in units of what it does with one [default: 1,
    /// whatever their number].
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "simulate")]
    smt: Vec<f64>,
    /// The memory bandwidth of simulated machines in GB/s, as if every task read and wrote all its images in memory
    /// [default: no limit].
    #[arg(long, value_name = "GB/S", requires = "simulate")]
    bandwidth: Option<f64>,
    /// Write the figures, an array of JSON objects.
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// Draw the speedups.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write a trace of the last network on all threads.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    torch: TorchArgs,
}

/// The cores of a simulated machine, and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cores {
    cores: usize,
    threads: usize,
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cores, threads) = text.split_once('x').unwrap_or((text, "1"));
        let number = |text: &str| text.parse().ok().filter(|n| (1..=4096).contains(n));
        match (number(cores), number(threads)) {
            (Some(cores), Some(threads)) if cores * threads <= 4096 => Ok(Self { cores, threads }),
            _ => Err(format!("expected a number of cores such as 18 or 60x4, found `{text}`")),
        }
    }
}

/// A line of the result.
#[derive(Clone, Debug, Serialize)]
struct ScalingFigure {
    net: String,
    width: usize,
    threads: usize,
    policy: &'static str,
    /// Whether the time is simulated; if not, it is measured.
    simulated: bool,
    seconds: f64,
    /// Over the measured time with one thread.
    speedup: f64,
    efficiency: f64,
    /// The speedup that Brent's theorem grants: the time with one thread over T_1 / P + T_inf.
    brent_bound: f64,
    /// Seconds of all tasks on one thread.
    t_1: f64,
    /// Seconds of the longest chain of tasks.
    t_inf: f64,
    /// Of a measured time: that of all tasks with these threads over t_1, which shared caches and memory raise.
    inflation: Option<f64>,
    /// Of a measured time: what the simulation makes of it.
    simulation_seconds: Option<f64>,
    /// With one thread: the fraction of a plain loop over the tasks that it takes more.
    overhead: Option<f64>,
    #[serde(flatten)]
    versus: Versus,
    /// Of a simulated time: the model.
    cores: Option<usize>,
    smt: Vec<f64>,
    bandwidth: Option<f64>,
}

impl Figure for ScalingFigure {
    fn ratio(&self) -> Option<f64> {
        self.versus.ratio
    }
}

/// Runs `znn bench scaling`.
pub fn run(args: &ScalingArgs) -> CommandResult {
    if args.widths.contains(&0) || args.threads.contains(&0) {
        return Err("widths and numbers of threads are at least 1".into());
    }
    if args.smt.iter().chain(&args.bandwidth).any(|&factor| factor.is_nan() || factor <= 0.0) {
        return Err("--smt and --bandwidth are above 0".into());
    }
    let widths = if args.widths.is_empty() { &WIDTHS[..] } else { &args.widths[..] };
    let tuned = Engine::new(&EngineOptions::default())?;
    let mut threads = match args.threads.is_empty() {
        true => (1..=tuned.pool().threads()).collect(),
        false => [&[1], &args.threads[..]].concat(),
    };
    threads.sort_unstable();
    threads.dedup();
    let overheads = pool::overheads(Policy::Priority)?;
    print(&preface(args, &overheads))?;
    let mut figures = Figures::begin(&header(args))?;
    for &family in &args.net {
        for &width in widths {
            let subject = Subject {
                network: family.network(width),
                output: family.output(),
                algorithm: args.algorithm,
            };
            let lines = network(args, &subject, &threads, &tuned, &overheads)?;
            for line in lines {
                figures.add(ScalingFigure { net: family.to_string(), width, ..line })?;
            }
        }
    }
    figures.end(args.json.as_deref())?;
    if let Some(path) = &args.plot {
        plot::write(figures.all(), path)?;
    }
    Ok(Outcome::Done)
}

/// One network with all policies, numbers of threads and simulated machines.
fn network(
    args: &ScalingArgs,
    subject: &Subject,
    threads: &[usize],
    tuned: &Engine,
    overheads: &Overheads,
) -> Result<Vec<ScalingFigure>, Box<dyn Error>> {
    let profile = |workers: usize| {
        let options =
            EngineOptions { threads: Some(1), plan_threads: Some(workers), ..EngineOptions::default() };
        Profile::new(subject, options, tuned)
    };
    let profiles = threads.iter().map(|&n| profile(n)).collect::<Result<Vec<_>, _>>()?;
    let machines: Vec<Machine> = args
        .simulate
        .iter()
        .map(|&Cores { cores, threads }| Machine {
            cores,
            threads_per_core: threads,
            smt: args.smt.clone(),
            bandwidth: args.bandwidth,
            overheads: *overheads,
        })
        .collect();
    let simulated =
        machines.iter().map(|machine| profile(machine.workers())).collect::<Result<Vec<_>, _>>()?;
    let mut figures = Vec::new();
    for &policy in &args.policy {
        let trainer = |events: Option<usize>, threads: usize| {
            let options =
                EngineOptions { threads: Some(threads), policy, events, ..EngineOptions::default() };
            Trainer::new(subject, Engine::new(&options)?.with_measurements_of(tuned))
        };
        let times = Times::measure(args, subject, threads, |threads| trainer(None, threads))?;
        let one = times.own[0];
        let figure = |profile: &Profile, threads: usize, seconds: f64| ScalingFigure {
            net: String::new(),
            width: 0,
            threads,
            policy: policy.name(),
            simulated: false,
            seconds,
            speedup: one / seconds,
            efficiency: one / seconds / threads as f64,
            brent_bound: one / profile.brent(threads),
            t_1: profile.total(),
            t_inf: profile.longest(),
            inflation: None,
            simulation_seconds: None,
            overhead: None,
            versus: Versus::default(),
            cores: None,
            smt: Vec::new(),
            bandwidth: None,
        };
        let virtual_seconds = |profile: &Profile, machine: &Machine| {
            simulate(&profile.graph, |task| profile.load(task), machine, policy).step / 1e9
        };
        for (index, (profile, &threads)) in profiles.iter().zip(threads).enumerate() {
            let seconds = times.own[index];
            let simulation = virtual_seconds(profile, &Machine::flat(threads, *overheads));
            let options = EngineOptions { threads: Some(threads), policy, ..EngineOptions::default() };
            let together = Profile::new(subject, options, tuned)?;
            figures.push(ScalingFigure {
                inflation: Some(together.total() / profile.total()),
                simulation_seconds: Some(simulation),
                overhead: (threads == 1).then_some(seconds / times.in_order - 1.0),
                versus: Versus::new(1e3 * seconds, times.torch.get(index).copied()),
                ..figure(profile, threads, seconds)
            });
        }
        for (profile, machine) in simulated.iter().zip(&machines) {
            let workers = machine.workers();
            figures.push(ScalingFigure {
                simulated: true,
                cores: Some(machine.cores),
                smt: machine.smt.clone(),
                bandwidth: machine.bandwidth,
                ..figure(profile, workers, virtual_seconds(profile, machine))
            });
        }
        if let (Some(path), Some(&most)) = (&args.trace, threads.last()) {
            let mut trainer = trainer(Some(trace::EVENTS), most)?;
            trainer.time(10)?;
            if let Some(trace) = trainer.trace() {
                trace.write(path)?;
            }
        }
    }
    Ok(figures)
}

/// Seconds of an iteration.
struct Times {
    /// With each number of threads.
    own: Vec<f64>,
    /// By a loop over the tasks that one thread runs.
    in_order: f64,
    /// PyTorch's, with each number of threads, where it takes part.
    torch: Vec<RivalTime>,
}

impl Times {
    fn measure(
        args: &ScalingArgs,
        subject: &Subject,
        threads: &[usize],
        trainer: impl Fn(usize) -> Result<Trainer, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let one = RefCell::new(trainer(1)?);
        let (mut in_order, mut by_pool) = (SameTrainer::in_order(&one), SameTrainer::by_pool(&one));
        let mut more = threads[1..].iter().map(|&n| trainer(n)).collect::<Result<Vec<_>, _>>()?;
        let mut torch: Vec<Side> = Vec::new();
        if let Some(python) = args.torch.python() {
            let description = Description::new(&subject.network, &subject.network.shapes(subject.output)?)?;
            for &n in threads {
                for format in Format::ALL {
                    torch.push(side(python, Rival::Torch, &description, Mode::Training, n, format)?);
                }
            }
        }
        let mut contestants: Vec<&mut dyn Contestant> = vec![&mut in_order, &mut by_pool];
        contestants.extend(more.iter_mut().map(|trainer| trainer as &mut dyn Contestant));
        contestants.extend(torch.iter_mut().map(|side| side as &mut dyn Contestant));
        let times = compare(&mut contestants, Turns::of_seconds(args.turn))?;
        let (ours, theirs) = times[1..].split_at(threads.len());
        let faster = |formats: &[Time]| {
            let faster = formats.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
            Some(RivalTime { engine: Rival::Torch, ms: 1e3 * faster.seconds, single: faster.single })
        };
        Ok(Self {
            own: ours.iter().map(|time| time.seconds).collect(),
            in_order: times[0].seconds,
            torch: theirs.chunks(Format::ALL.len()).filter_map(faster).collect(),
        })
    }
}

/// What was measured before the networks, and what is simulated.
fn preface(args: &ScalingArgs, overheads: &Overheads) -> String {
    let mut text = format!(
        "scheduling, measured: {:.0} ns from task to task, {:.0} ns more for a stolen one, {:.1} us to wake a worker, \
         {:.1} us between iterations\n",
        overheads.dispatch,
        overheads.steal,
        overheads.wake / 1e3,
        overheads.step / 1e3
    );
    if !args.simulate.is_empty() {
        let smt = match &args.smt[..] {
            [] => "a core does the same with any number of its threads busy".to_owned(),
            factors => format!(
                "a core with 1, 2, ... of its threads busy does {factors:?} times what it does with one"
            ),
        };
        let bandwidth = args.bandwidth.map_or("memory bandwidth unlimited".to_owned(), |bandwidth| {
            format!("memory bandwidth {bandwidth} GB/s for all images of all tasks")
        });
        text.push_str(&format!(
            "SIMULATED lines are not measured: recorded task times and the overheads above, in virtual time through the \
             scheduler's code; {smt}; {bandwidth}; no contention\n"
        ));
    }
    text
}

fn header(args: &ScalingArgs) -> String {
    format!(
        "{:4} {:>5} {:15} {:>8} {:>11} {:>8} {:>6} {:>11} {:>11} {:>13} {:>8}{}",
        "net",
        "width",
        "policy",
        "threads",
        "ms",
        "speedup",
        "eff.",
        "Brent bound",
        "tasks' time",
        "sim./measured",
        "overhead",
        Versus::header(args.torch.python().is_some())
    )
}

impl fmt::Display for ScalingFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, width, policy, speedup, brent_bound, versus, .. } = self;
        let threads = match self.cores {
            Some(cores) if cores != self.threads => format!("{cores}x{}", self.threads / cores),
            _ => self.threads.to_string(),
        };
        let check = match self.simulation_seconds {
            Some(seconds) => format!("{:.3}", seconds / self.seconds),
            None => "SIMULATED".to_owned(),
        };
        let inflation = self.inflation.map_or(String::new(), |factor| format!("{factor:.3}x"));
        let overhead = self.overhead.map_or(String::new(), |fraction| format!("{:.1}%", 100.0 * fraction));
        let (ms, efficiency) = (1e3 * self.seconds, 100.0 * self.efficiency);
        write!(
            f,
            "{net:4} {width:>5} {policy:15} {threads:>8} {ms:>11.3} {speedup:>7.2}x {efficiency:>5.1}% \
             {brent_bound:>10.2}x {inflation:>11} {check:>13} {overhead:>8}{versus}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read() {
        assert_eq!("18".parse(), Ok(Cores { cores: 18, threads: 1 }));
        assert_eq!("60x4".parse(), Ok(Cores { cores: 60, threads: 4 }));
        for text in ["", "0", "4x0", "x", "3.5", "1000x1000"] {
            assert!(text.parse::<Cores>().is_err(), "{text}");
        }
    }
}
