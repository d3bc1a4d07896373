//! Max filter (dilated sliding window) and max pooling (blocks).

use znn_kernels::Window;

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
}

impl Maximum {
    /// Winners are remembered in one byte, so a larger window is taken axis by axis: these are the stages.
    pub fn stages(self) -> Vec<Maximum> {
        let size = match self {
            Maximum::Filter { size, .. } | Maximum::Pool { size } => size,
        };
        if size.len() <= 256 {
            return vec![self];
        }
        let along = |size: Extent| match self {
            Maximum::Filter { dilation, .. } => Maximum::Filter { size, dilation },
            Maximum::Pool { .. } => Maximum::Pool { size },
        };
        [Extent::new(1, 1, size.x), Extent::new(1, size.y, 1), Extent::new(size.z, 1, 1)]
            .into_iter()
            .filter(|stage| *stage != Extent::ONE)
            .map(along)
            .collect()
    }

    /// Voxels of an output map.
    pub fn output(self, input: Extent) -> Extent {
        match self {
            Maximum::Filter { size, dilation } => input - size.zip(dilation, |size, step| (size - 1) * step),
            Maximum::Pool { size } => input.zip(size, |n, size| n / size),
        }
    }
}

/// The bytes that name each output voxel's winner, in rows of floats: a row for each map.
pub fn winners(plan: &mut PlanBuilder, y: Maps) -> Buffer {
    plan.transient(y.count, y.extent.len().div_ceil(size_of::<f32>()))
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
    for map in 0..x.count {
        let (read, write) = (plan.rows(x.buffer, map..map + 1), plan.rows(y.buffer, map..map + 1));
        let winners = winners.map(|winners| plan.rows(winners, map..map + 1));
        let kernels = site.kernels;
        let (input, output) = (x.extent.to_array(), y.extent);
        let mut task =
            plan.task(site.label("max_forward"), 3.0 * pass_cost(x.extent.len())).read(read).write(write);
        let remember = winners.is_some();
        if let Some(winners) = winners {
            task = task.write(winners);
        }
        let apply = move |x: &[f32], y: &mut [f32], winners: Option<&mut [u8]>| match maximum {
            Maximum::Filter { size, dilation } => {
                let window = Window { size: size.to_array(), step: dilation.to_array() };
                kernels.max_filter_forward(window, input, x, 0..output.z, y, winners);
            }
            Maximum::Pool { size } => {
                kernels.max_pool_forward(size.to_array(), input, x, y, winners);
            }
        };
        task.run(move |views| {
            let [x] = views.reads.take();
            if remember {
                let [mut y, mut winners] = views.writes.take();
                let winners: &mut [u8] = bytemuck::cast_slice_mut(winners.row_mut(0));
                apply(x.row(0), y.row_mut(0), Some(&mut winners[..output.len()]));
            } else {
                let [mut y] = views.writes.take();
                apply(x.row(0), y.row_mut(0), None);
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
    for map in 0..dx.count {
        let (dy_row, winners_row) = (plan.rows(dy.buffer, map..map + 1), plan.rows(winners, map..map + 1));
        let write = plan.rows(dx.buffer, map..map + 1);
        let kernels = site.kernels;
        let (input, output) = (dx.extent, dy.extent);
        plan.task(site.label("max_backward"), 3.0 * pass_cost(input.len()))
            .read(dy_row)
            .read(winners_row)
            .write(write)
            .run(move |views| {
                let ([dy, winners], [mut dx]) = (views.reads.take(), views.writes.take());
                let winners: &[u8] = &bytemuck::cast_slice(winners.row(0))[..output.len()];
                match maximum {
                    Maximum::Filter { size, dilation } => {
                        let window = Window { size: size.to_array(), step: dilation.to_array() };
                        kernels.max_filter_backward(
                            window,
                            input.to_array(),
                            dy.row(0),
                            winners,
                            0..input.z,
                            accumulate,
                            dx.row_mut(0),
                        );
                    }
                    Maximum::Pool { size } => {
                        kernels.max_pool_backward(
                            size.to_array(),
                            input.to_array(),
                            dy.row(0),
                            winners,
                            accumulate,
                            dx.row_mut(0),
                        );
                    }
                }
            });
    }
}
