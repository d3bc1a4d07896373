//! Where a patch lies in a volume, and how it is turned.
//!
//! A patch of size `s` around the centre `c` covers `c - (s - 1) / 2 ..= c + s / 2`. Sizes and margins are those
//! that the network sees; a turned patch is read from a box of the volume whose y and x sizes are swapped by the
//! transposition and whose margins before and after are swapped by a flip.

use super::mirror::reflect;
use crate::volume::{Extent, Tensor};

/// One of the sixteen symmetries of a stack of sections: first flips along z, y and x, then the exchange of y and x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orientation {
    /// Reverses z, y, x.
    pub flip: [bool; 3],
    /// Exchanges y and x after the flips.
    pub transpose: bool,
}

impl Orientation {
    /// Flips along z, y, x (bits 0 to 2 of `index`) and transposition (bit 3).
    #[cfg(test)]
    pub(super) fn from_index(index: usize) -> Self {
        let bit = |b: usize| index >> b & 1 == 1;
        Self { flip: [bit(0), bit(1), bit(2)], transpose: bit(3) }
    }

    /// The axis of the volume along which axis `axis` of the patch runs.
    pub(super) fn source_axis(self, axis: usize) -> usize {
        match axis {
            1 if self.transpose => 2,
            2 if self.transpose => 1,
            _ => axis,
        }
    }

    /// The extent in the volume of a patch of extent `extent`.
    pub(super) fn source_extent(self, extent: Extent) -> Extent {
        let axes = extent.to_array();
        Extent::from([0, 1, 2].map(|axis| axes[self.source_axis(axis)]))
    }
}

/// A place to take a sample from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patch {
    /// Which volume.
    pub volume: usize,
    /// The centre of the output patch, in voxels of the label.
    pub centre: Extent,
    /// How the patch is turned.
    pub orientation: Orientation,
}

/// Voxels around the output patch, along each axis of the patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Margins {
    pub(super) before: Extent,
    pub(super) after: Extent,
}

impl Margins {
    /// Of the input of a network that maps `input` to `output` (not larger): of a field of view of `f` voxels,
    /// `(f - 1) / 2` lie before the output voxel.
    pub(super) fn of_input(input: Extent, output: Extent) -> Self {
        let total = input - output;
        let before = total.zip(total, |t, _| t / 2);
        Self { before, after: total - before }
    }

    /// Of labels from which a target is computed that needs `context` voxels before each of its own.
    pub(super) fn of_labels(context: usize) -> Self {
        Self { before: Extent::new(context, context, context), after: Extent::ZERO }
    }

    /// The margins before and after the box in the volume.
    pub(super) fn in_volume(self, orientation: Orientation) -> [[usize; 3]; 2] {
        let (before, after) = (self.before.to_array(), self.after.to_array());
        let mut margins = [[0; 3]; 2];
        for axis in 0..3 {
            let source = orientation.source_axis(axis);
            let flip = orientation.flip[source];
            margins[usize::from(flip)][source] = before[axis];
            margins[usize::from(!flip)][source] = after[axis];
        }
        margins
    }
}

/// Copies the box of `volume` that a patch covers to `out`, turned. `origin` is the first voxel of the box in the
/// volume; outside of it the volume continues by reflection.
pub(super) fn gather(volume: &Tensor, origin: [isize; 3], orientation: Orientation, out: &mut Tensor) {
    let size = volume.extent().to_array();
    let strides = [size[1] * size[2], size[2], 1];
    let patch = out.extent().to_array();
    // The memory position is a sum of one term for each axis, whatever the turn and the reflections.
    let [planes, rows, columns] = [0, 1, 2].map(|axis| -> Vec<usize> {
        let source = orientation.source_axis(axis);
        (0..patch[axis])
            .map(|k| if orientation.flip[source] { patch[axis] - 1 - k } else { k })
            .map(|k| reflect(origin[source] + k as isize, size[source]) * strides[source])
            .collect()
    });
    let is_contiguous = columns.windows(2).all(|pair| pair[1] == pair[0] + 1);
    for channel in 0..out.channels() {
        let from = volume.channel(channel);
        let mut lines = out.channel_mut(channel).chunks_exact_mut(patch[2].max(1));
        for plane in &planes {
            for (row, line) in rows.iter().zip(&mut lines) {
                let start = plane + row;
                if is_contiguous {
                    line.copy_from_slice(&from[start + columns[0]..][..line.len()]);
                } else {
                    for (voxel, column) in line.iter_mut().zip(&columns) {
                        *voxel = from[start + column];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each turn, done step by step on a whole volume as the definition says.
    #[test]
    fn turns_by_their_definition() {
        let size = Extent::new(2, 3, 4);
        let volume = Tensor::from_fn(2, size, |i| i as f32);
        for index in 0..16 {
            let orientation = Orientation::from_index(index);
            let mut steps: Vec<Vec<Vec<Vec<f32>>>> = (0..2)
                .map(|c| {
                    let at = |z, y, x| volume.channel(c)[size.index(z, y, x)];
                    (0..2).map(|z| (0..3).map(|y| (0..4).map(|x| at(z, y, x)).collect()).collect()).collect()
                })
                .collect();
            for image in &mut steps {
                if orientation.flip[0] {
                    image.reverse();
                }
                for section in image.iter_mut() {
                    if orientation.flip[1] {
                        section.reverse();
                    }
                    if orientation.flip[2] {
                        section.iter_mut().for_each(|row| row.reverse());
                    }
                    if orientation.transpose {
                        *section = (0..4).map(|x| section.iter().map(|row| row[x]).collect()).collect();
                    }
                }
            }
            let expected: Vec<f32> = steps.into_iter().flatten().flatten().flatten().collect();
            // Exchanging y and x twice is the identity, so it also leads from the volume's extent to the patch's.
            let mut out = Tensor::zeros(2, orientation.source_extent(size));
            gather(&volume, [0; 3], orientation, &mut out);
            assert_eq!(out.data(), expected, "{orientation:?}");
        }
    }

    #[test]
    fn outside_of_the_volume_it_is_mirrored() {
        let volume = Tensor::from_slice(1, Extent::new(1, 1, 3), &[1.0, 2.0, 3.0]);
        let mut out = Tensor::zeros(1, Extent::new(1, 2, 7));
        gather(&volume, [0, -1, -2], Orientation::default(), &mut out);
        assert_eq!(out.data()[..7], [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
        assert_eq!(out.data()[7..], [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
    }

    #[test]
    fn margins_follow_the_field_of_view() {
        let margins = Margins::of_input(Extent::new(3, 10, 21), Extent::new(1, 5, 5));
        assert_eq!((margins.before, margins.after), (Extent::new(1, 2, 8), Extent::new(1, 3, 8)));
        let turned = Orientation { flip: [false, false, true], transpose: true };
        assert_eq!(margins.in_volume(turned), [[1, 8, 3], [1, 8, 2]]);
        assert_eq!(turned.source_extent(Extent::new(3, 10, 21)), Extent::new(3, 21, 10));
    }
}
