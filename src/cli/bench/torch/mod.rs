//! PyTorch, and engines that run what it exports, in processes of their own.

pub mod network;
pub mod pass;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::child::{AnsweringChild, ChildError};

/// Whether PyTorch takes part.
#[derive(Args)]
pub struct TorchArgs {
    /// Run the same cases in another engine.
    #[arg(long, value_name = "ENGINE", value_parser = ["torch"])]
    vs: Option<String>,
    /// The Python that has PyTorch (`pip install torch`).
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "vs")]
    python: PathBuf,
}

impl TorchArgs {
    /// The Python of the rival, if one is wanted.
    pub fn python(&self) -> Option<&Path> {
        self.vs.as_ref().map(|_| &*self.python)
    }
}

/// The rival failed.
#[derive(Debug, thiserror::Error)]
#[error("PyTorch: {0}; install it with `pip install torch`, and name its Python with --python")]
pub struct TorchError(#[from] ChildError);

/// Starts `script`.
pub fn start(python: &Path, script: &str) -> Result<AnsweringChild, TorchError> {
    Ok(AnsweringChild::start(Command::new(python).args(["-c", script]))?)
}
