//! The transform of the sums: A' along z, then y, then x, and the way of the outputs into an image.

use super::axis::{Axis, with_axis};
use super::group::Group;
use super::shape::Shape;
use crate::vector::Vector;

/// One output map of a group of tiles.
#[derive(Debug)]
pub(crate) struct Sums {
    pub shape: Shape,
    /// Tiles.
    pub lanes: usize,
    /// The first point: `[point][tile]`.
    pub from: *const f32,
    /// Distance between points.
    pub point: usize,
    /// `[z within the tile][y within the tile]`, rows of all tiles one after the other, each its voxels along x.
    pub to: *mut f32,
    /// [`scratch_len`] floats.
    pub scratch: *mut f32,
}

/// Floats of scratch memory.
pub(crate) fn scratch_len(shape: &Shape, lanes: usize) -> usize {
    let [z, y, _] = shape.tile;
    let [py, px] = [1, 2].map(|axis| shape.points_along(axis));
    (z * py + z * y) * px * lanes
}

/// Floats of the outputs of so many tiles.
pub(crate) fn outputs_len(shape: &Shape, tiles: usize, lanes: usize) -> usize {
    shape.tile[0] * shape.tile[1] * row_len(shape, tiles, lanes)
}

/// Floats of a row of outputs.
fn row_len(shape: &Shape, tiles: usize, lanes: usize) -> usize {
    tiles.next_multiple_of(lanes) * shape.tile[2]
}

/// # Safety
/// The tier of `V` is enabled in the caller. `from` is valid for all points of whole vectors, `to` for the
/// [`outputs_len`] and `scratch` for [`scratch_len`] floats.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector>(sums: &Sums) {
    let shape = &sums.shape;
    let [mz, my, mx] = shape.tile;
    let [py, px] = [1, 2].map(|axis| shape.points_along(axis));
    let row = row_len(shape, sums.lanes, V::LANES);
    // SAFETY: the steps keep within the points, the outputs and the scratch memory.
    unsafe {
        let along_z = sums.scratch;
        let along_y = along_z.add(mz * py * px * V::LANES);
        for lane in (0..sums.lanes).step_by(V::LANES) {
            let from = sums.from.add(lane);
            let points = py * px;
            let z = Step { from, points: points * sums.point, to: along_z, outputs: points * V::LANES };
            with_axis!(mz, shape.kernel[0], A => for q in 0..points {
                z.run::<V, A>(q * sums.point, q * V::LANES);
            });
            let points = px * V::LANES;
            let y = Step { from: along_z, points, to: along_y, outputs: points };
            with_axis!(my, shape.kernel[1], A => for z in 0..mz {
                for x in 0..px {
                    y.run::<V, A>(z * py * points + x * V::LANES, z * my * points + x * V::LANES);
                }
            });
            with_axis!(mx, shape.kernel[2], A => for zy in 0..mz * my {
                let mut m = [V::zero(); 6];
                for (p, m) in m.iter_mut().enumerate().take(A::POINTS) {
                    *m = V::load(along_y.add((zy * px + p) * V::LANES));
                }
                let runs = in_runs::<V, A>(A::output(m));
                for (r, run) in runs.iter().enumerate().take(A::OUTPUTS) {
                    run.store(sums.to.add(zy * row + lane * mx + r * V::LANES));
                }
            });
        }
    }
}

/// The transform along z or y of one vector of tiles.
struct Step {
    from: *const f32,
    points: usize,
    to: *mut f32,
    outputs: usize,
}

impl Step {
    /// # Safety
    /// The tier of `V` is enabled in the caller; points are readable, outputs writable.
    #[inline(always)]
    unsafe fn run<V: Vector, A: Axis>(&self, from: usize, to: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut m = [V::zero(); 6];
            for (p, m) in m.iter_mut().enumerate().take(A::POINTS) {
                *m = V::load(self.from.add(from + p * self.points));
            }
            let outputs = A::output(m);
            for (o, output) in outputs.iter().enumerate().take(A::OUTPUTS) {
                output.store(self.to.add(to + o * self.outputs));
            }
        }
    }
}

/// The outputs of LANES tiles, tile after tile.
#[inline(always)]
fn in_runs<V: Vector, A: Axis>([y0, y1, y2, y3]: [V; 4]) -> [V; 4] {
    match A::OUTPUTS {
        1 => [y0; 4],
        2 => {
            let (low, high) = y0.zip(y1);
            [low, high, y0, y0]
        }
        _ => {
            let ((even_low, even_high), (odd_low, odd_high)) = (y0.zip(y2), y1.zip(y3));
            let ((a, b), (c, d)) = (even_low.zip(odd_low), even_high.zip(odd_high));
            [a, b, c, d]
        }
    }
}

/// Rows of an image that belong to rows of outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The first voxel in the image, which starts at z = y = x = 0.
    pub voxel: usize,
    /// The first of the outputs.
    pub output: usize,
    /// How many there are, `dilation` apart in the image.
    pub len: usize,
}

/// Calls `visit` with each run of outputs of `group` that exists in the image.
pub(crate) fn each_run(shape: &Shape, group: &Group, lanes: usize, mut visit: impl FnMut(Run)) {
    let row = row_len(shape, group.len(), lanes);
    let [nz, ny, nx] = group.tiles;
    let [_, height, width] = shape.output;
    for index in 0..group.phases {
        let phase = group.phase(shape, index);
        let place = |axis: usize, tile: usize, within: usize| {
            ((group.first[axis] + tile) * shape.tile[axis] + within) * shape.dilation[axis] + phase[axis]
        };
        let first = place(2, 0, 0);
        let len = width.saturating_sub(first).div_ceil(shape.dilation[2]).min(nx * shape.tile[2]);
        for tz in 0..nz {
            for ty in 0..ny {
                let tile = ((index * nz + tz) * ny + ty) * nx;
                for within_z in 0..shape.tile[0] {
                    let z = place(0, tz, within_z);
                    for within_y in 0..shape.tile[1] {
                        let y = place(1, ty, within_y);
                        if z < shape.output[0] && y < height && len > 0 {
                            visit(Run {
                                voxel: (z * height + y) * width + first,
                                output: (within_z * shape.tile[1] + within_y) * row + tile * shape.tile[2],
                                len,
                            });
                        }
                    }
                }
            }
        }
    }
}
