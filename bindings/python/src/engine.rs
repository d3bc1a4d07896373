//! Engines and the convolutions that they have planned.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use engine::conv::{Choice, Passes, UnknownChoice};
use engine::pool::{Topology, allowed_cpus};
use engine::{Conv3d, Conv3dError, Conv3dOptions, EngineOptions, Problem, Strides, Transfer};
use numpy::{
    PyReadonlyArray1, PyReadonlyArray5, PyReadwriteArray1, PyReadwriteArray5, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{Images, images, images_mut};

/// Threads, kernels and measurements, and the plans of the convolutions that were called last.
///
/// threads: workers; None: one for each core that the process may use. cores: their processors, by the system's numbers; None:
/// those with the fewest workers of the process's other engines. deterministic: the same bits for any number of threads.
/// workspace: bytes that a convolution may take for what its algorithm derives; None: 2 GiB. tuning: the file that keeps which
/// algorithms measured fastest, so that the next process need not measure; None: there is none.
#[pyclass(frozen, module = "znn._znn")]
pub struct Engine {
    pub engine: Arc<engine::Engine>,
    /// The latest last.
    plans: Mutex<Vec<(Key, Arc<Mutex<Conv3d>>)>>,
}

/// What a plan is made for.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    problem: Problem,
    batch: usize,
    input: Strides,
    output: Strides,
    passes: Passes,
    algorithm: Choice,
}

