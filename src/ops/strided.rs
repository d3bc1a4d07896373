//! Maxima over windows at any distance, on images with a border that is less than any voxel.

use super::{Maps, Site, pass_cost};
use crate::plan::{Buffer, PlanBuilder};
use crate::volume::Extent;

/// Windows on an image.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    /// Voxels of a window, at most 256.
    pub size: Extent,
    /// The distance of neighbouring windows.
    pub step: Extent,
    /// Voxels of the border on both sides; at most half a window.
    pub pad: Extent,
}

impl Windows {
    /// The voxels of the window `at` that lie in the image: the number of each in the window, and its place.
    fn voxels(self, image: Extent, at: Extent) -> impl Iterator<Item = (u8, usize)> {
        let Self { size, step, pad } = self;
        let corner = at * step;
        let inside = move |corner: usize, pad: usize, size: usize, len: usize| {
            pad.saturating_sub(corner)..size.min(len + pad - corner)
        };
        let z = inside(corner.z, pad.z, size.z, image.z);
        z.flat_map(move |z| {
            inside(corner.y, pad.y, size.y, image.y).flat_map(move |y| {
                inside(corner.x, pad.x, size.x, image.x).map(move |x| {
                    let place = corner + Extent::new(z, y, x) - pad;
                    (size.index(z, y, x) as u8, image.index(place.z, place.y, place.x))
                })
            })
        })
    }
}

/// The windows of an output image, in the order of its voxels.
fn places(output: Extent) -> impl Iterator<Item = Extent> {
    (0..output.z)
        .flat_map(move |z| (0..output.y).flat_map(move |y| (0..output.x).map(move |x| Extent::new(z, y, x))))
}

/// `y` = the maxima of `x`, of equal voxels the first; `winners` remembers which voxel of its window won. A NaN is never lost.
pub(super) fn forward(
    plan: &mut PlanBuilder,
    site: &Site,
    windows: Windows,
    x: Maps,
    y: Maps,
    winners: Option<Buffer>,
) {
    let (image, output) = (x.extent, y.extent);
    let cost = 4.0 * pass_cost(output.len() * windows.size.len());
    for map in 0..x.count {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(y.buffer, map..map + 1));
        let winners = winners.map(|winners| plan.rows(winners, map..map + 1));
        let remembers = winners.is_some();
        let mut task = plan.task(site.label("max_forward"), cost).read(read).write(write);
        if let Some(winners) = winners {
            task = task.write(winners);
        }
        task.run(move |views| {
            let [x] = views.reads.take();
            let x = x.row(0);
            let maximum = |at: Extent| {
                let mut best = (0, f32::NEG_INFINITY);
                let mut found = windows.voxels(image, at).map(|(number, place)| (number, x[place]));
                if let Some(first) = found.next() {
                    best = first;
                }
                for (number, value) in found {
                    if value > best.1 || value.is_nan() {
                        best = (number, value);
                    }
                }
                best
            };
            if remembers {
                let [mut y, mut winners] = views.writes.take();
                let winners: &mut [u8] = bytemuck::cast_slice_mut(winners.row_mut(0));
                for ((y, winner), at) in y.row_mut(0).iter_mut().zip(winners).zip(places(output)) {
                    (*winner, *y) = maximum(at);
                }
            } else {
                let [mut y] = views.writes.take();
                for (y, at) in y.row_mut(0).iter_mut().zip(places(output)) {
                    *y = maximum(at).1;
                }
            }
        });
    }
}

/// The gradient of each output voxel goes to its winner: `dx` is overwritten, or added to.
pub(super) fn backward(
    plan: &mut PlanBuilder,
    site: &Site,
    windows: Windows,
    dy: Maps,
    winners: Buffer,
    dx: Maps,
    accumulate: bool,
) {
    let (image, output) = (dx.extent, dy.extent);
    for map in 0..dy.count {
        let (read, write) = (plan.rows(dy.buffer, map..map + 1), plan.rows(dx.buffer, map..map + 1));
        let winners = plan.rows(winners, map..map + 1);
        let cost = 4.0 * pass_cost(output.len()) + pass_cost(image.len());
        plan.task(site.label("max_backward"), cost).read(read).read(winners).write(write).run(move |views| {
            let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
            let (winners, dx): (&[u8], _) = (bytemuck::cast_slice(winners.row(0)), dx.row_mut(0));
            if !accumulate {
                dx.fill(0.0);
            }
            for ((dy, &winner), at) in dy.row(0).iter().zip(winners).zip(places(output)) {
                let Extent { y, x, .. } = windows.size;
                let number = usize::from(winner);
                let voxel = Extent::new(number / (y * x), number / x % y, number % x);
                let place = at * windows.step + voxel - windows.pad;
                dx[image.index(place.z, place.y, place.x)] += dy;
            }
        });
    }
}
