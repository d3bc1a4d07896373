//! Tiles that cover a volume.

use crate::volume::Extent;

/// Tiles of one extent that cover the output of a volume. Each gives the block of voxels that no tile before it has; those
/// at the far borders are shifted back to end there, so that only a part of them is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    output: Extent,
    tile: Extent,
    /// From the begin of a block to that of the next.
    step: Extent,
    /// Voxels of a tile before its block, where the volume has them.
    halo: Extent,
}

/// A part of the output, and the tile that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number, in the order z, y, x.
    pub index: usize,
    /// The first voxel.
    pub origin: Extent,
    /// Voxels.
    pub extent: Extent,
    /// The first voxel of the tile.
    pub tile_origin: Extent,
}

impl Tiling {
    /// Tiles of at most `tile` that cover `output`, as equal as can be.
    pub fn new(output: Extent, tile: Extent) -> Self {
        let tile = tile.max(Extent::ONE).min(output);
        let even = output.zip(tile, |size, tile| size.div_ceil(size.div_ceil(tile)));
        Self { output, tile: even, step: even, halo: Extent::ZERO }
    }

    /// Tiles of that extent, which overlap by `overlap` where there are several. They may be larger than the output.
    pub fn exact(output: Extent, tile: Extent, overlap: Extent) -> Self {
        let tile = tile.max(Extent::ONE);
        let step = tile.zip(overlap, |tile, overlap| tile.saturating_sub(overlap).max(1));
        Self { output, tile, step, halo: Extent::ZERO }
    }

    /// The same tiles with blocks of `step`, which lie in their middle. Panics where a block is larger than a tile.
    #[must_use]
    pub fn with_blocks(self, step: Extent) -> Self {
        let halo = (self.tile - step).zip(Extent::ONE, |rest, _| rest / 2);
        Self { step, halo, ..self }
    }

    /// The extent of a block.
    pub fn step(&self) -> Extent {
        self.step
    }

    /// The extent of a tile.
    pub fn tile(&self) -> Extent {
        self.tile
    }

    /// How many tiles there are along each axis.
    pub fn counts(&self) -> Extent {
        let axis = |size: usize, tile: usize, step: usize, halo: usize| {
            // The tile of the last block ends with the output.
            if size <= tile { 1 } else { 1 + (size - tile + halo).div_ceil(step) }
        };
        let Self { output, tile, step, halo } = self;
        Extent::new(
            axis(output.z, tile.z, step.z, halo.z),
            axis(output.y, tile.y, step.y, halo.y),
            axis(output.x, tile.x, step.x, halo.x),
        )
    }

    /// The block of that number. Panics where there is none.
    pub fn block(&self, index: usize) -> Block {
        let counts = self.counts();
        assert!(index < counts.len(), "block {index} of {}", counts.len());
        let at = Extent::new(index / (counts.y * counts.x), index / counts.x % counts.y, index % counts.x);
        let origin = at * self.step;
        // The last one takes what is left.
        let end = |axis: [usize; 4]| if axis[0] + 1 == axis[1] { axis[3] } else { axis[2] };
        let next = origin + self.step;
        let ends = Extent::new(
            end([at.z, counts.z, next.z, self.output.z]),
            end([at.y, counts.y, next.y, self.output.y]),
            end([at.x, counts.x, next.x, self.output.x]),
        );
        let before = origin.zip(self.halo, usize::saturating_sub);
        let tile_origin = before.min(self.output.zip(self.tile, usize::saturating_sub));
        Block { index, origin, extent: ends - origin, tile_origin }
    }

    /// The blocks of all numbers.
    #[cfg(test)]
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let tiling = *self;
        (0..tiling.counts().len()).map(move |index| tiling.block(index))
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

/// A tile like `tile` whose borders are borders of chunks, and the chunk, like `wish` but no larger than the tile: so that
/// no two blocks share a chunk.
pub fn aligned(tile: Extent, wish: Extent, output: Extent) -> (Extent, Extent) {
    let chunk = wish.min(tile).max(Extent::ONE);
    let whole = tile.zip(chunk, |tile, chunk| tile / chunk * chunk);
    // One tile along an axis needs no border.
    let axis = |tile: usize, whole: usize, size: usize| if tile >= size { size } else { whole };
    let tile = Extent::new(
        axis(tile.z, whole.z, output.z),
        axis(tile.y, whole.y, output.y),
        axis(tile.x, whole.x, output.x),
    );
    (tile, chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(axes: (usize, usize, usize)) -> Extent {
        Extent::new(axes.0, axes.1, axes.2)
    }

    #[test]
    fn blocks_cover_every_voxel_once_and_lie_in_their_tiles() {
        for (output, tile, overlap) in [
            ((5, 7, 9), (2, 3, 4), (0, 0, 0)),
            ((1, 1, 1), (4, 4, 4), (1, 1, 1)),
            ((3, 100, 64), (3, 33, 64), (0, 0, 0)),
            ((9, 20, 21), (4, 8, 8), (1, 3, 4)),
        ] {
            let (output, tile) = (extent(output), extent(tile));
            let smaller = tile.zip(extent(overlap), |tile, overlap| (tile.saturating_sub(overlap)).max(1));
            let exact = Tiling::exact(output, tile.min(output), extent(overlap));
            let halo = Tiling::exact(output, tile, Extent::ZERO).with_blocks(smaller.min(tile));
            for tiling in [Tiling::new(output, tile), exact, halo] {
                let mut covered = vec![0; output.len()];
                let mut count = 0;
                for block in tiling.blocks() {
                    assert_eq!(block.index, count);
                    count += 1;
                    let is_inside = (block.tile_origin + tiling.tile()).all(output, |end, size| end <= size);
                    assert!(is_inside || block.tile_origin.all(tiling.tile(), |at, _| at == 0));
                    assert!(block.tile_origin.all(block.origin, |tile, block| tile <= block));
                    let (end, tile_end) = (block.origin + block.extent, block.tile_origin + tiling.tile());
                    assert!(end.all(tile_end, |end, tile| end <= tile));
                    let halo = tiling.halo;
                    let left = block.origin - block.tile_origin;
                    assert!(
                        left.all(halo, |left, halo| left >= halo)
                            || block.tile_origin.to_array().contains(&0)
                    );
                    for z in block.origin.z..end.z {
                        for y in block.origin.y..end.y {
                            for x in block.origin.x..end.x {
                                covered[output.index(z, y, x)] += 1;
                            }
                        }
                    }
                }
                assert_eq!(count, tiling.counts().len());
                assert!(covered.iter().all(|&times| times == 1), "{tiling:?}");
            }
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

    #[test]
    fn blocks_of_aligned_tiles_share_no_chunk() {
        for (output, tile) in
            [((30, 100, 200), (7, 100, 90)), ((5, 64, 65), (5, 63, 64)), ((9, 9, 9), (1, 2, 9))]
        {
            let output = extent(output);
            let (tile, chunk) = aligned(extent(tile), Extent::new(4, 32, 32), output);
            assert!(chunk.all(Extent::new(4, 32, 32), |found, wish| found <= wish));
            for block in Tiling::exact(output, tile, Extent::ZERO).blocks() {
                assert!(block.origin.all(chunk, |at, chunk| at.is_multiple_of(chunk)));
                let end = block.origin + block.extent;
                let is_border =
                    |end: usize, chunk: usize, size: usize| end == size || end.is_multiple_of(chunk);
                assert!(is_border(end.z, chunk.z, output.z) && is_border(end.y, chunk.y, output.y));
                assert!(is_border(end.x, chunk.x, output.x));
            }
        }
    }
}
