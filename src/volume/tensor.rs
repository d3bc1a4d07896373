//! A group of feature maps.

use std::ops::Range;

use aligned_vec::AVec;

use super::Extent;

/// `channels` images of one extent, row-major `[channel][z][y][x]`, aligned to a cache line.
///
/// ```
/// use znn::{Extent, Tensor};
///
/// let extent = Extent::new(2, 3, 4);
/// let mut image = Tensor::from_fn(2, extent, |i| i as f32);
/// assert_eq!((image.channels(), image.extent(), image.data().len()), (2, extent, 48));
/// assert_eq!(image.channel(1)[extent.index(0, 0, 2)], 26.0);
///
/// // A box, and a copy of it elsewhere.
/// let part = image.crop(Extent::new(1, 1, 1), Extent::new(1, 2, 3));
/// assert_eq!(part.channel(0), [17.0, 18.0, 19.0, 21.0, 22.0, 23.0]);
/// image.paste(&part, Extent::ZERO);
/// assert_eq!(image.data()[..3], [17.0, 18.0, 19.0]);
///
/// image.channel_mut(0).fill(0.0);
/// image.data_mut()[0] = 1.0;
/// let mut expected = Tensor::zeros(1, extent);
/// expected.data_mut()[0] = 1.0;
/// assert_eq!(Tensor::from_slice(1, extent, image.channel(0)), expected);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    channels: usize,
    extent: Extent,
    data: AVec<f32>,
}

impl Tensor {
    /// All voxels zero.
    pub fn zeros(channels: usize, extent: Extent) -> Self {
        Self::from_fn(channels, extent, |_| 0.0)
    }

    /// Voxel `i` of the memory order is `value(i)`.
    pub fn from_fn(channels: usize, extent: Extent, value: impl FnMut(usize) -> f32) -> Self {
        let data = AVec::from_iter(64, (0..channels * extent.len()).map(value));
        Self { channels, extent, data }
    }

    /// A copy of `data`, which must hold `channels * extent.len()` voxels.
    pub fn from_slice(channels: usize, extent: Extent, data: &[f32]) -> Self {
        assert_eq!(data.len(), channels * extent.len(), "a tensor of {channels} x {extent}");
        Self { channels, extent, data: AVec::from_slice(64, data) }
    }

    /// The number of feature maps.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The extent of each map.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// All voxels.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All voxels.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The voxels of one map.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let len = self.extent.len();
        &self.data[channel * len..][..len]
    }

    /// The voxels of one map.
    pub fn channel_mut(&mut self, channel: usize) -> &mut [f32] {
        let len = self.extent.len();
        &mut self.data[channel * len..][..len]
    }

    /// The box of extent `extent` whose first voxel is at `origin`, of every map. Panics where it does not fit.
    pub fn crop(&self, origin: Extent, extent: Extent) -> Self {
        assert!((origin + extent).all(self.extent, |end, size| end <= size), "crop outside the image");
        let mut data = AVec::with_capacity(64, self.channels * extent.len());
        for channel in 0..self.channels {
            let image = self.channel(channel);
            for z in 0..extent.z {
                for y in 0..extent.y {
                    let start = self.extent.index(origin.z + z, origin.y + y, origin.x);
                    data.extend_from_slice(&image[start..start + extent.x]);
                }
            }
        }
        Self { channels: self.channels, extent, data }
    }

    /// The maps in `channels`. Panics where there are not so many.
    pub(crate) fn channels_of(&self, channels: Range<usize>) -> Self {
        let len = self.extent.len();
        Self::from_slice(channels.len(), self.extent, &self.data[channels.start * len..channels.end * len])
    }

    /// The maps of both, these first. Panics where the extents differ.
    pub(crate) fn joined(&self, other: &Tensor) -> Self {
        assert_eq!(self.extent, other.extent, "maps of one extent");
        let mut data = AVec::with_capacity(64, self.data.len() + other.data.len());
        data.extend_from_slice(&self.data);
        data.extend_from_slice(&other.data);
        Self { channels: self.channels + other.channels, extent: self.extent, data }
    }

    /// Puts `part` at `origin`, the reverse of [`crop`](Tensor::crop). Panics where it does not fit.
    pub fn paste(&mut self, part: &Tensor, origin: Extent) {
        let extent = part.extent();
        assert_eq!(part.channels(), self.channels, "channels of the part");
        assert!((origin + extent).all(self.extent, |end, size| end <= size), "paste outside the image");
        for channel in 0..self.channels {
            for z in 0..extent.z {
                for y in 0..extent.y {
                    let to = self.extent.index(origin.z + z, origin.y + y, origin.x);
                    let from = extent.index(z, y, 0);
                    self.channel_mut(channel)[to..to + extent.x]
                        .copy_from_slice(&part.channel(channel)[from..from + extent.x]);
                }
            }
        }
    }
}
