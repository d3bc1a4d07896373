//! `znn bench pool`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use znn::pool::{
    Class, Executor, Graph, GraphBuilder, Overheads, Policy, Pool, PoolError, PoolOptions, TaskId, TaskPanic,
    WorkerId,
};
use znn::stats::median;

use super::super::{CommandResult, Outcome, print};

/// Measure what scheduling costs: from task to task, with stealing, and until a sleeping thread works.
#[derive(Args)]
pub struct PoolArgs {
    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Which ready task goes next: priority, fifo, lifo, random-stealing or static.
    #[arg(long, value_name = "NAME", default_value_t)]
    policy: Policy,
}

/// The cost of scheduling cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// There is no pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A task failed.
    #[error(transparent)]
    Task(#[from] TaskPanic),
}

/// Runs `znn bench pool`.
pub fn run(args: &PoolArgs) -> CommandResult {
    let pool = |threads, events| {
        Pool::new(PoolOptions { threads, policy: args.policy, events, ..PoolOptions::default() })
    };
    let many = pool((args.threads > 0).then_some(args.threads), None)?;
    let one = pool(Some(1), None)?;
    let recorded = pool(Some(1), Some(1 << 16))?;
    let threads = many.threads();
    let mut text = format!("policy {}, medians of {ROUNDS} iterations\n", args.policy);
    let mut line = |what: &str, value: f64, unit: &str| {
        text.push_str(&format!("  {what:62}{value:>9.2} {unit}\n"));
    };
    line("a task after another, 1 thread", per_task(&one, 0)?, "ns");
    line("the same, recorded for a trace", per_task(&recorded, 0)?, "ns");
    line(
        &format!("a task of no work, {threads} threads at one queue, each thread's time"),
        per_task(&many, 0)?,
        "ns",
    );
    line(&format!("the same beyond tasks of 1 us, {threads} threads"), per_task(&many, 1000)?, "ns");
    line(&format!("the same beyond tasks of 5 us, {threads} threads"), per_task(&many, 5000)?, "ns");
    line("a plain thread unparked, until it runs (no pool)", unpark() / 1e3, "us");
    line("an iteration of one task, its worker awake", step(&many, Duration::ZERO)?.whole / 1e3, "us");
    let asleep = step(&many, NAP)?;
    line("from the call to the first task, its worker asleep", asleep.begin / 1e3, "us");
    line("an iteration of one task, its worker asleep", asleep.whole / 1e3, "us");
    if threads > 1 {
        line("from a task's end to one that it released in a sleeping worker", wake(&many)? / 1e3, "us");
    }
    print(&text)?;
    Ok(Outcome::Done)
}

const ROUNDS: usize = 101;
/// Longer than a worker looks for tasks before it sleeps.
const NAP: Duration = Duration::from_millis(2);

/// What scheduling costs on this machine, for a simulation: from pools of one and of two workers.
pub fn overheads(policy: Policy) -> Result<Overheads, MeasureError> {
    let pool = |threads| Pool::new(PoolOptions { threads: Some(threads), policy, ..PoolOptions::default() });
    let (one, two) = (pool(1)?, pool(2)?);
    let dispatch = per_task(&one, 0)?;
    Ok(Overheads {
        dispatch,
        steal: (per_task(&two, 1000)? - dispatch).max(0.0),
        wake: step(&one, NAP)?.begin,
        // 64 looks with growing pauses, then 16 with a yield between them.
        patience: 50_000.0,
        step: step(&one, Duration::ZERO)?.whole,
    })
}

/// One task, `width` that wait for it, and one that waits for these.
fn fan(width: usize) -> Graph {
    let mut builder = GraphBuilder::new();
    let first = builder.task(1, Class::Gated);
    let last = builder.task(1, Class::Gated);
    for _ in 0..width {
        let task = builder.task(1000, Class::Gated);
        builder.edge(first, task);
        builder.edge(task, last);
    }
    builder.build().expect("a fan has no cycle")
}

fn executor(pool: &Pool, graph: Graph, work: impl Fn(TaskId, WorkerId) + Send + Sync + 'static) -> Executor {
    Executor::new(pool, graph, Box::new(work))
}

