//! What several commands let the user say about convolutions.

use clap::Args;
use znn::EngineOptions;
use znn::conv::Accuracy;
use znn::machine::memory::Bytes;
use znn::train::job::Tuning;

/// How convolutions are computed.
#[derive(Args)]
pub struct ConvolutionArgs {
    /// How exact convolutions are: standard, or fast, which admits larger Winograd tiles.
    #[arg(long, value_name = "NAME", default_value_t = Accuracy::Standard)]
    pub accuracy: Accuracy,
    /// The memory that one convolution layer may take for spectra, in bytes or with a unit K, M, G or T of 1024
    /// [default: 2G]
    #[arg(long, value_name = "SIZE")]
    pub workspace: Option<Bytes>,
    /// The file that keeps which algorithms measured fastest: none, or auto for znn/tuning.jsonl in the user's cache folder.
    #[arg(long, value_name = "FILE", default_value_t = Tuning::Auto)]
    pub tuning: Tuning,
}

impl ConvolutionArgs {
    /// The options of an engine that follow.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            accuracy: self.accuracy,
            workspace: self.workspace.map(|bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX)),
            tuning: self.tuning.path(),
            ..EngineOptions::default()
        }
    }
}
