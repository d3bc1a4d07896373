//! Rectification with a learned slope for each map.

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// `y = x + bias` where that is positive, else the slope times it; `x` may be `y`. `parameters` is one row: a bias for each
/// map, then a slope for each.
pub fn forward(plan: &mut PlanBuilder, site: &Site, x: Maps, y: Maps, parameters: Buffer) {
    let in_place = x.buffer == y.buffer;
    for (rows, cols) in blocks(plan, y.count, y.extent.len()) {
        let write = plan.region(y.buffer, rows.clone(), cols.clone());
        let read = (!in_place).then(|| plan.region(x.buffer, rows.clone(), cols.clone()));
        let parameters = plan.whole(parameters);
        let (kernels, maps) = (site.kernels, y.count);
        let cost = pass_cost(rows.len() * cols.len());
        let mut task = plan.task(site.label("rectify"), cost).read(parameters).write(write);
        if let Some(read) = read {
            task = task.read(read);
        }
        task.run(move |views| {
            let [mut y] = views.writes.take();
            let (parameters, x) = if in_place {
                let [parameters] = views.reads.take();
                (parameters, None)
            } else {
                let [parameters, x] = views.reads.take();
                (parameters, Some(x))
            };
            let (biases, slopes) = parameters.row(0).split_at(maps);
            for (row, map) in rows.clone().enumerate() {
                let x = x.map(|x| x.row(row));
                kernels.rectify(slopes[map], biases[map], x, y.row_mut(row));
            }
        });
    }
}

/// `g`, the gradient by the values, becomes that by `x`; `gradient` gets that by the parameters, in their order.
pub fn backward(plan: &mut PlanBuilder, site: &Site, x: Maps, g: Maps, parameters: Buffer, gradient: Buffer) {
    let maps = x.count;
    for map in 0..maps {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(g.buffer, map..map + 1));
        let parameters = plan.whole(parameters);
        let [bias, slope] = [map, maps + map].map(|at| plan.region(gradient, 0..1, at..at + 1));
        let kernels = site.kernels;
        plan.task(site.label("rectify_backward"), 1.5 * pass_cost(x.extent.len()))
            .read(read)
            .read(parameters)
            .write(write)
            .write(bias)
            .write(slope)
            .run(move |views| {
                let ([x, parameters], [mut g, mut bias, mut slope]) =
                    (views.reads.take(), views.writes.take());
                let (biases, slopes) = parameters.row(0).split_at(maps);
                let found = kernels.rectify_backward(slopes[map], biases[map], x.row(0), g.row_mut(0));
                [bias.row_mut(0)[0], slope.row_mut(0)[0]] = found.map(|sum| sum as f32);
            });
    }
}