/// A worker's time for each task beyond `nanoseconds` that each of them spends in its work, where one worker has
/// released all of them and the others take theirs from its queue.
fn per_task(pool: &Pool, nanoseconds: u64) -> Result<f64, MeasureError> {
    const WIDTH: usize = 4000;
    // What the tasks really took, with the reading of the clock.
    let worked: Arc<[AtomicU64]> = (0..pool.threads() * 16).map(|_| AtomicU64::new(0)).collect();
    let log = Arc::clone(&worked);
    let mut executor = executor(pool, fan(WIDTH), move |_, worker| {
        if nanoseconds > 0 {
            let start = Instant::now();
            let mut spent = 0;
            while spent < nanoseconds {
                spent = start.elapsed().as_nanos() as u64;
            }
            log[16 * worker.index()].fetch_add(spent, Relaxed);
        }
    });
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        worked.iter().for_each(|time| time.store(0, Relaxed));
        let start = Instant::now();
        executor.step()?;
        let all = start.elapsed().as_nanos() as f64 * pool.threads() as f64;
        let worked: u64 = worked.iter().map(|time| time.load(Relaxed)).sum();
        times.push((all - worked as f64) / WIDTH as f64);
    }
    Ok(median(&mut times))
}

/// Nanoseconds of an iteration of one task.
struct Step {
    /// Until the task runs.
    begin: f64,
    /// All of it.
    whole: f64,
}

/// An iteration of one task, `nap` after the one before.
fn step(pool: &Pool, nap: Duration) -> Result<Step, MeasureError> {
    let origin = Instant::now();
    let began = Arc::new(AtomicU64::new(0));
    let log = Arc::clone(&began);
    let mut executor =
        executor(pool, single(), move |_, _| log.store(origin.elapsed().as_nanos() as u64, Relaxed));
    let (mut begin, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if !nap.is_zero() {
            std::thread::sleep(nap);
        }
        let start = origin.elapsed().as_nanos() as u64;
        executor.step()?;
        whole.push(origin.elapsed().as_nanos() as f64 - start as f64);
        begin.push(began.load(Relaxed) as f64 - start as f64);
    }
    Ok(Step { begin: median(&mut begin), whole: median(&mut whole) })
}

fn single() -> Graph {
    let mut builder = GraphBuilder::new();
    builder.task(1, Class::Gated);
    builder.build().expect("a task has no cycle")
}

/// From the end of a task to the begin of a task that it released and that another, sleeping worker takes, in
/// nanoseconds: the first worker is busy with one of the two that it releases.
fn wake(pool: &Pool) -> Result<f64, MeasureError> {
    let origin = Instant::now();
    let now = move || origin.elapsed().as_nanos() as u64;
    let times: Arc<[AtomicU64; 3]> = Arc::default();
    let log = Arc::clone(&times);
    // Task 0 takes longer than workers look for tasks; of its two successors the later to begin was woken for.
    let mut executor = executor(pool, fan(2), move |task, _| match task.index() {
        0 => {
            spin(origin, 300_000);
            log[0].store(now(), Relaxed);
        }
        1 => {}
        index => {
            log[index - 1].store(now(), Relaxed);
            spin(origin, 100_000);
        }
    });
    let mut waits = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        executor.step()?;
        let [end, a, b] = [0, 1, 2].map(|i| times[i].load(Relaxed));
        waits.push(a.max(b).saturating_sub(end) as f64);
    }
    Ok(median(&mut waits))
}

/// From `unpark` to the end of `park` in a thread that sleeps: what the system takes, in nanoseconds.
fn unpark() -> f64 {
    let origin = Instant::now();
    let called = AtomicU64::new(0);
    let mut waits = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let mut waits = Vec::with_capacity(ROUNDS);
            let mut seen = 0;
            while waits.len() < ROUNDS {
                std::thread::park();
                let now = origin.elapsed().as_nanos() as u64;
                let call = called.load(Relaxed);
                if call != seen {
                    waits.push((now - call) as f64);
                    seen = call;
                }
            }
            waits
        });
        while !sleeper.is_finished() {
            std::thread::sleep(NAP);
            called.store(origin.elapsed().as_nanos() as u64, Relaxed);
            sleeper.thread().unpark();
        }
        sleeper.join().unwrap_or_default()
    });
    median(&mut waits)
}

fn spin(origin: Instant, nanoseconds: u64) {
    let start = origin.elapsed().as_nanos() as u64;
    while (origin.elapsed().as_nanos() as u64) < start + nanoseconds {
        std::hint::spin_loop();
    }
}
