//! Leads the micro-kernel of forward and backward-data over the tiles of an output.

use super::family::{MAX_VECTORS, MicroKernels};
use super::lines::{Cursor, Lines, balanced};
use super::tile::{NO_BIAS, Tile, TileVector};
use core::ops::Range;

/// Floats of the source that the tiles of a strip may touch: a part of an L2 cache, beside the weights.
const STRIP_FLOATS: usize = 64 * 1024;

/// The parts of a pass that do not change from tile to tile.
pub(crate) struct Sweep<'a> {
    pub micro: &'static MicroKernels,
    /// Rows of a register block.
    pub block: usize,
    /// The channels of the target, whole blocks.
    pub channels: Range<usize>,
    /// Channels of the source.
    pub source_channels: usize,
    /// Taps of the kernel.
    pub kernel: [usize; 3],
    /// The packed weights of the whole layer.
    pub packed: &'a [f32],
    /// One for each channel of the layer.
    pub bias: Option<&'a [f32]>,
    pub lines: Lines,
    /// Rows of a target plane.
    pub rows: usize,
    /// Floats of one channel of the source.
    pub source_len: usize,
}

impl Sweep<'_> {
    /// The vectors of a strip: its source, `span` rows of floats per channel and z-tap beside the vectors' own, stays
    /// in the L2 cache while all register blocks pass over it.
    pub fn strip(&self, span: usize) -> usize {
        let largest = self.micro.convolve[self.block - 1].len();
        let floats = (STRIP_FLOATS / (self.source_channels * self.kernel[0]).max(1)).saturating_sub(span);
        (floats / self.lines.lanes / largest * largest).max(4 * largest)
    }

    /// Computes the vectors of `planes` planes, of which the first is plane `first` of the target.
    ///
    /// `tile` holds what all tiles have in common, for the first channel and plane of the target; `place` sets the
    /// sources and taps of a tile for the vectors of the given cursors and returns the weights' offset within a
    /// block, counted in taps.
    ///
    /// # Safety
    /// The tier of `micro` exists. After `place`, the tile keeps the contract of [`super::tile::convolve`] but for
    /// the choice of masked loads, the lanes and the target's position, which are made here: `source + lanes + all
    /// taps` is within `source_len` floats for existing lanes.
    pub unsafe fn run(
        &self,
        tile: &mut Tile,
        strip: usize,
        first: usize,
        planes: usize,
        mut place: impl FnMut(&mut Tile, &[Cursor]) -> usize,
    ) {
        let vectors = planes * self.lines.vectors();
        let target = tile.target;
        let [kz, ky, kx] = self.kernel;
        let terms = self.source_channels * kz * ky * kx;
        let lanes = self.lines.lanes;
        let mut cursors = [self.lines.seek(0); MAX_VECTORS];
        for (start, length) in balanced(vectors, strip) {
            let strip_start = self.lines.seek(start);
            for channel in self.channels.clone().step_by(self.block) {
                let rows = self.block.min(self.channels.end - channel);
                let family = self.micro.convolve[rows - 1];
                let masked = self.micro.convolve_masked[rows - 1];
                let weights = &self.packed[channel * terms..(channel + rows) * terms];
                let bias = match self.bias {
                    Some(bias) => &bias[channel..channel + rows],
                    None => &NO_BIAS[..rows],
                };
                tile.bias = bias.as_ptr();
                tile.weight_steps = [kz * ky * kx * rows, ky * kx * rows, kx * rows];
                tile.target = target.wrapping_add((channel - self.channels.start) * tile.target_stride);
                let mut cursor = strip_start;
                for (_, count) in balanced(length, family.len()) {
                    for (vector, at) in tile.vectors.iter_mut().zip(&mut cursors).take(count) {
                        *at = cursor;
                        *vector = TileVector {
                            source: 0,
                            lanes: cursor.lanes(&self.lines),
                            row: (first + cursor.plane) * self.rows + cursor.row,
                            column: cursor.column,
                        };
                        cursor.advance(&self.lines);
                    }
                    let first_tap = place(tile, &cursors[..count]);
                    tile.weights = weights[first_tap * rows..].as_ptr();
                    let whole = tile.end(count, lanes) <= self.source_len;
                    let kernel = if whole { family[count - 1] } else { masked[count - 1] };
                    // SAFETY: the contract of this function; with whole vectors the last lane of the last tap is
                    // within the channel, as just found.
                    unsafe { kernel(tile) }
                }
            }
        }
        tile.target = target;
    }
}

impl Tile {
    /// The end of the floats of one channel that whole vectors read.
    fn end(&self, count: usize, lanes: usize) -> usize {
        let taps: usize =
            self.taps.iter().zip(&self.steps).map(|(taps, step)| taps.saturating_sub(1) * step).sum();
        self.vectors[..count].iter().map(|vector| vector.source + lanes + taps).max().unwrap_or(0)
    }
}
