//! The window of a max filter.

/// The window of a max filter; axes in the order z, y, x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Voxels per axis.
    pub size: [usize; 3],
    /// The distance of neighbouring window voxels per axis (dilation).
    pub step: [usize; 3],
}

impl Window {
    /// The largest number of window voxels whose offsets fit the winner's byte.
    pub const MAX_VOLUME: usize = 256;

    /// The number of window voxels.
    pub fn volume(&self) -> usize {
        self.size.iter().product()
    }

    /// The voxels that the window reaches beyond its first one, per axis: `(size - 1) * step`.
    pub fn reach(&self) -> [usize; 3] {
        core::array::from_fn(|axis| (self.size[axis] - 1) * self.step[axis])
    }

    /// The output of an image of `input` voxels: `input - (size - 1) * step` per axis. Panics where the window
    /// is empty or larger than the image.
    pub fn output(&self, input: [usize; 3]) -> [usize; 3] {
        assert!(self.size.iter().chain(&self.step).all(|&n| n > 0), "{self:?} is empty");
        let reach = self.reach();
        core::array::from_fn(|axis| {
            assert!(reach[axis] < input[axis], "{self:?} is larger than the image {input:?}");
            input[axis] - reach[axis]
        })
    }
}
