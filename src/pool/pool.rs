//! The pool: its options, its threads and what they share.

use std::io;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::affinity::{allowed_cpus, pin_current_thread};
use super::claim::Claim;
use super::policy::Policy;
use super::recorder::{Recorder, Recording};
use super::run::Run;
use super::sleep::Sleepers;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use super::sync::{Mutex, lock, thread};
use super::topology::{Cpu, Topology, steal_order};
use super::turn::Turn;
use super::worker::{self, WorkerId};
use crate::machine::cgroup::cpu_quota;

/// How many workers a pool has and where they run.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// The number of workers. `None`: as many as `cores` has, or else one for each physical core that the calling
    /// thread may use, but no more than the container's share of processor time.
    pub threads: Option<usize>,
    /// The processors, by the system's numbers, worker 0 first. `None`: of all that the calling thread may use those
    /// whose cores have the fewest workers of this process's other pools, one of each physical core first. Workers
    /// beyond the number of processors begin again at the first.
    pub cores: Option<Vec<usize>>,
    /// Whether each worker is bound to its processor.
    pub pin: bool,
    /// Which ready task goes next.
    pub policy: Policy,
    /// How many events of each worker are recorded for [`Pool::recording`]; `None`: nothing is recorded.
    pub events: Option<usize>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { threads: None, cores: None, pin: true, policy: Policy::default(), events: None }
    }
}

/// Why a pool could not be made.
#[derive(Debug, Error)]
pub enum PoolError {
    /// No worker.
    #[error("a pool needs at least one thread")]
    NoThread,
    /// More workers than any machine can use.
    #[error("a pool of {threads} threads was asked for, expected at most {most}", most = Pool::MAX_THREADS)]
    TooManyThreads {
        /// What was asked for.
        threads: usize,
    },
    /// No processor.
    #[error("the list of cores for the pool is empty")]
    NoCore,
    /// Not a processor that the calling thread may use.
    #[error("core {core} is not among those this process may run on: {allowed:?}")]
    CoreNotAllowed {
        /// What was asked for.
        core: usize,
        /// What is allowed.
        allowed: Vec<usize>,
    },
    /// The system does not tell on which processors the thread may run.
    #[error("cannot read the set of allowed processors: {0}")]
    Affinity(#[source] io::Error),
    /// The system refuses to bind a thread to its processor.
    #[error("cannot bind a worker to core {core}: {source} (a pool without pinning would work)")]
    Pin {
        /// The processor.
        core: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses to make a thread.
    #[error("cannot start worker {worker}: {source}")]
    Spawn {
        /// The worker's number.
        worker: usize,
        /// What the system says.
        source: io::Error,
    },
}

/// What the workers share.
pub(super) struct Shared {
    pub(super) sleepers: Sleepers,
    pub(super) steal_order: Box<[Box<[usize]>]>,
    /// Changes with `current`, under its lock.
    pub(super) epoch: AtomicUsize,
    current: Mutex<Option<Arc<Run>>>,
    pub(super) stop: AtomicBool,
    pub(super) policy: Policy,
    pub(super) recorder: Option<Recorder>,
}

impl Shared {
    /// For as many workers as `steal_order` has victims for.
    pub(super) fn new(steal_order: Box<[Box<[usize]>]>, policy: Policy, recorder: Option<Recorder>) -> Self {
        Self {
            sleepers: Sleepers::new(steal_order.len()),
            steal_order,
            epoch: AtomicUsize::new(0),
            current: Mutex::new(None),
            stop: AtomicBool::new(false),
            policy,
            recorder,
        }
    }

    /// The graph that the workers run now, and the epoch in which it became that.
    pub(super) fn current_run(&self) -> (usize, Option<Arc<Run>>) {
        let current = lock(&self.current);
        (self.epoch.load(Relaxed), current.clone())
    }

    /// Lets the workers run another graph. The one before has drained. From the thread that has the turn.
    pub(super) fn set_current(&self, run: Option<Arc<Run>>) {
        let mut current = lock(&self.current);
        *current = run;
        // Release: with the Acquire of the worker's look. A worker about to sleep sees it by the fence of the wake
        // that follows the first push.
        self.epoch.fetch_add(1, Release);
    }
}

/// The threads, kept by the pool and its executors.
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) turn: Turn,
    ids: AtomicUsize,
    cpus: Vec<Option<Cpu>>,
    /// Given back when the workers have ended.
    #[allow(dead_code, reason = "held for its drop")]
    claim: Option<Claim>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Inner {
    /// A number for an executor, from 1.
    pub(super) fn new_id(&self) -> usize {
        // Relaxed: unique is enough.
        self.ids.fetch_add(1, Relaxed)
    }

    pub(super) fn threads(&self) -> usize {
        self.cpus.len()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Release: with the Acquire of the worker's look.
        self.shared.stop.store(true, Release);
        self.shared.sleepers.wake(usize::MAX, 0);
        // A task may own the last handle of a pool; a worker cannot wait for itself.
        if worker::is_worker_of(&self.shared) {
            return;
        }
        for thread in self.threads.drain(..) {
            // Workers do not panic: they catch the panics of tasks.
            let _ = thread.join();
        }
    }
}

/// A number of pinned workers that run graphs, one graph at a time ([`Executor`](super::Executor)).
///
/// Workers without work look for some for a few microseconds and then sleep: an idle pool uses no processor time. A
/// process can have several pools. Clones are handles of the same pool; the workers end with the last handle and the last
/// executor.
#[derive(Clone)]
pub struct Pool {
    pub(super) inner: Arc<Inner>,
}

impl Pool {
    /// The most workers. Each has a stack and private memory, and the work is divided among all of them.
    pub const MAX_THREADS: usize = 4096;

