//! Max filter (dilated sliding window) and max pooling (blocks, or windows at any distance).

use std::ops::Range;

use znn_kernels::Window;

use super::strided::{self, Windows};
use super::{Maps, Site, pass_cost};
use crate::plan::{Buffer, PlanBuilder};
use crate::volume::Extent;

/// A maximum over windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maximum {
    /// Over every window position; neighbouring voxels of a window lie `dilation` apart.
    Filter {
        /// Voxels of a window.
        size: Extent,
        /// Their distance.
        dilation: Extent,
    },
    /// Over blocks that do not overlap.
    Pool {
        /// Voxels of a block.
        size: Extent,
    },
    /// Over windows at a distance, on an image with a border that is less than any voxel.
    Strided {
        /// Voxels of a window.
        size: Extent,
        /// The distance of neighbouring windows.
        step: Extent,
        /// Voxels of the border on both sides, at most half a window.
        pad: Extent,
    },
}

impl Maximum {
    /// Winners are remembered in one byte, so a larger window is taken axis by axis: these are the stages.
    pub fn stages(self) -> Vec<Maximum> {
        let size = match self {
            Maximum::Filter { size, .. } | Maximum::Pool { size } | Maximum::Strided { size, .. } => size,
        };
        if size.len() <= 256 {
            return vec![self];
        }
        // The axes that `chosen` marks, of `extent`; of the others, what does nothing.
        let pick = |chosen: [bool; 3], extent: Extent, nothing: usize| {
            let axes = extent.to_array().into_iter().zip(chosen);
            let mut picked = axes.map(|(axis, is_chosen)| if is_chosen { axis } else { nothing });
            Extent::from(std::array::from_fn(|_| picked.next().expect("three axes")))
        };
        let along = |chosen: [bool; 3]| match self {
            Maximum::Filter { size, dilation } => Maximum::Filter { size: pick(chosen, size, 1), dilation },
            Maximum::Pool { size } => Maximum::Pool { size: pick(chosen, size, 1) },
            Maximum::Strided { size, step, pad } => Maximum::Strided {
                size: pick(chosen, size, 1),
                step: pick(chosen, step, 1),
                pad: pick(chosen, pad, 0),
            },
        };
        let does_something = |stage: &Maximum| match *stage {
            Maximum::Filter { size, .. } | Maximum::Pool { size } => size != Extent::ONE,
            Maximum::Strided { size, step, .. } => size != Extent::ONE || step != Extent::ONE,
        };
        [[false, false, true], [false, true, false], [true, false, false]]
            .into_iter()
            .map(along)
            .filter(does_something)
            .collect()
    }

    /// Voxels of an output map.
    pub fn output(self, input: Extent) -> Extent {
        match self {
            Maximum::Filter { size, dilation } => input - size.zip(dilation, |size, step| (size - 1) * step),
            Maximum::Pool { size } => input.zip(size, |n, size| n / size),
            Maximum::Strided { size, step, pad } => {
                (input + pad + pad - size).zip(step, |last, step| last / step) + Extent::ONE
            }
        }
    }
}

/// The bytes that name each output voxel's winner, in rows of floats: a row for each map.
pub fn winners(plan: &mut PlanBuilder, y: Maps) -> Buffer {
    plan.transient(y.count, y.extent.len().div_ceil(size_of::<f32>()))
}

/// Output planes `0..planes` of one of `maps` maps cut into tasks. Each begins at a whole float of the winners' bytes, and
/// has at least `least` planes.
fn parts(plan: &PlanBuilder, maps: usize, y: Extent, least: usize) -> Vec<Range<usize>> {
    /// About 5 microseconds of work.
    const LEAST_VOXELS: usize = 16 * 1024;
    let unit = (1..=4).find(|unit| (unit * y.y * y.x).is_multiple_of(size_of::<f32>())).unwrap_or(1);
    let least = least.max(LEAST_VOXELS.div_ceil(y.y * y.x)).next_multiple_of(unit);
    let parts = plan.splits().div_ceil(maps).min(y.z / least).max(1);
    (0..parts).map(|i| PlanBuilder::part(y.z, unit, parts, i)).filter(|part| !part.is_empty()).collect()
}

/// The columns of these planes.
fn voxels(planes: &Range<usize>, extent: Extent) -> Range<usize> {
    planes.start * extent.y * extent.x..planes.end * extent.y * extent.x
}

/// The columns of the winners' bytes of these columns.
fn bytes(voxels: Range<usize>) -> Range<usize> {
    voxels.start / size_of::<f32>()..voxels.end.div_ceil(size_of::<f32>())
}

