//! Bias and transfer function of a node.

use znn_kernels::Transfer;

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// `y = transfer(y + bias)`, in place.
pub fn forward(plan: &mut PlanBuilder, site: &Site, y: Maps, bias: Buffer, transfer: Transfer) {
    for (rows, cols) in blocks(plan, y.count, y.extent.len()) {
        let bias = plan.region(bias, 0..1, rows.clone());
        let write = plan.region(y.buffer, rows.clone(), cols.clone());
        let kernels = site.kernels;
        plan.task(site.label("transfer"), pass_cost(rows.len() * cols.len())).read(bias).write(write).run(
            move |views| {
                let ([bias], [mut y]) = (views.reads.take(), views.writes.take());
                for (row, &bias) in bias.row(0).iter().enumerate() {
                    kernels.bias_transfer(transfer, bias, y.row_mut(row));
                }
            },
        );
    }
}

/// `g *= transfer'(y)` in place, and the gradient of each map's bias: its sum over the voxels, in `bias_gradient`
/// (one row, a column for each map).
pub fn backward(
    plan: &mut PlanBuilder,
    site: &Site,
    y: Maps,
    g: Maps,
    bias_gradient: Buffer,
    transfer: Transfer,
) {
    for map in 0..y.count {
        let read = plan.rows(y.buffer, map..map + 1);
        let write = plan.rows(g.buffer, map..map + 1);
        let bias = plan.region(bias_gradient, 0..1, map..map + 1);
        let kernels = site.kernels;
        plan.task(site.label("transfer_backward"), pass_cost(y.extent.len()))
            .read(read)
            .write(write)
            .write(bias)
            .run(move |views| {
                let ([y], [mut g, mut bias]) = (views.reads.take(), views.writes.take());
                bias.row_mut(0)[0] = kernels.transfer_backward(transfer, y.row(0), g.row_mut(0));
            });
    }
}
