//! Normalisation of images.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::DataError;
use super::formats::{MemoryReader, VolumeReader};
use super::training_volume::check_finite_at;
use crate::volume::{Extent, Tensor};

/// How the values of an image are normalised before a network sees them. Mean and standard deviation
/// (of the population) are accumulated in f64; an image or section of one value only becomes zero.
///
/// ```
/// use znn::data::{MemoryReader, Preprocess};
/// use znn::{Extent, Tensor};
///
/// let raw = Tensor::from_slice(1, Extent::new(1, 1, 4), &[1.0, 1.0, 3.0, 3.0]);
/// let mut image = raw.clone();
/// "standard3d".parse::<Preprocess>()?.apply(&mut image);
/// assert_eq!(image.data(), [-1.0, -1.0, 1.0, 1.0]);
///
/// // The same for a volume that is read piece by piece.
/// let normalisation = Preprocess::Standard3d.measure("raw", &mut MemoryReader::new(&raw), 1 << 20)?;
/// let mut part = raw.crop(Extent::new(0, 0, 2), Extent::new(1, 1, 2));
/// normalisation.apply(Extent::new(0, 0, 2), &mut part);
/// assert_eq!(part.data(), [1.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preprocess {
    /// `(v - mean) / std` of each section of each channel by itself: removes brightness changes between sections.
    #[default]
    Standard2d,
    /// `(v - mean) / std` of each channel as a whole.
    Standard3d,
    /// Linear, the least value of each channel to -1 and the greatest to 1.
    SymmetricRescale,
    /// The values as they are.
    None,
}

impl Preprocess {
    const ALL: [Self; 4] = [Self::Standard2d, Self::Standard3d, Self::SymmetricRescale, Self::None];

    /// Normalises `image` in place.
    pub fn apply(self, image: &mut Tensor) {
        if image.extent().is_empty() {
            return;
        }
        let found = self.measure("", &mut MemoryReader::new(image), usize::MAX);
        found.expect("memory can be read, and names no voxel").apply(Extent::ZERO, image);
    }

    /// What normalises a volume of any size: it is read in bands that take at most about `memory` bytes. The result is the
    /// same for any.
    ///
    /// # Errors
    /// Where the volume cannot be read, or, where it has a name, a voxel is not finite.
    pub fn measure(
        self,
        name: &str,
        reader: &mut dyn VolumeReader,
        memory: usize,
    ) -> Result<Normalisation, DataError> {
        let (channels, extent) = (reader.info().channels, reader.info().extent);
        let chunk = reader.info().chunk.map_or(1, |chunk| chunk.z);
        let mut bands = Bands { name, reader, last: None, memory, channels, extent };
        let mut steps = Vec::new();
        match self {
            Self::None => {}
            Self::Standard2d => {
                // Where there is room, whole chunks, so that none is read twice.
                let room = bands.sections().max(1);
                let depth = if room >= chunk { room / chunk * chunk } else { room };
                for first in (0..extent.z).step_by(depth) {
                    let sections = first..(first + depth).min(extent.z);
                    steps.extend(bands.moments(sections.clone(), sections.len())?);
                }
                steps = by_channel(&steps, channels, extent.z, depth);
            }
            Self::Standard3d => steps = bands.moments(0..extent.z, 1)?,
            Self::SymmetricRescale => steps = bands.ranges()?,
        }
        Ok(Normalisation { sections: if self == Self::Standard2d { extent.z } else { 1 }, steps })
    }

    /// The name on the command line and in files, which is also what is parsed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard2d => "standard2d",
            Self::Standard3d => "standard3d",
            Self::SymmetricRescale => "symmetric_rescale",
            Self::None => "none",
        }
    }
}

/// Steps of bands, `[band][channel][section]`, as `[channel][section]`.
fn by_channel(steps: &[Step], channels: usize, sections: usize, depth: usize) -> Vec<Step> {
    let mut ordered = Vec::with_capacity(steps.len());
    for channel in 0..channels {
        for section in 0..sections {
            let (band, inside) = (section / depth, section % depth);
            let height = depth.min(sections - band * depth);
            ordered.push(steps[band * depth * channels + channel * height + inside]);
        }
    }
    ordered
}

/// `(value - shift) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    shift: f64,
    scale: f64,
}

/// What normalises the voxels of one volume.
///
/// Made by [`Preprocess::measure`].
///
/// ```
/// use znn::data::Normalisation;
/// use znn::{Extent, Tensor};
///
/// let mut image = Tensor::from_fn(1, Extent::ONE, |_| 3.0);
/// Normalisation::NONE.apply(Extent::ZERO, &mut image);
/// assert_eq!(image.data(), [3.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Sections of a channel that have a step each, or 1.
    sections: usize,
    /// By channels, then by sections; none where values stay as they are.
    steps: Vec<Step>,
}

impl Normalisation {
    /// Values stay as they are.
    pub const NONE: Self = Self { sections: 1, steps: Vec::new() };

