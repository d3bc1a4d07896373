//! The softmax over the maps of each voxel.

use std::ops::Range;

use super::{Maps, Site, pass_cost};
use crate::plan::PlanBuilder;

/// Voxels of a task: some tens of microseconds.
const BLOCK: usize = 8192;

fn columns(maps: Maps) -> impl Iterator<Item = Range<usize>> {
    let len = maps.extent.len();
    (0..len).step_by(BLOCK).map(move |start| start..len.min(start + BLOCK))
}

/// `y = softmax(y)`, in place.
pub fn forward(plan: &mut PlanBuilder, site: &Site, y: Maps) {
    for cols in columns(y) {
        let cost = 4.0 * pass_cost(y.count * cols.len());
        let write = plan.region(y.buffer, 0..y.count, cols);
        let kernels = site.kernels;
        plan.task(site.label("softmax"), cost).write(write).run(move |views| {
            let [mut y] = views.writes.take();
            kernels.softmax(&mut y);
        });
    }
}

/// `g`, the gradient by the values `y`, becomes that by what the softmax was applied to.
pub fn backward(plan: &mut PlanBuilder, site: &Site, y: Maps, g: Maps) {
    for cols in columns(y) {
        let cost = 2.0 * pass_cost(y.count * cols.len());
        let read = plan.region(y.buffer, 0..y.count, cols.clone());
        let write = plan.region(g.buffer, 0..y.count, cols);
        let kernels = site.kernels;
        plan.task(site.label("softmax_backward"), cost).read(read).write(write).run(move |views| {
            let ([y], [mut g]) = (views.reads.take(), views.writes.take());
            kernels.softmax_backward(y, &mut g);
        });
    }
}
