//! From labels to what a network is trained to give.

use crate::volume::{Extent, Tensor};

/// What the output channels of a network mean.
///
/// ```
/// use znn::data::Target;
/// use znn::{Extent, Tensor};
///
/// assert_eq!((Target::Affinity.channels(), Target::Semantic { classes: 4 }.classes()), (3, 4));
/// // Two cells beside each other, of which the second is none.
/// let labels = Tensor::from_slice(1, Extent::new(1, 1, 4), &[7.0, 7.0, 0.0, 0.0]);
/// let mut target = Tensor::zeros(2, labels.extent());
/// Target::Boundary { channels: 2 }.compute(&labels, &mut target);
/// assert_eq!((target.channel(0), target.channel(1)), (&[1.0, 1.0, 0.0, 0.0][..], &[0.0, 0.0, 1.0, 1.0][..]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Channel 0 is 1 inside cells (label > 0) and 0 on boundaries; of two channels, the second is its complement.
    Boundary {
        /// One or two.
        channels: usize,
    },
    /// Three channels, along x, y and z: 1 where the voxel and its predecessor along the axis have the same
    /// label and it is > 0.
    Affinity,
    /// A channel for each class: 1 where the label is its number, counted from 0.
    Semantic {
        /// How many; at least two.
        classes: usize,
    },
    /// One channel: the label's values.
    Raw,
}

impl Target {
    /// The number of output channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Boundary { channels } => channels,
            Self::Semantic { classes } => classes,
            Self::Affinity => 3,
            Self::Raw => 1,
        }
    }

    /// The number of classes that factors may be given for.
    pub fn classes(self) -> usize {
        match self {
            Self::Semantic { classes } => classes,
            Self::Boundary { .. } | Self::Affinity => 2,
            Self::Raw => 0,
        }
    }

    /// How many label voxels are needed before the first output voxel, along each axis.
    pub(crate) fn context(self) -> usize {
        usize::from(self == Self::Affinity)
    }

    /// Writes the target of `labels` to `target`, whose extent is that of `labels`, for affinities
    /// less one voxel at the beginning of each axis. Panics when extents or channels do not match.
    pub fn compute(self, labels: &Tensor, target: &mut Tensor) {
        self.check(labels, target);
        let copy = |source: &[f32], to: &mut [f32], value: fn(f32) -> f32| {
            to.iter_mut().zip(source).for_each(|(to, &label)| *to = value(label));
        };
        match self {
            Self::Raw => target.data_mut().copy_from_slice(labels.data()),
            Self::Boundary { channels } => {
                let inside: fn(f32) -> f32 = |label| f32::from(label > 0.0);
                let boundary: fn(f32) -> f32 = |label| f32::from(label <= 0.0);
                for channel in 0..channels {
                    let value = if channel == 0 { inside } else { boundary };
                    copy(labels.channel(0), target.channel_mut(channel), value);
                }
            }
            Self::Semantic { classes } => {
                for class in 0..classes {
                    let values = target.channel_mut(class).iter_mut().zip(labels.channel(0));
                    values.for_each(|(to, &label)| *to = f32::from(label == class as f32));
                }
            }
            Self::Affinity => with_predecessor(labels, target, |voxel, predecessor| {
                f32::from(voxel == predecessor && voxel > 0.0)
            }),
        }
    }

    /// Writes the mask of the target to `valid` (1 or 0): that of the voxel, for affinities the one or the other
    /// of the two voxels. Extents as for [`compute`](Self::compute).
    pub(crate) fn mask(self, mask: &Tensor, valid: &mut Tensor) {
        self.check(mask, valid);
        if self == Self::Affinity {
            with_predecessor(mask, valid, |voxel, predecessor| f32::from(voxel > 0.0 || predecessor > 0.0));
            return;
        }
        for channel in 0..valid.channels() {
            for (to, &voxel) in valid.channel_mut(channel).iter_mut().zip(mask.data()) {
                *to = f32::from(voxel > 0.0);
            }
        }
    }

    fn check(self, labels: &Tensor, target: &Tensor) {
        let context = Extent::ONE.zip(Extent::ONE, |_, _| self.context());
        assert_eq!(labels.channels(), 1, "labels have one channel");
        assert_eq!(target.channels(), self.channels(), "channels of the target");
        assert_eq!(labels.extent(), target.extent() + context, "extent of the labels");
    }
}

