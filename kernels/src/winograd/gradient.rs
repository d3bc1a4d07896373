//! Backward-weights: the products of a pair of maps, summed over tiles with lanes along points, and their transform G'.

use super::axis::{Axis, MAX_POINTS, with_axis};
use super::shape::Shape;
use crate::vector::{MAX_LANES, Vector, transpose};

/// One micro-kernel for each register tile: `family[rows - 1][columns - 1]`.
pub(crate) type Family = &'static [&'static [unsafe fn(&Outer)]];

/// Square register tiles of a tier of 16 or 32 vector registers: R * N sums, N inputs and a gradient fit.
macro_rules! outer_tiles {
    (16, $kernel:ident) => { outer_tiles!(@ $kernel [1 2 3] [1 2 3]) };
    (32, $kernel:ident) => { outer_tiles!(@ $kernel [1 2 3 4 5] [1 2 3 4 5]) };
    (@ $kernel:ident [$($rows:literal)*] $columns:tt) => { &[$( outer_tiles!(@row $kernel $rows $columns) ),*] };
    (@row $kernel:ident $rows:literal [$($columns:literal)*]) => { &[$( $kernel::<$rows, $columns> ),*] };
}
pub(crate) use outer_tiles;

/// The operands of one call: `sums[r][n] (+)= sum over t of gradients[r][t] * inputs[n][t]` for R x N pairs of maps, each
/// element one vector of points.
#[derive(Debug)]
pub(crate) struct Outer {
    /// Tiles.
    pub tiles: usize,
    /// `[output map][tile]`.
    pub gradients: *const f32,
    /// `[input map][tile]`.
    pub inputs: *const f32,
    /// Distance between maps of either.
    pub map: usize,
    /// `[output map][input map]`.
    pub sums: *mut f32,
    /// Distance between output maps of the sums.
    pub sum_row: usize,
    /// Whether the former sums are added.
    pub accumulate: bool,
}

/// # Safety
/// The tier of `V` is enabled in the caller; gradients, inputs and sums are valid for what [`Outer`] says, and the sums
/// overlap nothing.
#[inline(always)]
pub(crate) unsafe fn accumulate<V: Vector, const R: usize, const N: usize>(outer: &Outer) {
    // SAFETY: the loops visit the tiles and maps of the contract.
    unsafe {
        let mut sum = [[V::zero(); N]; R];
        let (mut gradients, mut inputs) = (outer.gradients, outer.inputs);
        for _ in 0..outer.tiles {
            let mut x = [V::zero(); N];
            for (n, x) in x.iter_mut().enumerate() {
                *x = V::load(inputs.add(n * outer.map));
            }
            for (r, row) in sum.iter_mut().enumerate() {
                let g = V::load(gradients.add(r * outer.map));
                for (sum, x) in row.iter_mut().zip(x) {
                    *sum = x.mul_add(g, *sum);
                }
            }
            inputs = inputs.add(V::LANES);
            gradients = gradients.add(V::LANES);
        }
        for (r, row) in sum.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                let to = outer.sums.add(r * outer.sum_row + n * V::LANES);
                if outer.accumulate { V::load(to).add(*sum).store(to) } else { sum.store(to) }
            }
        }
    }
}

/// The sums of one output map and some input maps.
#[derive(Debug)]
pub(crate) struct KernelSums {
    pub shape: Shape,
    /// `[point / LANES][input map][LANES]`, from the first of the maps on.
    pub from: *const f32,
    /// Distance between blocks of points.
    pub block: usize,
    /// Input maps, at most LANES.
    pub maps: usize,
    /// `[input map][taps]`.
    pub to: *mut f32,
}

/// Transforms sums to gradients of kernels, lanes along the input maps.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for all points of the maps, `to` for their taps.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector>(sums: &KernelSums) {
    let shape = &sums.shape;
    let [kz, ky, kx] = shape.kernel;
    let [pz, py, px] = [0, 1, 2].map(|axis| shape.points_along(axis));
    // SAFETY: points and taps are within the sums and the kernels; maps that do not exist repeat the last one.
    unsafe {
        let zero = V::zero();
        let mut points = [zero; MAX_POINTS * MAX_POINTS * MAX_POINTS + MAX_LANES];
        for block in 0..shape.points().div_ceil(V::LANES) {
            let mut square = [zero; MAX_LANES];
            for (map, vector) in square.iter_mut().enumerate().take(V::LANES) {
                let map = map.min(sums.maps - 1);
                *vector = V::load(sums.from.add(block * sums.block + map * V::LANES));
            }
            transpose(&mut square);
            points[block * V::LANES..][..V::LANES].copy_from_slice(&square[..V::LANES]);
        }
        // In place, as the taps of an axis are no more than its points: first z, then y, then x.
        for yx in 0..py * px {
            let m = core::array::from_fn(|z| points[z.min(pz - 1) * py * px + yx]);
            let taps = with_axis!(shape.tile[0], kz, A => A::kernel_gradient(m));
            for (z, tap) in taps.into_iter().enumerate().take(kz) {
                points[z * py * px + yx] = tap;
            }
        }
        let mut lanes = [0.0; MAX_LANES];
        for z in 0..kz {
            for x in 0..px {
                let m = core::array::from_fn(|y| points[(z * py + y.min(py - 1)) * px + x]);
                let taps = with_axis!(shape.tile[1], ky, A => A::kernel_gradient(m));
                for (y, tap) in taps.into_iter().enumerate().take(ky) {
                    points[(z * py + y) * px + x] = tap;
                }
            }
            for y in 0..ky {
                let m = core::array::from_fn(|x| points[(z * py + y) * px + x.min(px - 1)]);
                let taps = with_axis!(shape.tile[2], kx, A => A::kernel_gradient(m));
                for (x, tap) in taps.into_iter().enumerate().take(kx) {
                    tap.store(lanes.as_mut_ptr());
                    for (map, value) in lanes.iter().enumerate().take(sums.maps) {
                        *sums.to.add(map * kz * ky * kx + (z * ky + y) * kx + x) = *value;
                    }
                }
            }
        }
    }
}
