//! What one use of the library owns: threads, kernels, transforms, and what it has measured.

use std::path::PathBuf;
use std::sync::Arc;

use znn_kernels::{Isa, Kernels, UnknownIsa};

use crate::conv::{
    Accuracy, Choice, Decision, PassCost, Passes, Problem, Tools, Tuner, TuningFile, costs, estimate,
    of_method,
};
use crate::fft::{Effort, Planner};
use crate::pool::{Policy, Pool, PoolError, PoolOptions};
use crate::trace::TraceFile;

/// How an [`Engine`] is made.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Worker threads; `None`: one for each core that the process may use.
    pub threads: Option<usize>,
    /// The processors of the workers, by the system's numbers; `None`: of all that the process may use those with the fewest
    /// workers of its other engines, one of each core first.
    pub cores: Option<Vec<usize>>,
    /// The instruction-set tier; `None`: that of the environment variable `ZNN_ISA` where it is set, to see how programs that
    /// embed the engine do on lesser processors, else the widest of this machine.
    pub isa: Option<Isa>,
    /// Results have the same bits for any number of threads, and from run to run.
    pub deterministic: bool,
    /// How exact results must be.
    pub accuracy: Accuracy,
    /// Bytes that a convolution layer may take for what its algorithm derives from weights and images (spectra), at most;
    /// `None`: [`Engine::WORKSPACE`].
    pub workspace: Option<usize>,
    /// The file that keeps which algorithms measured fastest; `None`: they are measured again by each engine. The program
    /// takes [`TuningFile::default_path`]. What is wrong with the file is told by [`Engine::take_warnings`].
    pub tuning: Option<PathBuf>,
    /// The number of workers for which plans divide the work; `None`: those that there are.
    pub plan_threads: Option<usize>,
    /// Which ready task goes next.
    pub policy: Policy,
    /// How many events of each worker are recorded, for a trace; `None`: nothing is recorded.
    pub events: Option<usize>,
}

/// An engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tier is not one of this machine.
    #[error("this machine has no {wanted}; its widest instruction-set tier is {best}", best = Isa::best())]
    Isa {
        /// What was asked for.
        wanted: Isa,
    },
    /// The environment names a tier that does not exist.
    #[error("the environment variable ZNN_ISA is `{value}`: {source}")]
    Environment {
        /// What it is.
        value: String,
        /// What it could be.
        source: UnknownIsa,
    },
    /// The workers could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Threads, kernels, transforms and measurements. Several engines may live in one process; all that they share is the
/// count of workers on each processor, so that they do not crowd on the same ones.
///
/// ```
/// use znn::{Engine, EngineOptions};
///
/// let engine = Engine::new(&EngineOptions { threads: Some(2), ..Default::default() })?;
/// assert_eq!(engine.pool().threads(), 2);
/// # Ok::<(), znn::engine::EngineError>(())
/// ```
pub struct Engine {
    pool: Pool,
    kernels: Kernels,
    planner: Planner,
    tuner: Arc<Tuner>,
    plan_threads: usize,
    deterministic: bool,
    accuracy: Accuracy,
    workspace: usize,
}

impl Engine {
    /// Bytes that a convolution layer may take for what its algorithm derives, unless
    /// [`EngineOptions::workspace`] says otherwise.
    pub const WORKSPACE: usize = 2 << 30;

    /// Starts the workers.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let isa = match options.isa {
            Some(isa) => isa,
            None => Self::default_isa()?,
        };
        let kernels = Kernels::new(isa).ok_or(EngineError::Isa { wanted: isa })?;
        let pool = Pool::new(PoolOptions {
            threads: options.threads,
            cores: options.cores.clone(),
            policy: options.policy,
            events: options.events,
            ..PoolOptions::default()
        })?;
        // A measured plan may differ from run to run, and with it the last bits.
        let workspace = options.workspace.unwrap_or(Self::WORKSPACE);
        let tuner = match &options.tuning {
            Some(path) => {
                let (threads, accuracy) = (pool.threads(), options.accuracy);
                Tuner::with_file(TuningFile::new(path.clone(), isa, threads, accuracy, workspace))
            }
            None => Tuner::default(),
        };
        let effort = if options.deterministic { Effort::Estimate } else { Effort::Measure };
        Ok(Self {
            plan_threads: options.plan_threads.unwrap_or(pool.threads()),
            pool,
            kernels,
            planner: Planner::new(effort),
            tuner: Arc::new(tuner),
            deterministic: options.deterministic,
            accuracy: options.accuracy,
            workspace,
        })
    }

    /// The tier of an engine that does not ask for one.
    fn default_isa() -> Result<Isa, EngineError> {
        let Some(value) = std::env::var_os("ZNN_ISA") else { return Ok(Isa::best()) };
        let value = value.to_string_lossy().into_owned();
        value.parse().map_err(|source| EngineError::Environment { value, source })
    }

    /// The engine with what `other` has measured or will measure, so that both choose the same algorithms.
    pub fn with_measurements_of(self, other: &Self) -> Self {
        Self { tuner: Arc::clone(&other.tuner), ..self }
    }

    /// The workers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What the workers have done last, as a trace; `None` where it is not recorded.
    pub fn trace(&self) -> Option<TraceFile> {
        self.pool.recording().map(|recording| TraceFile::new(&recording))
    }

    /// The instruction-set tier.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Kernels and transforms.
    pub fn tools(&self) -> Tools<'_> {
        Tools {
            kernels: self.kernels,
            planner: &self.planner,
            accuracy: self.accuracy,
            workspace: self.workspace,
        }
    }

    /// Whether results have the same bits for any number of threads.
    pub fn is_deterministic(&self) -> bool {
        self.deterministic
    }

    /// A builder of plans for this engine.
    pub fn plan(&self) -> crate::plan::PlanBuilder {
        crate::plan::PlanBuilder::new(self.plan_threads, self.deterministic)
    }

    /// What computes the passes of `problem`. A deterministic engine estimates where it is asked to measure; a fixed
    /// method leaves what it cannot compute to the [direct one](crate::conv::Method::or_direct).
    pub fn method(&self, choice: Choice, problem: &Problem, passes: Passes) -> Decision {
        match choice {
            Choice::Fixed(method) => of_method(method, problem, passes, self.tools()),
            Choice::Measure if !self.deterministic => {
                self.tuner.measure(problem, passes, &self.pool, self.tools())
            }
            Choice::Measure | Choice::Estimate => estimate(problem, passes, self.tools()),
        }
    }

    /// Measures what each pass of a layer costs.
    pub fn costs(&self, decision: Decision, problem: &Problem, passes: Passes) -> Vec<PassCost> {
        costs(decision, problem, passes, &self.pool, self.tools())
    }

    /// What went wrong with the file of measurements since this was asked last, a text each.
    pub fn take_warnings(&self) -> Vec<String> {
        self.tuner.take_warnings()
    }
}
