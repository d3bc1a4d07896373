//! Gradients of weights as sums that an update can collect: of kernels that several edges share, and of others.

use super::{Site, pass_cost};
use crate::conv::WeightGradient;
use crate::plan::{Buffer, PlanBuilder};

/// The sum of the gradients by several edges of the same `rows` x `cols` weights; collects those of each. Deferred.
pub fn join(
    plan: &mut PlanBuilder,
    site: &Site,
    gradients: Vec<Vec<WeightGradient>>,
    rows: usize,
    cols: usize,
) -> WeightGradient {
    let total = plan.transient(rows, cols);
    for (edge, blocks) in gradients.into_iter().enumerate() {
        for WeightGradient { rows, cols, sum } in blocks {
            let cost = pass_cost(rows.len() * cols.len());
            let write = plan.region(total, rows, cols);
            let kernels = site.kernels;
            plan.task(site.label("join_gradients"), cost).write(write).collect(sum).deferred().run(
                move |views| {
                    let [mut total] = views.writes.take();
                    for row in 0..total.rows() {
                        let to = total.row_mut(row);
                        let from = &views.sum[row * to.len()..][..to.len()];
                        if edge == 0 {
                            to.copy_from_slice(from);
                        } else {
                            kernels.add(to, from);
                        }
                    }
                },
            );
        }
    }
    gradient(plan, site, total)
}

/// What `buffer` holds, as the gradient of weights of its shape. Deferred.
pub(super) fn gradient(plan: &mut PlanBuilder, site: &Site, buffer: Buffer) -> WeightGradient {
    let (rows, cols) = plan.dimensions(buffer);
    let sum = plan.sum(rows * cols, 1);
    let read = plan.whole(buffer);
    plan.task(site.label("gradient"), pass_cost(rows * cols)).read(read).contribute(sum).deferred().run(
        move |views| {
            let [from] = views.reads.take();
            views.sum.copy_from_slice(from.contiguous());
        },
    );
    WeightGradient { rows: 0..rows, cols: 0..cols, sum }
}
