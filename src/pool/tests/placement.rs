//! Topologies of other machines, quotas, and where workers really run.

use std::fs;
use std::path::Path;

use super::super::topology::steal_order;
use super::*;
use crate::machine::cgroup::{cpu_quota, memory_limit};

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Two nodes of two L3 clusters of two cores of two threads; siblings are numbered 8 apart.
fn server() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for cpu in 0..16 {
        let (core, cluster) = (cpu % 8, cpu % 8 / 2);
        let dir = format!("cpu/cpu{cpu}");
        write(
            root.path(),
            &format!("{dir}/topology/thread_siblings_list"),
            &format!("{core},{}\n", core + 8),
        );
        write(root.path(), &format!("{dir}/cache/index0/level"), "1\n");
        write(root.path(), &format!("{dir}/cache/index0/shared_cpu_list"), &format!("{core},{}\n", core + 8));
        write(root.path(), &format!("{dir}/cache/index3/level"), "3\n");
        let first = 2 * cluster;
        let shared = format!("{first}-{},{}-{}\n", first + 1, first + 8, first + 9);
        write(root.path(), &format!("{dir}/cache/index3/shared_cpu_list"), &shared);
    }
    write(root.path(), "node/node0/cpulist", "0-3,8-11\n");
    write(root.path(), "node/node1/cpulist", "4-7,12-15\n");
    root
}

#[cfg(not(miri))]
#[test]
fn cores_before_siblings_neighbours_together() {
    let root = server();
    let allowed: Vec<usize> = (0..16).collect();
    let topology = Topology::read(root.path(), &allowed);
    assert_eq!(topology.physical_cores(), 8);
    assert_eq!(topology.cpus()[13], Cpu { id: 13, core: 5, cluster: 4, node: 1 });
    let placement: Vec<usize> = topology.placement().iter().map(|cpu| cpu.id).collect();
    assert_eq!(placement, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    // Only part of the machine, not in order.
    let some = Topology::read(root.path(), &[15, 9, 1, 7, 4]);
    assert_eq!(some.physical_cores(), 3);
    let placement: Vec<usize> = some.placement().iter().map(|cpu| cpu.id).collect();
    assert_eq!(placement, [1, 4, 7, 9, 15]);
}

#[cfg(not(miri))]
#[test]
fn thieves_go_to_their_neighbours_first() {
    let root = server();
    let topology = Topology::read(root.path(), &[0, 2, 8, 5, 1, 13]);
    let places: Vec<Option<Cpu>> = topology.cpus().iter().copied().map(Some).collect();
    let distances: Vec<_> =
        (1..6).map(|other| topology.cpus()[0].distance(&topology.cpus()[other])).collect();
    assert_eq!(
        distances,
        [Distance::Node, Distance::Core, Distance::Machine, Distance::Cluster, Distance::Machine]
    );
    let order = steal_order(&places);
    assert_eq!(*order[0], [2, 4, 1, 3, 5]);
    assert_eq!(*order[3], [5, 4, 0, 1, 2]);
    // Without places, in turn.
    assert_eq!(*steal_order(&[None; 4])[2], [3, 0, 1]);
}

/// The files of a machine with `len` processors: for each the siblings of its core, and its caches with those that share
/// them; then the processors of each node.
fn machine(
    len: usize,
    siblings: impl Fn(usize) -> String,
    caches: &[(u32, &dyn Fn(usize) -> String)],
    nodes: &[&str],
) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for cpu in 0..len {
        let dir = format!("cpu/cpu{cpu}");
        write(root.path(), &format!("{dir}/topology/core_cpus_list"), &siblings(cpu));
        write(root.path(), &format!("{dir}/topology/package_cpus_list"), &format!("0-{}", len - 1));
        for (index, (level, sharers)) in caches.iter().enumerate() {
            write(root.path(), &format!("{dir}/cache/index{index}/level"), &format!("{level}\n"));
            write(root.path(), &format!("{dir}/cache/index{index}/shared_cpu_list"), &sharers(cpu));
        }
    }
    for (node, cpus) in nodes.iter().enumerate() {
        write(root.path(), &format!("node/node{node}/cpulist"), &format!("{cpus}\n"));
    }
    root
}

