//! The transform of a group of tiles, one in each lane: rows in pairs, columns of a plane while it is in the nearest
//! cache, then the lines along z.

use super::lines::{Codelets, ComplexLines, RealLines};
use super::{Patch, Store, TileShape};
use crate::vector::{MAX_LANES, Vector, transpose};

/// One group of tiles.
pub(crate) struct Group {
    pub shape: TileShape,
    /// Of the lengths of the shape along z, y and x.
    pub codelets: [Codelets; 3],
    /// Distances of neighbours in the image along z, y and x.
    pub steps: [usize; 3],
    /// A box for each lane; lanes without one are zeros.
    pub patches: [Patch; MAX_LANES],
    /// The least box that contains those of all lanes.
    pub extent: [usize; 3],
    /// Whether the boxes of all lanes are alike.
    pub alike: bool,
    /// From one frequency to the next.
    pub stride: usize,
    pub scratch: *mut f32,
}

/// Where the parts of the scratch memory begin, and how they are laid out, in floats.
struct Workspace {
    /// Two rows of the tiles, an element being a vector.
    rows: [*mut f32; 2],
    /// The columns of a plane after the transform along x: `[y][kx]`.
    plane: *mut f32,
    pitch: usize,
    /// Coefficients after the transform along y: `[z][column]`.
    volume: *mut f32,
    depth_pitch: usize,
    /// Room for a half-spectrum along y that nobody wants.
    unwanted: *mut f32,
}

/// Elements of a row of the tiles, in whole transposed blocks.
fn row_len(shape: &TileShape, lanes: usize) -> usize {
    shape.size[2].next_multiple_of(lanes)
}

/// Columns of the plane between x and y: where there is one alone, its partner of a pair is zero.
fn plane_columns(shape: &TileShape) -> usize {
    (shape.size[2] / 2 + 1).max(2)
}

/// Floats of scratch memory for vectors of so many lanes.
pub(super) fn scratch_len(shape: &TileShape, lanes: usize) -> usize {
    let [depth, height, _] = shape.size;
    let plane = height.next_multiple_of(2) * plane_columns(shape);
    let pairs = plane + depth * shape.columns() + height / 2 + 1;
    (2 * row_len(shape, lanes) + 2 * pairs) * lanes
}

impl Group {
    /// # Safety
    /// The scratch memory holds [`scratch_len`] floats for `lanes` lanes.
    unsafe fn workspace(&self, lanes: usize) -> Workspace {
        let [depth, height, _] = self.shape.size;
        let row = row_len(&self.shape, lanes) * lanes;
        let pitch = plane_columns(&self.shape) * 2 * lanes;
        let depth_pitch = self.shape.columns() * 2 * lanes;
        // SAFETY: these are the parts of which `scratch_len` is the sum.
        unsafe {
            let plane = self.scratch.add(2 * row);
            let volume = plane.add(height.next_multiple_of(2) * pitch);
            let unwanted = volume.add(depth * depth_pitch);
            Workspace {
                rows: [self.scratch, self.scratch.add(row)],
                plane,
                pitch,
                volume,
                depth_pitch,
                unwanted,
            }
        }
    }

    /// The lines along y of the plane `z`: of the two columns that are real along y, and of the others.
    unsafe fn lines_of_plane(
        &self,
        work: &Workspace,
        z: usize,
        rows: usize,
        lanes: usize,
    ) -> (RealLines, ComplexLines) {
        let [_, height, width] = self.shape.size;
        let pair = 2 * lanes;
        let half = height / 2 + 1;
        // SAFETY: within the parts of the workspace.
        unsafe {
            let volume = work.volume.add(z * work.depth_pitch);
            let alone = width == 1;
            let last = if alone { 1 } else { width / 2 };
            let real = RealLines {
                real: [work.plane, work.plane.add(last * pair)],
                real_step: work.pitch,
                elements: rows,
                spectrum: [volume, if alone { work.unwanted } else { volume.add(half * pair) }],
                spectrum_step: pair,
                scale_of_real: 2.0,
            };
            let columns = work.plane.add(pair);
            let coefficients = volume.wrapping_add(2 * half * pair);
            let complex = ComplexLines {
                count: (width / 2).saturating_sub(1),
                from: [columns, columns.add(lanes)].map(<*mut f32>::cast_const),
                from_step: work.pitch,
                from_next: pair,
                inputs: rows,
                to: [coefficients, coefficients.wrapping_add(lanes)],
                to_step: pair,
                to_next: height * pair,
                outputs: height,
            };
            (real, complex)
        }
    }
}

