//! Formats that can only be written from begin to end: what comes out of order waits in a file beside the output.

use std::path::{Path, PathBuf};

use super::flat::FlatWriter;
use super::{VolumeInfo, VolumeReader, VolumeWriter, check_box};
use crate::data::{DataError, NumberType};
use crate::volume::{Extent, Tensor};

/// A format that is written section by section, channel after channel.
pub(super) trait Sections: Send {
    /// Writes the next section, `[y][x]`.
    fn section(&mut self, voxels: &[f32]) -> Result<(), DataError>;

    /// Completes the file.
    fn finish(self) -> Result<(), DataError>;
}

/// Gives boxes to a format of sections. Whole sections in their order go through; as soon as something else comes, all
/// that follows waits on the disk, as f32.
pub(super) struct Spool<T> {
    path: PathBuf,
    sections: T,
    info: VolumeInfo,
    /// Sections that went through.
    done: usize,
    waiting: Option<FlatWriter>,
}

impl<T: Sections> Spool<T> {
    /// Writes a volume like `info` by `sections`, to the file `path`.
    pub fn new(path: &Path, sections: T, info: &VolumeInfo) -> Self {
        Self { path: path.to_owned(), sections, info: info.clone(), done: 0, waiting: None }
    }
}

impl<T: Sections> VolumeWriter for Spool<T> {
    fn write(&mut self, origin: Extent, part: &Tensor) -> Result<(), DataError> {
        let (channels, volume) = (self.info.channels, self.info.extent);
        check_box(origin, part.extent(), volume);
        assert_eq!(part.channels(), channels, "channels of a part");
        let section = volume.y * volume.x;
        let is_whole = (part.extent().y, part.extent().x) == (volume.y, volume.x)
            && (channels == 1 || part.extent() == volume);
        if is_whole && origin.z == self.done && self.waiting.is_none() {
            for voxels in part.data().chunks_exact(section) {
                self.sections.section(voxels)?;
            }
            self.done += channels * part.extent().z;
            return Ok(());
        }
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                let info = VolumeInfo { numbers: NumberType::F32, ..self.info.clone() };
                self.waiting.insert(FlatWriter::create(&self.path, &[], info)?)
            }
        };
        waiting.write(origin, part)
    }

    fn finish(mut self: Box<Self>) -> Result<(), DataError> {
        let Extent { z, y, x } = self.info.extent;
        if let Some(waiting) = self.waiting.take() {
            let mut reader = waiting.reader()?;
            let whole = reader.info().channels * z;
            // A channel is a stack of further sections of the same file.
            reader.as_stack();
            for section in self.done..whole {
                let voxels = reader.read(Extent::new(section, 0, 0), Extent::new(1, y, x))?;
                self.sections.section(voxels.data())?;
            }
        }
        self.sections.finish()
    }
}