fn error(error: Conv3dError) -> PyErr {
    let text = error.to_string();
    match error {
        Conv3dError::Memory(_) => PyMemoryError::new_err(text),
        Conv3dError::Plan(_) => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// How a convolution is applied, beside the sizes of its arrays: stride, zeros before and behind, dilation, and which
/// passes will be called (0: forward, 1: forward and backward-weights, 2: all), and by which algorithm.
type How = ([usize; 3], [usize; 3], [usize; 3], [usize; 3], u8, String);

impl Engine {
    /// The plan for these sizes, made where there is none. To be called without the interpreter.
    fn plan(&self, key: Key) -> Result<Arc<Mutex<Conv3d>>, Conv3dError> {
        /// Plans that are kept. Their memory is that of the largest networks' layers.
        const KEPT: usize = 128;
        let lock = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plans = lock();
        if let Some(place) = plans.iter().position(|(other, _)| *other == key) {
            let found = plans.remove(place);
            let plan = Arc::clone(&found.1);
            plans.push(found);
            return Ok(plan);
        }
        drop(plans);
        let Key { problem, batch, input, output, passes, algorithm } = key;
        let options = Conv3dOptions {
            batch,
            passes,
            algorithm,
            transfer: Transfer::IDENTITY,
            input: Some(input),
            output: Some(output),
        };
        let plan = Arc::new(Mutex::new(Conv3d::new(&self.engine, problem, &options)?));
        let mut plans = lock();
        if plans.len() >= KEPT {
            plans.remove(0);
        }
        plans.push((key, Arc::clone(&plan)));
        Ok(plan)
    }

    fn key(&self, x: &Images, kernel: [usize; 5], y: &Images, how: &How) -> PyResult<Key> {
        let (stride, before, after, dilation, passes, algorithm) = how;
        let [batch, c_in, z, height, width] = x.shape;
        let [c_out, of_weights, ..] = kernel;
        let [_, _, kz, ky, kx] = kernel;
        let problem = Problem {
            c_in,
            c_out,
            input: [z, height, width].into(),
            kernel: [kz, ky, kx].into(),
            dilation: (*dilation).into(),
            stride: (*stride).into(),
            padding: [(*before).into(), (*after).into()],
        };
        problem.check().map_err(|source| error(Conv3dError::Problem { problem, source }))?;
        if of_weights != c_in {
            return Err(PyValueError::new_err(format!(
                "the weights are for {of_weights} input maps, but the images have {c_in}"
            )));
        }
        let [oz, oy, ox] = problem.output().to_array();
        let expected = [batch, c_out, oz, oy, ox];
        if y.shape != expected {
            return Err(PyValueError::new_err(format!(
                "the output has shape {:?}, expected {expected:?}",
                y.shape
            )));
        }
        let passes = match passes {
            0 => Passes::Inference,
            1 => Passes::FirstLayer,
            _ => Passes::Training,
        };
        let algorithm: Choice =
            algorithm.parse().map_err(|unknown: UnknownChoice| PyValueError::new_err(unknown.to_string()))?;
        Ok(Key { problem, batch, input: x.strides, output: y.strides, passes, algorithm })
    }
}

fn lock(plan: &Mutex<Conv3d>) -> std::sync::MutexGuard<'_, Conv3d> {
    // A plan can be used again after a panic.
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (threads=None, *, cores=None, deterministic=false, workspace=None, tuning=None))]
    fn new(
        threads: Option<usize>,
        cores: Option<Vec<usize>>,
        deterministic: bool,
        workspace: Option<usize>,
        tuning: Option<PathBuf>,
    ) -> PyResult<Self> {
        let options =
            EngineOptions { threads, cores, deterministic, workspace, tuning, ..Default::default() };
        let engine = engine::Engine::new(&options).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Self { engine: Arc::new(engine), plans: Mutex::default() })
    }

    /// Worker threads.
    #[getter]
    fn threads(&self) -> usize {
        self.engine.pool().threads()
    }

    /// The processors of the workers.
    #[getter]
    fn cores(&self) -> Vec<usize> {
        self.engine.pool().cpus().iter().flatten().map(|cpu| cpu.id).collect()
    }

    /// The instruction-set tier.
    #[getter]
    fn isa(&self) -> &'static str {
        self.engine.kernels().isa().name()
    }

    /// Forgets all plans, and gives their memory back.
    fn clear(&self) {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn __repr__(&self) -> String {
        format!("Engine(threads={}, isa={:?})", self.threads(), self.isa())
    }

    /// `y = x * weights + bias`; gives the algorithm's name.
    fn forward(
        &self,
        py: Python<'_>,
        x: PyReadonlyArray5<'_, f32>,
        weights: PyReadonlyArray5<'_, f32>,
        bias: Option<PyReadonlyArray1<'_, f32>>,
        mut y: PyReadwriteArray5<'_, f32>,
        how: How,
    ) -> PyResult<String> {
        let ((x_images, x), (y_images, y)) = (images("x", &x)?, images_mut("y", &mut y)?);
        let key = self.key(&x_images, kernel(&weights), &y_images, &how)?;
        let weights = weights.as_slice()?;
        let bias = bias.as_ref().map(|bias| bias.as_slice()).transpose()?;
        py.detach(|| {
            let plan = self.plan(key)?;
            let mut plan = lock(&plan);
            plan.forward(x, weights, bias, y)?;
            Ok(plan.decision().forward.to_string())
        })
        .map_err(error)
    }

    /// The gradient by the input.
    fn backward_data(
        &self,
        py: Python<'_>,
        dy: PyReadonlyArray5<'_, f32>,
        weights: PyReadonlyArray5<'_, f32>,
        mut dx: PyReadwriteArray5<'_, f32>,
        how: How,
    ) -> PyResult<()> {
        let ((dy_images, dy), (dx_images, dx)) = (images("dy", &dy)?, images_mut("dx", &mut dx)?);
        let key = self.key(&dx_images, kernel(&weights), &dy_images, &how)?;
        let weights = weights.as_slice()?;
        py.detach(|| {
            let plan = self.plan(key)?;
            let mut plan = lock(&plan);
            plan.backward_data(dy, weights, dx)
        })
        .map_err(error)
    }

    /// The gradient by the weights.
    fn backward_weights(
        &self,
        py: Python<'_>,
        x: PyReadonlyArray5<'_, f32>,
        dy: PyReadonlyArray5<'_, f32>,
        mut dw: PyReadwriteArray5<'_, f32>,
        how: How,
    ) -> PyResult<()> {
        let ((x_images, x), (dy_images, dy)) = (images("x", &x)?, images("dy", &dy)?);
        let kernel = dw.shape().try_into().expect("five axes");
        let key = self.key(&x_images, kernel, &dy_images, &how)?;
        let dw = dw.as_slice_mut()?;
        py.detach(|| {
            let plan = self.plan(key)?;
            let mut plan = lock(&plan);
            plan.backward_weights(x, dy, dw)
        })
        .map_err(error)
    }

    /// The gradient by the bias.
    fn backward_bias(
        &self,
        py: Python<'_>,
        x_shape: [usize; 5],
        kernel: [usize; 5],
        dy: PyReadonlyArray5<'_, f32>,
        mut db: PyReadwriteArray1<'_, f32>,
        how: How,
    ) -> PyResult<()> {
        let x_images = Images::contiguous(x_shape);
        let (dy_images, dy) = images("dy", &dy)?;
        let key = self.key(&x_images, kernel, &dy_images, &how)?;
        let db = db.as_slice_mut()?;
        py.detach(|| {
            let plan = self.plan(key)?;
            let mut plan = lock(&plan);
            plan.backward_bias(dy, db)
        })
        .map_err(error)
    }
}

/// The processors that this process may use, by the system's numbers, in the order in which workers are placed on them: one
/// of each core first.
#[pyfunction]
pub fn processors() -> PyResult<Vec<usize>> {
    let allowed = allowed_cpus()?;
    Ok(Topology::of(&allowed).placement().iter().map(|cpu| cpu.id).collect())
}

fn kernel(weights: &PyReadonlyArray5<'_, f32>) -> [usize; 5] {
    weights.shape().try_into().expect("five axes")
}
