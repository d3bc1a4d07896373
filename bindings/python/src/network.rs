//! Networks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::infer::InferError;
use engine::train::{Clip, Optimiser, StepError};
use engine::{Extent, Session, SessionError, Training};
use numpy::{PyArray1, PyArray4, PyArrayDyn, PyArrayMethods, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::engine::Engine;

/// A network with its parameters: one input, one output.
#[pyclass(frozen, module = "znn._znn")]
pub struct Network(Mutex<Session>);

fn error(error: SessionError) -> PyErr {
    let text = error.to_string();
    match error {
        SessionError::Model(_) | SessionError::Spec(_) | SessionError::Weights(_) => PyOSError::new_err(text),
        SessionError::Infer(InferError::Memory { .. } | InferError::Tile { .. })
        | SessionError::Step(StepError::Memory { .. }) => PyMemoryError::new_err(text),
        SessionError::Plan(_) => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Session> {
        // A session can be used again after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tuple(extent: Extent) -> (usize, usize, usize) {
    (extent.z, extent.y, extent.x)
}

/// Maps and extent of an array.
fn image(name: &str, array: &PyReadonlyArray4<'_, f32>, maps: usize) -> PyResult<Extent> {
    let [found, z, y, x] = array.shape().try_into().expect("four axes");
    if found == maps {
        return Ok(Extent::new(z, y, x));
    }
    Err(PyValueError::new_err(format!("{name} has {found} maps, expected {maps}")))
}

#[pymethods]
impl Network {
    /// Reads a model.
    #[staticmethod]
    fn load(py: Python<'_>, engine: &Engine, path: PathBuf, seed: u64) -> PyResult<Self> {
        let engine = Arc::clone(&engine.engine);
        let session = py.detach(|| Session::load(&engine, &path, seed)).map_err(error)?;
        Ok(Self(Mutex::new(session)))
    }

    /// Writes the model with its momentum.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.lock().save(&path)).map_err(error)
    }

    /// The voxels of the input that a voxel of the output depends on.
    #[getter]
    fn fov(&self, py: Python<'_>) -> (usize, usize, usize) {
        tuple(py.detach(|| self.lock().fov()))
    }

    /// Maps of the input.
    #[getter]
    fn input_maps(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().input_maps())
    }

    /// Maps of the output.
    #[getter]
    fn output_maps(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().output_maps())
    }

    /// The network's text.
    #[getter]
    fn text(&self, py: Python<'_>) -> String {
        py.detach(|| self.lock().network().to_string())
    }

    /// The extent of `forward` for an image.
    fn output_extent(&self, py: Python<'_>, image: [usize; 3]) -> PyResult<(usize, usize, usize)> {
        py.detach(|| self.lock().output_extent(image.into())).map(tuple).map_err(error)
    }

    /// The extent of the image for a training step.
    fn training_extent(&self, py: Python<'_>, output: [usize; 3]) -> PyResult<(usize, usize, usize)> {
        py.detach(|| self.lock().training_extent(output.into())).map(tuple).map_err(error)
    }

    /// Applies the network around every voxel whose field of view lies inside.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray4<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray4<f32>>> {
        let extent = image("x", &x, self.input_maps(py))?;
        let (oz, oy, ox) = self.output_extent(py, extent.to_array())?;
        let y = PyArray4::<f32>::zeros(py, [self.output_maps(py), oz, oy, ox], false);
        {
            let (x, mut y) = (x.as_slice()?, y.readwrite());
            let y = y.as_slice_mut()?;
            py.detach(|| self.lock().forward(x, extent, y)).map_err(error)?;
        }
        Ok(y)
    }

    /// Copies of the parameters, by the names of their tensors in a file.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyArrayDyn<f32>>)>> {
        // Others may hold the lock and wait for the interpreter.
        let copies = py.detach(|| {
            let mut session = self.lock();
            let tensors = session.tensors().map_err(error)?;
            PyResult::Ok(
                tensors.map(|(name, shape, values)| (name, shape, values.to_vec())).collect::<Vec<_>>(),
            )
        });
        let array =
            |(name, shape, values)| PyResult::Ok((name, PyArray1::from_vec(py, values).reshape(shape)?));
        copies?.into_iter().map(array).collect()
    }

    /// One iteration of training; gives the mean loss.
    fn train_step(
        &self,
        py: Python<'_>,
        x: PyReadonlyArray4<'_, f32>,
        target: PyReadonlyArray4<'_, f32>,
        how: How,
    ) -> PyResult<f64> {
        let training = how.training()?;
        let output = image("target", &target, self.output_maps(py))?;
        let found = image("x", &x, self.input_maps(py))?;
        let expected = py.detach(|| self.lock().training_extent(output)).map_err(error)?;
        if found != expected {
            return Err(PyValueError::new_err(format!(
                "x has extent {found} (z,y,x), expected {expected} for a target of {output}"
            )));
        }
        let (x, target) = (x.as_slice()?, target.as_slice()?);
        let outcome = py.detach(|| self.lock().train_step(x, target, output, training));
        Ok(outcome.map_err(error)?.mean_loss())
    }
}

/// How a network is trained.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct How {
    rate: f32,
    momentum: f32,
    weight_decay: f32,
    optimiser: String,
    betas: (f64, f64),
    epsilon: f64,
    batch: usize,
    clip_value: Option<f32>,
    clip_norm: Option<f32>,
}

impl How {
    fn training(self) -> PyResult<Training> {
        let Self { rate, momentum, weight_decay, batch, .. } = self;
        let adam = |decoupled| {
            let ((beta1, beta2), epsilon) = (self.betas, self.epsilon);
            Optimiser::Adam { beta1, beta2, epsilon, decoupled }
        };
        let optimiser = match self.optimiser.as_str() {
            "sgd" => Optimiser::SGD,
            "nesterov" => Optimiser::Sgd { nesterov: true },
            "adam" => adam(false),
            "adamw" => adam(true),
            other => {
                let expected = "sgd, nesterov, adam or adamw";
                return Err(PyValueError::new_err(format!("optimiser is {other:?}, expected {expected}")));
            }
        };
        let clip = Clip { value: self.clip_value, norm: self.clip_norm };
        Ok(Training { rate, momentum, weight_decay, optimiser, batch, clip })
    }
}
