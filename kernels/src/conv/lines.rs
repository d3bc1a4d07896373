//! Which positions of the output backward-weights takes in one run.

use super::Geometry;
use super::reduction::Extent;

/// The output as lines that are contiguous both in the gradient and in the source, whose distances come in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Lines of a plane.
    pub lines: usize,
    pub length: usize,
    pub line_steps: [usize; 2],
    pub plane_steps: [usize; 2],
    /// Planes follow each other without a gap, so that all of them are one line.
    pub joined: bool,
}

/// A part of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first float in the gradient and in the source.
    pub start: [usize; 2],
    pub extent: Extent,
}

impl Lines {
    /// Those of an image that is read as it is.
    pub fn of_image(geometry: &Geometry) -> Self {
        let [_, height, width] = geometry.output();
        let line_steps = [width, geometry.stride[1] * geometry.pitch()];
        let plane_steps = [height * width, geometry.stride[0] * geometry.plane()];
        if height == 1 || line_steps[0] == line_steps[1] {
            let joined = plane_steps[0] == plane_steps[1];
            return Self { lines: 1, length: height * width, line_steps, plane_steps, joined };
        }
        Self { lines: height, length: width, line_steps, plane_steps, joined: false }
    }

    /// Cuts planes into runs of about `floats` floats: whole lines where these are whole vectors, or parts of a line.
    pub fn runs(&self, planes: usize, lanes: usize, floats: usize) -> impl Iterator<Item = Run> {
        // the two outer loops: planes and lines, or lines that are planes
        let exact = self.length.is_multiple_of(lanes);
        let (planes, plane_steps, lines, line_steps, length) = if self.joined {
            (1, [0; 2], 1, [0; 2], planes * self.length)
        } else if self.lines == 1 && exact {
            (1, [0; 2], planes, self.plane_steps, self.length)
        } else {
            (planes, self.plane_steps, self.lines, self.line_steps, self.length)
        };
        let lines_each = if exact { (floats + length / 2) / length.max(1) } else { 1 };
        let vectors_each = (floats / lanes).max(1);
        (0..planes).flat_map(move |plane| {
            balanced(lines, lines_each.max(1)).flat_map(move |(line, lines)| {
                balanced(length.div_ceil(lanes), vectors_each).map(move |(vector, vectors)| {
                    let first = vector * lanes;
                    Run {
                        start: [0, 1].map(|i| plane * plane_steps[i] + line * line_steps[i] + first),
                        extent: Extent { lines, line_steps, length: (vectors * lanes).min(length - first) },
                    }
                })
            })
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn runs_cover_every_position_once() {
        let geometry = |input, kernel| Geometry::valid(1, 1, input, kernel, [1; 3]);
        let strided = |stride| Geometry { stride, ..geometry([7, 33, 32], [2, 3, 1]) };
        for geometry in [
            geometry([3, 10, 34], [1, 3, 3]),
            geometry([9, 3, 4], [3, 1, 1]),
            geometry([9, 3, 16], [3, 2, 1]),
            geometry([5, 7, 9], [1, 1, 1]),
            geometry([2, 50, 70], [1, 3, 3]),
            geometry([4, 1, 300], [1, 1, 5]),
            strided([2, 2, 1]),
            strided([1, 3, 1]),
        ] {
            let lines = Lines::of_image(&geometry);
            let [depth, height, width] = geometry.output();
            for lanes in [4, 8, 16] {
                for floats in [1, 64, 640, 5120] {
                    let mut seen = vec![0; geometry.output_len()];
                    for run in lines.runs(depth, lanes, floats) {
                        let Extent { lines: count, line_steps, length } = run.extent;
                        assert!(count == 1 || length % lanes == 0);
                        assert!(count * length <= (2 * floats).max(length).max(lanes));
                        for (line, i) in (0..count).flat_map(|line| (0..length).map(move |i| (line, i))) {
                            let [dy, x] = [0, 1].map(|from| run.start[from] + line * line_steps[from] + i);
                            seen[dy] += 1;
                            let [z, y, column] = [dy / (height * width), dy / width % height, dy % width];
                            let at = z * geometry.stride[0] * geometry.plane()
                                + y * geometry.stride[1] * geometry.pitch()
                                + column;
                            assert_eq!(x, at, "{geometry:?}");
                        }
                    }
                    assert!(seen.iter().all(|&count| count == 1), "{geometry:?}");
                }
            }
        }
    }
}