    /// Normalises the part of the volume whose first voxel is at `origin`.
    pub fn apply(&self, origin: Extent, part: &mut Tensor) {
        if self.steps.is_empty() {
            return;
        }
        let Extent { z, y, x } = part.extent();
        for channel in 0..part.channels() {
            let steps = &self.steps[channel * self.sections..][..self.sections];
            for (section, values) in
                part.channel_mut(channel).chunks_exact_mut((y * x).max(1)).enumerate().take(z)
            {
                let Step { shift, scale } =
                    if self.sections == 1 { steps[0] } else { steps[origin.z + section] };
                for value in values {
                    *value = ((f64::from(*value) - shift) * scale) as f32;
                }
            }
        }
    }

    /// The numbers as bits, so that a file can keep them exactly.
    #[doc(hidden)]
    pub fn to_bits(&self) -> Vec<[u64; 2]> {
        self.steps.iter().map(|step| [step.shift.to_bits(), step.scale.to_bits()]).collect()
    }

    /// The reverse of [`to_bits`](Self::to_bits), for a volume of so many channels and sections; `None` where the count is
    /// none of such a volume.
    #[doc(hidden)]
    pub fn from_bits(bits: &[[u64; 2]], channels: usize, sections: usize) -> Option<Self> {
        let steps: Vec<Step> = bits
            .iter()
            .map(|&[shift, scale]| Step { shift: f64::from_bits(shift), scale: f64::from_bits(scale) })
            .collect();
        match steps.len() {
            0 => Some(Self::NONE),
            count if count == channels => Some(Self { sections: 1, steps }),
            count if count == channels * sections => Some(Self { sections, steps }),
            _ => None,
        }
    }
}

/// A volume that is read from begin to end, band by band.
struct Bands<'a> {
    name: &'a str,
    reader: &'a mut dyn VolumeReader,
    /// The band that was read last: where one is enough, it is read once for all passes.
    last: Option<(Extent, Tensor)>,
    memory: usize,
    channels: usize,
    extent: Extent,
}

impl Bands<'_> {
    /// Whole sections that a band may have; 0 where one is too large.
    fn sections(&self) -> usize {
        let section = self.extent.y * self.extent.x * self.channels * size_of::<f32>();
        (self.memory / section.max(1)).min(self.extent.z)
    }

    /// Gives the voxels of some sections to `visit`, in order: channel, section within them, values.
    fn visit(
        &mut self,
        sections: Range<usize>,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) -> Result<(), DataError> {
        let depth = self.sections().max(1);
        let row = self.extent.x * self.channels * size_of::<f32>();
        let rows = if self.sections() > 0 { self.extent.y } else { (self.memory / row.max(1)).max(1) };
        for z in sections.clone().step_by(depth) {
            for y in (0..self.extent.y).step_by(rows) {
                let origin = Extent::new(z, y, 0);
                let part =
                    Extent::new(depth.min(sections.end - z), rows.min(self.extent.y - y), self.extent.x);
                if self.last.as_ref().is_none_or(|(at, band)| (*at, band.extent()) != (origin, part)) {
                    self.last = None;
                    let band = self.reader.read(origin, part)?;
                    if !self.name.is_empty() {
                        check_finite_at(self.name, "image", &band, origin)?;
                    }
                    self.last = Some((origin, band));
                }
                let Some((_, band)) = &self.last else { continue };
                for channel in 0..self.channels {
                    let values = band.channel(channel).chunks_exact((part.y * part.x).max(1));
                    for (section, values) in values.enumerate() {
                        visit(channel, z - sections.start + section, values);
                    }
                }
            }
        }
        Ok(())
    }

    /// Mean and deviation of the sections as `groups` of each channel, each of as many sections: by channels, then groups.
    fn moments(&mut self, sections: Range<usize>, groups: usize) -> Result<Vec<Step>, DataError> {
        let per_group = (sections.len() / groups).max(1);
        let n = (per_group * self.extent.y * self.extent.x) as f64;
        let mut means = vec![0.0; self.channels * groups];
        self.visit(sections.clone(), |channel, section, values| {
            let sum = &mut means[channel * groups + section / per_group];
            *sum = values.iter().fold(*sum, |sum, &value| sum + f64::from(value));
        })?;
        means.iter_mut().for_each(|mean| *mean /= n);
        // Two passes: the difference of sums of squares would cancel for 16-bit data with a small spread.
        let mut variances = vec![0.0; means.len()];
        self.visit(sections, |channel, section, values| {
            let group = channel * groups + section / per_group;
            let mean = means[group];
            let square = |value: f32| (f64::from(value) - mean).powi(2);
            variances[group] = values.iter().fold(variances[group], |sum, &value| sum + square(value));
        })?;
        let steps = means.iter().zip(&variances).map(|(&shift, &sum)| {
            let variance = sum / n;
            Step { shift, scale: if variance > 0.0 { variance.sqrt().recip() } else { 0.0 } }
        });
        Ok(steps.collect())
    }

    /// What takes the range of each channel to -1..1.
    fn ranges(&mut self) -> Result<Vec<Step>, DataError> {
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); self.channels];
        self.visit(0..self.extent.z, |channel, _, values| {
            let range = &mut ranges[channel];
            *range = values.iter().fold(*range, |(least, most), &value| (least.min(value), most.max(value)));
        })?;
        let steps = ranges.iter().map(|&(least, most)| {
            let (least, most) = (f64::from(least), f64::from(most));
            let half = (most - least) / 2.0;
            Step { shift: (most + least) / 2.0, scale: if half > 0.0 { half.recip() } else { 0.0 } }
        });
        Ok(steps.collect())
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no normalisation.
///
/// ```
/// let error: znn::data::ParsePreprocessError = "plain".parse::<znn::data::Preprocess>().unwrap_err();
/// assert!(error.to_string().contains("plain"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown normalisation `{0}`, expected standard2d, standard3d, symmetric_rescale or none")]
pub struct ParsePreprocessError(String);