/// For each axis x, y, z (a channel each) and each voxel of `out`: `pair` of the voxel of `volume` and of the one
/// before it. `volume` has one plane, row and column more than `out`, in front.
fn with_predecessor(volume: &Tensor, out: &mut Tensor, pair: impl Fn(f32, f32) -> f32) {
    let (source, size) = (volume.extent(), out.extent());
    let data = volume.channel(0);
    for (channel, step) in [1, source.x, source.y * source.x].into_iter().enumerate() {
        let channel = out.channel_mut(channel);
        for z in 0..size.z {
            for y in 0..size.y {
                let row = &mut channel[size.index(z, y, 0)..][..size.x];
                let start = source.index(z + 1, y + 1, 1);
                for (x, value) in row.iter_mut().enumerate() {
                    *value = pair(data[start + x], data[start + x - step]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_channels_are_complements() {
        let size = Extent::new(1, 2, 2);
        let labels = Tensor::from_slice(1, size, &[0.0, 255.0, 7.0, 0.0]);
        for channels in [1, 2] {
            let mut target = Tensor::zeros(channels, size);
            Target::Boundary { channels }.compute(&labels, &mut target);
            assert_eq!(target.channel(0), [0.0, 1.0, 1.0, 0.0]);
            if channels == 2 {
                assert_eq!(target.channel(1), [1.0, 0.0, 0.0, 1.0]);
            }
        }
        let labels = Tensor::from_slice(1, size, &[0.0, 2.0, 1.0, 7.0]);
        let mut target = Tensor::zeros(3, size);
        Target::Semantic { classes: 3 }.compute(&labels, &mut target);
        assert_eq!(target.channel(0), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(target.channel(1), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(target.channel(2), [0.0, 1.0, 0.0, 0.0], "7 is none of three classes");
        let mut target = Tensor::zeros(1, size);
        Target::Raw.compute(&labels, &mut target);
        assert_eq!(target, labels);
    }

    #[test]
    fn affinities_by_their_definition() {
        let size = Extent::new(3, 4, 5);
        let whole = size + Extent::ONE;
        let labels =
            Tensor::from_fn(1, whole, |i| (((i * 2654435761) >> 7) & 1) as f32 * (1 + i / 40) as f32);
        let mask = Tensor::from_fn(1, whole, |i| (((i * 40503) >> 5) & 1) as f32);
        let (mut target, mut valid) = (Tensor::zeros(3, size), Tensor::zeros(3, size));
        Target::Affinity.compute(&labels, &mut target);
        Target::Affinity.mask(&mask, &mut valid);
        let at = |t: &Tensor, z: usize, y: usize, x: usize| t.data()[whole.index(z, y, x)];
        let mut seen = [0; 2];
        for (channel, [dz, dy, dx]) in [[0, 0, 1], [0, 1, 0], [1, 0, 0]].into_iter().enumerate() {
            for z in 0..size.z {
                for y in 0..size.y {
                    for x in 0..size.x {
                        let here = at(&labels, z + 1, y + 1, x + 1);
                        let before = at(&labels, z + 1 - dz, y + 1 - dy, x + 1 - dx);
                        let affinity = here == before && here > 0.0;
                        let is_valid = at(&mask, z + 1, y + 1, x + 1) > 0.0
                            || at(&mask, z + 1 - dz, y + 1 - dy, x + 1 - dx) > 0.0;
                        let i = size.index(z, y, x);
                        assert_eq!(target.channel(channel)[i], f32::from(affinity), "{channel} {z},{y},{x}");
                        assert_eq!(valid.channel(channel)[i], f32::from(is_valid), "{channel} {z},{y},{x}");
                        seen[usize::from(affinity)] += 1;
                    }
                }
            }
        }
        assert!(seen[0] > 20 && seen[1] > 20, "both classes occur: {seen:?}");
    }

    #[test]
    fn the_mask_covers_every_channel() {
        let size = Extent::new(1, 1, 3);
        let mask = Tensor::from_slice(1, size, &[0.0, 2.0, 255.0]);
        let mut valid = Tensor::zeros(2, size);
        Target::Boundary { channels: 2 }.mask(&mask, &mut valid);
        assert_eq!(valid.data(), [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    }
}
