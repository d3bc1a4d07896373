//! Averages over the mirror images of a patch.

use std::fmt;
use std::str::FromStr;

use crate::volume::{Extent, Tensor};

/// The symmetries over which a prediction is averaged: reversals of axes, and exchanging y with x.
///
/// ```
/// use znn::infer::Flips;
///
/// // Mirror images along y and x, and the exchange of both: eight predictions are averaged.
/// let flips = Flips { axes: [false, true, true], transpose: true };
/// assert_eq!("yxt".parse(), Ok(flips));
/// assert_eq!(Flips::default(), Flips::NONE);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// Of z, y and x.
    pub axes: [bool; 3],
    /// y with x.
    pub transpose: bool,
}

/// One symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symmetry {
    flip: [bool; 3],
    transpose: bool,
}

impl Flips {
    /// No other image but the patch itself.
    pub const NONE: Self = Self { axes: [false; 3], transpose: false };

    /// All combinations, the identity first.
    #[doc(hidden)]
    pub fn symmetries(self) -> impl Iterator<Item = Symmetry> {
        let of = |axis: usize, number: usize| number >> axis & 1 == 1;
        (0..16).filter_map(move |number| {
            let flip = [0, 1, 2].map(|axis| of(axis, number));
            let transpose = of(3, number);
            let is_wanted =
                (0..3).all(|axis| self.axes[axis] || !flip[axis]) && (self.transpose || !transpose);
            is_wanted.then_some(Symmetry { flip, transpose })
        })
    }
}

impl Symmetry {
    /// The image: reversed, then exchanged.
    pub fn apply(self, image: &Tensor) -> Tensor {
        self.map(image, false)
    }

    /// The image that [`apply`](Self::apply) makes `image` of.
    pub fn undo(self, image: &Tensor) -> Tensor {
        self.map(image, true)
    }

    fn map(self, image: &Tensor, is_undone: bool) -> Tensor {
        let from = image.extent();
        let extent = if self.transpose { Extent::new(from.z, from.x, from.y) } else { from };
        let mut found = Tensor::zeros(image.channels(), extent);
        // The reversed axes are those of the image before the exchange.
        let mut flip = self.flip;
        if self.transpose && is_undone {
            flip.swap(1, 2);
        }
        let turn = |at: usize, size: usize, is_turned: bool| if is_turned { size - 1 - at } else { at };
        for channel in 0..image.channels() {
            let (source, target) = (image.channel(channel), found.channel_mut(channel));
            for z in 0..from.z {
                for y in 0..from.y {
                    for x in 0..from.x {
                        let (tz, ty, tx) =
                            (turn(z, from.z, flip[0]), turn(y, from.y, flip[1]), turn(x, from.x, flip[2]));
                        let to =
                            if self.transpose { extent.index(tz, tx, ty) } else { extent.index(tz, ty, tx) };
                        target[to] = source[from.index(z, y, x)];
                    }
                }
            }
        }
        found
    }
}

/// Moves `mean` to the mean of `count` tensors, of which `next` is the last: equal ones give themselves, bit for bit.
pub(super) fn add_to_mean(mean: &mut Tensor, next: &Tensor, count: usize) {
    let weight = 1.0 / count as f32;
    for (mean, next) in mean.data_mut().iter_mut().zip(next.data()) {
        *mean += (next - *mean) * weight;
    }
}

/// The text is no set of symmetries.
///
/// ```
/// let error: znn::infer::ParseFlipsError = "xw".parse::<znn::infer::Flips>().unwrap_err();
/// assert!(error.to_string().contains("xw"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected letters out of z, y, x and t such as yx or zyxt, found `{0}`")]
pub struct ParseFlipsError(String);

/// `z`, `y` and `x` are the axes that are reversed, `t` exchanges y and x.
impl FromStr for Flips {
    type Err = ParseFlipsError;

    fn from_str(text: &str) -> Result<Self, ParseFlipsError> {
        let mut flips = Self::NONE;
        for letter in text.chars() {
            match letter {
                'z' => flips.axes[0] = true,
                'y' => flips.axes[1] = true,
                'x' => flips.axes[2] = true,
                't' => flips.transpose = true,
                _ => return Err(ParseFlipsError(text.to_owned())),
            }
        }
        if flips == Self::NONE { Err(ParseFlipsError(text.to_owned())) } else { Ok(flips) }
    }
}

impl fmt::Display for Flips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.axes[0], "z"), (self.axes[1], "y"), (self.axes[2], "x"), (self.transpose, "t")];
        letters.iter().filter(|(is_there, _)| *is_there).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symmetry_is_undone_and_they_differ() {
        let image = Tensor::from_fn(2, Extent::new(2, 3, 4), |i| i as f32);
        let flips: Flips = "zyxt".parse().unwrap();
        let all: Vec<Symmetry> = flips.symmetries().collect();
        assert_eq!(all.len(), 16);
        assert_eq!(all[0].apply(&image), image);
        for (i, symmetry) in all.iter().enumerate() {
            let other = symmetry.apply(&image);
            assert_eq!(symmetry.undo(&other), image, "{symmetry:?}");
            assert!(all[..i].iter().all(|before| before.apply(&image) != other), "{symmetry:?}");
        }
        assert_eq!("yx".parse::<Flips>().unwrap().symmetries().count(), 4);
        assert_eq!(flips.to_string(), "zyxt");
        for bad in ["", "a", "yz "] {
            assert!(bad.parse::<Flips>().is_err());
        }
    }

    #[test]
    fn the_mean_of_equal_tensors_is_exact() {
        let value = Tensor::from_fn(1, Extent::new(1, 1, 3), |i| 0.1 + i as f32 / 3.0);
        let mut mean = Tensor::zeros(1, value.extent());
        for count in 1..=7 {
            add_to_mean(&mut mean, &value, count);
            assert_eq!(mean, value);
        }
        add_to_mean(&mut mean, &Tensor::zeros(1, value.extent()), 8);
        assert!((mean.data()[1] - value.data()[1] * 7.0 / 8.0).abs() < 1e-6);
    }
}
