//! The voxel-wise maximum over several groups of maps.

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// `y` = the maximum of `y` and `x`, the contribution number `index`; the first one overwrites.
pub fn merge(plan: &mut PlanBuilder, site: &Site, x: Maps, index: u8, y: Maps, winners: Option<Buffer>) {
    for map in 0..x.count {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(y.buffer, map..map + 1));
        let winners = winners.map(|winners| plan.rows(winners, map..map + 1));
        let kernels = site.kernels;
        let len = x.extent.len();
        let mut task = plan.task(site.label("maxout"), pass_cost(len)).read(read).write(write);
        let remember = winners.is_some();
        if let Some(winners) = winners {
            task = task.write(winners);
        }
        task.run(move |views| {
            let [x] = views.reads.take();
            if remember {
                let [mut y, mut winners] = views.writes.take();
                let winners: &mut [u8] = bytemuck::cast_slice_mut(winners.row_mut(0));
                kernels.max_merge(index, x.row(0), y.row_mut(0), Some(&mut winners[..len]));
            } else {
                let [mut y] = views.writes.take();
                kernels.max_merge(index, x.row(0), y.row_mut(0), None);
            }
        });
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
    for (rows, _) in blocks(plan, dy.count, dy.extent.len().min(1)) {
        let read = plan.rows(dy.buffer, rows.clone());
        let winners = plan.rows(winners, rows.clone());
        let write = plan.rows(dx.buffer, rows.clone());
        let kernels = site.kernels;
        let len = dy.extent.len();
        plan.task(site.label("maxout_backward"), pass_cost(len * rows.len())).read(read).read(winners).write(write).run(
            move |views| {
                let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
                for row in 0..dy.rows() {
                    let winners: &[u8] = &bytemuck::cast_slice(winners.row(row))[..len];
                    kernels.max_merge_backward(index, dy.row(row), winners, accumulate, dx.row_mut(row));
                }
            },
        );
    }
}
