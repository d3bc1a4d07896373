//! Single passes of layers in burn and candle: processes of the program in `benches/rivals/rust`.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Deserialize;

use super::super::child::{AnsweringChild, ChildError};
use super::super::torch::pass::Request;
use super::Rival;

/// Where cargo puts the program, from the project's folder.
pub const PROGRAM: &str = "benches/rivals/rust/target/release/znn-rivals";

/// The program failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{rival}: {source}; build it with `cargo build --release --manifest-path benches/rivals/rust/Cargo.toml`, and name the program with --rivals"
)]
pub struct NativeError {
    rival: Rival,
    source: ChildError,
}

/// What the program says.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Answer {
    /// The milliseconds of a call; whether it is the only one.
    Time { ms: f64, single: bool },
    /// Why there are none.
    Cannot { cannot: String },
}

/// A process that times passes with a fixed number of threads.
pub struct NativePasses {
    rival: Rival,
    child: AnsweringChild,
}

impl NativePasses {
    /// Starts `program`.
    pub fn start(program: &Path, rival: Rival, threads: usize) -> Result<Self, NativeError> {
        let name = rival.to_possible_value().expect("no engine is hidden");
        let mut command = Command::new(program);
        command.arg(name.get_name()).env("RAYON_NUM_THREADS", threads.to_string());
        let child = AnsweringChild::start(&mut command).map_err(|source| NativeError { rival, source })?;
        Ok(Self { rival, child })
    }

    /// The time of a pass.
    pub fn time(&mut self, request: &Request<'_>) -> Result<Answer, NativeError> {
        self.child.ask(request).map_err(|source| NativeError { rival: self.rival, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_tells_how_to_build_it() {
        let error =
            NativePasses::start(Path::new("/nowhere/program"), Rival::Candle, 1).err().expect("no program");
        let text = error.to_string();
        assert!(text.starts_with("candle: /nowhere/program: ") && text.contains("cargo build"), "{text}");
    }

    #[test]
    fn answers_are_times_or_reasons() {
        let read = |text| serde_json::from_str::<Answer>(text).expect("an answer");
        assert_eq!(read(r#"{"ms": 2.5, "single": true}"#), Answer::Time { ms: 2.5, single: true });
        let cannot = "no 3D".to_owned();
        assert_eq!(read(r#"{"cannot": "no 3D"}"#), Answer::Cannot { cannot });
    }
}
