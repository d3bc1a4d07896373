//! Files that hold the numbers of a volume one after the other, behind a header: raw, NPY and NIfTI.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Source, VolumeInfo, VolumeReader, VolumeWriter, check_box};
use crate::atomic_file::NewFile;
use crate::data::{ByteOrder, DataError};
use crate::volume::{Extent, Tensor};

/// The most bytes that are read or written at once.
const PIECE: usize = 1 << 20;

/// Where the numbers lie in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// What the volume is.
    pub info: VolumeInfo,
    /// The byte of the first number.
    pub offset: u64,
    /// Which byte of a number comes first.
    pub order: ByteOrder,
    /// The first axis, channels, is contiguous and not the last one.
    pub is_fortran: bool,
    /// A number is this many times what is stored, plus the second.
    pub scale: Option<(f32, f32)>,
}

impl Layout {
    /// Little-endian numbers behind a header of `offset` bytes.
    pub fn plain(info: VolumeInfo, offset: u64) -> Self {
        Self { info, offset, order: ByteOrder::Little, is_fortran: false, scale: None }
    }

    /// Bytes from the begin of the file to the end of the numbers.
    pub fn end(&self) -> u64 {
        let numbers = self.info.channels as u64 * self.info.extent.len() as u64;
        self.offset.saturating_add(numbers.saturating_mul(self.info.numbers.bytes() as u64))
    }

    /// Channels, z, y and x as they follow each other in the file, the last axis being contiguous.
    fn file_axes(&self, channels: usize, extent: Extent) -> [usize; 4] {
        let mut axes = [channels, extent.z, extent.y, extent.x];
        if self.is_fortran {
            axes.reverse();
        }
        axes
    }
}

/// Reads a file of numbers.
pub(super) struct FlatReader<S> {
    path: PathBuf,
    source: S,
    layout: Layout,
}

impl<S: Source> FlatReader<S> {
    /// The numbers in `source`, which errors call `path`.
    ///
    /// # Errors
    /// Where it has fewer bytes than the layout says.
    pub fn new(path: &Path, mut source: S, layout: Layout) -> Result<Self, DataError> {
        let bytes = source.seek(SeekFrom::End(0)).map_err(DataError::io("read", path))?;
        let expected = layout.end();
        if bytes < expected {
            let VolumeInfo { channels, extent, numbers, .. } = &layout.info;
            let reason = format!(
                "{bytes} bytes, expected {expected} for {channels} x {extent} (channels x z,y,x) of {numbers}; \
                 is it truncated?"
            );
            return Err(DataError::format(path, "the data", reason));
        }
        Ok(Self { path: path.to_owned(), source, layout })
    }

    /// The same numbers as one channel, the sections of all channels behind each other.
    pub fn as_stack(&mut self) {
        let info = &mut self.layout.info;
        info.extent.z *= std::mem::replace(&mut info.channels, 1);
    }

    /// Numbers that follow each other in the file.
    fn run(&mut self, first: u64, count: usize, values: &mut Vec<f32>) -> Result<(), DataError> {
        let width = self.layout.info.numbers.bytes();
        let start = self.layout.offset + first * width as u64;
        self.source.seek(SeekFrom::Start(start)).map_err(DataError::io("read", &self.path))?;
        let mut left = count * width;
        let mut piece = vec![0; left.min(PIECE)];
        while left > 0 {
            let bytes = &mut piece[..left.min(PIECE)];
            self.source.read_exact(bytes).map_err(DataError::io("read", &self.path))?;
            let numbers = self.layout.info.numbers;
            numbers
                .decode(bytes, self.layout.order, values)
                .map_err(|reason| DataError::format(&self.path, "the data", reason))?;
            left -= bytes.len();
        }
        Ok(())
    }
}

impl<S: Source> VolumeReader for FlatReader<S> {
    fn info(&self) -> &VolumeInfo {
        &self.layout.info
    }

    fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        let (channels, volume) = (self.layout.info.channels, self.layout.info.extent);
        check_box(origin, extent, volume);
        let size = self.layout.file_axes(channels, volume);
        let first = self.layout.file_axes(0, origin);
        let part = self.layout.file_axes(channels, extent);
        let mut values = Vec::with_capacity(channels * extent.len());
        for run in Runs::new(size, first, part) {
            self.run(run as u64, Runs::length(size, part), &mut values)?;
        }
        if let Some((slope, intercept)) = self.layout.scale {
            values.iter_mut().for_each(|value| *value = *value * slope + intercept);
        }
        if !self.layout.is_fortran {
            return Ok(Tensor::from_slice(channels, extent, &values));
        }
        let mut tensor = Tensor::zeros(channels, extent);
        let [nx, ny, nz, nc] = part;
        let mut values = values.into_iter();
        for x in 0..nx {
            for y in 0..ny {
                for z in 0..nz {
                    for channel in 0..nc {
                        let voxel = extent.index(z, y, x);
                        tensor.channel_mut(channel)[voxel] = values.next().unwrap_or_default();
                    }
                }
            }
        }
        Ok(tensor)
    }
}

/// The first numbers of the contiguous runs of a box of a file's axes.
struct Runs {
    size: [usize; 4],
    first: [usize; 4],
    /// How many runs there are along the first three axes.
    counts: [usize; 3],
    next: usize,
}

impl Runs {
    fn new(size: [usize; 4], first: [usize; 4], part: [usize; 4]) -> Self {
        // Axes behind the last one that is not whole are part of a run.
        let split = Self::split(size, part);
        let counts = [0, 1, 2].map(|axis| if axis < split { part[axis] } else { 1 });
        Self { size, first, counts, next: 0 }
    }

