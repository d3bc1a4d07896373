//! The micro-kernel of forward and backward-data: R output channels x N vectors of accumulators.

use super::family::{MAX_ROWS, MAX_VECTORS};
use crate::vector::Vector;

/// The bias of a convolution without one.
pub(crate) static NO_BIAS: [f32; MAX_ROWS] = [0.0; MAX_ROWS];

/// One vector of a tile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TileVector {
    /// Where the first tap of the first channel reads its first lane, from [`Tile::source`].
    pub source: usize,
    /// Its lanes that exist; 1 to `LANES`.
    pub lanes: usize,
    /// The target row of its first lane.
    pub row: usize,
    /// The target column of its first lane; from `width` on lanes are garbage, at `pitch` the next row starts.
    pub column: usize,
}

/// The operands of one call: `target[r][..] = max(floor, bias[r] + sum over channels and taps of
/// weights[channel][tap][r] * source[channel][.. + tap] (+ target[r][..]))`.
#[derive(Debug)]
pub(crate) struct Tile {
    /// The source image of the first channel.
    pub source: *const f32,
    /// Channels that are summed.
    pub channels: usize,
    /// Distance between channels of the source.
    pub channel_stride: usize,
    /// Taps that are summed, along z, y and x; where one is zero the sum is empty.
    pub taps: [usize; 3],
    /// Distance between taps in the source, along z, y and x.
    pub steps: [usize; 3],
    /// The weights of the first channel and tap, R of them side by side; those of the next tap along x follow.
    pub weights: *const f32,
    /// Distance between the weights of channels, taps along z and taps along y.
    pub weight_steps: [usize; 3],
    /// The vectors; the first N count.
    pub vectors: [TileVector; MAX_VECTORS],
    /// Row 0, column 0 of the first target channel.
    pub target: *mut f32,
    /// Distance between channels of the target.
    pub target_stride: usize,
    /// Columns of a target row.
    pub width: usize,
    /// Lanes from one row of the source to the next.
    pub pitch: usize,
    /// R values.
    pub bias: *const f32,
    /// Whether the target's former value is added.
    pub accumulate: bool,
    /// The least value that is stored; minus infinity keeps all, NaN included.
    pub floor: f32,
}

/// # Safety
/// The tier of `V` is enabled in the caller. For every channel, tap and vector the lanes that exist are readable in
/// the source, and without `MASKED` all `LANES` of them. `weights` and `bias` are readable as described. The target
/// columns below `width` that belong to existing lanes are writable, for R channels, and initialised if `accumulate`.
#[inline(always)]
pub(crate) unsafe fn convolve<V: Vector, const R: usize, const N: usize, const MASKED: bool>(tile: &Tile) {
    // SAFETY: the loops visit the channels, taps and vectors of the contract, and no others.
    unsafe {
        let mut sum = [[V::zero(); N]; R];
        let mut source = [tile.source; N];
        let mut exist = [V::first(V::LANES); N];
        for (r, row) in sum.iter_mut().enumerate() {
            *row = [V::splat(*tile.bias.add(r)); N];
        }
        for v in 0..N {
            source[v] = source[v].add(tile.vectors[v].source);
            if MASKED {
                exist[v] = V::first(tile.vectors[v].lanes);
            }
        }
        for channel in 0..tile.channels {
            for z in 0..tile.taps[0] {
                for y in 0..tile.taps[1] {
                    let mut offset = channel * tile.channel_stride + z * tile.steps[0] + y * tile.steps[1];
                    let [channel_step, z_step, y_step] = tile.weight_steps;
                    let mut weight = channel * channel_step + z * z_step + y * y_step;
                    for _ in 0..tile.taps[2] {
                        let mut x = [V::zero(); N];
                        for v in 0..N {
                            let from = source[v].add(offset);
                            x[v] = if MASKED { V::load_masked(from, exist[v]) } else { V::load(from) };
                        }
                        for (r, row) in sum.iter_mut().enumerate() {
                            let w = V::splat(*tile.weights.add(weight + r));
                            for v in 0..N {
                                row[v] = x[v].mul_add(w, row[v]);
                                weight = row[v].then(weight);
                            }
                        }
                        weight += R;
                        offset += tile.steps[2];
                    }
                }
            }
        }
        for (v, vector) in tile.vectors.iter().enumerate().take(N) {
            let mut column = [V::zero(); R];
            for (value, row) in column.iter_mut().zip(&sum) {
                *value = row[v];
            }
            store(tile, vector, column);
        }
    }
}

/// Stores one vector of each of the R channels, row by row without the garbage columns.
///
/// # Safety
/// As [`convolve`].
#[inline(always)]
unsafe fn store<V: Vector, const R: usize>(tile: &Tile, vector: &TileVector, sum: [V; R]) {
    // SAFETY: a run covers existing lanes whose columns are below `width`.
    unsafe {
        let floor = V::splat(tile.floor);
        let (mut lane, mut row, mut column) = (0, vector.row, vector.column);
        while lane < vector.lanes {
            let end = vector.lanes.min(lane + tile.width.saturating_sub(column));
            // wrapping: where a row starts in the middle of the vector, lane 0 may lie before the target
            let start = tile.target.wrapping_add(row * tile.width + column).wrapping_sub(lane);
            if end - lane == V::LANES {
                for (r, &value) in sum.iter().enumerate() {
                    let to = start.add(r * tile.target_stride);
                    let value = if tile.accumulate { value.add(V::load(to)) } else { value };
                    floor.max(value).store(to);
                }
            } else if end > lane {
                let run = V::between(lane, end);
                for (r, &value) in sum.iter().enumerate() {
                    let to = start.wrapping_add(r * tile.target_stride);
                    let value = if tile.accumulate { value.add(V::load_masked(to, run)) } else { value };
                    floor.max(value).store_masked(to, run);
                }
            }
            lane += tile.pitch - column;
            row += 1;
            column = 0;
        }
    }
}
