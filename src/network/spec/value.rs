//! Values of keys. The error of each function is what was expected.

use crate::network::validate::{MAX_AXIS, MAX_MAPS};
use crate::volume::Extent;

/// A whole number of feature maps.
pub(super) fn maps(text: &str) -> Result<usize, String> {
    let expected = || format!("a number of feature maps within 1..={MAX_MAPS}");
    text.parse().ok().filter(|size| (1..=MAX_MAPS).contains(size)).ok_or_else(expected)
}

/// `z,y,x`, each at least `least`.
pub(super) fn extent(text: &str, least: usize) -> Result<Extent, String> {
    let expected =
        || format!("three integers z,y,x without spaces, each within {least}..={MAX_AXIS}, such as 1,3,3");
    let extent: Extent = text.parse().map_err(|_| expected())?;
    let sane = extent.to_array().iter().all(|axis| (least..=MAX_AXIS).contains(axis));
    if sane { Ok(extent) } else { Err(expected()) }
}

/// 0 or 1.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("0 or 1".to_owned()),
    }
}

/// A number that is neither infinite nor NaN, also not when rounded to single precision.
pub(super) fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|value: &f32| value.is_finite())
}

/// A finite number at least 0.
pub(super) fn not_negative(text: &str) -> Result<f32, String> {
    number(text).filter(|&value| value >= 0.0).ok_or_else(|| "a number of at least 0".to_owned())
}

/// A finite number above 0.
pub(super) fn positive(text: &str) -> Result<f32, String> {
    number(text).filter(|&value| value > 0.0).ok_or_else(|| "a number above 0".to_owned())
}

/// The place of a feature map, from 0.
pub(super) fn map(text: &str) -> Result<usize, String> {
    let expected = || format!("the number of a feature map, counted from 0, below {MAX_MAPS}");
    text.parse().ok().filter(|map| (0..MAX_MAPS).contains(map)).ok_or_else(expected)
}

/// A number within 0..=1.
pub(super) fn fraction(text: &str) -> Result<f32, String> {
    number(text)
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "a number within 0 and 1".to_owned())
}

/// The probability that a `what` is kept, above 0 and at most 1.
pub(super) fn keep(what: &str, text: &str) -> Result<f32, String> {
    fraction(text)
        .ok()
        .filter(|&value| value > 0.0)
        .ok_or_else(|| format!("the probability that a {what} is kept, above 0 and at most 1"))
}

/// Numbers separated by commas.
pub(super) fn numbers(text: &str) -> Option<Vec<f32>> {
    text.split(',').map(number).collect()
}
