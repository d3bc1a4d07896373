//! The voxel-wise maximum over several groups of maps.

use super::{Maps, Site, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// `y` = the maximum of `y` and `x`, the contribution number `index`; the first one, number 0, overwrites.
/// `winners` has a byte for each voxel, as those of [`pool`](super::pool::winners).
pub fn merge(plan: &mut PlanBuilder, site: &Site, x: Maps, index: u8, y: Maps, winners: Buffer) {
    for map in 0..x.count {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(y.buffer, map..map + 1));
        let winners = plan.rows(winners, map..map + 1);
        let kernels = site.kernels;
        let len = x.extent.len();
        plan.task(site.label("maxout"), pass_cost(len)).read(read).write(write).write(winners).run(
            move |views| {
                let ([x], [mut y, mut winners]) = (views.reads.take(), views.writes.take());
                let winners: &mut [u8] = bytemuck::cast_slice_mut(winners.row_mut(0));
                if index == 0 {
                    y.row_mut(0).copy_from_slice(x.row(0));
                    winners.fill(0);
                } else {
                    kernels.max_merge(index, x.row(0), y.row_mut(0), &mut winners[..len]);
                }
            },
        );
    }
}

/// `dx` = `dy` where contribution `index` has won, else zero; or added to `dx`.
pub fn backward(
    plan: &mut PlanBuilder,
    site: &Site,
    dy: Maps,
    winners: Buffer,
    index: u8,
    dx: Maps,
    accumulate: bool,
) {
    for map in 0..dy.count {
        let read = plan.rows(dy.buffer, map..map + 1);
        let winners = plan.rows(winners, map..map + 1);
        let write = plan.rows(dx.buffer, map..map + 1);
        let kernels = site.kernels;
        let len = dy.extent.len();
        plan.task(site.label("maxout_backward"), pass_cost(len)).read(read).read(winners).write(write).run(
            move |views| {
                let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
                let winners: &[u8] = &bytemuck::cast_slice(winners.row(0))[..len];
                kernels.max_merge_backward(index, winners, dy.row(0), accumulate, dx.row_mut(0));
            },
        );
    }
}
