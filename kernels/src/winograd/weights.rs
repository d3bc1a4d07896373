//! The transform of the weights.

use super::axis::{Axis, MAX_POINTS, with_axis};
use super::shape::Shape;
use crate::vector::Vector;

/// The kernels of some output maps of a pass and one of its input maps.
#[derive(Debug)]
pub(crate) struct Kernels {
    pub shape: Shape,
    /// The first tap of the first output map.
    pub from: *const f32,
    /// Distance between output maps.
    pub stride: usize,
    /// Output maps, at most LANES.
    pub maps: usize,
    /// The first point of the first output map; the maps lie side by side.
    pub to: *mut f32,
    /// Distance between points.
    pub point: usize,
}

/// Transforms kernels, lanes along the output maps.
///
/// # Safety
/// The tier of `V` is enabled in the caller; `from` is valid for the taps of `maps` kernels, `to` for their points.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector>(kernels: &Kernels) {
    let shape = &kernels.shape;
    let [kz, ky, kx] = shape.kernel;
    let [pz, py, px] = [0, 1, 2].map(|axis| shape.points_along(axis));
    // SAFETY: taps and points are within the kernels; the masks leave out maps that do not exist.
    unsafe {
        let exist = V::first(kernels.maps);
        let zero = V::zero();
        // Taps, then points, along each axis; in place, line by line.
        let mut part = [zero; MAX_POINTS * MAX_POINTS * MAX_POINTS];
        let at = |z: usize, y: usize, x: usize| (z * MAX_POINTS + y) * MAX_POINTS + x;
        for z in 0..kz {
            for y in 0..ky {
                let mut taps = [zero; 3];
                for (x, tap) in taps.iter_mut().enumerate().take(kx) {
                    let index = (z * ky + y) * kx + x;
                    let index = if shape.is_reversed() { kz * ky * kx - 1 - index } else { index };
                    *tap = V::load_strided(kernels.from.add(index), kernels.stride, exist);
                }
                let points = with_axis!(shape.tile[2], kx, A => A::kernel(taps));
                part[at(z, y, 0)..][..px].copy_from_slice(&points[..px]);
            }
            for x in 0..px {
                let taps = [part[at(z, 0, x)], part[at(z, 1, x)], part[at(z, 2, x)]];
                let points = with_axis!(shape.tile[1], ky, A => A::kernel(taps));
                for (y, point) in points.into_iter().enumerate().take(py) {
                    part[at(z, y, x)] = point;
                }
            }
        }
        for y in 0..py {
            for x in 0..px {
                let taps = [part[at(0, y, x)], part[at(1, y, x)], part[at(2, y, x)]];
                let points = with_axis!(shape.tile[0], kz, A => A::kernel(taps));
                for (z, point) in points.iter().enumerate().take(pz) {
                    let to = kernels.to.add(((z * py + y) * px + x) * kernels.point);
                    point.store_first(to, kernels.maps);
                }
            }
        }
    }
}