    /// Numbers in a run.
    fn length(size: [usize; 4], part: [usize; 4]) -> usize {
        part[Self::split(size, part)..].iter().product()
    }

    /// The axis at which runs begin: all behind it are whole.
    fn split(size: [usize; 4], part: [usize; 4]) -> usize {
        (1..4).rev().find(|&axis| part[axis] != size[axis]).unwrap_or(0)
    }
}

impl Iterator for Runs {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let [a, b, c] = self.counts;
        if self.next == a * b * c {
            return None;
        }
        let at = [self.next / (b * c), self.next / c % b, self.next % c, 0];
        self.next += 1;
        Some((0..4).fold(0, |index, axis| index * self.size[axis] + self.first[axis] + at[axis]))
    }
}

/// Writes a file of numbers, little-endian, which appears under its name when it is complete.
pub(super) struct FlatWriter {
    path: PathBuf,
    new: NewFile,
    layout: Layout,
}

impl FlatWriter {
    /// Begins with a header.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn create(path: &Path, header: &[u8], info: VolumeInfo) -> Result<Self, DataError> {
        let io = |action| DataError::io(action, path);
        let new = NewFile::create(path).map_err(io("create"))?;
        let layout = Layout::plain(info, header.len() as u64);
        let mut file = new.file();
        file.write_all(header).map_err(io("write"))?;
        file.set_len(layout.end()).map_err(io("write"))?;
        Ok(Self { path: path.to_owned(), new, layout })
    }

    /// What is in the file, to be read before it is finished.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn reader(&self) -> Result<FlatReader<File>, DataError> {
        let file = self.new.file().try_clone().map_err(DataError::io("read", &self.path))?;
        FlatReader::new(&self.path, file, self.layout.clone())
    }
}

impl VolumeWriter for FlatWriter {
    fn write(&mut self, origin: Extent, part: &Tensor) -> Result<(), DataError> {
        let (channels, volume) = (self.layout.info.channels, self.layout.info.extent);
        check_box(origin, part.extent(), volume);
        assert_eq!(part.channels(), channels, "channels of a part");
        let (size, first) = (self.layout.file_axes(channels, volume), self.layout.file_axes(0, origin));
        let box_axes = self.layout.file_axes(channels, part.extent());
        let numbers = self.layout.info.numbers;
        let length = Runs::length(size, box_axes);
        for (run, values) in Runs::new(size, first, box_axes).zip(part.data().chunks_exact(length.max(1))) {
            let start = self.layout.offset + (run * numbers.bytes()) as u64;
            let mut file = self.new.file();
            file.seek(SeekFrom::Start(start)).map_err(DataError::io("write", &self.path))?;
            for piece in values.chunks(PIECE) {
                file.write_all(&numbers.encode(piece)).map_err(DataError::io("write", &self.path))?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), DataError> {
        self.new.commit().map_err(DataError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::data::NumberType;

    fn info(channels: usize, extent: Extent) -> VolumeInfo {
        VolumeInfo { channels, extent, numbers: NumberType::U16, voxel: None, chunk: None }
    }

    #[test]
    fn boxes_are_read_in_both_orders_of_axes() {
        let extent = Extent::new(3, 4, 5);
        let volume = Tensor::from_fn(2, extent, |i| i as f32);
        let c = NumberType::U16.encode(volume.data());
        let mut fortran = Vec::new();
        for x in 0..5 {
            for y in 0..4 {
                for z in 0..3 {
                    for channel in 0..2 {
                        fortran.push(volume.channel(channel)[extent.index(z, y, x)]);
                    }
                }
            }
        }
        for (bytes, is_fortran) in [(c, false), (NumberType::U16.encode(&fortran), true)] {
            let layout = Layout { is_fortran, ..Layout::plain(info(2, extent), 0) };
            let mut reader = FlatReader::new(Path::new("a"), Cursor::new(bytes), layout).unwrap();
            for (origin, part) in [((0, 0, 0), (3, 4, 5)), ((1, 0, 0), (2, 4, 5)), ((0, 1, 2), (3, 2, 2))] {
                let origin = Extent::new(origin.0, origin.1, origin.2);
                let part = Extent::new(part.0, part.1, part.2);
                assert_eq!(reader.read(origin, part).unwrap(), volume.crop(origin, part), "{is_fortran}");
            }
        }
    }

    #[test]
    fn what_is_written_box_by_box_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let extent = Extent::new(3, 4, 5);
        let volume = Tensor::from_fn(2, extent, |i| i as f32);
        let mut writer = Box::new(FlatWriter::create(&path, b"head", info(2, extent)).unwrap());
        for y in [0, 2] {
            for x in [2, 0] {
                let part = Extent::new(3, 2, if x == 0 { 2 } else { 3 });
                let origin = Extent::new(0, y, x);
                writer.write(origin, &volume.crop(origin, part)).unwrap();
            }
        }
        assert!(!path.exists());
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((&bytes[..4], &bytes[4..]), (&b"head"[..], &NumberType::U16.encode(volume.data())[..]));
    }

    #[test]
    fn a_short_file_is_refused_when_it_is_opened() {
        let layout = Layout::plain(info(1, Extent::new(2, 2, 2)), 3);
        let error = FlatReader::new(Path::new("a"), Cursor::new(vec![0; 18]), layout).err().unwrap();
        assert_eq!(
            error.to_string(),
            "a, the data: 18 bytes, expected 19 for 1 x 2,2,2 (channels x z,y,x) of uint16; is it truncated?"
        );
    }
}
