//! Copies: the identity, crops, and their adjoints.

use std::ops::Range;

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::PlanBuilder;
use crate::volume::Extent;

/// `to = from`, or `to += from`; both of one extent.
pub fn copy(plan: &mut PlanBuilder, site: &Site, from: Maps, to: Maps, accumulate: bool) {
    let len = from.extent.len();
    for (rows, cols) in blocks(plan, from.count, len) {
        let read = plan.region(from.buffer, rows.clone(), cols.clone());
        let write = plan.region(to.buffer, rows.clone(), cols.clone());
        let kernels = site.kernels;
        plan.task(site.label("copy"), pass_cost(rows.len() * cols.len())).read(read).write(write).run(
            move |views| {
                let ([from], [mut to]) = (views.reads.take(), views.writes.take());
                for row in 0..from.rows() {
                    if accumulate {
                        kernels.add(to.row_mut(row), from.row(row));
                    } else {
                        to.row_mut(row).copy_from_slice(from.row(row));
                    }
                }
            },
        );
    }
}

/// `small` = the box at `offset` of `large`.
pub fn crop(plan: &mut PlanBuilder, site: &Site, large: Maps, offset: Extent, small: Maps, accumulate: bool) {
    let pass = Boxes { large: large.extent, offset, small: small.extent };
    for map in 0..large.count {
        let (read, write) = (plan.rows(large.buffer, map..map + 1), plan.rows(small.buffer, map..map + 1));
        let kernels = site.kernels;
        plan.task(site.label("crop"), pass_cost(small.extent.len())).read(read).write(write).run(
            move |views| {
                let ([large], [mut small]) = (views.reads.take(), views.writes.take());
                let (large, small) = (large.row(0), small.row_mut(0));
                for (inner, outer) in pass.rows() {
                    if accumulate {
                        kernels.add(&mut small[inner], &large[outer]);
                    } else {
                        small[inner].copy_from_slice(&large[outer]);
                    }
                }
            },
        );
    }
}

/// The adjoint of [`crop`]: `small` is put at `offset` of `large`, whose other voxels become zero, or is added there.
pub fn uncrop(
    plan: &mut PlanBuilder,
    site: &Site,
    small: Maps,
    offset: Extent,
    large: Maps,
    accumulate: bool,
) {
    let pass = Boxes { large: large.extent, offset, small: small.extent };
    for map in 0..large.count {
        let (read, write) = (plan.rows(small.buffer, map..map + 1), plan.rows(large.buffer, map..map + 1));
        let kernels = site.kernels;
        plan.task(site.label("uncrop"), pass_cost(large.extent.len())).read(read).write(write).run(
            move |views| {
                let ([small], [mut large]) = (views.reads.take(), views.writes.take());
                let (small, large) = (small.row(0), large.row_mut(0));
                if !accumulate {
                    large.fill(0.0);
                }
                for (inner, outer) in pass.rows() {
                    kernels.add(&mut large[outer], &small[inner]);
                }
            },
        );
    }
}

/// A box within an image.
#[derive(Clone, Copy)]
struct Boxes {
    large: Extent,
    offset: Extent,
    small: Extent,
}

impl Boxes {
    /// The rows of the box: where they lie in it, and in the image.
    fn rows(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let Self { large, offset, small } = self;
        (0..small.z).flat_map(move |z| {
            (0..small.y).map(move |y| {
                let inner = small.index(z, y, 0);
                let outer = large.index(offset.z + z, offset.y + y, offset.x);
                (inner..inner + small.x, outer..outer + small.x)
            })
        })
    }
}
