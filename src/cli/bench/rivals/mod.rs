//! The other engines, and which of them take part.

pub mod layer;
mod native;

use std::fmt;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Another engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// PyTorch (`pip install torch`).
    Torch,
    /// ONNX Runtime, which gets its networks from PyTorch (`pip install torch onnx onnxruntime`).
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// OpenVINO, which gets its networks from PyTorch (`pip install torch onnx openvino`).
    #[value(name = "openvino")]
    OpenVino,
    /// burn's CPU backend (benches/rivals/rust).
    Burn,
    /// candle (benches/rivals/rust).
    Candle,
}

impl Rival {
    /// Those that run networks.
    const OF_NETWORKS: &[Self] = &[Self::Torch, Self::OnnxRuntime, Self::OpenVino];
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Torch => "PyTorch",
            Self::OnnxRuntime => "ONNX Runtime",
            Self::OpenVino => "OpenVINO",
            Self::Burn => "burn",
            Self::Candle => "candle",
        })
    }
}

/// The rivals of networks.
#[derive(Args)]
pub struct NetRivalArgs {
    /// Also run the networks in these engines, of which the fastest counts; all but torch in inference alone.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = one_of(Rival::OF_NETWORKS))]
    pub vs: Vec<Rival>,
    /// The Python that has them (`pip install torch onnx onnxruntime openvino`, or some of these).
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "vs")]
    pub python: PathBuf,
}

/// The rivals of layers.
#[derive(Args)]
pub struct LayerRivalArgs {
    /// Also run the layers in these engines, of which the fastest counts; onnxruntime and openvino in inference alone.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub vs: Vec<Rival>,
    /// The Python that has torch, onnxruntime and openvino (`pip install torch onnx onnxruntime openvino`, or some of
    /// these).
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "vs")]
    pub python: PathBuf,
    /// The program that has burn and candle.
    #[arg(long, value_name = "PATH", default_value = native::PROGRAM, requires = "vs")]
    pub rivals: PathBuf,
}

fn one_of(rivals: &'static [Rival]) -> impl TypedValueParser<Value = Rival> {
    let names = PossibleValuesParser::new(rivals.iter().filter_map(Rival::to_possible_value));
    names.map(|name| Rival::from_str(&name, false).expect("one of the names"))
}
