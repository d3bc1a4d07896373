//! A process that answers questions: one JSON value a line in, one a line out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The process does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It cannot be started.
    #[error("{program}: cannot be started: {source}")]
    Start { program: String, source: std::io::Error },
    /// The pipes are broken.
    #[error("{program}: {source}")]
    Pipe { program: String, source: std::io::Error },
    /// It ended; what it had to say is on standard error.
    #[error("{program}: it ended without an answer")]
    Ended { program: String },
    /// It said something unexpected.
    #[error("{program}: it answered `{line}`: {source}")]
    Answer { program: String, line: String, source: serde_json::Error },
}

/// A running process; it is killed when this is dropped.
pub struct AnsweringChild {
    program: String,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl AnsweringChild {
    /// Starts it. Its standard error stays that of this process.
    pub fn start(command: &mut Command) -> Result<Self, ChildError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.map_err(|source| ChildError::Start { program: program.clone(), source })?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, answers) = pipes.expect("both are piped");
        Ok(Self { program, process, questions, answers: BufReader::new(answers) })
    }

    /// What it answers to `question`.
    pub fn ask<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<A, ChildError> {
        let line = serde_json::to_string(question).expect("questions are JSON");
        writeln!(self.questions, "{line}").map_err(|source| self.pipe(source))?;
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err(ChildError::Ended { program: self.program.clone() }),
            Ok(_) => serde_json::from_str(&line).map_err(|source| {
                let (program, line) = (self.program.clone(), line.trim().to_owned());
                ChildError::Answer { program, line, source }
            }),
            Err(source) => Err(self.pipe(source)),
        }
    }

    fn pipe(&self, source: std::io::Error) -> ChildError {
        ChildError::Pipe { program: self.program.clone(), source }
    }

    /// The most memory that it had resident so far, in bytes; `None` where the system does not tell.
    pub fn peak_resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes << 10)
    }
}

impl Drop for AnsweringChild {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered() {
        let mut echo = AnsweringChild::start(&mut Command::new("cat")).unwrap();
        assert_eq!(echo.ask::<Vec<u32>>(&[1, 2]).unwrap(), [1, 2]);
        assert_eq!(echo.ask::<String>(&"a").unwrap(), "a");
        assert!(matches!(echo.ask::<u32>(&"a"), Err(ChildError::Answer { .. })));
    }

    #[test]
    fn a_process_that_ends_is_an_error() {
        let mut child = AnsweringChild::start(Command::new("sh").args(["-c", "read line"])).unwrap();
        assert!(matches!(child.ask::<u32>(&1), Err(ChildError::Ended { .. })));
        assert!(matches!(
            AnsweringChild::start(&mut Command::new("/nowhere/program")),
            Err(ChildError::Start { .. })
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn resident_memory_is_that_of_the_process_alone() {
        let own = vec![1_u8; 64 << 20];
        let mut child = AnsweringChild::start(&mut Command::new("cat")).unwrap();
        child.ask::<u32>(&1).unwrap();
        let bytes = child.peak_resident_bytes().unwrap();
        assert!((1 << 16..32 << 20).contains(&bytes), "{bytes} of {}", std::hint::black_box(own).len());
    }
}
