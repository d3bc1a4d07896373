//! The history of a run as JSON lines.
//!
//! One [`Record`] a line, written as soon as it is known, so that a killed run loses at most a torn last line, which
//! [`read`] tolerates. A resumed run first drops the records beyond its checkpoint ([`MetricsWriter::resume`]): they
//! are about iterations that will be done again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::ClassScore;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The mean over the training patches since the last such record.
    Train,
    /// The mean over the patches of one validation.
    Validation,
}

/// One line of the history. Numbers that are not finite are `null` in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The iterations done.
    pub iteration: u64,
    /// Training or validation.
    pub phase: Phase,
    /// The loss for each output voxel and channel.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// The fraction of output voxels and channels on the wrong side of 0.5.
    #[serde(deserialize_with = "null_is_nan")]
    pub pixel_error: f64,
    /// The fraction of pairs of voxels that affinities join or part wrongly, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rand_error: Option<f64>,
    /// The pixel error of the best constant prediction on the same voxels, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constant_error: Option<f64>,
    /// Of each class, for the target `semantic`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub classes: Vec<ClassScore>,
    /// The learning rate.
    #[serde(deserialize_with = "null_is_nan")]
    pub eta: f64,
    /// The norm of the last gradients before they were clipped, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gradient_norm: Option<f64>,
    /// The patches of an iteration.
    #[serde(skip_serializing_if = "is_one", default = "one")]
    pub batch: u64,
    /// Output voxels for each second of computing.
    #[serde(deserialize_with = "null_is_nan")]
    pub voxels_per_second: f64,
    /// The wall-clock time since the start of the run, interruptions left out.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
}

fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(batch: &u64) -> bool {
    *batch == 1
}

fn null_is_nan<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(number)?.unwrap_or(f64::NAN))
}

/// The history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The system refuses.
    #[error("{}: cannot {action} the metrics", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A line other than the last is no record.
    #[error("{}, line {line}: expected one JSON object of metrics", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The records of `path` in order, and the number of bytes they take; a last line without its end is left out.
fn scan(path: &Path) -> Result<Vec<(Record, u64)>, MetricsError> {
    let bytes = std::fs::read(path).map_err(|source| MetricsError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    let mut records = Vec::new();
    let mut end = 0;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        end += line.len() as u64;
        let record = serde_json::from_slice(line).map_err(|source| MetricsError::Line {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        records.push((record, end));
    }
    Ok(records)
}

/// The records of `path` in order. A last line that was torn by a kill is left out.
pub fn read(path: &Path) -> Result<Vec<Record>, MetricsError> {
    Ok(scan(path)?.into_iter().map(|(record, _)| record).collect())
}

/// Appends records to a file, one line each.
#[derive(Debug)]
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
}

impl MetricsWriter {
    /// An empty history at `path`, in place of any other.
    pub fn create(path: &Path) -> Result<Self, MetricsError> {
        let file = File::create(path).map_err(|source| MetricsError::Io {
            path: path.to_owned(),
            action: "create",
            source,
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Goes on with the history at `path` after `iteration` iterations; returns its records up to there. Later
    /// records and a torn last line are cut off. Without a file the history starts empty.
    pub fn resume(path: &Path, iteration: u64) -> Result<(Self, Vec<Record>), MetricsError> {
        if !path.exists() {
            return Ok((Self::create(path)?, Vec::new()));
        }
        let mut records = scan(path)?;
        records.truncate(records.partition_point(|(record, _)| record.iteration <= iteration));
        let end = records.last().map_or(0, |(_, end)| *end);
        let fail = |source| MetricsError::Io { path: path.to_owned(), action: "continue", source };
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        file.set_len(end).map_err(fail)?;
        Ok((Self { file, path: path.to_owned() }, records.into_iter().map(|(record, _)| record).collect()))
    }

    /// Appends one record; on return it survives the end of the process.
    pub fn append(&mut self, record: &Record) -> Result<(), MetricsError> {
        let mut line = serde_json::to_string(record).expect("a record is plain data");
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|source| MetricsError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(iteration: u64, phase: Phase) -> Record {
        Record {
            iteration,
            phase,
            loss: 0.5,
            pixel_error: 0.25,
            rand_error: (phase == Phase::Train).then_some(0.125),
            constant_error: (phase == Phase::Validation).then_some(0.3),
            eta: 0.01,
            gradient_norm: (phase == Phase::Train).then_some(2.5),
            batch: iteration,
            classes: Vec::new(),
            voxels_per_second: 1e5,
            seconds: iteration as f64 * 0.1,
        }
    }

    fn history(path: &Path) -> Vec<Record> {
        let records: Vec<Record> =
            [(10, Phase::Train), (20, Phase::Train), (20, Phase::Validation), (30, Phase::Train)]
                .map(|(iteration, phase)| record(iteration, phase))
                .into();
        let mut writer = MetricsWriter::create(path).unwrap();
        for record in &records {
            writer.append(record).unwrap();
        }
        records
    }

    #[test]
    fn records_survive_the_file_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let written = history(&path);
        assert_eq!(read(&path).unwrap(), written);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4);
        let line: serde_json::Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
        assert_eq!(line["phase"], "validation");
        assert_eq!(line["constant_error"], 0.3);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let written = history(&path);
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        // A kill may leave any part of the line, also all but its end.
        for torn in [last + 1, last + 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..torn]).unwrap();
            assert_eq!(read(&path).unwrap(), written[..3]);
            let (mut writer, kept) = MetricsWriter::resume(&path, 30).unwrap();
            assert_eq!(kept, written[..3]);
            writer.append(&written[3]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn resuming_drops_what_comes_after_the_checkpoint() {
        for (iteration, kept) in [(5, 0), (10, 1), (15, 1), (20, 3), (29, 3), (30, 4)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let written = history(&path);
            let (_, records) = MetricsWriter::resume(&path, iteration).unwrap();
            assert_eq!(records, written[..kept], "{iteration}");
            assert_eq!(read(&path).unwrap(), written[..kept], "{iteration}");
        }
    }

    #[test]
    fn resuming_without_a_file_starts_an_empty_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let (_, records) = MetricsWriter::resume(&path, 100).unwrap();
        assert!(records.is_empty() && read(&path).unwrap().is_empty());
    }

    #[test]
    fn not_a_number_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::create(&path).unwrap();
        writer.append(&Record { loss: f64::NAN, ..record(1, Phase::Train) }).unwrap();
        assert!(read(&path).unwrap()[0].loss.is_nan());
    }

    #[test]
    fn errors_name_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        history(&path);
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"train\"", "\"lunch\"", 2);
        std::fs::write(&path, text.replacen("\"lunch\"", "\"train\"", 1)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}, line 2: expected one JSON object of metrics", path.display()));
        let absent = read(&folder.path().join("absent")).unwrap_err().to_string();
        assert!(absent.ends_with("absent: cannot read the metrics"), "{absent}");
    }
}