impl FromStr for Preprocess {
    type Err = ParsePreprocessError;
    /// Also accepts the spellings of ZNN's dataset files (`standard2D`, `symetric_rescale`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.to_ascii_lowercase() {
            name if name == "symetric_rescale" => "symmetric_rescale".to_owned(),
            name => name,
        };
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| ParsePreprocessError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    /// Two channels of three sections, whose brightness and contrast differ; large offset as in 16-bit data.
    fn image() -> Tensor {
        Tensor::from_fn(2, Extent::new(3, 5, 7), |i| {
            let section = i / 35;
            50_000.0 + 1000.0 * section as f32 + (1 + section) as f32 * ((i * 7919 % 101) as f32)
        })
    }

    #[test]
    fn standard2d_normalises_each_section() {
        let mut image = image();
        Preprocess::Standard2d.apply(&mut image);
        for section in image.data().chunks(35) {
            let (mean, std) = moments(section);
            assert!(mean.abs() < 1e-5 && (std - 1.0).abs() < 1e-5, "{mean} {std}");
        }
    }

    #[test]
    fn standard3d_normalises_each_channel_and_keeps_the_sections_apart() {
        let mut image = image();
        Preprocess::Standard3d.apply(&mut image);
        for channel in 0..2 {
            let (mean, std) = moments(image.channel(channel));
            assert!(mean.abs() < 1e-5 && (std - 1.0).abs() < 1e-5, "{mean} {std}");
            assert!(moments(&image.channel(channel)[..35]).0 < -0.5);
        }
    }

    #[test]
    fn rescale_spans_minus_one_to_one() {
        let mut image = image();
        Preprocess::SymmetricRescale.apply(&mut image);
        for channel in 0..2 {
            let values = image.channel(channel);
            assert_eq!(values.iter().copied().fold(f32::MAX, f32::min), -1.0);
            assert_eq!(values.iter().copied().fold(f32::MIN, f32::max), 1.0);
        }
    }

    #[test]
    fn a_constant_image_becomes_zero_and_none_changes_nothing() {
        for preprocess in Preprocess::ALL {
            let mut image = Tensor::from_fn(1, Extent::new(2, 3, 4), |_| 0.1);
            preprocess.apply(&mut image);
            let expected = if preprocess == Preprocess::None { 0.1 } else { 0.0 };
            assert!(image.data().iter().all(|&v| v == expected), "{preprocess}");
            preprocess.apply(&mut Tensor::zeros(1, Extent::ZERO));
        }
    }

    #[test]
    fn bands_of_any_size_give_the_same_bits() {
        let image = image();
        for preprocess in Preprocess::ALL {
            let mut expected = image.clone();
            preprocess.apply(&mut expected);
            for memory in [1, 60, 200, 300, 600, 1 << 20] {
                let found = preprocess.measure("a", &mut MemoryReader::new(&image), memory).unwrap();
                let mut whole = image.clone();
                found.apply(Extent::ZERO, &mut whole);
                assert_eq!(whole, expected, "{preprocess} {memory}");
                let again = Normalisation::from_bits(&found.to_bits(), 2, 3).unwrap();
                let origin = Extent::new(1, 2, 3);
                let mut part = image.crop(origin, Extent::new(2, 2, 3));
                again.apply(origin, &mut part);
                assert_eq!(part, expected.crop(origin, Extent::new(2, 2, 3)), "{preprocess} {memory}");
            }
        }
        assert_eq!(Normalisation::from_bits(&[[0, 0]; 5], 2, 3), None);
        let mut broken = image;
        broken.data_mut()[35 + 9] = f32::NAN;
        let error = Preprocess::Standard2d.measure("a", &mut MemoryReader::new(&broken), 1).unwrap_err();
        assert!(error.to_string().contains("NaN at z,y,x = 1,1,2"), "{error}");
    }

    #[test]
    fn names_round_trip() {
        for preprocess in Preprocess::ALL {
            assert_eq!(preprocess.to_string().parse(), Ok(preprocess));
        }
        assert_eq!("standard2D".parse(), Ok(Preprocess::Standard2d));
        assert_eq!("symetric_rescale".parse(), Ok(Preprocess::SymmetricRescale));
        assert!("standard4d".parse::<Preprocess>().is_err());
    }
}
