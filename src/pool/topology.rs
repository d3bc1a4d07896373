//! Where the processors are: cores, shared caches, memory nodes.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// One logical processor and its place. Numbers are unique over the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The system's number of the processor.
    pub id: usize,
    /// The physical core, named by the first of its processors: those of one core are SMT siblings.
    pub core: usize,
    /// The processors that share the last cache that several cores share (L3, or the L2 of a tile of cores where that is
    /// the last), named by the first of them.
    pub cluster: usize,
    /// The NUMA node.
    pub node: usize,
}

/// How far data travels between two processors, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// The same physical core: first- and second-level caches are shared.
    Core,
    /// The same last cache.
    Cluster,
    /// The same memory.
    Node,
    /// Another memory.
    Machine,
}

impl Cpu {
    /// How far `other` is.
    pub fn distance(&self, other: &Cpu) -> Distance {
        if self.core == other.core {
            Distance::Core
        } else if self.cluster == other.cluster {
            Distance::Cluster
        } else if self.node == other.node {
            Distance::Node
        } else {
            Distance::Machine
        }
    }
}

/// The processors that may be used, with their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

impl Topology {
    /// The places of the processors `allowed`, as the system describes them.
    pub fn of(allowed: &[usize]) -> Self {
        Self::read(Path::new("/sys/devices/system"), allowed)
    }

    /// The same from another folder of the shape of `/sys/devices/system`.
    ///
    /// A missing file counts as the simplest machine: each processor a core of its own, one cluster and one node for
    /// all (containers and virtual machines hide some or all of these files).
    pub fn read(system: &Path, allowed: &[usize]) -> Self {
        let nodes = nodes(system);
        let cpus = allowed
            .iter()
            .map(|&id| {
                let cpu = system.join(format!("cpu/cpu{id}"));
                let node = nodes.get(&id).copied().unwrap_or(0);
                let topology = cpu.join("topology");
                // Two names of one file: the older is gone from the newest kernels.
                let siblings = cpu_list(&topology, &["core_cpus_list", "thread_siblings_list"]);
                let siblings = siblings.unwrap_or_else(|| vec![id]);
                let core = siblings.iter().copied().min().unwrap_or(id);
                let package = || cpu_list(&topology, &["package_cpus_list", "core_siblings_list"]);
                let cluster = last_level_cache(&cpu, &siblings)
                    .or_else(|| package().into_iter().flatten().min())
                    .unwrap_or(0);
                Cpu { id, core, cluster, node }
            })
            .collect();
        Self { cpus }
    }

    /// The processors, in the order in which they were asked for.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The number of physical cores of which at least one processor may be used.
    pub fn physical_cores(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.core).collect::<HashSet<_>>().len()
    }

    /// The processors in the order in which workers are placed: one for every physical core first, the SMT siblings
    /// after; within each round, cores that share a cache and a memory lie together.
    pub fn placement(&self) -> Vec<Cpu> {
        let mut cpus = self.cpus.clone();
        cpus.sort_by_key(|cpu| (cpu.node, cpu.cluster, cpu.core, cpu.id));
        let mut used = HashMap::new();
        let mut placed: Vec<(usize, Cpu)> = cpus
            .into_iter()
            .map(|cpu| {
                let round = used.entry(cpu.core).or_insert(0);
                *round += 1;
                (*round, cpu)
            })
            .collect();
        placed.sort_by_key(|&(round, _)| round);
        placed.into_iter().map(|(_, cpu)| cpu).collect()
    }
}

/// For each worker the others in the order in which it steals from them: nearest first, and among equals the next in
/// number, so that thieves spread over their victims.
pub(super) fn steal_order(workers: &[Option<Cpu>]) -> Vec<Box<[usize]>> {
    let n = workers.len();
    (0..n)
        .map(|thief| {
            let mut victims: Vec<usize> = (1..n).map(|step| (thief + step) % n).collect();
            victims.sort_by_key(|&victim| match (&workers[thief], &workers[victim]) {
                (Some(a), Some(b)) => a.distance(b),
                _ => Distance::Machine,
            });
            victims.into_boxed_slice()
        })
        .collect()
}

/// The first processor among those that share the cache of the highest level. A second-level cache counts only where
/// others than `siblings` of one core share it: elsewhere what lies beyond is unknown.
fn last_level_cache(cpu: &Path, siblings: &[usize]) -> Option<usize> {
    let caches = fs::read_dir(cpu.join("cache")).ok()?;
    caches
        .flatten()
        .filter_map(|entry| {
            let level: u32 = fs::read_to_string(entry.path().join("level")).ok()?.trim().parse().ok()?;
            let sharers = cpu_list(&entry.path(), &["shared_cpu_list"])?;
            let is_shared = sharers.iter().any(|sharer| !siblings.contains(sharer));
            (level >= 3 || level == 2 && is_shared).then_some((level, sharers.into_iter().min()?))
        })
        .min_by_key(|&(level, first)| (Reverse(level), first))
        .map(|(_, first)| first)
}

/// The list in the first of `files` that is there and well-formed.
fn cpu_list(folder: &Path, files: &[&str]) -> Option<Vec<usize>> {
    files.iter().find_map(|file| parse_cpu_list(&fs::read_to_string(folder.join(file)).ok()?))
}

/// The node of each processor.
fn nodes(system: &Path) -> HashMap<usize, usize> {
    let mut nodes = HashMap::new();
    let Ok(entries) = fs::read_dir(system.join("node")) else { return nodes };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(node) = name.to_str().and_then(|name| name.strip_prefix("node")?.parse().ok()) else {
            continue;
        };
        let Ok(list) = fs::read_to_string(entry.path().join("cpulist")) else { continue };
        nodes.extend(parse_cpu_list(&list).into_iter().flatten().map(|cpu| (cpu, node)));
    }
    nodes
}

/// The kernel's list format: `0-3,8,10-11`. `None` where it is malformed.
fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    /// No machine has more; a damaged file must not fill the memory.
    const MAX_CPUS: usize = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-2,8,10-11\n"), Some(vec![0, 1, 2, 8, 10, 11]));
        assert_eq!(parse_cpu_list("\n"), Some(vec![]));
        assert_eq!(parse_cpu_list("0-"), None);
        assert_eq!(parse_cpu_list("0-99999999999"), None);
    }
}
