//! PyTorch, and engines that run what it exports, as rivals in processes of their own.

pub mod network;
pub mod pass;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::child::{AnsweringChild, ChildError};

/// Another engine. All of them are reached by Python, and get their networks from PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// PyTorch (`pip install torch`).
    Torch,
    /// ONNX Runtime (`pip install torch onnx onnxruntime`).
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// OpenVINO (`pip install torch onnx openvino`).
    #[value(name = "openvino")]
    OpenVino,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Torch => "PyTorch",
            Self::OnnxRuntime => "ONNX Runtime",
            Self::OpenVino => "OpenVINO",
        })
    }
}

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

/// Which rivals take part.
#[derive(Args)]
pub struct RivalArgs {
    /// Also run the networks in these engines, of which the fastest counts; all but torch in inference alone.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub vs: Vec<Rival>,
    /// The Python that has them (`pip install torch onnx onnxruntime openvino`, or some of these).
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "vs")]
    pub python: PathBuf,
}

/// The rival failed.
#[derive(Debug, thiserror::Error)]
#[error("PyTorch: {0}; install it with `pip install torch`, and name its Python with --python")]
pub struct TorchError(#[from] ChildError);

/// Starts `script`.
pub fn start(python: &Path, script: &str) -> Result<AnsweringChild, TorchError> {
    Ok(AnsweringChild::start(Command::new(python).args(["-c", script]))?)
}
