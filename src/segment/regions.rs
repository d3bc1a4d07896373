//! Segments that touch, and their agglomeration by mean affinity.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use petgraph::unionfind::UnionFind;

use super::graph::edges;
use crate::volume::Tensor;

/// The affinities between two regions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Contact {
    sum: f64,
    edges: f64,
}

impl Contact {
    fn mean(self) -> f64 {
        self.sum / self.edges
    }
}

/// Regions of voxels with their contacts. A region is named by one of its voxels.
pub(super) struct Regions {
    sets: UnionFind<u32>,
    /// Of each region, by its name.
    sizes: Vec<u32>,
    contacts: Vec<BTreeMap<u32, Contact>>,
}

/// A pair of regions that could be joined; the greatest first.
struct Candidate {
    mean: f64,
    pair: [u32; 2],
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.mean.total_cmp(&other.mean).then_with(|| other.pair.cmp(&self.pair))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl Regions {
    /// The regions that `sets` are, with the contacts of positive affinity.
    pub fn new(mut sets: UnionFind<u32>, affinities: &Tensor) -> Self {
        let len = affinities.extent().len();
        let mut sizes = vec![0; len];
        (0..len as u32).for_each(|voxel| sizes[sets.find_mut(voxel) as usize] += 1);
        let mut contacts = vec![BTreeMap::<u32, Contact>::new(); len];
        for edge in edges(affinities) {
            let [a, b] = [edge.voxel, edge.before].map(|voxel| sets.find_mut(voxel));
            if a != b && edge.affinity.is_finite() {
                for (from, to) in [(a, b), (b, a)] {
                    let contact = contacts[from as usize].entry(to).or_default();
                    contact.sum += f64::from(edge.affinity);
                    contact.edges += 1.0;
                }
            }
        }
        Self { sets, sizes, contacts }
    }

    /// Joins, from the greatest mean affinity down, pairs whose mean is above `threshold` and for which `may` says so,
    /// given the voxels of both.
    pub fn agglomerate(&mut self, threshold: f64, may: impl Fn([u32; 2]) -> bool) {
        let mut heap = BinaryHeap::new();
        for (a, contacts) in self.contacts.iter().enumerate() {
            let a = a as u32;
            let above = contacts.iter().filter(|&(&b, contact)| a < b && contact.mean() > threshold);
            heap.extend(above.map(|(&b, contact)| Candidate { mean: contact.mean(), pair: [a, b] }));
        }
        while let Some(Candidate { mean, pair: [a, b] }) = heap.pop() {
            // Regions that are gone, and contacts that have changed since.
            let is_current = self.contacts[a as usize].get(&b).is_some_and(|contact| contact.mean() == mean);
            if !is_current || !may([a, b].map(|region| self.sizes[region as usize])) {
                continue;
            }
            let joined = self.join(a, b);
            for (&other, contact) in &self.contacts[joined as usize] {
                if contact.mean() > threshold {
                    heap.push(Candidate {
                        mean: contact.mean(),
                        pair: [joined.min(other), joined.max(other)],
                    });
                }
            }
        }
    }

    fn join(&mut self, a: u32, b: u32) -> u32 {
        self.sets.union(a, b);
        let joined = self.sets.find_mut(a);
        let gone = if joined == a { b } else { a };
        self.sizes[joined as usize] += self.sizes[gone as usize];
        self.contacts[joined as usize].remove(&gone);
        for (other, contact) in std::mem::take(&mut self.contacts[gone as usize]) {
            if other == joined {
                continue;
            }
            self.contacts[other as usize].remove(&gone);
            for (from, to) in [(joined, other), (other, joined)] {
                let sum = self.contacts[from as usize].entry(to).or_default();
                sum.sum += contact.sum;
                sum.edges += contact.edges;
            }
        }
        joined
    }

    /// The regions as sets of voxels.
    pub fn into_sets(self) -> UnionFind<u32> {
        self.sets
    }
}
