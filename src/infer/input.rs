//! What a network is given of a volume.

use crate::data::formats::VolumeReader;
use crate::data::{DataError, Normalisation, check_finite_at, reflect};
use crate::volume::{Extent, Tensor};

/// Volumes of one extent and any size, read box by box, normalised, and going on mirrored behind their border.
///
/// ```
/// use znn::data::{MemoryReader, Normalisation, Preprocess};
/// use znn::infer::Input;
/// use znn::{Extent, Tensor};
///
/// let image = Tensor::from_fn(1, Extent::new(4, 8, 8), |i| i as f32);
/// let scaled = Preprocess::Standard3d.measure("image", &mut MemoryReader::new(&image), 1 << 20)?;
/// let input = Input::new(Box::new(MemoryReader::new(&image)), scaled, "image");
/// // With what an earlier network has made of it as further channels, as it is.
/// let earlier = Tensor::zeros(2, image.extent());
/// let both = input.with(Input::new(Box::new(MemoryReader::new(&earlier)), Normalisation::NONE, "earlier"));
/// # drop(both);
/// # Ok::<(), znn::data::DataError>(())
/// ```
pub struct Input<'a> {
    /// At least one.
    volumes: Vec<Volume<'a>>,
}

struct Volume<'a> {
    reader: Box<dyn VolumeReader + 'a>,
    normalisation: Normalisation,
    /// The volume in errors; voxels that are not finite are looked for where there is one.
    name: String,
}

impl<'a> Input<'a> {
    /// The volume `reader`, which errors call `name`.
    pub fn new(reader: Box<dyn VolumeReader + 'a>, normalisation: Normalisation, name: &str) -> Self {
        Self { volumes: vec![Volume { reader, normalisation, name: name.to_owned() }] }
    }

    /// With the channels of another volume behind these. Panics where its extent is another.
    pub fn with(mut self, other: Self) -> Self {
        assert_eq!(self.extent(), other.extent(), "volumes of one extent");
        self.volumes.extend(other.volumes);
        self
    }

    /// Voxels of each.
    pub(crate) fn extent(&self) -> Extent {
        self.volumes[0].reader.info().extent
    }

    /// The box of extent `extent` whose first voxel is at `origin`, as far outside as one likes.
    ///
    /// # Errors
    /// Where a volume cannot be read, or a voxel is not finite.
    #[doc(hidden)]
    pub fn patch(&mut self, origin: [isize; 3], extent: Extent) -> Result<Tensor, DataError> {
        let [first, others @ ..] = &mut self.volumes[..] else { unreachable!("at least one") };
        let mut patch = first.patch(origin, extent)?;
        for volume in others {
            patch = patch.joined(&volume.patch(origin, extent)?);
        }
        Ok(patch)
    }
}

impl Volume<'_> {
    fn patch(&mut self, origin: [isize; 3], extent: Extent) -> Result<Tensor, DataError> {
        let size = self.reader.info().extent.to_array();
        let axes: [Vec<usize>; 3] = std::array::from_fn(|axis| {
            (0..extent.to_array()[axis]).map(|i| reflect(origin[axis] + i as isize, size[axis])).collect()
        });
        let first = axes.each_ref().map(|axis| axis.iter().copied().min().unwrap_or(0));
        let last = axes.each_ref().map(|axis| axis.iter().copied().max().unwrap_or(0));
        let (low, high) = (Extent::from(first), Extent::from(last));
        let mut part = self.reader.read(low, high - low + Extent::ONE)?;
        if !self.name.is_empty() {
            check_finite_at(&self.name, "image", &part, low)?;
        }
        self.normalisation.apply(low, &mut part);
        let is_inside = axes.iter().all(|axis| axis.is_sorted());
        if is_inside && part.extent() == extent {
            return Ok(part);
        }
        let inside = part.extent();
        let mut patch = Tensor::zeros(part.channels(), extent);
        for channel in 0..part.channels() {
            let (from, to) = (part.channel(channel), patch.channel_mut(channel));
            let mut rows = to.chunks_exact_mut(extent.x.max(1));
            for z in &axes[0] {
                for y in &axes[1] {
                    let row = &from[inside.index(z - low.z, y - low.y, 0)..][..inside.x];
                    let target = rows.next().unwrap_or_default();
                    for (voxel, x) in target.iter_mut().zip(&axes[2]) {
                        *voxel = row[x - low.x];
                    }
                }
            }
        }
        Ok(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::formats::MemoryReader;
    use crate::data::{Preprocess, mirror_pad};

    #[test]
    fn patches_are_boxes_of_the_mirrored_volume() {
        let volume = Tensor::from_fn(2, Extent::new(3, 4, 5), |i| (i * 37 % 101) as f32);
        let mut normalised = volume.clone();
        Preprocess::Standard2d.apply(&mut normalised);
        let fov = Extent::new(9, 10, 11);
        let padded = mirror_pad(&normalised, fov);
        let normalisation =
            Preprocess::Standard2d.measure("a", &mut MemoryReader::new(&volume), 100).expect("memory");
        let mut input = Input::new(Box::new(MemoryReader::new(&volume)), normalisation, "a");
        for (origin, extent) in [((0, 0, 0), (11, 13, 15)), ((3, 4, 5), (3, 4, 5)), ((9, 1, 2), (2, 5, 9))] {
            let at = Extent::new(origin.0, origin.1, origin.2);
            let extent = Extent::new(extent.0, extent.1, extent.2);
            let outside = [at.z as isize - 4, at.y as isize - 4, at.x as isize - 5];
            assert_eq!(input.patch(outside, extent).unwrap(), padded.crop(at, extent), "{at}");
        }
    }

    #[test]
    fn volumes_are_joined_by_their_channels() {
        let extent = Extent::new(2, 3, 4);
        let make = |channels, offset| Tensor::from_fn(channels, extent, |i| (i + offset) as f32);
        let (a, b) = (make(1, 0), make(2, 100));
        let input = |volume| Input::new(Box::new(MemoryReader::new(volume)), Normalisation::NONE, "a");
        let mut both = input(&a).with(input(&b));
        assert_eq!(both.extent(), extent);
        let patch = both.patch([0; 3], extent).unwrap();
        assert_eq!(patch.channels(), 3);
        assert_eq!((patch.channel(0), patch.channel(2)), (a.channel(0), b.channel(1)));
    }

    #[test]
    fn voxels_that_are_not_finite_are_named_by_their_place_in_the_volume() {
        let mut volume = Tensor::zeros(1, Extent::new(3, 4, 5));
        volume.data_mut()[(2 * 4 + 3) * 5 + 1] = f32::INFINITY;
        let mut input = Input::new(Box::new(MemoryReader::new(&volume)), Normalisation::NONE, "a");
        assert!(input.patch([0, 0, 0], Extent::new(2, 4, 5)).is_ok());
        let error = input.patch([2, 2, 0], Extent::new(1, 2, 2)).unwrap_err().to_string();
        assert!(error.contains("inf at z,y,x = 2,3,1"), "{error}");
    }
}
