//! A volume in memory, read as if it were a file.

use super::{VolumeInfo, VolumeReader};
use crate::data::{DataError, NumberType};
use crate::volume::{Extent, Tensor};

/// Reads boxes of a tensor.
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
