//! MALIS: which affinities decide over pairs of voxels (Turaga et al., arXiv 0911.5372).
//!
//! The segments of all thresholds at once are the components of Kruskal's algorithm: edges are added from the most to the
//! least likely one, and the edge that joins two components is the *maximin* edge of all pairs of voxels between them, on
//! which alone it depends whether they are together. A voxel pair of one true segment gives its edge a count as a
//! *splitter*, one of two segments as a *merger*.

use std::cmp::Reverse;

use petgraph::unionfind::UnionFind;

use super::components::components;
use super::graph::{Edge, edges};
use crate::volume::Tensor;

/// An affinity above this says that two voxels are together.
const HALF: f32 = 0.5;

/// Which affinities take part: those above `low`; those above `high` count as `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// The upper end.
    pub high: f32,
    /// The lower end, excluded.
    pub low: f32,
}

/// How voxel pairs are found together and apart, in fact and by the affinities; pairs, or fractions of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Together, and rightly so.
    pub true_positive: f64,
    /// Apart, and rightly so.
    pub true_negative: f64,
    /// Together, but of two segments.
    pub false_positive: f64,
    /// Apart, but of one segment.
    pub false_negative: f64,
    /// The voxels that belong to a true segment.
    pub voxels: usize,
}

impl Counts {
    /// Wrong pairs among all pairs of voxels.
    pub fn rand_error(&self) -> f64 {
        (self.false_positive + self.false_negative) / (self.pairs() / 2.0).max(1.0)
    }

    /// Ordered pairs of voxels.
    fn pairs(&self) -> f64 {
        self.voxels as f64 * (self.voxels as f64 - 1.0)
    }
}

/// What the affinities decide.
#[derive(Clone, Debug)]
pub struct Malis {
    /// For each affinity the pairs of different segments between which it is the maximin edge.
    pub merger: Tensor,
    /// Those of the same segment.
    pub splitter: Tensor,
    /// All of them, by how they are decided.
    pub counts: Counts,
}

/// The maximin edges of `affinities` (along x, y, z) for the true `segments` (a number for each voxel, 0 is none). With
/// `by_size`, a voxel counts as one part of its segment instead of as one. Equal affinities go by the number of the voxel
/// before and then of the voxel, the higher first. Panics where the sizes do not fit.
pub fn malis(affinities: &Tensor, segments: &[u32], window: Window, by_size: bool) -> Malis {
    assert_eq!(affinities.extent().len(), segments.len(), "a segment for each voxel");
    let mut chosen: Vec<Edge> = edges(affinities)
        .filter(|edge| edge.affinity > window.low)
        .map(|edge| Edge { affinity: edge.affinity.min(window.high), ..edge })
        .collect();
    chosen.sort_unstable_by(|a, b| {
        let order = |edge: &Edge| Reverse((edge.before, edge.voxel));
        b.affinity.total_cmp(&a.affinity).then_with(|| order(a).cmp(&order(b)))
    });
    let mut merger = Tensor::zeros(3, affinities.extent());
    let mut splitter = merger.clone();
    let mut forest = Forest::new(segments, by_size);
    let mut counts = Counts { voxels: segments.iter().filter(|&&id| id > 0).count(), ..Counts::default() };
    for Edge { affinity, channel, voxel, before } in chosen {
        let Some(Pairs { same, different }) = forest.join(before, voxel) else { continue };
        merger.channel_mut(channel.into())[voxel as usize] += different as f32;
        splitter.channel_mut(channel.into())[voxel as usize] += same as f32;
        *if affinity < HALF { &mut counts.false_negative } else { &mut counts.true_positive } += same;
        *if affinity > HALF { &mut counts.false_positive } else { &mut counts.true_negative } += different;
    }
    Malis { merger, splitter, counts }
}

/// Pairs of voxels between two components.
struct Pairs {
    same: f64,
    different: f64,
}

/// The components so far, and what they hold of each true segment.
struct Forest {
    sets: UnionFind<u32>,
    /// Of each root: the segments in it, ascending, with their voxels.
    holdings: Vec<Vec<(u32, f64)>>,
    /// Of each root: the sum of its holdings.
    totals: Vec<f64>,
}

impl Forest {
    fn new(segments: &[u32], by_size: bool) -> Self {
        let mut sizes = vec![0.0_f64; segments.iter().max().map_or(0, |&id| id as usize + 1)];
        segments.iter().for_each(|&id| sizes[id as usize] += 1.0);
        let share = |id: u32| match id {
            0 => 0.0,
            id if by_size => 1.0 / sizes[id as usize],
            _ => 1.0,
        };
        Self {
            sets: UnionFind::new(segments.len()),
            holdings: segments
                .iter()
                .map(|&id| if id > 0 { vec![(id, share(id))] } else { Vec::new() })
                .collect(),
            totals: segments.iter().map(|&id| share(id)).collect(),
        }
    }

