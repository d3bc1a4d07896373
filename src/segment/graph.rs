//! The voxels of an image as a graph.

use crate::volume::{Extent, Tensor};

/// An edge between a voxel and the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    pub affinity: f32,
    /// 0, 1, 2: along x, y, z.
    pub channel: u8,
    /// The place of the voxel in a channel.
    pub voxel: u32,
    /// The place of the one before it.
    pub before: u32,
}

/// The edges of `affinities`, channel by channel. Panics where there are not three channels, or more voxels than 32 bits
/// can name.
pub(super) fn edges(affinities: &Tensor) -> impl Iterator<Item = Edge> {
    assert_eq!(affinities.channels(), 3, "affinities along x, y and z");
    let size = affinities.extent();
    assert!(u32::try_from(size.len()).is_ok(), "too many voxels: {size}");
    [1, size.x, size.y * size.x].into_iter().enumerate().flat_map(move |(channel, step)| {
        let values = affinities.channel(channel);
        (0..size.len()).filter(move |&voxel| has_before(size, channel, voxel)).map(move |voxel| Edge {
            affinity: values[voxel],
            channel: channel as u8,
            voxel: voxel as u32,
            before: (voxel - step) as u32,
        })
    })
}

/// Whether the image has a voxel before this one along the axis of the channel.
fn has_before(size: Extent, channel: usize, voxel: usize) -> bool {
    match channel {
        0 => !voxel.is_multiple_of(size.x),
        1 => !(voxel / size.x).is_multiple_of(size.y),
        _ => voxel / (size.x * size.y) > 0,
    }
}

/// The affinities of an image whose first channel is the probability to be inside of an object: that of the less likely
/// one of two voxels.
pub fn of_boundary(inside: &Tensor) -> Tensor {
    let mut affinities = Tensor::zeros(3, inside.extent());
    let values = inside.channel(0);
    let found: Vec<Edge> = edges(&affinities).collect();
    for edge in found {
        let least = values[edge.voxel as usize].min(values[edge.before as usize]);
        affinities.channel_mut(edge.channel.into())[edge.voxel as usize] = least;
    }
    affinities
}

/// Takes away all affinities between sections, so that each is segmented for itself.
pub fn sections(affinities: &mut Tensor) {
    affinities.channel_mut(2).fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neighbourhood_is_an_edge_once() {
        let size = Extent::new(2, 3, 4);
        let affinities = Tensor::from_fn(3, size, |i| i as f32);
        let found: Vec<Edge> = edges(&affinities).collect();
        assert_eq!(found.len(), 2 * 3 * 3 + 2 * 2 * 4 + 3 * 4);
        for edge in found {
            let [a, b] = [edge.before, edge.voxel].map(|v| {
                let v = v as usize;
                [v % 4, v / 4 % 3, v / 12]
            });
            let mut expected = a;
            expected[edge.channel as usize] += 1;
            assert_eq!(b, expected);
            assert_eq!(edge.affinity, (edge.channel as usize * size.len() + edge.voxel as usize) as f32);
        }
    }

    #[test]
    fn a_boundary_voxel_is_apart_from_all() {
        let inside = Tensor::from_slice(1, Extent::new(1, 1, 4), &[0.9, 0.8, 0.1, 0.7]);
        assert_eq!(of_boundary(&inside).channel(0), [0.0, 0.8, 0.1, 0.1]);
    }
}
