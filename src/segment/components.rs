//! Connected components.

use petgraph::unionfind::UnionFind;

use super::graph::edges;
use crate::volume::Tensor;

/// The connected components of the edges whose affinity is above `threshold`, numbered from 1 in the order of their first
/// voxels; a voxel by itself has none (0). Panics where there are not three channels.
pub fn components(affinities: &Tensor, threshold: f32) -> Vec<u32> {
    let mut sets = UnionFind::<u32>::new(affinities.extent().len());
    for edge in edges(affinities).filter(|edge| edge.affinity > threshold) {
        sets.union(edge.before, edge.voxel);
    }
    number(sets, 2)
}

/// Numbers the sets of at least `least` voxels from 1 in the order of their first voxels; the others get 0.
pub(super) fn number(sets: UnionFind<u32>, least: u32) -> Vec<u32> {
    let roots = sets.into_labeling();
    let mut sizes = vec![0_u32; roots.len()];
    roots.iter().for_each(|&root| sizes[root as usize] += 1);
    let mut ids = vec![0; roots.len()];
    let mut count = 0;
    roots
        .iter()
        .map(|&root| {
            let root = root as usize;
            if ids[root] == 0 && sizes[root] >= least {
                count += 1;
                ids[root] = count;
            }
            ids[root]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Extent;

    #[test]
    fn components_by_their_definition() {
        // a a b
        // 0 a b    and c c beyond, connected to nothing
        let size = Extent::new(1, 3, 3);
        let x = [0.0, 0.9, 0.1, 0.0, 0.2, 0.1, 0.0, 0.6, 0.5];
        let y = [0.0, 0.0, 0.0, 0.3, 0.8, 0.7, 0.0, 0.0, 0.0];
        let affinities = Tensor::from_fn(3, size, |i| match i / 9 {
            0 => x[i],
            1 => y[i - 9],
            _ => 0.0,
        });
        assert_eq!(components(&affinities, 0.5), [1, 1, 2, 0, 1, 2, 3, 3, 0]);
        assert_eq!(components(&affinities, 0.05), [1, 1, 1, 1, 1, 1, 2, 2, 2]);
        assert!(components(&affinities, 0.95).iter().all(|&id| id == 0));
    }
}
