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
        // [tap or point][tap or point][tap or point]
        let mut part = [[[zero; MAX_POINTS]; MAX_POINTS]; MAX_POINTS];
        for z in 0..kz {
            for y in 0..ky {
                let mut taps = [zero; 3];
                for (x, tap) in taps.iter_mut().enumerate().take(kx) {
                    let index = (z * ky + y) * kx + x;
                    let index = if shape.is_reversed() { kz * ky * kx - 1 - index } else { index };
                    *tap = V::load_strided(kernels.from.add(index), kernels.stride, exist);
                }
                part[z][y] = with_axis!(shape.tile[2], kx, A => A::kernel(taps));
            }
            for x in 0..px {
                let taps = [part[z][0][x], part[z][1][x], part[z][2][x]];
                let points = with_axis!(shape.tile[1], ky, A => A::kernel(taps));
                for y in 0..py {
                    part[z][y][x] = points[y];
                }
            }
        }
        for y in 0..py {
            for x in 0..px {
                let taps = [part[0][y][x], part[1][y][x], part[2][y][x]];
                let points = with_axis!(shape.tile[0], kz, A => A::kernel(taps));
                for (z, point) in points.iter().enumerate().take(pz) {
                    let to = kernels.to.add(((z * py + y) * px + x) * kernels.point);
                    point.store_first(to, kernels.maps);
                }
            }
        }
    }
}
