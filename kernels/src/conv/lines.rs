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
    /// Columns of a row that are stored; the others, up to `pitch`, are garbage.
    pub width: usize,
    /// Floats of a vector.
    pub lanes: usize,
}

impl Lines {
    /// The lines of the output at the input's pitch: one for the flattened plane, or one for each row where that
    /// takes no more vectors.
    pub fn of_output(geometry: &Geometry, lanes: usize) -> Self {
        let [_, rows, width] = geometry.output();
        let pitch = geometry.pitch();
        let flat = Self { count: 1, length: (rows - 1) * pitch + width, pitch, width, lanes };
        let by_rows = Self { count: rows, length: width, pitch, width, lanes };
        if by_rows.vectors() <= flat.vectors() { by_rows } else { flat }
    }

    /// The line of a plane that is stored whole.
    pub fn of_plane(plane: usize, lanes: usize) -> Self {
        Self { count: 1, length: plane, pitch: plane, width: plane, lanes }
    }

    /// Vectors of a line.
    pub fn vectors_of_line(&self) -> usize {
        self.length.div_ceil(self.lanes)
    }

    /// Vectors of a plane.
    pub fn vectors(&self) -> usize {
        self.count * self.vectors_of_line()
    }

    /// The vector `index` of a sequence of planes.
    pub fn seek(&self, index: usize) -> Cursor {
        let (plane, index) = (index / self.vectors(), index % self.vectors());
        let (line, position) = (index / self.vectors_of_line(), index % self.vectors_of_line() * self.lanes);
        Cursor { plane, line, position, row: line + position / self.pitch, column: position % self.pitch }
    }
}

/// A vector of a sequence of planes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// The plane, counted from the first of the sequence.
    pub plane: usize,
    /// The line of the plane.
    pub line: usize,
    /// The first float, counted from the start of the line.
    pub position: usize,
    /// The row of the plane that the first float belongs to.
    pub row: usize,
    /// Its column, below the pitch.
    pub column: usize,
}

impl Cursor {
    /// The vector's first float, counted from the start of the plane, in the source.
    pub fn offset(&self, lines: &Lines) -> usize {
        self.line * lines.pitch + self.position
    }

    /// The lanes that lie within the line.
    pub fn lanes(&self, lines: &Lines) -> usize {
        lines.lanes.min(lines.length - self.position)
    }

    /// Goes to the next vector.
    pub fn advance(&mut self, lines: &Lines) {
        self.position += lines.lanes;
        self.column += lines.lanes;
        while self.column >= lines.pitch {
            self.column -= lines.pitch;
            self.row += 1;
        }
        if self.position >= lines.length {
            self.line += 1;
            if self.line == lines.count {
                self.line = 0;
                self.plane += 1;
            }
            self.position = 0;
            self.column = 0;
            self.row = self.line;
        }
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
