//! Mirror borders.

#[cfg(test)]
use crate::volume::{Extent, Tensor};

/// The voxel of an axis of `n` voxels that is seen at `position` when the axis continues by symmetric reflection
/// on both sides (the edge voxel is repeated: `... 1 0 | 0 1 ... n-1 | n-1 n-2 ...`), as often as needed.
/// Panics when `n` is zero.
pub(crate) fn reflect(position: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let folded = position.rem_euclid(period) as usize;
    if folded < n { folded } else { 2 * n - 1 - folded }
}

/// The image with mirror borders for a network with field of view `fov`: symmetric reflection, `(fov - 1) / 2`
/// voxels before and `fov / 2` after, per axis, so that dense inference yields one output voxel for each voxel
/// of `image`. `fov` must be at least one and `image` not empty.
#[cfg(test)]
pub(crate) fn mirror_pad(image: &Tensor, fov: Extent) -> Tensor {
    let size = image.extent();
    let low = fov.zip(Extent::ONE, |f, one| (f - one) / 2);
    let extent = size + fov - Extent::ONE;
    let mut padded = Tensor::zeros(image.channels(), extent);
    let columns: Vec<usize> = (0..extent.x).map(|x| reflect(x as isize - low.x as isize, size.x)).collect();
    for channel in 0..image.channels() {
        let from = image.channel(channel);
        let to = padded.channel_mut(channel);
        for z in 0..extent.z {
            let source_z = reflect(z as isize - low.z as isize, size.z);
            for y in 0..extent.y {
                let source_y = reflect(y as isize - low.y as isize, size.y);
                let row = &from[size.index(source_z, source_y, 0)..][..size.x];
                let target = &mut to[extent.index(z, y, 0)..][..extent.x];
                for (voxel, &column) in target.iter_mut().zip(&columns) {
                    *voxel = row[column];
                }
            }
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(1, Extent::new(1, 1, values.len()), values)
    }

    #[test]
    fn the_edge_voxel_is_repeated() {
        let padded = mirror_pad(&row(&[1.0, 2.0, 3.0]), Extent::new(1, 1, 5));
        assert_eq!(padded.data(), [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
    }

    #[test]
    fn an_even_field_of_view_has_the_larger_border_after() {
        let padded = mirror_pad(&row(&[1.0, 2.0, 3.0]), Extent::new(1, 1, 4));
        assert_eq!(padded.data(), [1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
    }

    #[test]
    fn a_border_wider_than_the_image_reflects_again() {
        let padded = mirror_pad(&row(&[1.0, 2.0]), Extent::new(1, 1, 11));
        assert_eq!(padded.data(), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(mirror_pad(&row(&[7.0]), Extent::new(1, 1, 6)).data(), [7.0; 6]);
    }

    /// Per axis, the border is a piece of the endless sequence of the image, its reverse, the image, ...
    #[test]
    fn axes_and_channels_are_independent() {
        let size = Extent::new(2, 3, 4);
        let image = Tensor::from_fn(2, size, |i| i as f32);
        let fov = Extent::new(8, 3, 6);
        let padded = mirror_pad(&image, fov);
        assert_eq!(padded.extent(), size + fov - Extent::ONE);
        let table = |n: usize, fov: usize| -> Vec<usize> {
            let period: Vec<usize> = (0..n).chain((0..n).rev()).collect();
            let start = 10 * period.len() - (fov - 1) / 2;
            period.iter().copied().cycle().skip(start).take(n + fov - 1).collect()
        };
        let [tz, ty, tx] = [table(2, 8), table(3, 3), table(4, 6)];
        for c in 0..2 {
            for (z, &sz) in tz.iter().enumerate() {
                for (y, &sy) in ty.iter().enumerate() {
                    for (x, &sx) in tx.iter().enumerate() {
                        let found = padded.channel(c)[padded.extent().index(z, y, x)];
                        assert_eq!(found, image.channel(c)[size.index(sz, sy, sx)], "{c} {z},{y},{x}");
                    }
                }
            }
        }
    }
}
