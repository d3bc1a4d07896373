//! The micro-kernel of forward and backward-data: R rows of the target x N vectors of accumulators.

use super::family::{MAX_ROWS, MAX_VECTORS};
use super::table::Entry;
use crate::vector::{Vector, prefetch_write};

/// The bias of a convolution without one.
pub(crate) static NO_BIAS: [f32; MAX_ROWS] = [0.0; MAX_ROWS];

/// One tap of the kernel: what it multiplies, from the start of a channel of the source and of its weights.
///
/// A table of taps makes dilations, strides, parts of a kernel and any layout of the source data of the micro-kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Where it reads the first position.
    pub source: u32,
    /// Its weight for the first row.
    pub weight: u32,
}

impl Entry for Tap {}

/// One vector of a tile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TileVector {
    /// Its first position in the source.
    pub source: usize,
    /// Its first position in a row of the target.
    pub target: usize,
    /// Its lanes that exist; 1 to `LANES`.
    pub lanes: usize,
}

/// The operands of one call: `target[r][v] = max(floor, bias[r] (+ target[r][v]) + sum over channels and taps of
/// weights[channel][tap][r] * source[channel][tap][v])`.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// The first channel of the source.
    pub source: *const f32,
    /// Channels that are summed.
    pub channels: usize,
    /// Distance between channels of the source.
    pub channel_step: usize,
    /// Taps that are summed.
    pub taps: &'a [Tap],
    /// The weights of the first channel.
    pub weights: *const f32,
    /// Distance between the weights of channels.
    pub weight_step: usize,
    /// Where the weights of each row start; the first R count.
    pub weight_rows: [usize; MAX_ROWS],
    /// The vectors; the first N count.
    pub vectors: [TileVector; MAX_VECTORS],
    /// The first row of the target.
    pub target: *mut f32,
    /// Distance between rows of the target.
    pub target_step: usize,
    /// R values.
    pub bias: *const f32,
    /// Whether the target's former value is added.
    pub accumulate: bool,
    /// The least value that is stored; minus infinity keeps all, NaN included.
    pub floor: f32,
}

/// The sums begin with bias and former value, so that a sum over blocks of channels, one call for each, has the bits
/// of one call.
///
/// # Safety
/// The tier of `V` is enabled in the caller. For every channel, tap and vector all `LANES` floats are readable in the
/// source. `weights` and `bias` are readable as described. The lanes of the target that exist are writable, for R
/// rows, and initialised if `accumulate`.
#[inline(always)]
pub(crate) unsafe fn convolve<V: Vector, const R: usize, const N: usize>(tile: &Tile<'_>) {
    // SAFETY: the loops visit the channels, taps and vectors of the contract, and no others.
    unsafe {
        let mut sum = [[V::zero(); N]; R];
        let mut source = [tile.source; N];
        let mut weights = [tile.weights; R];
        for (r, row) in sum.iter_mut().enumerate() {
            weights[r] = weights[r].add(tile.weight_rows[r]);
            *row = [V::splat(*tile.bias.add(r)); N];
        }
        for v in 0..N {
            let vector = &tile.vectors[v];
            source[v] = source[v].add(vector.source);
            for (r, row) in sum.iter_mut().enumerate() {
                let to = tile.target.add(r * tile.target_step + vector.target);
                if tile.accumulate {
                    row[v] = row[v].add(V::load_first(to, vector.lanes));
                } else {
                    // the line arrives while the sum is computed
                    prefetch_write(to);
                }
            }
        }
        let (mut position, mut weight) = (0, 0);
        for _ in 0..tile.channels {
            for tap in tile.taps {
                let from = position + tap.source as usize;
                let mut at = weight + tap.weight as usize;
                let mut x = [V::zero(); N];
                for v in 0..N {
                    x[v] = V::load(source[v].add(from));
                }
                for r in 0..R {
                    let w = V::splat(*weights[r].add(at));
                    for v in 0..N {
                        sum[r][v] = x[v].mul_add(w, sum[r][v]);
                        at = sum[r][v].then(at);
                    }
                }
            }
            position += tile.channel_step;
            weight += tile.weight_step;
        }
        let floor = V::splat(tile.floor);
        for (v, vector) in tile.vectors.iter().enumerate().take(N) {
            for (r, row) in sum.iter().enumerate() {
                let to = tile.target.add(r * tile.target_step + vector.target);
                floor.max(row[v]).store_first(to, vector.lanes);
            }
        }
    }
}
