//! The operations of a network other than convolution, as tasks of a plan.
//!
//! Each file adds the tasks of one operation's passes; none knows of networks. Feature maps are the rows of a
//! buffer, voxels its columns.

pub mod blocks;
pub mod copy;
pub mod dropout;
pub mod guard;
pub mod loss;
pub mod maxout;
pub mod normalise;
pub mod pool;
pub mod product;
pub mod rectify;
pub mod repeat;
pub mod scale;
pub mod shared;
pub mod softmax;
mod strided;
pub mod transfer;
pub mod update;

use std::ops::Range;
use std::sync::Arc;

use znn_kernels::Kernels;

use crate::plan::{Buffer, Label, PlanBuilder};
use crate::volume::Extent;

/// A group of feature maps in a plan.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Rows are maps, columns voxels `[z][y][x]`.
    pub buffer: Buffer,
    /// How many maps.
    pub count: usize,
    /// Voxels of a map.
    pub extent: Extent,
}

/// What the tasks of one operation share.
#[derive(Clone)]
pub struct Site {
    /// The edge or node, for labels.
    pub name: Arc<str>,
    /// The instruction-set tier.
    pub kernels: Kernels,
}

impl Site {
    fn label(&self, stage: &'static str) -> Label {
        Label::new(&self.name, stage)
    }
}

/// Nanoseconds for priorities: an element-wise pass over `elements` floats.
fn pass_cost(elements: usize) -> f64 {
    elements as f64 / 4.0
}

/// A matrix of `rows` x `cols` cut into tasks for an element-wise pass: blocks of rows, and where there are too
/// few rows, of columns; none smaller than is worth a task.
fn blocks(plan: &PlanBuilder, rows: usize, cols: usize) -> Vec<(Range<usize>, Range<usize>)> {
    /// About 5 microseconds of work.
    const LEAST: usize = 16 * 1024;
    let parts = plan.splits().min((rows * cols).div_ceil(LEAST)).max(1);
    let row_parts = parts.min(rows);
    let col_parts = parts.div_ceil(row_parts).min(cols.div_ceil(64));
    (0..row_parts)
        .flat_map(|r| {
            (0..col_parts).map(move |c| {
                (PlanBuilder::part(rows, 1, row_parts, r), PlanBuilder::part(cols, 64, col_parts, c))
            })
        })
        .filter(|(rows, cols)| !rows.is_empty() && !cols.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;
