//! How much memory there is, so that what cannot fit is refused instead of ending the process.
//!
//! Rust aborts where memory runs out, and Linux kills. The large allocations of this library follow from sizes that
//! a person chose, often by a slip of a digit: plans and volumes are therefore compared with the machine before any
//! memory is taken for them.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

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

/// A number of bytes; written with a unit of a power of 1024, as in `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

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
