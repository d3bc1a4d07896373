//! Which vectors an image is made of: flattened planes or single rows.

use super::Geometry;

/// How the vectors of one output plane lie in memory: `count` lines of `length` floats, each cut into vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Lines of a plane.
    pub count: usize,
    /// Floats of a line, those of garbage columns included.
    pub length: usize,
    /// Distance between rows in the source, which is also that of the lines.
    pub pitch: usize,
    /// Floats of a vector.
    pub lanes: usize,
}

impl Lines {
    /// The lines of the output at the input's pitch: one for the flattened plane, or one for each row where that
    /// takes no more vectors.
    pub fn of_output(geometry: &Geometry, lanes: usize) -> Self {
        let [_, rows, width] = geometry.output();
        let pitch = geometry.pitch();
        let flat = Self { count: 1, length: (rows - 1) * pitch + width, pitch, lanes };
        let by_rows = Self { count: rows, length: width, pitch, lanes };
        if by_rows.vectors() <= flat.vectors() { by_rows } else { flat }
    }

    /// Vectors of a line.
    pub fn vectors_of_line(&self) -> usize {
        self.length.div_ceil(self.lanes)
    }

    /// Vectors of a plane.
    pub fn vectors(&self) -> usize {
        self.count * self.vectors_of_line()
    }
}

/// Cuts `total` into the fewest parts of at most `largest`, as equal as can be; yields `(start, length)`.
pub(crate) fn balanced(total: usize, largest: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = total.div_ceil(largest);
    (0..parts).map(move |part| {
        let start = part * total / parts;
        (start, (part + 1) * total / parts - start)
    })
}
