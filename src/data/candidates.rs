//! The voxels around which a patch may be taken.

use crate::volume::{Extent, Tensor};

/// The valid patch centres of one volume, numbered in the order of the memory.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    /// The first centre at which the patch fits, and the number of those along each axis.
    first: Extent,
    size: Extent,
    /// With a mask: the number of valid centres in all rows up to and including each row of the box.
    rows: Option<Vec<u64>>,
}

impl Candidates {
    /// The centres in the box of extent `size` at `first`, where `mask` is > 0.
    pub(super) fn new(first: Extent, size: Extent, mask: Option<&Tensor>) -> Self {
        let rows = mask.map(|mask| {
            let mut sum = 0;
            let mut rows = Vec::with_capacity(size.z * size.y);
            for z in 0..size.z {
                for y in 0..size.y {
                    let row = row_of(mask, first, size, z, y);
                    sum += row.iter().filter(|&&valid| valid > 0.0).count() as u64;
                    rows.push(sum);
                }
            }
            rows
        });
        Self { first, size, rows }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        match &self.rows {
            Some(rows) => rows.last().copied().unwrap_or(0),
            None => self.size.len() as u64,
        }
    }

    /// The first centre and the extent of the box in which all centres lie.
    pub(super) fn bounds(&self) -> (Extent, Extent) {
        (self.first, self.size)
    }

    /// Centre `index`, which must be below [`len`](Self::len). `mask` is the one given to [`new`](Self::new).
    pub(super) fn get(&self, index: u64, mask: Option<&Tensor>) -> Extent {
        let Extent { y: height, x: width, .. } = self.size;
        let (row, x) = match (&self.rows, mask) {
            (Some(rows), Some(mask)) => {
                let row = rows.partition_point(|&sum| sum <= index);
                let before = if row == 0 { 0 } else { rows[row - 1] };
                let x = row_of(mask, self.first, self.size, row / height, row % height)
                    .iter()
                    .enumerate()
                    .filter(|&(_, &valid)| valid > 0.0)
                    .nth((index - before) as usize)
                    .map_or(0, |(x, _)| x);
                (row, x)
            }
            _ => ((index / width as u64) as usize, (index % width as u64) as usize),
        };
        self.first + Extent::new(row / height, row % height, x)
    }
}

fn row_of(mask: &Tensor, first: Extent, size: Extent, z: usize, y: usize) -> &[f32] {
    &mask.data()[mask.extent().index(first.z + z, first.y + y, first.x)..][..size.x]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_centre_has_a_number() {
        let volume = Extent::new(4, 5, 6);
        let (first, size) = (Extent::new(1, 0, 2), Extent::new(2, 4, 3));
        let mask = Tensor::from_fn(1, volume, |i| f32::from(i % 7 < 2 || i > 80));
        for mask in [None, Some(&mask)] {
            let mut expected = Vec::new();
            for z in 1..3 {
                for y in 0..4 {
                    for x in 2..5 {
                        if mask.is_none_or(|m| m.data()[volume.index(z, y, x)] > 0.0) {
                            expected.push(Extent::new(z, y, x));
                        }
                    }
                }
            }
            let candidates = Candidates::new(first, size, mask);
            let found: Vec<Extent> = (0..candidates.len()).map(|i| candidates.get(i, mask)).collect();
            assert_eq!(found, expected);
        }
        let nothing = Tensor::zeros(1, volume);
        assert_eq!(Candidates::new(first, size, Some(&nothing)).len(), 0);
        assert_eq!(Candidates::new(first, Extent::ZERO, None).len(), 0);
    }
}
