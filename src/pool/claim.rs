//! Which processors the pools of this process have bound workers to: the one thing that pools share, because the
//! processors are. A new pool goes where the others are not.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::topology::Cpu;

/// By processor: how many workers are bound to it.
type Bound = BTreeMap<usize, usize>;

static BOUND: Mutex<Bound> = Mutex::new(BTreeMap::new());

fn bound() -> std::sync::MutexGuard<'static, Bound> {
    BOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The processors of a pool's workers, until it is dropped.
pub(super) struct Claim {
    cpus: Vec<Cpu>,
}

impl Claim {
    /// The first `threads` of `cpus`, which begin again after the last.
    pub(super) fn given(cpus: &[Cpu], threads: usize) -> Self {
        Self::enter(&mut bound(), cpus.iter().copied().cycle().take(threads).collect())
    }

    /// The `threads` of `cpus` whose cores have the fewest workers of other pools, in the order of `cpus`, which begin
    /// again after the last.
    pub(super) fn free(cpus: &[Cpu], threads: usize) -> Self {
        let mut bound = bound();
        let chosen = least_used(cpus, threads, &bound);
        Self::enter(&mut bound, chosen)
    }

    fn enter(bound: &mut Bound, cpus: Vec<Cpu>) -> Self {
        cpus.iter().for_each(|cpu| *bound.entry(cpu.id).or_default() += 1);
        Self { cpus }
    }

    /// The processor of each worker.
    pub(super) fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut bound = bound();
        for cpu in &self.cpus {
            if let Some(count) = bound.get_mut(&cpu.id) {
                *count -= 1;
            }
        }
        bound.retain(|_, count| *count > 0);
    }
}

fn least_used(cpus: &[Cpu], threads: usize, bound: &Bound) -> Vec<Cpu> {
    let workers_of = |core: usize| -> usize {
        cpus.iter().filter(|cpu| cpu.core == core).filter_map(|cpu| bound.get(&cpu.id)).sum()
    };
    let mut order: Vec<usize> = (0..cpus.len()).collect();
    // Stable: among equals the first goes first.
    order.sort_by_cached_key(|&place| workers_of(cpus[place].core));
    order.truncate(threads);
    order.sort_unstable();
    order.into_iter().map(|place| cpus[place]).cycle().take(threads).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn cpu(id: usize, core: usize) -> Cpu {
        Cpu { id, core, cluster: 0, node: 0 }
    }

    fn ids(cpus: &[Cpu]) -> Vec<usize> {
        cpus.iter().map(|cpu| cpu.id).collect()
    }

    #[test]
    fn a_new_pool_goes_where_nobody_is() {
        // Four cores of two threads, in the order of placement.
        let cpus: Vec<Cpu> = (0..8).map(|id| cpu(id, id % 4)).collect();
        let chosen = |threads, bound: &[usize]| {
            let mut map = Bound::new();
            bound.iter().for_each(|&id| *map.entry(id).or_default() += 1);
            ids(&least_used(&cpus, threads, &map))
        };
        assert_eq!(chosen(2, &[]), [0, 1]);
        assert_eq!(chosen(2, &[0, 1]), [2, 3]);
        assert_eq!(chosen(2, &[4, 5]), [2, 3], "the sibling's core is in use");
        assert_eq!(chosen(3, &[0]), [1, 2, 3]);
        assert_eq!(chosen(2, &[0, 1, 2, 3]), [0, 1], "nobody is better off elsewhere");
        assert_eq!(chosen(10, &[0]), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
    }

    #[test]
    fn what_is_claimed_is_given_back() {
        // Numbers that no machine has: other tests bind workers meanwhile.
        let cpus = [cpu(1 << 20, 1 << 20), cpu(1 << 21, 1 << 21)];
        let first = Claim::free(&cpus, 1);
        let second = Claim::free(&cpus, 1);
        assert_eq!([ids(first.cpus()), ids(second.cpus())], [[1 << 20], [1 << 21]]);
        drop(first);
        let third = Claim::free(&cpus, 1);
        assert_eq!(ids(third.cpus()), [1 << 20]);
        assert_eq!(ids(Claim::given(&cpus[1..], 2).cpus()), [1 << 21, 1 << 21]);
        drop((second, third));
        assert!(!bound().contains_key(&(1 << 21)));
    }
}