/// Transforms a group of tiles: coefficient `f` of lane `l` becomes `to[f * stride + l]` and, of the imaginary part,
/// `to[f * stride + LANES + l]`.
///
/// # Safety
/// The tier of `V` is enabled in the caller, the codelets are of that tier. The boxes are readable, the coefficients
/// writable, and there is scratch memory of [`scratch_len`]. At most `LANES` patches, none larger than the shape.
#[inline(always)]
pub(crate) unsafe fn forward<V: Vector>(group: &Group, source: *const f32, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let [depth, height, width] = group.shape.size;
        let [planes, rows, cols] = group.extent;
        let [along_z, along_y, along_x] = group.codelets;
        let work = group.workspace(V::LANES);
        let pair = 2 * V::LANES;
        if width == 1 {
            for y in 0..height {
                V::zero().store(work.plane.add(y * work.pitch + pair));
            }
        }
        for z in 0..planes {
            for y in (0..rows).step_by(2) {
                gather::<V>(group, source, z, y, cols, work.rows[0]);
                gather::<V>(group, source, z, y + 1, cols, work.rows[1]);
                let first = work.plane.add(y * work.pitch);
                (along_x.from_real)(&RealLines {
                    real: work.rows,
                    real_step: V::LANES,
                    elements: cols,
                    spectrum: [first, first.add(work.pitch)],
                    spectrum_step: pair,
                    scale_of_real: 1.0,
                });
            }
            let (real, complex) = group.lines_of_plane(&work, z, rows, V::LANES);
            (along_y.from_real)(&real);
            (along_y.complex)(&complex);
        }
        (along_z.complex)(&ComplexLines {
            count: group.shape.columns(),
            from: [work.volume, work.volume.add(V::LANES)].map(<*mut f32>::cast_const),
            from_step: work.depth_pitch,
            from_next: pair,
            inputs: planes,
            to: [to, to.add(V::LANES)],
            to_step: group.stride,
            to_next: depth * group.stride,
            outputs: depth,
        });
    }
}

/// The inverse: the boxes at the origin of the tiles are stored to the image as `store` says.
///
/// # Safety
/// As [`forward`], with the coefficients readable and the boxes writable.
#[inline(always)]
pub(crate) unsafe fn inverse<V: Vector>(group: &Group, from: *const f32, store: &Store, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let [depth, ..] = group.shape.size;
        let [planes, rows, cols] = group.extent;
        let [along_z, along_y, along_x] = group.codelets;
        let work = group.workspace(V::LANES);
        let pair = 2 * V::LANES;
        (along_z.complex)(
            &ComplexLines {
                count: group.shape.columns(),
                from: [from, from.add(V::LANES)],
                from_step: group.stride,
                from_next: depth * group.stride,
                inputs: depth,
                to: [work.volume, work.volume.add(V::LANES)],
                to_step: work.depth_pitch,
                to_next: pair,
                outputs: planes,
            }
            .swapped(),
        );
        for z in 0..planes {
            let (real, complex) = group.lines_of_plane(&work, z, rows, V::LANES);
            (along_y.to_real)(&real);
            let back = ComplexLines {
                count: complex.count,
                from: complex.to.map(<*mut f32>::cast_const),
                from_step: complex.to_step,
                from_next: complex.to_next,
                inputs: complex.outputs,
                to: complex.from.map(<*const f32>::cast_mut),
                to_step: complex.from_step,
                to_next: complex.from_next,
                outputs: rows,
            };
            (along_y.complex)(&back.swapped());
            for y in (0..rows).step_by(2) {
                let first = work.plane.add(y * work.pitch);
                let second = if y + 1 < rows { first.add(work.pitch) } else { first };
                (along_x.to_real)(&RealLines {
                    real: work.rows,
                    real_step: V::LANES,
                    elements: cols,
                    spectrum: [first, second],
                    spectrum_step: pair,
                    scale_of_real: 1.0,
                });
                scatter::<V>(group, store, work.rows[0], z, y, cols, to);
                scatter::<V>(group, store, work.rows[1], z, y + 1, cols, to);
            }
        }
    }
}

