//! Copies: the identity, some of the maps, crops, and their adjoints; multiples.

use std::ops::Range;

use znn_kernels::Kernels;

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::PlanBuilder;
use crate::volume::Extent;

/// `to = from`, or `to += from`; both of one extent.
pub fn copy(plan: &mut PlanBuilder, site: &Site, from: Maps, to: Maps, accumulate: bool) {
    copy_maps(plan, site, (from, 0), (to, 0), from.count, accumulate);
}

/// As [`copy`], of `count` maps only, each group's from the given one on.
pub fn copy_maps(
    plan: &mut PlanBuilder,
    site: &Site,
    (from, from_first): (Maps, usize),
    (to, to_first): (Maps, usize),
    count: usize,
    accumulate: bool,
) {
    let shifted = |rows: &Range<usize>, first: usize| rows.start + first..rows.end + first;
    for (rows, cols) in blocks(plan, count, from.extent.len()) {
        let read = plan.region(from.buffer, shifted(&rows, from_first), cols.clone());
        let write = plan.region(to.buffer, shifted(&rows, to_first), cols.clone());
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

/// `maps = 0`.
pub fn clear(plan: &mut PlanBuilder, site: &Site, maps: Maps) {
    for_each_row(plan, site, "clear", maps, |_, row| row.fill(0.0));
}

/// `maps *= factor`.
pub fn scale(plan: &mut PlanBuilder, site: &Site, maps: Maps, factor: f32) {
    for_each_row(plan, site, "scale", maps, move |kernels, row| kernels.scale(row, factor));
}

fn for_each_row(
    plan: &mut PlanBuilder,
    site: &Site,
    stage: &'static str,
    maps: Maps,
    work: impl Fn(Kernels, &mut [f32]) + Copy + Send + Sync + 'static,
) {
    for (rows, cols) in blocks(plan, maps.count, maps.extent.len()) {
        let cost = pass_cost(rows.len() * cols.len());
        let write = plan.region(maps.buffer, rows, cols);
        let kernels = site.kernels;
        plan.task(site.label(stage), cost).write(write).run(move |views| {
            let [mut maps] = views.writes.take();
            (0..maps.rows()).for_each(|row| work(kernels, maps.row_mut(row)));
        });
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