/// `y` = the maxima of `x`; `winners` remembers for [`backward`] where they were.
pub fn forward(
    plan: &mut PlanBuilder,
    site: &Site,
    maximum: Maximum,
    x: Maps,
    y: Maps,
    winners: Option<Buffer>,
) {
    if let Maximum::Strided { size, step, pad } = maximum {
        return strided::forward(plan, site, Windows { size, step, pad }, x, y, winners);
    }
    let kernels = site.kernels;
    let least = match maximum {
        // Planes around a task's own are computed again.
        Maximum::Filter { size, dilation } => 2 * (size.z - 1) * dilation.z,
        Maximum::Pool { .. } | Maximum::Strided { .. } => 1,
    };
    for (map, planes) in product(x.count, parts(plan, x.count, y.extent, least)) {
        let row = map..map + 1;
        let part = voxels(&planes, y.extent);
        let (read, scratch) = match maximum {
            Maximum::Filter { size, dilation } => {
                (0..x.extent.z, kernels.max_filter_scratch(window(size, dilation), x.extent.to_array()))
            }
            Maximum::Pool { size } => (planes.start * size.z..planes.end * size.z, 0),
            Maximum::Strided { .. } => unreachable!("computed elsewhere"),
        };
        let input = Extent { z: read.len(), ..x.extent }.to_array();
        let read = plan.region(x.buffer, row.clone(), voxels(&read, x.extent));
        let write = plan.region(y.buffer, row.clone(), part.clone());
        let remember = winners.map(|winners| plan.region(winners, row, bytes(part.clone())));
        let cost = 1.5 * pass_cost(input.iter().product());
        let mut task = plan.task(site.label("max_forward"), cost).read(read).write(write).scratch(scratch);
        let remembers = remember.is_some();
        if let Some(winners) = remember {
            task = task.write(winners);
        }
        let apply = move |x: &[f32], y: &mut [f32], winners: Option<&mut [u8]>, scratch: &mut [f32]| {
            let winners = winners.map(|winners| &mut winners[..y.len()]);
            match maximum {
                Maximum::Filter { size, dilation } => {
                    let (window, planes) = (window(size, dilation), planes.clone());
                    kernels.max_filter_forward(window, input, x, planes, y, winners, scratch);
                }
                Maximum::Pool { size } => kernels.max_pool_forward(size.to_array(), input, x, y, winners),
                Maximum::Strided { .. } => unreachable!("computed elsewhere"),
            }
        };
        task.run(move |views| {
            let [x] = views.reads.take();
            if remembers {
                let [mut y, mut winners] = views.writes.take();
                let winners = bytemuck::cast_slice_mut(winners.row_mut(0));
                apply(x.row(0), y.row_mut(0), Some(winners), views.scratch);
            } else {
                let [mut y] = views.writes.take();
                apply(x.row(0), y.row_mut(0), None, views.scratch);
            }
        });
    }
}

/// The gradient of each output voxel goes to its winner: `dx` is overwritten, or added to.
pub fn backward(
    plan: &mut PlanBuilder,
    site: &Site,
    maximum: Maximum,
    dy: Maps,
    winners: Buffer,
    dx: Maps,
    accumulate: bool,
) {
    match maximum {
        Maximum::Filter { size, dilation } => {
            let window = window(size, dilation);
            filter_backward(plan, site, window, dy, winners, dx, accumulate);
        }
        Maximum::Pool { size } => pool_backward(plan, site, size, dy, winners, dx, accumulate),
        Maximum::Strided { size, step, pad } => {
            strided::backward(plan, site, Windows { size, step, pad }, dy, winners, dx, accumulate);
        }
    }
}

fn filter_backward(
    plan: &mut PlanBuilder,
    site: &Site,
    window: Window,
    dy: Maps,
    winners: Buffer,
    dx: Maps,
    accumulate: bool,
) {
    let kernels = site.kernels;
    let (input, output) = (dx.extent.to_array(), dy.extent.len());
    for (map, planes) in product(dx.count, parts(plan, dx.count, dx.extent, 1)) {
        let (dy, winners) = (plan.rows(dy.buffer, map..map + 1), plan.rows(winners, map..map + 1));
        let part = voxels(&planes, dx.extent);
        let cost = 2.0 * pass_cost(part.len());
        let write = plan.region(dx.buffer, map..map + 1, part);
        plan.task(site.label("max_backward"), cost)
            .read(dy)
            .read(winners)
            .write(write)
            .scratch(kernels.max_filter_scratch(window, input))
            .run(move |views| {
                let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
                let winners = &bytemuck::cast_slice(winners.row(0))[..output];
                let (dy, dx, planes) = (dy.row(0), dx.row_mut(0), planes.clone());
                kernels.max_filter_backward(
                    window,
                    input,
                    dy,
                    winners,
                    planes,
                    accumulate,
                    dx,
                    views.scratch,
                );
            });
    }
}

fn pool_backward(
    plan: &mut PlanBuilder,
    site: &Site,
    size: Extent,
    dy: Maps,
    winners: Buffer,
    dx: Maps,
    accumulate: bool,
) {
    let kernels = site.kernels;
    for (map, planes) in product(dx.count, parts(plan, dx.count, dy.extent, 1)) {
        let row = map..map + 1;
        let part = voxels(&planes, dy.extent);
        let input = Extent { z: planes.len() * size.z, ..dx.extent };
        let blocks = planes.start * size.z..planes.end * size.z;
        let write = plan.region(dx.buffer, row.clone(), voxels(&blocks, dx.extent));
        let winners = plan.region(winners, row.clone(), bytes(part.clone()));
        let read = plan.region(dy.buffer, row, part);
        plan.task(site.label("max_backward"), 1.5 * pass_cost(input.len()))
            .read(read)
            .read(winners)
            .write(write)
            .run(move |views| {
                let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
                let dy = dy.row(0);
                let winners = &bytemuck::cast_slice(winners.row(0))[..dy.len()];
                let (size, input) = (size.to_array(), input.to_array());
                kernels.max_pool_backward(size, input, dy, winners, accumulate, dx.row_mut(0));
            });
    }
}

fn window(size: Extent, dilation: Extent) -> Window {
    Window { size: size.to_array(), step: dilation.to_array() }
}

/// Every map with every part.
fn product(maps: usize, parts: Vec<Range<usize>>) -> impl Iterator<Item = (usize, Range<usize>)> {
    (0..maps).flat_map(move |map| parts.clone().into_iter().map(move |part| (map, part)))
}
