//! The voxel-wise product of several groups of maps.

use super::{Maps, Site, blocks, copy, pass_cost};
use crate::plan::PlanBuilder;

/// `y` = the product of `factors`, of which there is at least one and which have the shape of `y`; or added to `y`.
pub fn product(plan: &mut PlanBuilder, site: &Site, factors: &[Maps], y: Maps, accumulate: bool) {
    match *factors {
        [factor] => copy::copy(plan, site, factor, y, accumulate),
        [a, b] => pair(plan, site, a, b, y, accumulate),
        [ref first @ .., last] => {
            let rest = Maps { buffer: plan.transient(y.count, y.extent.len()), ..y };
            product(plan, site, first, rest, false);
            pair(plan, site, rest, last, y, accumulate);
        }
        [] => panic!("a product of nothing"),
    }
}

fn pair(plan: &mut PlanBuilder, site: &Site, a: Maps, b: Maps, y: Maps, accumulate: bool) {
    for (rows, cols) in blocks(plan, y.count, y.extent.len()) {
        let [a, b, y] = [a, b, y].map(|maps| plan.region(maps.buffer, rows.clone(), cols.clone()));
        let kernels = site.kernels;
        plan.task(site.label("product"), 2.0 * pass_cost(rows.len() * cols.len()))
            .read(a)
            .read(b)
            .write(y)
            .scratch(if accumulate { cols.len() } else { 0 })
            .run(move |views| {
                let ([a, b], [mut y]) = (views.reads.take(), views.writes.take());
                for row in 0..y.rows() {
                    let to = y.row_mut(row);
                    if accumulate {
                        let product = &mut views.scratch[..to.len()];
                        product.copy_from_slice(a.row(row));
                        kernels.multiply(product, b.row(row));
                        kernels.add(to, product);
                    } else {
                        to.copy_from_slice(a.row(row));
                        kernels.multiply(to, b.row(row));
                    }
                }
            });
    }
}