    /// Joins the components of two voxels; `None` where they are one already.
    fn join(&mut self, a: u32, b: u32) -> Option<Pairs> {
        let [a, b] = [a, b].map(|voxel| self.sets.find_mut(voxel) as usize);
        if !self.sets.union(a as u32, b as u32) {
            return None;
        }
        let [mut large, small] = [a, b].map(|root| std::mem::take(&mut self.holdings[root]));
        let small = if small.len() > large.len() { std::mem::replace(&mut large, small) } else { small };
        let mut same = 0.0;
        for (id, count) in small {
            match large.binary_search_by_key(&id, |&(id, _)| id) {
                Ok(place) => {
                    same += count * large[place].1;
                    large[place].1 += count;
                }
                Err(place) => large.insert(place, (id, count)),
            }
        }
        let pairs = Pairs { same, different: self.totals[a] * self.totals[b] - same };
        let root = self.sets.find_mut(a as u32) as usize;
        self.totals[root] = self.totals[a] + self.totals[b];
        self.holdings[root] = large;
        Some(pairs)
    }
}

/// What the counts are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// Nothing.
    #[default]
    None,
    /// A voxel counts as one part of its segment.
    Frac,
    /// The voxels of segments.
    Num,
    /// The ordered pairs of them.
    Pair,
}

/// How affinities are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By mergers and splitters of the affinities as they are.
    Plain(Norm),
    /// Mergers where all true edges are taken as certain, by the pairs that are apart in truth; splitters where all false
    /// ones are taken as absent, by the pairs that are together (Funke et al., arXiv 1709.02974).
    Constrained,
}

/// A factor for the loss of each affinity.
#[derive(Clone, Debug)]
pub struct MalisWeights {
    /// The factors.
    pub weights: Tensor,
    /// The error of the segmentation by affinities above one half.
    pub rand_error: f64,
}

/// The weights of `prediction` against the true affinities `target`; `None` where fewer than two voxels belong to a true
/// segment, so that there is no pair. Panics where the shapes differ.
pub fn weights(prediction: &Tensor, target: &Tensor, mode: Mode) -> Option<MalisWeights> {
    assert_eq!(prediction.extent(), target.extent(), "target of the same extent");
    const ALL: Window = Window { high: 1.0, low: 0.0 };
    let segments = components(target, HALF);
    let with_true_edges = |value: f32| {
        let mut changed = prediction.clone();
        for (affinity, &truth) in changed.data_mut().iter_mut().zip(target.data()) {
            if (truth > HALF) == (value > HALF) {
                *affinity = value;
            }
        }
        changed
    };
    let norm = if let Mode::Plain(norm) = mode { norm } else { Norm::None };
    let plain = malis(prediction, &segments, ALL, norm == Norm::Frac);
    let Counts { voxels, .. } = plain.counts;
    if voxels < 2 {
        return None;
    }
    let rand_error = plain.counts.rand_error();
    let weights = match mode {
        Mode::Plain(norm) => {
            let divisor = match norm {
                Norm::None | Norm::Frac => 1.0,
                Norm::Num => voxels as f64,
                Norm::Pair => plain.counts.pairs(),
            };
            sum([(&plain.merger, divisor), (&plain.splitter, divisor)])
        }
        Mode::Constrained => {
            let merging = malis(&with_true_edges(1.0), &segments, Window { high: 1.0, low: HALF }, false);
            let splitting = malis(&with_true_edges(0.0), &segments, Window { high: HALF, low: 0.0 }, false);
            sum([
                (&merging.merger, merging.counts.false_positive + merging.counts.true_negative),
                (&splitting.splitter, splitting.counts.true_positive + splitting.counts.false_negative),
            ])
        }
    };
    Some(MalisWeights { weights, rand_error })
}

/// The sum of tensors, each divided by a number; where that is 0, so is the tensor.
fn sum(terms: [(&Tensor, f64); 2]) -> Tensor {
    let mut sum = Tensor::zeros(3, terms[0].0.extent());
    for (term, divisor) in terms.into_iter().filter(|(_, divisor)| *divisor > 0.0) {
        for (sum, &value) in sum.data_mut().iter_mut().zip(term.data()) {
            *sum += (f64::from(value) / divisor) as f32;
        }
    }
    sum
}

#[cfg(test)]
mod tests;
