//! What is done of a prediction in chunks, in a folder beside it: so that it can be gone on with, and that several processes
//! share it without talking to each other.
//!
//! `plan.json` says what is predicted and in which blocks; whoever is first writes it, the others take it as it is. A file
//! for each block that lies on the disk, chunks and all, makes its number known.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::data::DataError;
use crate::volume::Extent;

const PLAN: &str = "plan.json";
const BLOCK: &str = "block-";

/// What all who work on a prediction have to agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlan {
    /// What is predicted and how, in words.
    pub description: BTreeMap<String, String>,
    /// The tiles.
    pub tile: Extent,
    /// The blocks that they give.
    pub step: Extent,
    /// The chunks of the output.
    pub chunk: Extent,
    /// Which networks are computed by fragments.
    pub fragments: Vec<bool>,
    /// The numbers of the normalisation of each volume, as bits.
    pub normalisation: Vec<Vec<[u64; 2]>>,
}

/// The folder of a prediction that is being made.
pub struct Progress {
    folder: PathBuf,
}

impl Progress {
    /// That of the output `path`: `NAME.progress` beside it. Nothing is written yet.
    pub fn of(path: &Path) -> Self {
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(".progress");
        Self { folder: path.with_file_name(name) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was begun; `None` where nothing was.
    ///
    /// # Errors
    /// Where the file cannot be read or is damaged.
    pub fn plan(&self) -> Result<Option<SharedPlan>, DataError> {
        let path = self.folder.join(PLAN);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::io("read", &path)(error)),
        };
        let plan = serde_json::from_slice(&text);
        plan.map(Some).map_err(|error| DataError::format(&path, "the plan", error.to_string()))
    }

    /// Begins `plan`, unless another process was first: what it has begun is returned.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn begin(&self, plan: SharedPlan) -> Result<SharedPlan, DataError> {
        let path = self.folder.join(PLAN);
        let io = |action| DataError::io(action, &path);
        fs::create_dir_all(&self.folder).map_err(io("create the folder of"))?;
        let text = serde_json::to_string_pretty(&plan).expect("a plan is text");
        // Whole before it has its name, and a name that is there is not taken.
        let own = self.folder.join(format!(".plan.{}", process::id()));
        atomic_file::write_bytes(&own, text.as_bytes()).map_err(io("write"))?;
        let linked = fs::hard_link(&own, &path);
        fs::remove_file(&own).map_err(io("write"))?;
        match linked {
            Ok(()) => Ok(plan),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(self.plan()?.unwrap_or(plan)),
            Err(error) => Err(io("write")(error)),
        }
    }

    /// Says that a block lies on the disk.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn mark(&self, block: usize) -> Result<(), DataError> {
        let path = self.folder.join(format!("{BLOCK}{block}"));
        atomic_file::write_bytes(&path, b"").map_err(DataError::io("write", &path))
    }

    /// The blocks that lie on the disk.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn done(&self) -> Result<BTreeSet<usize>, DataError> {
        let io = |error| DataError::io("read", &self.folder)(error);
        let mut done = BTreeSet::new();
        for entry in fs::read_dir(&self.folder).map_err(io)? {
            let name = entry.map_err(|error| DataError::io("read", &self.folder)(error))?.file_name();
            done.extend(name.to_str().and_then(|name| name.strip_prefix(BLOCK)?.parse::<usize>().ok()));
        }
        Ok(done)
    }

    /// Removes the folder: the prediction is complete.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn remove(self) -> Result<(), DataError> {
        fs::remove_dir_all(&self.folder).map_err(DataError::io("remove", &self.folder))
    }
}

impl SharedPlan {
    /// Whether what was begun as `self` is what is wanted now.
    ///
    /// # Errors
    /// Names the first thing that differs.
    pub fn agrees(&self, folder: &Path, description: &BTreeMap<String, String>) -> Result<(), DataError> {
        let keys: BTreeSet<&String> = self.description.keys().chain(description.keys()).collect();
        let differs = keys.into_iter().find(|&key| self.description.get(key) != description.get(key));
        let Some(key) = differs else { return Ok(()) };
        let text =
            |map: &BTreeMap<String, String>| map.get(key).cloned().unwrap_or_else(|| "nothing".to_owned());
        let reason = format!(
            "the prediction was begun with {key} {}, now it is {}; remove this folder and the output to begin anew",
            text(&self.description),
            text(description)
        );
        Err(DataError::format(folder, PLAN, reason))
    }
}

/// One of several processes that share the blocks of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: usize,
    count: usize,
}

impl Shard {
    /// The one that does everything.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Its blocks out of `blocks`: neighbours, which share the chunks that they read.
    pub fn blocks(self, blocks: usize) -> Range<usize> {
        let bound = |index: usize| (blocks as u128 * index as u128 / self.count as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }
}

/// The text is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected I/N with I from 1 to N, such as 3/16, found `{0}`")]
pub struct ParseShardError(String);

impl FromStr for Shard {
    type Err = ParseShardError;

    fn from_str(text: &str) -> Result<Self, ParseShardError> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((i, n)) if (1..=n).contains(&i) => Ok(Self { index: i - 1, count: n }),
            _ => Err(ParseShardError(text.to_owned())),
        }
    }
}

/// A number that tells models apart: FNV-1a of their bytes.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(model: &str) -> SharedPlan {
        SharedPlan {
            description: BTreeMap::from([("model".to_owned(), model.to_owned())]),
            tile: Extent::new(1, 2, 3),
            step: Extent::new(1, 2, 3),
            chunk: Extent::ONE,
            fragments: vec![true, false],
            normalisation: vec![vec![[0.1f64.to_bits(), f64::NAN.to_bits()]], Vec::new()],
        }
    }

    #[test]
    fn the_first_plan_counts() {
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::of(&folder.path().join("a.zarr"));
        assert_eq!(progress.plan().unwrap(), None);
        assert_eq!(progress.begin(plan("a")).unwrap(), plan("a"));
        assert_eq!(progress.begin(plan("b")).unwrap(), plan("a"));
        assert_eq!(progress.plan().unwrap(), Some(plan("a")));
        plan("a").agrees(progress.folder(), &plan("a").description).unwrap();
        let error = plan("a").agrees(progress.folder(), &plan("b").description).unwrap_err().to_string();
        assert!(error.contains("plan.json: the prediction was begun with model a, now it is b"), "{error}");
        for block in [3, 12] {
            progress.mark(block).unwrap();
        }
        assert_eq!(progress.done().unwrap(), BTreeSet::from([3, 12]));
        fs::write(progress.folder().join(PLAN), "{").unwrap();
        assert!(progress.plan().unwrap_err().to_string().contains("plan.json, the plan: EOF"));
        progress.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn shards_share_all_blocks() {
        for (blocks, count) in [(10, 3), (2, 5), (7, 7), (0, 2)] {
            let shards = (1..=count).map(|i| format!("{i}/{count}").parse::<Shard>().unwrap());
            let all: Vec<usize> = shards.flat_map(|shard| shard.blocks(blocks)).collect();
            assert_eq!(all, (0..blocks).collect::<Vec<_>>());
        }
        for bad in ["", "3", "0/2", "3/2", "1/0", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn models_are_told_apart() {
        assert_eq!(fingerprint([&b"a"[..]]), "af63dc4c8601ec8c");
        assert_ne!(fingerprint([&b"ab"[..]]), fingerprint([&b"ba"[..]]));
    }
}