fn first_victims(topology: &Topology, len: usize) -> Vec<usize> {
    let places: Vec<Cpu> = topology.placement();
    let order = steal_order(&places.iter().copied().map(Some).collect::<Vec<_>>());
    order[0][..len].iter().map(|&victim| places[victim].id).collect()
}

/// Two sockets of four cores of two threads, as Intel numbers them; the L3 of a socket is a node.
#[cfg(not(miri))]
#[test]
fn two_sockets() {
    let pair = |cpu: usize| format!("{},{}", cpu % 8, cpu % 8 + 8);
    let socket = |cpu: usize| ["0-3,8-11", "4-7,12-15"][cpu % 8 / 4].to_owned();
    let root =
        machine(16, pair, &[(1, &pair), (1, &pair), (2, &pair), (3, &socket)], &["0-3,8-11", "4-7,12-15"]);
    let topology = Topology::read(root.path(), &(0..16).collect::<Vec<_>>());
    assert_eq!(topology.cpus()[14], Cpu { id: 14, core: 6, cluster: 4, node: 1 });
    assert_eq!(topology.physical_cores(), 8);
    assert_eq!(first_victims(&topology, 9), [8, 1, 2, 3, 9, 10, 11, 4, 5]);
}

/// A many-core chip in the manner of Knights Landing: tiles of two cores of four threads share an L2, there is no L3, and
/// the fast memory is a node without processors.
#[cfg(not(miri))]
#[test]
fn four_threads_a_core_in_tiles() {
    let cores = 8;
    let siblings = move |cpu: usize| {
        let core = cpu % cores;
        format!("{core},{},{},{}", core + cores, core + 2 * cores, core + 3 * cores)
    };
    let tile = move |cpu: usize| {
        let first = cpu % cores / 2 * 2;
        let thread = |n: usize| format!("{}-{}", first + n * cores, first + n * cores + 1);
        (0..4).map(thread).collect::<Vec<_>>().join(",")
    };
    let root = machine(32, siblings, &[(1, &siblings), (1, &siblings), (2, &tile)], &["0-31", ""]);
    let topology = Topology::read(root.path(), &(0..32).collect::<Vec<_>>());
    assert_eq!(topology.cpus()[27], Cpu { id: 27, core: 3, cluster: 2, node: 0 });
    assert_eq!(topology.physical_cores(), 8);
    let placement: Vec<usize> = topology.placement().iter().map(|cpu| cpu.id).collect();
    assert_eq!(placement, (0..32).collect::<Vec<_>>(), "one thread of each core, then the second of each");
    assert_eq!(first_victims(&topology, 9), [8, 16, 24, 1, 9, 17, 25, 2, 3], "core, tile, the others");
}

/// Two complexes of four cores with an L3 each in one memory, as AMD builds them; the L2 of a core is its own.
#[cfg(not(miri))]
#[test]
fn core_complexes() {
    let pair = |cpu: usize| format!("{},{}", cpu % 8, cpu % 8 + 8);
    let complex = |cpu: usize| ["0-3,8-11", "4-7,12-15"][cpu % 8 / 4].to_owned();
    let root = machine(16, pair, &[(1, &pair), (2, &pair), (3, &complex)], &["0-15"]);
    let topology = Topology::read(root.path(), &(0..16).collect::<Vec<_>>());
    assert_eq!(topology.cpus()[6], Cpu { id: 6, core: 6, cluster: 4, node: 0 });
    assert_eq!(topology.cpus()[6].distance(&topology.cpus()[13]), Distance::Cluster);
    assert_eq!(topology.cpus()[6].distance(&topology.cpus()[1]), Distance::Node);
    // Of a machine that hides its L3, the own L2 says nothing of who is near.
    let root = machine(
        4,
        |cpu| cpu.to_string(),
        &[(1, &|cpu| cpu.to_string()), (2, &|cpu| cpu.to_string())],
        &["0-3"],
    );
    let topology = Topology::read(root.path(), &[0, 1, 2, 3]);
    assert!(topology.cpus().iter().all(|cpu| cpu.cluster == 0));
}

#[cfg(not(miri))]
#[test]
fn a_machine_that_tells_nothing_is_flat() {
    let root = tempfile::tempdir().unwrap();
    let topology = Topology::read(root.path(), &[3, 5]);
    let flat = |id| Cpu { id, core: id, cluster: 0, node: 0 };
    assert_eq!(topology.cpus(), [flat(3), flat(5)]);
    assert_eq!(topology.physical_cores(), 2);
    // Damaged files count as missing ones.
    write(root.path(), "cpu/cpu3/topology/thread_siblings_list", "3-x");
    write(root.path(), "node/node7/cpulist", "zero");
    assert_eq!(Topology::read(root.path(), &[3, 5]), topology);
}

