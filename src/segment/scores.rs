//! How well a segmentation agrees with the truth.

use std::collections::{BTreeMap, VecDeque};

use crate::volume::Extent;

/// A segmentation against the truth, over the voxels that belong to a true segment.
///
/// The scores of Arganda-Carreras et al. (Frontiers in Neuroanatomy 9:142, 2015): Rand and information theoretic scores
/// restricted to the foreground, which, unlike the pixel error, do not mind that a boundary is a little off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Pairs of voxels on whose being together the two do not agree, among all pairs.
    pub rand_error: f64,
    /// Of pairs that are together here, those that are in truth: 1 without false mergers.
    pub rand_merge: f64,
    /// Of pairs that are together in truth, those that are here: 1 without false splits.
    pub rand_split: f64,
    /// The information about the truth, of that in the segmentation, in bits that are missing: false splits.
    pub split_bits: f64,
    /// The bits of the truth that the segmentation does not tell: false mergers.
    pub merge_bits: f64,
    /// Twice the mutual information, by the sum of both entropies.
    pub information: f64,
}

impl Scores {
    /// Compares two segmentations. Panics where the lengths differ; without a voxel of a true segment, all is well.
    pub fn new(segments: &[u32], truth: &[u32]) -> Self {
        assert_eq!(segments.len(), truth.len(), "segmentations of one image");
        let mut both: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        for (&here, &there) in segments.iter().zip(truth).filter(|&(_, &there)| there > 0) {
            *both.entry((here, there)).or_default() += 1.0;
        }
        let sums = |key: fn(&(u32, u32)) -> u32| {
            let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
            both.iter().for_each(|(pair, count)| *sums.entry(key(pair)).or_default() += count);
            sums.into_values().collect::<Vec<f64>>()
        };
        let (here, there): (Vec<f64>, Vec<f64>) = (sums(|pair| pair.0), sums(|pair| pair.1));
        let both: Vec<f64> = both.into_values().collect();
        let n: f64 = both.iter().sum::<f64>().max(1.0);
        let squares = |counts: &[f64]| counts.iter().map(|count| count * count).sum::<f64>();
        let entropy =
            |counts: &[f64]| -counts.iter().map(|count| count / n * (count / n).log2()).sum::<f64>();
        let [of_both, of_here, of_there] = [&both, &here, &there].map(|counts| squares(counts));
        let [joint, bits_here, bits_there] = [&both, &here, &there].map(|counts| entropy(counts));
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
        Self {
            rand_error: (of_here + of_there - 2.0 * of_both) / (n * (n - 1.0)).max(1.0),
            rand_merge: ratio(of_both, of_here),
            rand_split: ratio(of_both, of_there),
            split_bits: (joint - bits_there).max(0.0),
            merge_bits: (joint - bits_here).max(0.0),
            information: ratio(2.0 * (bits_here + bits_there - joint), bits_here + bits_there),
        }
    }

    /// One minus the harmonic mean of the two Rand scores: the adapted Rand error of the SNEMI3D and CREMI challenges.
    pub fn adapted_rand_error(&self) -> f64 {
        1.0 - 2.0 * self.rand_merge * self.rand_split / (self.rand_merge + self.rand_split)
    }

    /// The variation of information, in bits.
    pub fn variation_of_information(&self) -> f64 {
        self.split_bits + self.merge_bits
    }
}

/// Gives the voxels without a segment that of the nearest one in their section (by steps along y and x), so that the
/// width of a boundary does not count. A section without segments stays as it is.
pub fn fill(segments: &mut [u32], extent: Extent) {
    for section in segments.chunks_exact_mut((extent.y * extent.x).max(1)) {
        let mut front: VecDeque<usize> = (0..section.len()).filter(|&voxel| section[voxel] > 0).collect();
        while let Some(voxel) = front.pop_front() {
            let (y, x) = (voxel / extent.x, voxel % extent.x);
            let neighbours = [
                (y > 0).then(|| voxel - extent.x),
                (x > 0).then(|| voxel - 1),
                (x + 1 < extent.x).then(|| voxel + 1),
                (y + 1 < extent.y).then(|| voxel + extent.x),
            ];
            for next in neighbours.into_iter().flatten() {
                if section[next] == 0 {
                    section[next] = section[voxel];
                    front.push_back(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rand_error_pair_by_pair() {
        let a = [1, 1, 2, 2, 0, 3, 3, 1, 0, 2];
        let b = [5, 5, 5, 6, 6, 0, 6, 5, 5, 0];
        let scores = Scores::new(&a, &b);
        let (mut wrong, mut all) = (0.0, 0.0);
        for i in 0..10 {
            for j in 0..i {
                if b[i] > 0 && b[j] > 0 {
                    all += 1.0;
                    wrong += f64::from((a[i] == a[j]) != (b[i] == b[j]));
                }
            }
        }
        assert!((scores.rand_error - wrong / all).abs() < 1e-12, "{scores:?}");
    }

    #[test]
    fn mergers_and_splits_are_told_apart() {
        let truth = [1, 1, 1, 1, 2, 2, 2, 2];
        let same = Scores::new(&truth, &truth);
        assert_eq!((same.adapted_rand_error(), same.variation_of_information()), (0.0, 0.0));
        assert_eq!(same.information, 1.0);
        let merged = Scores::new(&[7; 8], &truth);
        assert_eq!((merged.rand_split, merged.rand_merge), (1.0, 0.5));
        assert_eq!((merged.split_bits, merged.merge_bits), (0.0, 1.0));
        let split = Scores::new(&[1, 1, 2, 2, 3, 3, 4, 4], &truth);
        assert_eq!((split.rand_split, split.rand_merge), (0.5, 1.0));
        assert_eq!((split.split_bits, split.merge_bits), (1.0, 0.0));
        assert_eq!(Scores::new(&[1, 2], &[0, 0]).rand_error, 0.0, "nothing to compare");
    }

    #[test]
    fn holes_are_filled_from_the_nearest_segment() {
        let mut segments = vec![1, 0, 0, 0, 2, /* second section */ 0, 0, 0, 0, 0];
        fill(&mut segments, Extent::new(2, 1, 5));
        assert_eq!(segments[..2], [1, 1]);
        assert_eq!(segments[3..5], [2, 2]);
        assert_eq!(segments[5..], [0; 5]);
    }
}
