//! A trained network in whichever format its file has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::hdf5_file::{self, Hdf5FileError, Layout, Statistics};
use super::weights_file::{self, Model, WeightsFileError};

/// A model file cannot be read.
///
/// ```
/// use std::sync::Arc;
/// use znn::network::ModelFileError;
/// use znn::{Engine, EngineOptions, Session, SessionError};
///
/// # let engine = Arc::new(Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?);
/// let error = Session::load(&engine, "Cargo.toml".as_ref(), 1).err().expect("no model");
/// assert!(matches!(error, SessionError::Model(ModelFileError::Weights(_))), "{error}");
/// # Ok::<(), znn::EngineError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// As safetensors.
    #[error(transparent)]
    Weights(#[from] WeightsFileError),
    /// As HDF5.
    #[error(transparent)]
    Hdf5(#[from] Hdf5FileError),
}

/// A network with its parameters, and what only one of the formats has.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The model.
    pub model: Model,
    /// The learning curves that an HDF5 file may have.
    pub statistics: Option<Statistics>,
    /// Where the groups are, in an HDF5 file.
    pub layout: Option<Layout>,
    /// What has no effect.
    pub warnings: Vec<String>,
}

/// Reads a model from `path`, as HDF5 where it begins as such a file, else as safetensors.
///
/// # Errors
/// As [`hdf5_file::load`] and [`weights_file::load`].
pub fn load(path: &Path) -> Result<ModelFile, ModelFileError> {
    if !is_hdf5(path) {
        let model = weights_file::load(path)?;
        return Ok(ModelFile { model, statistics: None, layout: None, warnings: Vec::new() });
    }
    let loaded = hdf5_file::load(path)?;
    Ok(ModelFile {
        model: loaded.model,
        statistics: loaded.statistics,
        layout: Some(loaded.layout),
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
    })
}

/// Whether the file begins as HDF5 files do. One that cannot be read does not.
fn is_hdf5(path: &Path) -> bool {
    const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
    let mut start = [0; 8];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == SIGNATURE
}
