//! The engine of the process, and the plans of the convolutions that it was asked for last.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use znn::EngineError;
use znn::conv::{Decision, Passes};
use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Problem};

static ENGINE: OnceLock<Engine> = OnceLock::new();
/// The latest last.
static PLANS: Mutex<Vec<(Key, Arc<Mutex<Conv3d>>)>> = Mutex::new(Vec::new());

/// The engine could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum InitError {
    /// A convolution or an earlier call has started it already.
    Running,
    /// It cannot be made as asked for.
    Engine(EngineError),
}

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => {
                f.write_str("the engine runs already: init must come before the first convolution")
            }
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Running => None,
            Self::Engine(error) => error.source(),
        }
    }
}

/// Starts the engine of this process with other options than its own: a worker for each core, and measurements that are
/// forgotten at the end of the process. With [`EngineOptions::tuning`] they are kept in a file.
///
/// ```standalone_crate
/// use znn_burn::{EngineOptions, InitError, init};
///
/// init(&EngineOptions { threads: Some(2), ..Default::default() })?;
/// assert!(matches!(init(&EngineOptions::default()), Err(InitError::Running)));
/// # Ok::<(), InitError>(())
/// ```
///
/// # Errors
/// Where the engine runs already, or cannot be made.
pub fn init(options: &EngineOptions) -> Result<(), InitError> {
    if ENGINE.get().is_some() {
        return Err(InitError::Running);
    }
    let engine = Engine::new(options).map_err(InitError::Engine)?;
    ENGINE.set(engine).map_err(|_| InitError::Running)
}

/// Forgets the plans of all convolutions and gives their memory back. Later convolutions plan again; what has been
/// measured is not measured again.
pub fn forget_plans() {
    lock(&PLANS).clear();
}

/// A convolution that is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// Its sizes; those of a transposed one are of the convolution whose adjoint it is.
    pub problem: Problem,
    /// Images of a call.
    pub batch: usize,
    /// The passes for which the algorithm was chosen.
    pub passes: Passes,
    /// What computes each pass.
    pub decision: Decision,
}

/// The convolutions that are planned, the one that was called last at the end: what of a program this crate computes,
/// and by which algorithms.
///
/// ```
/// use burn::tensor::{Device, Tensor, ops::ConvOptions};
///
/// let device = Device::flex();
/// let (x, weight) = (Tensor::<4>::ones([1, 3, 32, 32], &device), Tensor::<4>::ones([4, 3, 5, 5], &device));
/// znn_burn::conv2d(x, weight, None, ConvOptions::new([1; 2], [0; 2], [1; 2], 1));
/// for plan in znn_burn::plans() {
///     println!("{} images of {} by {}", plan.batch, plan.problem, plan.decision.forward);
/// }
/// assert!(znn_burn::plans().iter().any(|plan| plan.problem.kernel.x == 5 && plan.problem.output().x == 28));
/// ```
pub fn plans() -> Vec<Planned> {
    let described = |(key, plan): &(Key, Arc<Mutex<Conv3d>>)| Planned {
        problem: key.problem,
        batch: key.batch,
        passes: key.passes,
        decision: lock(plan).decision(),
    };
    // Not while all plans are locked: one of them may run.
    let plans = lock(&PLANS).clone();
    plans.iter().map(described).collect()
}

/// The engine, started where it does not run.
///
/// # Panics
/// Where its threads cannot be started.
fn engine() -> &'static Engine {
    ENGINE.get_or_init(|| {
        Engine::new(&EngineOptions::default())
            .unwrap_or_else(|error| panic!("the engine cannot start: {error}"))
    })
}

/// What a plan is made for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Key {
    pub problem: Problem,
    pub batch: usize,
    pub passes: Passes,
}

/// Runs a convolution by its plan, which is made where there is none.
///
/// # Panics
/// Where there is not enough memory for a plan, or a task of the engine panics: as burn does for its own operations.
pub(crate) fn with_plan(key: Key, run: impl FnOnce(&mut Conv3d) -> Result<(), znn::Conv3dError>) {
    let plan = plan(key).unwrap_or_else(|error| panic!("convolution {}: {error}", key.problem));
    let done = run(&mut lock(&plan));
    done.unwrap_or_else(|error| panic!("convolution {}: {error}", key.problem));
}

fn plan(key: Key) -> Result<Arc<Mutex<Conv3d>>, znn::Conv3dError> {
    /// Plans that are kept. Their memory is that of the largest networks' layers.
    const KEPT: usize = 128;
    let mut plans = lock(&PLANS);
    if let Some(place) = plans.iter().position(|(other, _)| *other == key) {
        let found = plans.remove(place);
        let plan = Arc::clone(&found.1);
        plans.push(found);
        return Ok(plan);
    }
    drop(plans);
    let Key { problem, batch, passes } = key;
    let options = Conv3dOptions { batch, passes, ..Default::default() };
    let plan = Arc::new(Mutex::new(Conv3d::new(engine(), problem, &options)?));
    let mut plans = lock(&PLANS);
    if plans.len() >= KEPT {
        plans.remove(0);
    }
    plans.push((key, Arc::clone(&plan)));
    Ok(plan)
}

/// Plans can be used again after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
