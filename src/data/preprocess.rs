//! Normalisation of images.

use std::fmt;
use std::str::FromStr;

use crate::volume::Tensor;

/// How the values of an image are normalised before a network sees them. Mean and standard deviation
/// (of the population) are accumulated in f64; an image or section of one value only becomes zero.
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
        let volume = image.extent().len();
        let section = image.extent().y * image.extent().x;
        if volume == 0 {
            return;
        }
        match self {
            Self::Standard2d => image.data_mut().chunks_exact_mut(section).for_each(standardise),
            Self::Standard3d => image.data_mut().chunks_exact_mut(volume).for_each(standardise),
            Self::SymmetricRescale => image.data_mut().chunks_exact_mut(volume).for_each(rescale),
            Self::None => {}
        }
    }

    /// The name on the command line and in files, which is also what is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard2d => "standard2d",
            Self::Standard3d => "standard3d",
            Self::SymmetricRescale => "symmetric_rescale",
            Self::None => "none",
        }
    }
}

fn standardise(values: &mut [f32]) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    // Two passes: the difference of sums of squares would cancel for 16-bit data with a small spread.
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    for value in values {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

fn rescale(values: &mut [f32]) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (middle, half) =
        ((f64::from(greatest) + f64::from(least)) / 2.0, (f64::from(greatest) - f64::from(least)) / 2.0);
    let scale = if half > 0.0 { half.recip() } else { 0.0 };
    for value in values {
        *value = ((f64::from(*value) - middle) * scale) as f32;
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no normalisation.
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
    use crate::volume::Extent;

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
    fn names_round_trip() {
        for preprocess in Preprocess::ALL {
            assert_eq!(preprocess.to_string().parse(), Ok(preprocess));
        }
        assert_eq!("standard2D".parse(), Ok(Preprocess::Standard2d));
        assert_eq!("symetric_rescale".parse(), Ok(Preprocess::SymmetricRescale));
        assert!("standard4d".parse::<Preprocess>().is_err());
    }
}
