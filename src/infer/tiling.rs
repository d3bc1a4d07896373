//! Tiles that cover a volume.

use crate::volume::Extent;

/// Tiles of one extent that cover the output of a volume; those at the far borders are shifted back to end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    output: Extent,
    tile: Extent,
}

impl Tiling {
    /// Tiles of at most `tile` that cover `output`, as equal as can be.
    pub fn new(output: Extent, tile: Extent) -> Self {
        let tile = tile.max(Extent::ONE).min(output);
        let even = output.zip(tile, |size, tile| size.div_ceil(size.div_ceil(tile)));
        Self { output, tile: even }
    }

    /// The extent of a tile.
    pub fn tile(&self) -> Extent {
        self.tile
    }

    /// How many tiles there are along each axis.
    pub fn counts(&self) -> Extent {
        self.output.zip(self.tile, usize::div_ceil)
    }

    /// The first voxel of each tile.
    pub fn origins(&self) -> impl Iterator<Item = Extent> + use<> {
        let Self { output, tile } = *self;
        let axis = move |size: usize, tile: usize| {
            (0..size.div_ceil(tile)).map(move |i| (i * tile).min(size - tile))
        };
        axis(output.z, tile.z).flat_map(move |z| {
            axis(output.y, tile.y)
                .flat_map(move |y| axis(output.x, tile.x).map(move |x| Extent::new(z, y, x)))
        })
    }

    /// Halves the axis along which the tile is longest, `None` when it is one voxel.
    pub fn halve(&self) -> Option<Self> {
        let Extent { z, y, x } = self.tile;
        let half = |n: usize| n.div_ceil(2);
        let longest = z.max(y).max(x);
        let smaller = match longest {
            1 => return None,
            // The contiguous axis last: long rows are the fastest.
            _ if z == longest => Extent::new(half(z), y, x),
            _ if y == longest => Extent::new(z, half(y), x),
            _ => Extent::new(z, y, half(x)),
        };
        Some(Self::new(self.output, smaller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_voxel_is_covered_by_tiles_inside() {
        for (output, tile) in [((5, 7, 9), (2, 3, 4)), ((1, 1, 1), (4, 4, 4)), ((3, 100, 64), (3, 33, 64))] {
            let output = Extent::new(output.0, output.1, output.2);
            let tiling = Tiling::new(output, Extent::new(tile.0, tile.1, tile.2));
            let mut covered = vec![false; output.len()];
            let mut count = 0;
            for origin in tiling.origins() {
                count += 1;
                assert!((origin + tiling.tile()).all(output, |end, size| end <= size));
                for z in 0..tiling.tile().z {
                    for y in 0..tiling.tile().y {
                        for x in 0..tiling.tile().x {
                            covered[output.index(origin.z + z, origin.y + y, origin.x + x)] = true;
                        }
                    }
                }
            }
            assert_eq!(count, tiling.counts().len());
            assert!(covered.iter().all(|&c| c));
        }
    }

    #[test]
    fn halving_ends_at_one_voxel() {
        let mut tiling = Tiling::new(Extent::new(5, 7, 9), Extent::new(5, 7, 9));
        let mut steps = 0;
        while let Some(smaller) = tiling.halve() {
            assert!(smaller.tile().len() < tiling.tile().len());
            tiling = smaller;
            steps += 1;
        }
        assert_eq!(tiling.tile(), Extent::ONE);
        assert!(steps > 3);
    }
}
