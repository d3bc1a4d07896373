//! Decisions that outlive the process.
//!
//! A file of lines, each a JSON object: first the [`Header`], then an [`Entry`] for each decision. Entries count only
//! where they were made under the same [`Setting`]; the others are kept. A file that is not of this form is never
//! written.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::conv::{Accuracy, Decision, Passes, Problem};
use crate::machine::processor;
use znn_kernels::Isa;

/// What decisions depend on, beside the problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Setting {
    /// Of this library.
    version: String,
    processor: String,
    isa: String,
    threads: usize,
    accuracy: Accuracy,
    workspace: usize,
}

/// The first line.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    znn_tuning: u32,
}

const HEADER: Header = Header { znn_tuning: 1 };

/// What was decided.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    problem: Problem,
    passes: Passes,
    #[serde(flatten)]
    decision: Decision,
    #[serde(flatten)]
    setting: Setting,
}

/// Decisions cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum TuningFileError {
    /// The file system refuses.
    #[error("{}: cannot {action} the tuning file: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The file is damaged, or something else.
    #[error(
        "{}, line {line}: not a tuning file of this program ({message}); it is left as it is, and decisions are not kept",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

/// A file of decisions, and the setting of those that are read and written.
#[derive(Clone, Debug)]
pub struct TuningFile {
    path: PathBuf,
    setting: Setting,
}

impl TuningFile {
    /// The file at `path`, which need not exist, for measurements with this tier, number of threads, accuracy and
    /// [workspace](crate::conv::Tools::workspace).
    pub(crate) fn new(path: PathBuf, isa: Isa, threads: usize, accuracy: Accuracy, workspace: usize) -> Self {
        let commit = env!("ZNN_GIT_HASH");
        let version = format!("{} {commit}", env!("CARGO_PKG_VERSION"));
        let setting = Setting {
            version: version.trim().to_owned(),
            processor: processor::name().unwrap_or_default(),
            isa: isa.to_string(),
            threads,
            accuracy,
            workspace,
        };
        Self { path, setting }
    }

    /// Where the program keeps its decisions unless it is told otherwise: `znn/tuning.jsonl` in the user's cache folder,
    /// `$XDG_CACHE_HOME` or `~/.cache`; `None` where there is no such folder.
    pub fn default_path() -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(cache.join("znn").join("tuning.jsonl"))
    }

    /// The decisions of this setting; none where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read, or is no tuning file.
    pub(crate) fn read(&self) -> Result<HashMap<(Problem, Passes), Decision>, TuningFileError> {
        // Another build of this version may be able to do more: its decisions are not for this one.
        let is_possible = |entry: &Entry| entry.decision == entry.decision.or_direct(&entry.problem);
        let entries = self.entries()?.into_iter();
        let entries = entries.filter(|entry| entry.setting == self.setting && is_possible(entry));
        Ok(entries.map(|entry| ((entry.problem, entry.passes), entry.decision)).collect())
    }

    /// Adds a decision, in place of an earlier one for the same problem and setting. Any number of processes may do so at
    /// once: each finds the additions of the others, and a reader finds the file before or after one.
    ///
    /// # Errors
    /// Where the file is no tuning file, or cannot be written.
    pub(crate) fn add(
        &self,
        problem: Problem,
        passes: Passes,
        decision: Decision,
    ) -> Result<(), TuningFileError> {
        let fail = |source| TuningFileError::Io { path: self.path.clone(), action: "write", source };
        let _lock = self.lock().map_err(fail)?;
        let mut entries = self.entries()?;
        let new = Entry { problem, passes, decision, setting: self.setting.clone() };
        entries.retain(|old| {
            (old.problem, old.passes) != (new.problem, new.passes) || old.setting != new.setting
        });
        entries.push(new);
        /// The oldest beyond so many are given up.
        const MOST: usize = 10_000;
        let first = entries.len().saturating_sub(MOST);
        atomic_file::write(&self.path, |file| {
            writeln!(file, "{}", serde_json::to_string(&HEADER)?)?;
            entries[first..].iter().try_for_each(|entry| writeln!(file, "{}", serde_json::to_string(entry)?))
        })
        .map_err(fail)
    }

    /// All entries of the file.
    fn entries(&self) -> Result<Vec<Entry>, TuningFileError> {
        let fail = |source| TuningFileError::Io { path: self.path.clone(), action: "read", source };
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(fail)?,
        };
        let foreign = |line: usize, message: String| TuningFileError::Foreign {
            path: self.path.clone(),
            line: line + 1,
            message,
        };
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let header = serde_json::from_slice::<Header>(lines.next().unwrap_or_default());
        match header {
            Ok(HEADER) => {}
            Ok(Header { znn_tuning }) => return Err(foreign(0, format!("version {znn_tuning}"))),
            Err(error) => return Err(foreign(0, error.to_string())),
        }
        let mut entries = Vec::new();
        for (line, text) in lines.enumerate().filter(|(_, text)| !text.is_empty()) {
            let fail = |message| foreign(line + 1, message);
            let entry: Entry = serde_json::from_slice(text).map_err(|error| fail(error.to_string()))?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Excludes other writers until it is dropped. It is a file of its own, because the other one is replaced.
    fn lock(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(Path::new(&path))?;
        file.lock()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
