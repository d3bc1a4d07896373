//! A volume in memory, read as if it were a file.

use super::{VolumeInfo, VolumeReader};
use crate::data::{DataError, NumberType};
use crate::volume::{Extent, Tensor};

/// Reads boxes of a tensor.
///
/// ```
/// use znn::data::{MemoryReader, VolumeReader};
/// use znn::{Extent, Tensor};
///
/// let volume = Tensor::from_fn(1, Extent::new(1, 1, 4), |i| i as f32);
/// let mut reader = MemoryReader::new(&volume);
/// assert_eq!(reader.read(Extent::new(0, 0, 2), Extent::new(1, 1, 2))?.data(), [2.0, 3.0]);
/// # Ok::<(), znn::data::DataError>(())
/// ```
pub struct MemoryReader<'a> {
    volume: &'a Tensor,
    info: VolumeInfo,
}

impl<'a> MemoryReader<'a> {
    /// A reader of `volume`.
    pub fn new(volume: &'a Tensor) -> Self {
        let info = VolumeInfo {
            channels: volume.channels(),
            extent: volume.extent(),
            numbers: NumberType::F32,
            voxel: None,
            chunk: None,
        };
        Self { volume, info }
    }
}

impl VolumeReader for MemoryReader<'_> {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        Ok(self.volume.crop(origin, extent))
    }
}
