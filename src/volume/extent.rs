//! Sizes along the three axes.

use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Voxel counts, offsets or steps along z, y and x; x is contiguous in memory.
///
/// ```
/// use znn::Extent;
///
/// let extent: Extent = "2,3,4".parse()?;
/// assert_eq!((extent, extent.len()), (Extent::new(2, 3, 4), 24));
/// assert_eq!(extent.to_array(), [2, 3, 4]);
/// // Where a voxel lies in `[z][y][x]`.
/// assert_eq!(extent.index(1, 2, 3), 23);
///
/// let two = Extent::new(2, 2, 2);
/// assert_eq!((extent + two, extent * two), (Extent::new(4, 5, 6), Extent::new(4, 6, 8)));
/// assert_eq!((extent.min(two), extent.max(two)), (two, extent));
/// assert_eq!(extent.checked_sub(two), Some(Extent::new(0, 1, 2)));
/// assert_eq!(two.checked_sub(extent), None);
/// assert!((extent - extent).is_empty());
/// # Ok::<(), znn::ParseExtentError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "[usize; 3]", into = "[usize; 3]")]
pub struct Extent {
    /// Along the slowest axis (sections).
    pub z: usize,
    /// Along the middle axis (rows).
    pub y: usize,
    /// Along the contiguous axis.
    pub x: usize,
}

impl Extent {
    /// One voxel along each axis.
    pub const ONE: Extent = Extent::new(1, 1, 1);
    /// Zero along each axis.
    pub const ZERO: Extent = Extent::new(0, 0, 0);

    /// The extent `z,y,x`.
    pub const fn new(z: usize, y: usize, x: usize) -> Self {
        Self { z, y, x }
    }

    /// The number of voxels.
    pub const fn len(self) -> usize {
        self.z * self.y * self.x
    }

    /// Whether there is no voxel.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// `[z, y, x]`.
    pub const fn to_array(self) -> [usize; 3] {
        [self.z, self.y, self.x]
    }

    /// `op` of each axis of `self` and `other`.
    #[doc(hidden)]
    pub fn zip(self, other: Self, mut op: impl FnMut(usize, usize) -> usize) -> Self {
        Self::new(op(self.z, other.z), op(self.y, other.y), op(self.x, other.x))
    }

    /// Whether `test` holds along each axis.
    #[doc(hidden)]
    pub fn all(self, other: Self, mut test: impl FnMut(usize, usize) -> bool) -> bool {
        test(self.z, other.z) && test(self.y, other.y) && test(self.x, other.x)
    }

    /// The larger of both along each axis.
    pub fn max(self, other: Self) -> Self {
        self.zip(other, usize::max)
    }

    /// The smaller of both along each axis.
    pub fn min(self, other: Self) -> Self {
        self.zip(other, usize::min)
    }

    /// `self - other`, or `None` where an axis would become negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self::new(
            self.z.checked_sub(other.z)?,
            self.y.checked_sub(other.y)?,
            self.x.checked_sub(other.x)?,
        ))
    }

    /// The position of voxel `z,y,x` in memory.
    pub const fn index(self, z: usize, y: usize, x: usize) -> usize {
        (z * self.y + y) * self.x + x
    }
}

impl From<[usize; 3]> for Extent {
    fn from([z, y, x]: [usize; 3]) -> Self {
        Self::new(z, y, x)
    }
}

impl From<Extent> for [usize; 3] {
    fn from(extent: Extent) -> Self {
        extent.to_array()
    }
}

impl Add for Extent {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

/// Panics where an axis would become negative; see [`Extent::checked_sub`].
impl Sub for Extent {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for Extent {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

/// Written `z,y,x`, as in network files and on the command line.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{},{},{}", self.z, self.y, self.x))
    }
}

/// The text is not three integers `z,y,x`.
///
/// ```
/// let error: znn::ParseExtentError = "3,x".parse::<znn::Extent>().unwrap_err();
/// assert!(error.to_string().contains("3,x"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected three integers z,y,x, found `{0}`")]
pub struct ParseExtentError(pub String);

impl FromStr for Extent {
    type Err = ParseExtentError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseExtentError(text.to_owned());
        let axes: Vec<usize> =
            text.split(',').map(|axis| axis.trim().parse().map_err(|_| fail())).collect::<Result<_, _>>()?;
        match axes[..] {
            [z, y, x] => Ok(Self::new(z, y, x)),
            _ => Err(fail()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        assert_eq!("3,20,24".parse(), Ok(Extent::new(3, 20, 24)));
        assert_eq!(Extent::new(3, 20, 24).to_string(), "3,20,24");
        for bad in ["", "1,2", "1,2,3,4", "1,-2,3", "a,b,c"] {
            assert!(bad.parse::<Extent>().is_err(), "{bad}");
        }
    }
}
