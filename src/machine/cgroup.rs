//! What a container grants: the processor time and the memory of cgroups of version 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// Reads the limit in one group's folder.
type Reader = fn(&Path) -> Option<f64>;

/// A resource that groups limit.
struct Resource {
    /// The controller's name in version 1.
    controller: &'static str,
    /// The folders of its hierarchy in version 1.
    folders: &'static [&'static str],
    v1: Reader,
    v2: Reader,
}

/// The number of processors' worth of time the process may use, or `None` where no quota is set or none can be read.
///
/// `root` is `/` (another folder in tests). A quota of an enclosing group binds too, so the smallest on the way from
/// the process's group to the top of the mounted tree counts.
pub(crate) fn cpu_quota(root: &Path) -> Option<f64> {
    const CPU: Resource =
        Resource { controller: "cpu", folders: &["cpu", "cpu,cpuacct"], v1: quota_v1, v2: quota_v2 };
    smallest(root, &CPU)
}

/// The bytes of memory the process may use, or `None` where no limit is set or none can be read; see [`cpu_quota`].
pub(crate) fn memory_limit(root: &Path) -> Option<f64> {
    const MEMORY: Resource =
        Resource { controller: "memory", folders: &["memory"], v1: memory_v1, v2: memory_v2 };
    smallest(root, &MEMORY)
}

/// The smallest limit that any group of the process sets.
fn smallest(root: &Path, resource: &Resource) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mount = root.join("sys/fs/cgroup");
    let mut smallest: Option<f64> = None;
    for line in groups.lines() {
        // "hierarchy:controllers:path"; version 2 has the hierarchy 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (tops, read): (&[&str], Reader) = if controllers.is_empty() {
            (&["", "unified"], resource.v2)
        } else if controllers.split(',').any(|controller| controller == resource.controller) {
            (resource.folders, resource.v1)
        } else {
            continue;
        };
        for top in tops {
            for group in ancestors(path) {
                if let Some(limit) = read(&mount.join(top).join(group)) {
                    smallest = Some(smallest.map_or(limit, |least| least.min(limit)));
                }
            }
        }
    }
    smallest
}

/// The group `path` and those that enclose it, relative to the mount. In a container the mount often begins at the
/// process's own group although `path` is the host's: folders that are not there are skipped by the reader.
fn ancestors(path: &str) -> Vec<PathBuf> {
    Path::new(path.trim_start_matches('/')).ancestors().map(Path::to_path_buf).collect()
}

/// `cpu.max` is "quota period" in microseconds, the quota "max" where there is none.
fn quota_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let mut fields = text.split_ascii_whitespace();
    share(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)
}

/// A quota of -1 means none.
fn quota_v1(group: &Path) -> Option<f64> {
    let read = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
    share(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn share(quota_us: f64, period_us: f64) -> Option<f64> {
    (quota_us > 0.0 && period_us > 0.0).then(|| quota_us / period_us)
}

/// `memory.max` is a number of bytes, "max" where there is no limit.
fn memory_v2(group: &Path) -> Option<f64> {
    fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
}

/// No limit is a number of bytes that no machine has.
fn memory_v1(group: &Path) -> Option<f64> {
    fs::read_to_string(group.join("memory.limit_in_bytes")).ok()?.trim().parse().ok()
}
