//! The files that a prediction is written to.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use znn::data::formats::{VolumeInfo, VolumeWriter};
use znn::data::{DataError, NumberType, VoxelSize, volume_file};
use znn::infer::{Part, Progress};
use znn::{Extent, Tensor};

/// How a voxel of the output is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    U8,
    U16,
    F32,
    /// The number of the map with the largest value, in 8 bits.
    Classes,
}

impl Format {
    /// The type in the file, and the value that stands for 1.
    pub fn numbers(self) -> (NumberType, f32) {
        match self {
            Format::U8 => (NumberType::U8, 255.0),
            Format::U16 => (NumberType::U16, 65535.0),
            Format::F32 => (NumberType::F32, 1.0),
            Format::Classes => (NumberType::U8, 1.0),
        }
    }
}

/// What all files of a volume have in common.
pub struct Kind {
    pub extent: Extent,
    pub voxel: Option<VoxelSize>,
    pub chunk: Option<Extent>,
}

/// One file, and which maps it gets.
struct File {
    path: PathBuf,
    writer: Box<dyn VolumeWriter>,
    /// The output node.
    node: usize,
    first: usize,
    channels: usize,
    /// The value that stands for 1.
    one: f32,
    /// Whether it gets the number of the largest of the maps.
    has_classes: bool,
}

/// All files of a prediction.
#[derive(Default)]
pub struct Files {
    files: Vec<File>,
}

impl Files {
    /// Begins a file that gets `channels` maps from map `first` of output node `node` on.
    pub fn begin(
        &mut self,
        path: PathBuf,
        (node, first, channels): (usize, usize, usize),
        format: Format,
        kind: &Kind,
    ) -> Result<(), DataError> {
        let (numbers, one) = format.numbers();
        let has_classes = format == Format::Classes;
        let written = if has_classes { 1 } else { channels };
        let info = VolumeInfo {
            channels: written,
            extent: kind.extent,
            numbers,
            voxel: kind.voxel.clone(),
            chunk: kind.chunk,
        };
        let writer = volume_file::create(&path, &info)?;
        self.files.push(File { path, writer, node, first, channels, one, has_classes });
        Ok(())
    }

    /// How many have been begun.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Writes a part to all files, and then says in `progress` that its blocks are on the disk.
    pub fn write(&mut self, part: &Part, progress: Option<&Progress>) -> Result<(), DataError> {
        for file in &mut self.files {
            let maps = &part.maps[file.node];
            if file.has_classes {
                file.writer.write(part.origin, &largest(maps))?;
                continue;
            }
            if file.channels == maps.channels() && file.one == 1.0 {
                file.writer.write(part.origin, maps)?;
                continue;
            }
            let len = maps.extent().len();
            let values = &maps.data()[file.first * len..][..file.channels * len];
            let chosen = Tensor::from_fn(file.channels, maps.extent(), |i| values[i] * file.one);
            file.writer.write(part.origin, &chosen)?;
        }
        match progress {
            Some(progress) => part.blocks.iter().try_for_each(|&block| progress.mark(block)),
            None => Ok(()),
        }
    }

    /// Completes all files; their names.
    pub fn finish(self) -> Result<Vec<PathBuf>, DataError> {
        let finish = |file: File| file.writer.finish().map(|()| file.path);
        self.files.into_iter().map(finish).collect()
    }
}

/// For each voxel the number of the map with the largest value, the first of equal ones.
fn largest(maps: &Tensor) -> Tensor {
    let mut values = maps.channel(0).to_vec();
    let mut classes = Tensor::zeros(1, maps.extent());
    for map in 1..maps.channels() {
        let best = classes.data_mut().iter_mut().zip(&mut values);
        for ((class, best), &value) in best.zip(maps.channel(map)) {
            if value > *best {
                (*class, *best) = (map as f32, value);
            }
        }
    }
    classes
}

/// `out.tif` for the first file, `out_1.tif` for the second.
pub fn numbered(path: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The name of a compressed file has two extensions.
    let at = match name.strip_suffix(".nii.gz") {
        Some(stem) => stem.len(),
        None => path.file_stem().map_or(0, |stem| stem.len()),
    };
    path.with_file_name(format!("{}_{index}{}", &name[..at], &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_map_is_the_class() {
        let maps = Tensor::from_slice(
            3,
            Extent::new(1, 1, 4),
            &[5.0, 1.0, 0.0, 2.0, 1.0, 2.0, 0.0, 2.0, 2.0, 3.0, 0.0, 9.0],
        );
        assert_eq!(largest(&maps).data(), [0.0, 2.0, 0.0, 2.0]);
    }

    #[test]
    fn further_maps_get_numbered_files() {
        let name = |path: &str, index| numbered(Path::new(path), index).to_str().unwrap().to_owned();
        assert_eq!(name("a/out.tif", 0), "a/out.tif");
        assert_eq!(name("a/out.tif", 2), "a/out_2.tif");
        assert_eq!(name("a/out.nii.gz", 2), "a/out_2.nii.gz");
        assert_eq!(name("n5:a/out.n5", 1), "n5:a/out_1.n5");
        assert_eq!(name("out", 1), "out_1");
    }
}
