//! The transform of the sums: A' along z, then y, then x, and the way of the outputs into an image.

use super::axis::{Axis, with_axis};
use super::group::Group;
use super::shape::Shape;
use crate::pointwise::transfer::{Transfer, apply};
use crate::vector::Vector;

/// One output map of whole vectors of tiles.
#[derive(Debug)]
pub(crate) struct Sums {
    pub shape: Shape,
    /// Tiles.
    pub tiles: usize,
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

/// Floats of the outputs of whole vectors of so many tiles.
pub(crate) fn outputs_len(shape: &Shape, tiles: usize) -> usize {
    shape.tile.iter().product::<usize>() * tiles
}

/// # Safety
/// The tier of `V` is enabled in the caller. `from` is valid for all points of whole vectors, `to` for the
/// [`outputs_len`] and `scratch` for [`scratch_len`] floats.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector>(sums: &Sums) {
    let shape = &sums.shape;
    let [mz, my, mx] = shape.tile;
    let [py, px] = [1, 2].map(|axis| shape.points_along(axis));
    let row = sums.tiles * mx;
    // SAFETY: the steps keep within the points, the outputs and the scratch memory.
    unsafe {
        let along_z = sums.scratch;
        let along_y = along_z.add(mz * py * px * V::LANES);
        for lane in (0..sums.tiles).step_by(V::LANES) {
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

/// The outputs of some tiles of a group, and the image that they belong to.
#[derive(Debug)]
pub(crate) struct Store {
    pub shape: Shape,
    pub group: Group,
    /// The first tile, and how many they are.
    pub tiles: (usize, usize),
    /// The outputs, as [`Sums::to`].
    pub from: *const f32,
    /// Distance between rows of outputs.
    pub row: usize,
    /// Voxel 0 of the map, perhaps not part of what may be written.
    pub to: *mut f32,
    /// Added to every output.
    pub bias: f32,
    /// The least value that is stored; minus infinity keeps all, NaN included.
    pub floor: f32,
    /// Applied to what is stored, where voxels are adjacent.
    pub transfer: Option<Transfer>,
    /// Whether the former values are added.
    pub accumulate: bool,
}

/// Stores the outputs that exist in the image: `to = transfer(max(floor, bias + output (+ to)))`.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for the outputs of whole vectors of tiles, `to` for the voxels of
/// the tiles.
#[inline(always)]
pub(crate) unsafe fn store<V: Vector>(store: &Store) {
    let Store { shape, group, tiles: (first, count), .. } = store;
    let [nz, ny, nx] = group.tiles;
    let [mz, my, mx] = shape.tile;
    let [depth, height, width] = shape.output;
    let [step_z, step_y, step_x] = shape.dilation;
    for index in 0..group.phases {
        let phase = group.phase(shape, index);
        let origin =
            [0, 1, 2].map(|axis| group.first[axis] * shape.tile[axis] * shape.dilation[axis] + phase[axis]);
        // Voxels of a whole row of tiles.
        let len = width.saturating_sub(origin[2]).div_ceil(step_x).min(nx * mx);
        for tz in 0..nz {
            for ty in 0..ny {
                // The part of the row of tiles that is here.
                let tile = ((index * nz + tz) * ny + ty) * nx;
                let start = tile.max(*first);
                let end = (tile + nx).min(first + count);
                let skipped = start.saturating_sub(tile) * mx;
                if start >= end || skipped >= len {
                    continue;
                }
                let len = len.min((end - tile) * mx) - skipped;
                for within_z in 0..mz {
                    let z = origin[0] + (tz * mz + within_z) * step_z;
                    for within_y in 0..my {
                        let y = origin[1] + (ty * my + within_y) * step_y;
                        if z >= depth || y >= height {
                            break;
                        }
                        let voxel = (z * height + y) * width + origin[2] + skipped * step_x;
                        let output = (within_z * my + within_y) * store.row + (start - first) * mx;
                        // SAFETY: `len` outputs and voxels of this row exist.
                        unsafe {
                            let (from, to) = (store.from.add(output), store.to.wrapping_add(voxel));
                            if step_x == 1 {
                                store.run::<V>(from, to, len);
                            } else {
                                store.scatter(from, to, len);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Store {
    /// # Safety
    /// As [`store`], for `len` outputs and adjacent voxels.
    #[inline(always)]
    unsafe fn run<V: Vector>(&self, from: *const f32, to: *mut f32, len: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let (bias, floor) = (V::splat(self.bias), V::splat(self.floor));
            let value = |at: usize| {
                let value = V::load_first(from.add(at), len - at).add(bias);
                if self.accumulate { value.add(V::load_first(to.add(at), len - at)) } else { value }
            };
            match self.transfer {
                None => {
                    for at in (0..len).step_by(V::LANES) {
                        floor.max(value(at)).store_first(to.add(at), len - at);
                    }
                }
                Some(transfer) => {
                    for at in (0..len).step_by(V::LANES) {
                        apply(transfer, value(at)).store_first(to.add(at), len - at);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`store`], for `len` outputs and voxels of the dilation's distance.
    unsafe fn scatter(&self, from: *const f32, to: *mut f32, len: usize) {
        for at in 0..len {
            // SAFETY: the caller's contract.
            unsafe {
                let to = to.add(at * self.shape.dilation[2]);
                let mut value = *from.add(at) + self.bias;
                if self.accumulate {
                    value += *to;
                }
                *to = if value < self.floor { self.floor } else { value };
            }
        }
    }
}
