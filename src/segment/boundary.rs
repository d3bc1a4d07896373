//! How well the boundaries between segments agree with the true ones.

use super::fill;
use crate::volume::Extent;

/// The boundaries of a segmentation against the true ones, as far as they lie within some voxels of each other: neither
/// their width nor a small displacement counts (after Martin, Fowlkes and Malik, PAMI 26, 2004, without their matching of
/// single voxels).
///
/// Boundaries are the lines between segments of a section, after voxels without a segment have been given to the nearest
/// ([`fill`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundaryScores {
    /// The fraction of the boundaries found that are near a true one: 1 without false splits.
    pub precision: f64,
    /// The fraction of the true boundaries that are near one found: 1 without false mergers.
    pub recall: f64,
}

impl BoundaryScores {
    /// Compares two segmentations of `extent`; `tolerance` in voxels. Panics where a length is not that of the extent.
    pub fn new(segments: &[u32], truth: &[u32], extent: Extent, tolerance: f32) -> Self {
        let [found, wanted] = [segments, truth].map(|segments| {
            assert_eq!(segments.len(), extent.len(), "a segment for each voxel");
            let mut filled = segments.to_vec();
            fill(&mut filled, extent);
            lines(&filled, extent)
        });
        Self {
            precision: share_near(&found, &wanted, extent, tolerance),
            recall: share_near(&wanted, &found, extent, tolerance),
        }
    }

    /// The harmonic mean of both.
    pub fn f_score(&self) -> f64 {
        let sum = self.precision + self.recall;
        if sum > 0.0 { 2.0 * self.precision * self.recall / sum } else { 0.0 }
    }
}

/// Which voxels have a neighbour of another segment behind them along y or x.
fn lines(segments: &[u32], extent: Extent) -> Vec<bool> {
    let differs = |voxel: usize| {
        let (y, x) = (voxel / extent.x % extent.y, voxel % extent.x);
        (x + 1 < extent.x && segments[voxel] != segments[voxel + 1])
            || (y + 1 < extent.y && segments[voxel] != segments[voxel + extent.x])
    };
    (0..segments.len()).map(differs).collect()
}

/// The fraction of the voxels of `lines` that have one of `others` within `tolerance` in their section; 1 for none.
fn share_near(lines: &[bool], others: &[bool], extent: Extent, tolerance: f32) -> f64 {
    let reach = tolerance as isize;
    let offsets: Vec<(isize, isize)> = (-reach..=reach)
        .flat_map(|dy| (-reach..=reach).map(move |dx| (dy, dx)))
        .filter(|&(dy, dx)| (dy * dy + dx * dx) as f32 <= tolerance * tolerance)
        .collect();
    let section = extent.y * extent.x;
    let is_near = |voxel: usize| {
        let (y, x) = (voxel / extent.x % extent.y, voxel % extent.x);
        let base = voxel / section * section;
        offsets.iter().any(|&(dy, dx)| {
            let (Some(y), Some(x)) = (y.checked_add_signed(dy), x.checked_add_signed(dx)) else {
                return false;
            };
            y < extent.y && x < extent.x && others[base + y * extent.x + x]
        })
    };
    let (mut all, mut near) = (0_u64, 0_u64);
    for voxel in (0..lines.len()).filter(|&voxel| lines[voxel]) {
        all += 1;
        near += u64::from(is_near(voxel));
    }
    if all == 0 { 1.0 } else { near as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two segments in each of two sections, parted between columns `at - 1` and `at`, by a gap of `gap` voxels.
    fn halves(extent: Extent, at: usize, gap: usize) -> Vec<u32> {
        let id = |voxel: usize| match voxel % extent.x {
            x if x + gap / 2 < at => 1,
            x if x >= at + gap.div_ceil(2) => 2,
            _ => 0,
        };
        (0..extent.len()).map(id).collect()
    }

    #[test]
    fn displacement_and_width_do_not_count() {
        let extent = Extent::new(2, 9, 20);
        let truth = halves(extent, 10, 0);
        for (at, gap) in [(10, 0), (12, 0), (8, 0), (10, 4), (11, 2)] {
            let found = BoundaryScores::new(&halves(extent, at, gap), &truth, extent, 2.0);
            assert_eq!((found.precision, found.recall, found.f_score()), (1.0, 1.0, 1.0), "{at} {gap}");
        }
        let far = BoundaryScores::new(&halves(extent, 13, 0), &truth, extent, 2.0);
        assert_eq!((far.precision, far.recall, far.f_score()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn mergers_lose_recall_and_splits_precision() {
        let extent = Extent::new(1, 8, 24);
        let three: Vec<u32> = (0..extent.len()).map(|voxel| 1 + (voxel % 24 / 8) as u32).collect();
        let two: Vec<u32> = three.iter().map(|&id| id.min(2)).collect();
        let merged = BoundaryScores::new(&two, &three, extent, 1.0);
        assert_eq!((merged.precision, merged.recall), (1.0, 0.5));
        let split = BoundaryScores::new(&three, &two, extent, 1.0);
        assert_eq!((split.precision, split.recall), (0.5, 1.0));
        let one = vec![1; extent.len()];
        let all = BoundaryScores::new(&one, &one, extent, 1.0);
        assert_eq!((all.precision, all.recall), (1.0, 1.0), "nothing to find, nothing found");
    }
}