/// How many elements of row (z, y) the box of a lane has from `start` on.
#[inline(always)]
fn elements(patch: &Patch, z: usize, y: usize, start: usize) -> usize {
    let [planes, rows, cols] = patch.extent;
    if z < planes && y < rows { cols.saturating_sub(start) } else { 0 }
}

/// Row (z, y) of all boxes: `row[x * LANES + lane]` for `x < cols`.
///
/// # Safety
/// As [`forward`]; `row` holds as many vectors as [`row_len`] says.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "constant bounds keep the arrays in registers")]
unsafe fn gather<V: Vector>(
    group: &Group,
    source: *const f32,
    z: usize,
    y: usize,
    cols: usize,
    row: *mut f32,
) {
    let [step_z, step_y, step_x] = group.steps;
    // SAFETY: elements of boxes are read, vectors of the row written.
    unsafe {
        for start in (0..cols).step_by(V::LANES) {
            let mut block = [V::zero(); MAX_LANES];
            // wrapping: where there is nothing to read
            let source = source.wrapping_add(z * step_z + y * step_y + start * step_x);
            let count = elements(&group.patches[0], z, y, start);
            if step_x == 1 && group.alike {
                let mask = V::first(count);
                for lane in 0..V::LANES {
                    block[lane] = V::load_masked(source.wrapping_add(group.patches[lane].offset), mask);
                }
            } else if step_x == 1 {
                for lane in 0..V::LANES {
                    let patch = &group.patches[lane];
                    let mask = V::first(elements(patch, z, y, start));
                    block[lane] = V::load_masked(source.wrapping_add(patch.offset), mask);
                }
            } else {
                for (value, patch) in block.iter_mut().zip(&group.patches).take(V::LANES) {
                    let mask = V::first(elements(patch, z, y, start));
                    *value = V::load_strided(source.wrapping_add(patch.offset), step_x, mask);
                }
            }
            transpose(&mut block);
            for x in 0..V::LANES {
                block[x].store(row.add((start + x) * V::LANES));
            }
        }
    }
}

/// Stores row (z, y) of all boxes.
///
/// # Safety
/// As [`inverse`].
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "constant bounds keep the arrays in registers")]
unsafe fn scatter<V: Vector>(
    group: &Group,
    store: &Store,
    row: *const f32,
    z: usize,
    y: usize,
    cols: usize,
    to: *mut f32,
) {
    let [step_z, step_y, step_x] = group.steps;
    // SAFETY: vectors of the row are read, elements of boxes written.
    unsafe {
        let (scale, bias, floor) = (V::splat(store.scale), V::splat(store.bias), V::splat(store.floor));
        for start in (0..cols).step_by(V::LANES) {
            let mut block = [V::zero(); MAX_LANES];
            for x in 0..V::LANES {
                block[x] = V::load(row.add((start + x) * V::LANES));
            }
            transpose(&mut block);
            // wrapping: where there is nothing to store
            let to = to.wrapping_add(z * step_z + y * step_y + start * step_x);
            if step_x == 1 {
                for lane in 0..V::LANES {
                    let patch = &group.patches[lane];
                    let count = elements(patch, z, y, start);
                    let to = to.wrapping_add(patch.offset);
                    let mut value = block[lane].mul_add(scale, bias);
                    if store.accumulate {
                        value = value.add(V::load_masked(to, V::first(count)));
                    }
                    floor.max(value).store_first(to, count);
                }
            } else {
                for (value, patch) in block.iter().zip(&group.patches).take(V::LANES) {
                    let count = elements(patch, z, y, start);
                    let to = to.wrapping_add(patch.offset);
                    let mut value = value.mul_add(scale, bias);
                    if store.accumulate {
                        value = value.add(V::load_strided(to, step_x, V::first(count)));
                    }
                    let mut elements = [0.0; MAX_LANES];
                    floor.max(value).store(elements.as_mut_ptr());
                    for (x, element) in elements.into_iter().enumerate().take(count.min(V::LANES)) {
                        to.add(x * step_x).write(element);
                    }
                }
            }
        }
    }
}
