//! Dropout: voxels, or whole maps, are kept with a probability and divided by it.

use super::{Maps, Site, blocks, pass_cost};
use crate::plan::{Buffer, PlanBuilder};

/// Which voxels are kept. The mask of a voxel depends on the step's key, `stream`, the map and the voxel alone, not on
/// how the work is divided.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The probability that a voxel is kept.
    pub keep: f32,
    /// The step's key: the first two words of this buffer's row, as bits.
    pub key: Buffer,
    /// Differs from operation to operation.
    pub stream: u64,
    /// Whether all voxels of a map share what the first one draws.
    pub by_map: bool,
}

/// `to = from * mask / keep`, or added to `to`. It is its own adjoint: forward and backward draw the same mask.
pub fn dropout(plan: &mut PlanBuilder, site: &Site, from: Maps, to: Maps, accumulate: bool, mask: Mask) {
    let Mask { keep, key, stream, by_map } = mask;
    for (rows, cols) in blocks(plan, from.count, from.extent.len()) {
        let read = plan.region(from.buffer, rows.clone(), cols.clone());
        let write = plan.region(to.buffer, rows.clone(), cols.clone());
        let key = plan.whole(key);
        let kernels = site.kernels;
        plan.task(site.label("dropout"), 2.0 * pass_cost(rows.len() * cols.len()))
            .read(read)
            .read(key)
            .write(write)
            .scratch(if accumulate { cols.len() } else { 0 })
            .run(move |views| {
                let ([from, key], [mut to]) = (views.reads.take(), views.writes.take());
                let word = |i: usize| u64::from(key.row(0)[i].to_bits());
                let step = word(0) | word(1) << 32;
                for row in 0..from.rows() {
                    let key = mix(mix(step ^ stream) ^ (rows.start + row) as u64);
                    let to = to.row_mut(row);
                    if by_map {
                        let mut factor = [0.0];
                        kernels.dropout(key, 0, keep, &[1.0], &mut factor);
                        kernels.scaled(factor[0], from.row(row), accumulate, to);
                    } else if accumulate {
                        kernels.dropout(key, cols.start, keep, from.row(row), views.scratch);
                        kernels.add(to, views.scratch);
                    } else {
                        kernels.dropout(key, cols.start, keep, from.row(row), to);
                    }
                }
            });
    }
}

/// A bijection that spreads every input bit over the output (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
