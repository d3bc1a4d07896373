//! Where the maps of a batch lie in the caller's memory.

use std::ops::Range;

use super::Conv3dError;

/// Distances, in floats, between the maps of a batch. The voxels of a map always lie next to each other.
///
/// Either the images follow each other, each with its maps, or the maps do, each with the images of the batch; maps
/// must not overlap.
///
/// ```
/// use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem, Strides};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// # let problem = Problem::valid(2, 1, Extent::new(4, 4, 4), Extent::new(3, 3, 3), Extent::ONE);
/// // Two images of 5 maps, of which the convolution reads two.
/// let strides = Strides { image: 5 * 64, map: 64 };
/// let options = Conv3dOptions { batch: 2, input: Some(strides), ..Default::default() };
/// let mut conv = Conv3d::new(&engine, problem, &options)?;
/// assert_eq!(conv.input_len(), 5 * 64 + 2 * 64);
///
/// let images = vec![1.0; 2 * 5 * 64];
/// let mut y = vec![0.0; conv.output_len()];
/// conv.forward(&images[64..][..conv.input_len()], &[1.0; 54], None, &mut y)?;
/// assert_eq!(y, [54.0; 2 * 8]);
/// // What is meant where nothing is said.
/// assert_eq!(Strides::contiguous(2, 64), Strides { image: 128, map: 64 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From the start of an image to that of the next one of the batch.
    pub image: usize,
    /// From the start of a map to that of the next one of the same image.
    pub map: usize,
}

impl Strides {
    /// Those of a contiguous array `[image][map][z][y][x]` with so many maps of so many voxels.
    pub const fn contiguous(maps: usize, voxels: usize) -> Self {
        Self { image: maps * voxels, map: voxels }
    }
}

/// Checked strides of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub strides: Strides,
    pub batch: usize,
    pub maps: usize,
    pub voxels: usize,
    /// Floats of the array, from the first to the last voxel.
    pub len: usize,
    /// Floats of an image, from the first to the last voxel.
    pub span: usize,
}

impl Layout {
    /// `strides`, where there are none contiguous ones.
    pub fn new(
        strides: Option<Strides>,
        batch: usize,
        maps: usize,
        voxels: usize,
    ) -> Result<Self, Conv3dError> {
        let wrong = |strides| Conv3dError::Strides { strides, batch, maps, voxels };
        let strides = strides.unwrap_or_else(|| Strides::contiguous(maps, voxels));
        let end = |count: usize, stride: usize, len: usize| {
            (count - 1).checked_mul(stride).and_then(|start| start.checked_add(len))
        };
        let overlap = |count: usize, stride: usize, len: usize| count > 1 && stride < len;
        let (Some(span), Some(line)) = (end(maps, strides.map, voxels), end(batch, strides.image, voxels))
        else {
            return Err(wrong(strides));
        };
        let images_apart = !overlap(maps, strides.map, voxels) && !overlap(batch, strides.image, span);
        let maps_apart = !overlap(batch, strides.image, voxels) && !overlap(maps, strides.map, line);
        match end(batch, strides.image, span) {
            Some(len) if (images_apart || maps_apart) && len <= isize::MAX as usize / size_of::<f32>() => {
                Ok(Self { strides, batch, maps, voxels, len, span })
            }
            _ => Err(wrong(strides)),
        }
    }

    /// Whether the images are slices of their own.
    pub fn images_are_apart(&self) -> bool {
        self.batch == 1 || self.strides.image >= self.span
    }

    /// Where an image lies.
    pub fn image(&self, index: usize) -> Range<usize> {
        let start = index * self.strides.image;
        start..start + self.span
    }

    /// Whether an array has the right length.
    pub fn check(&self, array: &'static str, found: usize) -> Result<(), Conv3dError> {
        check_len(array, found, self.len)
    }

    /// Some images of a batch, which lie apart unless there is one.
    pub fn images<'a>(&self, array: &'a [f32], images: Range<usize>) -> impl Iterator<Item = &'a [f32]> {
        let layout = *self;
        images.map(move |index| &array[layout.image(index)])
    }

    /// Some images of a batch, which lie apart unless there is one.
    pub fn images_mut<'a>(
        &self,
        array: &'a mut [f32],
        images: Range<usize>,
    ) -> impl Iterator<Item = &'a mut [f32]> {
        let Self { span, strides, .. } = *self;
        let last = images.end - 1;
        let mut rest = &mut array[images.start * strides.image..];
        images.map(move |index| {
            let taken = std::mem::take(&mut rest);
            let (image, tail) = taken.split_at_mut(if index == last { span } else { strides.image });
            rest = tail;
            &mut image[..span]
        })
    }
}

pub(super) fn check_len(array: &'static str, found: usize, expected: usize) -> Result<(), Conv3dError> {
    if found == expected { Ok(()) } else { Err(Conv3dError::Length { array, found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_never_overlap() {
        let batch = |image, map| Layout::new(Some(Strides { image, map }), 3, 2, 10);
        assert_eq!(batch(20, 10).unwrap().len, 60);
        assert_eq!(batch(25, 12).unwrap().len, 72);
        // the images of a map follow each other
        let interleaved = batch(10, 30).unwrap();
        assert_eq!((interleaved.len, interleaved.span, interleaved.images_are_apart()), (60, 40, false));
        assert_eq!(interleaved.image(2), 20..60);
        for (image, map) in
            [(19, 10), (20, 9), (10, 29), (9, 30), (0, 10), (usize::MAX, 10), (20, usize::MAX)]
        {
            assert!(matches!(batch(image, map), Err(Conv3dError::Strides { .. })), "{image}, {map}");
        }
        // strides of a single image and of a single map do not matter
        assert_eq!(Layout::new(Some(Strides { image: 0, map: 0 }), 1, 1, 10).unwrap().len, 10);
    }

    #[test]
    fn images_are_where_they_should_be() {
        let layout = Layout::new(Some(Strides { image: 7, map: 3 }), 3, 2, 2).unwrap();
        let mut array: Vec<f32> = (0..layout.len).map(|i| i as f32).collect();
        let starts: Vec<f32> = layout.images(&array, 1..3).map(|image| image[0]).collect();
        assert_eq!(starts, [7.0, 14.0]);
        let spans: Vec<(f32, usize)> =
            layout.images_mut(&mut array, 0..3).map(|image| (image[0], image.len())).collect();
        assert_eq!(spans, [(0.0, 5), (7.0, 5), (14.0, 5)]);
    }
}