#[cfg(not(miri))]
#[test]
fn quotas() {
    let root = tempfile::tempdir().unwrap();
    let quota = || cpu_quota(root.path());
    assert_eq!(quota(), None);
    // Version 2: the enclosing group binds.
    write(root.path(), "proc/self/cgroup", "0::/a/b\n");
    write(root.path(), "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_eq!(quota(), None);
    write(root.path(), "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_eq!(quota(), Some(2.5));
    write(root.path(), "sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    assert_eq!(quota(), Some(0.5));
    // Version 1, mounted at the container's own group: the host's path leads nowhere.
    write(root.path(), "proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/docker/123\n");
    assert_eq!(quota(), None);
    write(root.path(), "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    write(root.path(), "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    assert_eq!(quota(), None);
    write(root.path(), "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
    assert_eq!(quota(), Some(4.0));
}

#[cfg(not(miri))]
#[test]
fn memory_limits() {
    let root = tempfile::tempdir().unwrap();
    let limit = || memory_limit(root.path());
    assert_eq!(limit(), None);
    // Version 2: the enclosing group binds.
    write(root.path(), "proc/self/cgroup", "0::/a/b\n");
    write(root.path(), "sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_eq!(limit(), None);
    write(root.path(), "sys/fs/cgroup/a/memory.max", "2147483648\n");
    write(root.path(), "sys/fs/cgroup/a/b/memory.max", "4294967296\n");
    assert_eq!(limit(), Some(2147483648.0));
    // Version 1, mounted at the container's own group.
    write(root.path(), "proc/self/cgroup", "4:memory:/docker/123\n3:cpu,cpuacct:/x\n");
    assert_eq!(limit(), None);
    write(root.path(), "sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n");
    assert_eq!(limit(), Some(1048576.0));
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn workers_run_where_they_were_asked_to() {
    use std::sync::Mutex;

    let mut cores = allowed_cpus().unwrap();
    cores.reverse();
    // Twice as many workers as cores: they begin again at the first.
    let threads = 2 * cores.len();
    let options =
        PoolOptions { threads: Some(threads), cores: Some(cores.clone()), ..PoolOptions::default() };
    let pool = Pool::new(options).unwrap();
    let places: Vec<usize> = pool.cpus().iter().map(|cpu| cpu.unwrap().id).collect();
    assert_eq!(places, [&cores[..], &cores[..]].concat());

    let barrier = std::sync::Barrier::new(threads);
    let seen = Arc::new(Mutex::new(vec![vec![]; threads]));
    let log = Arc::clone(&seen);
    let mut executor = executor(&pool, independent(threads), move |_, worker| {
        barrier.wait();
        log.lock().unwrap()[worker.index()] = allowed_cpus().unwrap();
    });
    executor.step().unwrap();
    for (place, seen) in places.iter().zip(&*seen.lock().unwrap()) {
        assert_eq!(seen, &[*place]);
    }
    // The caller's own mask is as it was.
    let mut allowed = allowed_cpus().unwrap();
    allowed.reverse();
    assert_eq!(allowed, cores);
}

#[test]
fn options_that_cannot_be_met() {
    let new =
        |threads, cores| Pool::new(PoolOptions { threads, cores, ..PoolOptions::default() }).err().unwrap();
    assert!(matches!(new(Some(0), None), PoolError::NoThread));
    assert!(matches!(new(None, Some(vec![])), PoolError::NoCore));
    let error = new(None, Some(vec![60_000]));
    assert!(matches!(error, PoolError::CoreNotAllowed { core: 60_000, .. }));
    assert!(error.to_string().starts_with("core 60000 is not among those this process may run on: ["));
}

#[test]
fn the_default_is_within_the_limits() {
    let pool = Pool::new(PoolOptions::default()).unwrap();
    let allowed = allowed_cpus().unwrap();
    assert!((1..=allowed.len()).contains(&pool.threads()));
    assert!(pool.cpus().iter().all(|cpu| allowed.contains(&cpu.unwrap().id)));
}
