//! Overlapping tiles, blended by smooth weights.

use super::tiling::Tiling;
use crate::volume::{Extent, Tensor};

/// The means of overlapping tiles. Tiles come in the order of their blocks; sections that no later tile touches are given
/// back as soon as they are complete.
pub(super) struct Blend {
    output: Extent,
    /// Of the maps of each output node, for the sections from `first` on.
    means: Vec<Tensor>,
    /// Sum of the weights of each voxel.
    weights: Tensor,
    /// The first section that has not been given back.
    first: usize,
    /// Sections are given back in multiples of this.
    depth: usize,
    /// Weights along z, y and x of a voxel of a tile.
    windows: [Vec<f32>; 3],
}

impl Blend {
    /// For tiles of `tiling` that overlap by `overlap`, with `maps` maps of each output node.
    pub fn new(output: Extent, tiling: &Tiling, overlap: Extent, maps: &[usize], depth: usize) -> Self {
        let window = Self::window_extent(output, tiling, depth);
        let (tile, ramp) = (tiling.tile().to_array(), overlap.to_array());
        Self {
            output,
            means: maps.iter().map(|&maps| Tensor::zeros(maps, window)).collect(),
            weights: Tensor::zeros(1, window),
            first: 0,
            depth,
            windows: [0, 1, 2].map(|axis| smooth(tile[axis], ramp[axis])),
        }
    }

    /// Bytes of the sections that are being made.
    pub fn bytes(output: Extent, tiling: &Tiling, maps: &[usize], depth: usize) -> usize {
        let maps: usize = maps.iter().sum();
        // Those and the ones that are given back.
        (2 * maps + 1) * Self::window_extent(output, tiling, depth).len() * size_of::<f32>()
    }

    fn window_extent(output: Extent, tiling: &Tiling, depth: usize) -> Extent {
        Extent { z: (tiling.tile().z + depth).min(output.z), ..output }
    }

    /// Adds a tile whose first voxel is at `origin`.
    pub fn add(&mut self, origin: Extent, maps: &[Tensor]) {
        let extent = maps[0].extent();
        // A tile may be larger than the output.
        let inside = extent.min(self.output - origin);
        let window = self.weights.extent();
        for z in 0..inside.z {
            for y in 0..inside.y {
                let row = self.windows[0][z] * self.windows[1][y];
                let to = window.index(origin.z - self.first + z, origin.y + y, origin.x);
                let from = extent.index(z, y, 0);
                for x in 0..inside.x {
                    let weight = row * self.windows[2][x];
                    let sum = &mut self.weights.data_mut()[to + x];
                    *sum += weight;
                    let part = weight / *sum;
                    // A step towards the new value: equal values stay what they are, bit for bit.
                    for (mean, maps) in self.means.iter_mut().zip(maps) {
                        for channel in 0..maps.channels() {
                            let mean = &mut mean.channel_mut(channel)[to + x];
                            *mean += (maps.channel(channel)[from + x] - *mean) * part;
                        }
                    }
                }
            }
        }
    }

    /// The sections before `next`, the first that a later tile touches; `None` where there are none. All, where `next` is
    /// the end of the output.
    pub fn complete(&mut self, next: usize) -> Option<(Extent, Vec<Tensor>)> {
        let end = if next == self.output.z { next } else { next / self.depth * self.depth };
        let height = end.saturating_sub(self.first);
        if height == 0 {
            return None;
        }
        let whole = Extent { z: height, ..self.output };
        let done = self.means.iter().map(|mean| mean.crop(Extent::ZERO, whole)).collect();
        let section = self.output.y * self.output.x;
        for tensor in self.means.iter_mut().chain([&mut self.weights]) {
            for channel in 0..tensor.channels() {
                let values = tensor.channel_mut(channel);
                values.copy_within(height * section.., 0);
                let rest = values.len() - height * section;
                values[rest..].fill(0.0);
            }
        }
        let origin = Extent::new(self.first, 0, 0);
        self.first = end;
        Some((origin, done))
    }
}

/// Weights along an axis: rising smoothly over the overlap, 1 in the middle, falling at the end; never zero.
fn smooth(size: usize, overlap: usize) -> Vec<f32> {
    let weight = |i: usize| {
        let from_border = i.min(size - 1 - i);
        if from_border >= overlap {
            return 1.0;
        }
        let t = (from_border as f32 + 0.5) / overlap as f32;
        t * t * (3.0 - 2.0 * t)
    };
    (0..size).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blend(output: Extent, tile: Extent, overlap: Extent, depth: usize, value: &Tensor) -> Tensor {
        let tiling = Tiling::exact(output, tile, overlap);
        let mut blend = Blend::new(output, &tiling, overlap, &[value.channels()], depth);
        let mut found = Tensor::zeros(value.channels(), output);
        let count = tiling.counts().len();
        for block in tiling.blocks() {
            blend.add(block.tile_origin, &[value.crop(block.tile_origin, tiling.tile())]);
            let next =
                if block.index + 1 == count { output.z } else { tiling.block(block.index + 1).tile_origin.z };
            if let Some((origin, maps)) = blend.complete(next) {
                assert!(origin.z.is_multiple_of(depth));
                found.paste(&maps[0], origin);
            }
        }
        found
    }

    #[test]
    fn tiles_that_agree_are_reproduced_exactly() {
        let output = Extent::new(11, 13, 9);
        for (tile, overlap, depth) in [
            (Extent::new(4, 5, 9), Extent::new(1, 2, 0), 1),
            (Extent::new(5, 6, 4), Extent::new(2, 3, 2), 2),
            (Extent::new(3, 4, 4), Extent::new(2, 3, 3), 4),
            (output, Extent::ZERO, 1),
        ] {
            let value = Tensor::from_fn(2, output, |i| (i as f32).sin());
            assert_eq!(blend(output, tile, overlap, depth, &value), value, "{tile} {overlap} {depth}");
        }
    }

    #[test]
    fn weights_are_smooth_and_never_zero() {
        let weights = smooth(10, 4);
        assert!(weights.iter().all(|&weight| weight > 0.0 && weight <= 1.0));
        assert!(weights[..5].is_sorted() && weights[4] == 1.0 && weights[0] == weights[9]);
        assert_eq!(smooth(3, 0), [1.0; 3]);
    }
}
