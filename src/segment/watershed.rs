//! Watershed of affinities and agglomeration.
//!
//! Basins as in Zlateski and Seung (arXiv 1505.00249): each voxel belongs with the neighbour to which its affinity is
//! greatest, neighbours of very high affinity always belong together, and those of very low affinity never. Small basins are
//! then given to the neighbour they belong to most, and basins are joined as long as the mean affinity of their contact is
//! high enough.

use petgraph::unionfind::UnionFind;

use super::components::number;
use super::graph::edges;
use super::regions::Regions;
use crate::volume::Tensor;

/// Thresholds of a watershed, as affinities, and sizes in voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatershedOptions {
    /// Neighbours whose affinity is not above this are never one basin.
    pub low: f32,
    /// Neighbours whose affinity is at least this are always one basin.
    pub high: f32,
    /// Basins whose mean affinity is above this are joined.
    pub merge: f32,
    /// Smaller basins are joined whatever their mean affinity, as long as it is above `low`; what stays smaller is no
    /// segment.
    pub least: u32,
}

impl Default for WatershedOptions {
    fn default() -> Self {
        Self { low: 0.1, high: 0.98, merge: 0.5, least: 25 }
    }
}

/// Segments by the watershed of `affinities` (along x, y, z), numbered from 1 in the order of their first voxels; 0 is none.
/// Panics where there are not three channels.
pub fn watershed(affinities: &Tensor, options: &WatershedOptions) -> Vec<u32> {
    let len = affinities.extent().len();
    let mut sets = UnionFind::<u32>::new(len);
    // Of each voxel the greatest affinity, and the neighbour to which it has it: of equals the first.
    let mut best = vec![(options.low, u32::MAX); len];
    for edge in edges(affinities) {
        if edge.affinity >= options.high {
            sets.union(edge.voxel, edge.before);
        }
        for (voxel, neighbour) in [(edge.voxel, edge.before), (edge.before, edge.voxel)] {
            let best = &mut best[voxel as usize];
            if edge.affinity > best.0 {
                *best = (edge.affinity, neighbour);
            }
        }
    }
    for (voxel, &(_, neighbour)) in best.iter().enumerate() {
        if neighbour != u32::MAX {
            sets.union(voxel as u32, neighbour);
        }
    }
    let mut regions = Regions::new(sets, affinities);
    let least = options.least;
    regions.agglomerate(f64::from(options.merge), |_| true);
    regions.agglomerate(f64::from(options.low), |sizes| sizes.into_iter().any(|size| size < least));
    number(regions.into_sets(), least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Scores, of_boundary};
    use crate::volume::Extent;

    /// Two cells with a boundary of `gap` between them; noise of the boundary map is below 0.2.
    fn cells(gap: f32) -> (Tensor, Vec<u32>) {
        let size = Extent::new(2, 12, 21);
        let truth: Vec<u32> = (0..size.len()).map(|v| [1, 0, 2][(v % 21).clamp(9, 11).abs_diff(9)]).collect();
        let inside = Tensor::from_fn(1, size, |v| {
            let noise = ((v * 2_654_435_761) >> 9 & 255) as f32 / 256.0 * 0.15;
            if truth[v] == 0 { gap + noise } else { 0.85 + noise }
        });
        (of_boundary(&inside), truth)
    }

    #[test]
    fn cells_are_separated_by_their_boundary() {
        let options = WatershedOptions::default();
        let (affinities, truth) = cells(0.0);
        let found = watershed(&affinities, &options);
        let scores = Scores::new(&found, &truth);
        assert_eq!(scores.adapted_rand_error(), 0.0, "{scores:?}");
        assert_eq!(found.iter().max(), Some(&2));
        // A boundary that is nearly as likely inside as the cells.
        let (affinities, truth) = cells(0.7);
        let scores = Scores::new(&watershed(&affinities, &options), &truth);
        assert!(scores.rand_merge < 0.6, "{scores:?}");
        let strict = WatershedOptions { merge: 0.95, ..options };
        let scores = Scores::new(&watershed(&affinities, &strict), &truth);
        assert!(scores.rand_merge > 0.9, "{scores:?}");
    }

    #[test]
    fn small_segments_are_none() {
        let size = Extent::new(1, 1, 6);
        let affinities =
            Tensor::from_slice(3, size, &[[0.0, 0.9, 0.05, 0.9, 0.9, 0.9], [0.0; 6], [0.0; 6]].concat());
        let options = WatershedOptions { least: 3, ..WatershedOptions::default() };
        assert_eq!(watershed(&affinities, &options), [0, 0, 1, 1, 1, 1]);
    }
}
