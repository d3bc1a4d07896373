//! The gradients of bias and transfer function as a plan.

use znn_kernels::Transfer;

use super::passes::{inputs, name, outputs};
use super::strides::Layout;
use crate::engine::Engine;
use crate::ops::{Maps, Site, transfer};
use crate::plan::{Buffer, Label, Plan, PlanBuilder};
use crate::volume::Extent;

/// Inputs: an image of `y`, whether to add to the bias gradient (0 or 1). Outputs: the image of the gradient, the bias
/// gradient.
pub(super) fn backward_transfer(engine: &Engine, maps: &Layout, extent: Extent, function: Transfer) -> Plan {
    let mut plan = engine.plan().synchronous();
    let site = Site { name: name(), kernels: engine.kernels() };
    let [y] = inputs(&mut plan, maps, 1)[..] else { unreachable!("one image") };
    let add = plan.input(1, 1);
    let [g] = outputs(&mut plan, maps, 1)[..] else { unreachable!("one image") };
    let total = plan.output(1, maps.maps);
    let found = plan.transient(1, maps.maps);
    let of_image = |buffer| Maps { buffer, count: maps.maps, extent };
    transfer::backward(&mut plan, &site, of_image(y), of_image(g), found, function);
    let (found, add, total) = (plan.whole(found), plan.whole(add), plan.whole(total));
    plan.task(Label::new(&name(), "bias"), 0.0).read(found).read(add).write(total).run(|views| {
        let ([found, add], [mut total]) = (views.reads.take(), views.writes.take());
        for (total, found) in total.row_mut(0).iter_mut().zip(found.row(0)) {
            put(total, *found, add.row(0)[0]);
        }
    });
    plan.build(engine.pool(), engine.kernels())
}

/// Inputs: an image of the gradient, whether to add to the bias gradient (0 or 1). Output: the bias gradient.
pub(super) fn backward_bias(engine: &Engine, maps: &Layout) -> Plan {
    let mut plan = engine.plan().synchronous();
    let [g] = inputs(&mut plan, maps, 1)[..] else { unreachable!("one image") };
    let add = plan.input(1, 1);
    let total = plan.output(1, maps.maps);
    for map in 0..maps.maps {
        add_sum(&mut plan, map, g, add, total);
    }
    plan.build(engine.pool(), engine.kernels())
}

fn add_sum(plan: &mut PlanBuilder, map: usize, g: Buffer, add: Buffer, total: Buffer) {
    let voxels = plan.dimensions(g).1;
    let (g, add) = (plan.rows(g, map..map + 1), plan.whole(add));
    let total = plan.region(total, 0..1, map..map + 1);
    let cost = voxels as f64 / 8.0;
    plan.task(Label::new(&name(), "bias"), cost).read(g).read(add).write(total).run(|views| {
        let ([g, add], [mut total]) = (views.reads.take(), views.writes.take());
        put(&mut total.row_mut(0)[0], sum(g.row(0)), add.row(0)[0]);
    });
}

fn put(total: &mut f32, found: f32, add: f32) {
    *total = if add == 0.0 { found } else { *total + found };
}

/// The sum of many floats: blocks by a few chains in f32, the blocks in f64.
fn sum(values: &[f32]) -> f32 {
    const CHAINS: usize = 16;
    const BLOCK: usize = 64 * CHAINS;
    let block = |values: &[f32]| {
        let mut chains = [0.0_f32; CHAINS];
        let (whole, rest) = values.as_chunks::<CHAINS>();
        for part in whole {
            chains.iter_mut().zip(part).for_each(|(chain, value)| *chain += value);
        }
        chains.iter().chain(rest).map(|&value| f64::from(value)).sum::<f64>()
    };
    values.chunks(BLOCK).map(block).sum::<f64>() as f32
}
