//! Each map times a factor of its own.

use super::{Maps, Site, blocks, pass_cost};
use crate::conv::WeightGradient;
use crate::plan::{Buffer, PlanBuilder};

/// `to = factor * from`, or added to `to`; `factors` has a row of one float for each map. It is its own adjoint.
pub fn scale(plan: &mut PlanBuilder, site: &Site, from: Maps, factors: Buffer, to: Maps, accumulate: bool) {
    for (rows, cols) in blocks(plan, from.count, from.extent.len()) {
        let read = plan.region(from.buffer, rows.clone(), cols.clone());
        let write = plan.region(to.buffer, rows.clone(), cols.clone());
        let factors = plan.rows(factors, rows.clone());
        let kernels = site.kernels;
        plan.task(site.label("scale"), pass_cost(rows.len() * cols.len()))
            .read(read)
            .read(factors)
            .write(write)
            .run(move |views| {
                let ([from, factors], [mut to]) = (views.reads.take(), views.writes.take());
                for row in 0..from.rows() {
                    kernels.scaled(factors.row(row)[0], from.row(row), accumulate, to.row_mut(row));
                }
            });
    }
}

/// The gradients of the factors that made `dy`'s images of `x`. The tasks are deferred.
pub fn backward_factors(plan: &mut PlanBuilder, site: &Site, x: Maps, dy: Maps) -> WeightGradient {
    let found = plan.transient(x.count, 1);
    for map in 0..x.count {
        let cost = pass_cost(x.extent.len());
        let (x, dy) = (plan.rows(x.buffer, map..map + 1), plan.rows(dy.buffer, map..map + 1));
        let write = plan.rows(found, map..map + 1);
        let kernels = site.kernels;
        plan.task(site.label("scale_factors"), cost).read(x).read(dy).write(write).deferred().run(
            move |views| {
                let ([x, dy], [mut found]) = (views.reads.take(), views.writes.take());
                found.row_mut(0)[0] = kernels.centred_dot(dy.row(0), x.row(0), 0.0) as f32;
            },
        );
    }
    super::shared::gradient(plan, site, found)
}
