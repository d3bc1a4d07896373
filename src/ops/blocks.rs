//! Blocks of voxels that do not overlap: their sum, and a value spread over them.

use super::{Maps, Site, pass_cost};
use crate::plan::PlanBuilder;
use crate::volume::Extent;

/// How many times a large image has the extent of a small one.
fn block(large: Maps, small: Maps) -> Extent {
    let size = large.extent.zip(small.extent, |large, small| large / small);
    assert_eq!(small.extent * size, large.extent, "blocks fill the image");
    size
}

/// The rows of a large image along x, and for each that of the small one to which its blocks belong.
fn rows(large: Extent, small: Extent, size: Extent) -> impl Iterator<Item = (usize, usize)> {
    (0..large.z).flat_map(move |z| {
        (0..large.y).map(move |y| (large.index(z, y, 0), small.index(z / size.z, y / size.y, 0)))
    })
}

/// Each voxel of `small` = `factor` times the sum of a block of `large`; or added.
pub fn sum(plan: &mut PlanBuilder, site: &Site, large: Maps, small: Maps, factor: f32, accumulate: bool) {
    let size = block(large, small);
    let (from, to) = (large.extent, small.extent);
    for map in 0..large.count {
        let (read, write) = (plan.rows(large.buffer, map..map + 1), plan.rows(small.buffer, map..map + 1));
        plan.task(site.label("block_sum"), 2.0 * pass_cost(from.len())).read(read).write(write).run(
            move |views| {
                let ([large], [mut small]) = (views.reads.take(), views.writes.take());
                let (large, small) = (large.row(0), small.row_mut(0));
                if !accumulate {
                    small.fill(0.0);
                }
                for (from_row, to_row) in rows(from, to, size) {
                    let blocks = large[from_row..from_row + from.x].chunks_exact(size.x);
                    for (to, block) in small[to_row..to_row + to.x].iter_mut().zip(blocks) {
                        *to += factor * block.iter().sum::<f32>();
                    }
                }
            },
        );
    }
}

/// The adjoint of [`sum`]: each voxel of a block of `large` = `factor` times that of `small`; or added.
pub fn spread(plan: &mut PlanBuilder, site: &Site, small: Maps, large: Maps, factor: f32, accumulate: bool) {
    let size = block(large, small);
    let (from, to) = (small.extent, large.extent);
    for map in 0..large.count {
        let (read, write) = (plan.rows(small.buffer, map..map + 1), plan.rows(large.buffer, map..map + 1));
        plan.task(site.label("block_spread"), 2.0 * pass_cost(to.len())).read(read).write(write).run(
            move |views| {
                let ([small], [mut large]) = (views.reads.take(), views.writes.take());
                let (small, large) = (small.row(0), large.row_mut(0));
                for (to_row, from_row) in rows(to, from, size) {
                    let blocks = large[to_row..to_row + to.x].chunks_exact_mut(size.x);
                    for (block, value) in blocks.zip(&small[from_row..from_row + from.x]) {
                        let value = factor * value;
                        for to in block {
                            *to = if accumulate { *to + value } else { value };
                        }
                    }
                }
            },
        );
    }
}
