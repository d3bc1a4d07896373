//! TIFF as a volume of which boxes are read and written.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::spool::{Sections, Spool};
use super::{VolumeInfo, VolumeReader, VolumeWriter, check_box};
use crate::data::DataError;
use crate::data::tiff::{Stack, Writer};
use crate::volume::{Extent, Tensor};

struct Reader {
    stack: Stack<BufReader<File>>,
    info: VolumeInfo,
}

/// Opens a stack; with `allow_rgb` colours are segment ids.
///
/// # Errors
/// As [`Stack::open`].
pub fn open(path: &Path, allow_rgb: bool) -> Result<Box<dyn VolumeReader>, DataError> {
    let stack = Stack::open(path, allow_rgb)?;
    let info = VolumeInfo {
        channels: 1,
        extent: stack.extent(),
        numbers: stack.numbers(),
        voxel: stack.voxel_size().cloned(),
        chunk: None,
    };
    Ok(Box::new(Reader { stack, info }))
}

impl VolumeReader for Reader {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        check_box(origin, extent, self.info.extent);
        self.stack.read(origin, extent)
    }
}

/// Begins a stack of one channel.
///
/// # Errors
/// As [`Writer::create`], and where there are several channels.
pub fn create(path: &Path, info: &VolumeInfo) -> Result<Box<dyn VolumeWriter>, DataError> {
    if info.channels != 1 {
        let reason = format!("the volume has {} channels, expected 1", info.channels);
        return Err(DataError::WriteTiff { path: path.to_owned(), reason });
    }
    let writer = Writer::create(path, info.extent, info.numbers)?.with_voxel_size(info.voxel.clone());
    Ok(Box::new(Spool::new(path, writer, info)))
}

impl Sections for Writer {
    fn section(&mut self, voxels: &[f32]) -> Result<(), DataError> {
        self.write_section(voxels)
    }

    fn finish(self) -> Result<(), DataError> {
        Writer::finish(self)
    }
}
