//! How much memory there is, so that what cannot fit is refused instead of ending the process.
//!
//! Rust aborts where memory runs out, and Linux kills. The large allocations of this library follow from sizes that
//! a person chose, often by a slip of a digit: plans and volumes are therefore compared with the machine before any
//! memory is taken for them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::cgroup::memory_limit;

/// More memory is needed than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} of memory are needed, but this machine has {available}")]
pub struct TooLittleMemory {
    /// What is needed.
    pub needed: Bytes,
    /// What the machine has.
    pub available: Bytes,
}

/// A number of bytes; shown with a unit of a power of 1024, as in `1.5 GiB`. As an option it is `500M` or `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub u64);

/// The units of options, and the powers of two that they stand for.
const OPTION_UNITS: [(&str, u32); 5] = [("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

impl Bytes {
    /// As an option, without rounding.
    pub(crate) fn exact(self) -> String {
        let is_whole = |&&(_, shift): &&(&str, u32)| self.0.is_multiple_of(1 << shift);
        let (unit, shift) = OPTION_UNITS.iter().find(is_whole).expect("any number is a multiple of one");
        format!("{}{unit}", self.0 >> shift)
    }
}

/// The text is no number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of bytes such as 500M or 2G, found `{0}`")]
pub struct UnknownBytes(String);

impl FromStr for Bytes {
    type Err = UnknownBytes;

    fn from_str(text: &str) -> Result<Self, UnknownBytes> {
        let unknown = || UnknownBytes(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text[digits.len()..].to_ascii_uppercase();
        let unit = unit.trim_end_matches('B').trim_end_matches('I');
        let (_, shift) = OPTION_UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(unknown)?;
        let number: f64 = digits.parse().map_err(|_| unknown())?;
        let bytes = number * (1_u64 << shift) as f64;
        if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(unknown()) }
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.exact()
    }
}

impl TryFrom<String> for Bytes {
    type Error = UnknownBytes;
    fn try_from(text: String) -> Result<Self, UnknownBytes> {
        text.parse()
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        // A value that would be shown as 1024.0 gets the next unit.
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// The memory of this machine, or the part of it that the container grants; `None` where the system does not tell.
/// It is asked once.
pub fn available() -> Option<Bytes> {
    static AVAILABLE: OnceLock<Option<Bytes>> = OnceLock::new();
    *AVAILABLE.get_or_init(|| read_available(Path::new("/")))
}

/// Whether `needed` bytes can be had at all: in an otherwise idle machine.
///
/// # Errors
/// Where that is more than [`available`] tells.
pub fn check(needed: u64) -> Result<(), TooLittleMemory> {
    match available() {
        Some(available) if needed > available.0 => Err(TooLittleMemory { needed: Bytes(needed), available }),
        _ => Ok(()),
    }
}

/// `root` is `/` (another folder in tests).
fn read_available(root: &Path) -> Option<Bytes> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    // The unit is always kB, and means 1024 bytes.
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let total = kib.saturating_mul(1024);
    Some(Bytes(memory_limit(root).map_or(total, |limit| total.min(limit as u64))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (24 << 30, "24.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn sizes_of_options_have_units() {
        for (text, bytes) in [
            ("1000", 1000),
            ("2G", 2 << 30),
            ("500M", 500 << 20),
            ("1.5k", 1536),
            ("3GiB", 3 << 30),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).exact().parse(), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(2 << 30).exact(), "2G");
        assert_eq!(Bytes(1537).exact(), "1537");
        for text in ["", "G", "-1G", "0", "1X", "1e99T", "nan", "inf", "two"] {
            let error = text.parse::<Bytes>().unwrap_err().to_string();
            assert_eq!(error, format!("expected a number of bytes such as 500M or 2G, found `{text}`"));
        }
    }

    #[cfg(not(miri))]
    #[test]
    fn the_container_may_grant_less_than_the_machine_has() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(read_available(root.path()), None);
        write("proc/meminfo", "MemTotal:       16384 kB\nMemFree:         1000 kB\n");
        assert_eq!(read_available(root.path()), Some(Bytes(16 << 20)));
        write("proc/self/cgroup", "0::/a\n");
        write("sys/fs/cgroup/a/memory.max", "4194304\n");
        assert_eq!(read_available(root.path()), Some(Bytes(4 << 20)));
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn what_no_machine_has_is_refused() {
        check(1 << 20).unwrap();
        let error = check(1 << 60).unwrap_err();
        assert_eq!(error.needed, Bytes(1 << 60));
        let text = error.to_string();
        assert!(text.starts_with("1.0 EiB of memory are needed, but this machine has "), "{text}");
    }
}