    /// Starts the workers.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let (threads, claim) = workers(&options)?;
        let places: Vec<Option<Cpu>> = match &claim {
            Some(claim) => claim.cpus().iter().copied().map(Some).collect(),
            None => vec![None; threads],
        };
        let recorder = options.events.map(|events| Recorder::new(threads, events));
        let shared = Arc::new(Shared::new(steal_order(&places).into(), options.policy, recorder));
        // Dropped on an error, it stops and joins those that have started.
        let mut inner = Inner {
            shared: Arc::clone(&shared),
            turn: Turn::new(),
            ids: AtomicUsize::new(1),
            cpus: places.clone(),
            claim,
            threads: Vec::with_capacity(threads),
        };
        let (report, reports) = std::sync::mpsc::channel();
        for (index, place) in places.iter().enumerate() {
            let (shared, report, core) = (Arc::clone(&shared), report.clone(), place.map(|cpu| cpu.id));
            let thread = thread::Builder::new().name(format!("znn-worker-{index}")).spawn(move || {
                let pinned = core.map_or(Ok(()), |core| {
                    pin_current_thread(core).map_err(|source| PoolError::Pin { core, source })
                });
                // The receiver is gone if another worker has failed: the pool is about to stop.
                let _ = report.send(pinned);
                drop(report);
                worker::main(&shared, WorkerId::new(index));
            });
            inner.threads.push(thread.map_err(|source| PoolError::Spawn { worker: index, source })?);
        }
        drop(report);
        reports.iter().collect::<Result<(), _>>()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The number of workers.
    pub fn threads(&self) -> usize {
        self.inner.threads()
    }

    /// What the workers have done last, if that is recorded ([`PoolOptions::events`]). What is going on is not in it.
    pub fn recording(&self) -> Option<Recording> {
        self.inner.shared.recorder.as_ref().map(Recorder::recording)
    }

    /// Where each worker is bound; `None` where it is not.
    pub fn cpus(&self) -> &[Option<Cpu>] {
        &self.inner.cpus
    }
}

/// The number of workers, and their processors where they are to be bound.
fn workers(options: &PoolOptions) -> Result<(usize, Option<Claim>), PoolError> {
    let allowed = allowed_cpus().map_err(PoolError::Affinity)?;
    let (cpus, is_chosen) = match &options.cores {
        Some(cores) => {
            if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
                return Err(PoolError::CoreNotAllowed { core, allowed });
            }
            (Topology::of(cores).cpus().to_vec(), true)
        }
        None => (Topology::of(&allowed).placement(), false),
    };
    if cpus.is_empty() {
        return Err(PoolError::NoCore);
    }
    let default = || match options.cores {
        Some(_) => cpus.len(),
        None => {
            let quota = cpu_quota(Path::new("/")).map_or(usize::MAX, |quota| quota.ceil() as usize);
            Topology::of(&allowed).physical_cores().min(quota)
        }
    };
    match options.threads.unwrap_or_else(default) {
        0 => Err(PoolError::NoThread),
        threads if threads > Pool::MAX_THREADS => Err(PoolError::TooManyThreads { threads }),
        threads if !options.pin => Ok((threads, None)),
        threads if is_chosen => Ok((threads, Some(Claim::given(&cpus, threads)))),
        threads => Ok((threads, Some(Claim::free(&cpus, threads)))),
    }
}
