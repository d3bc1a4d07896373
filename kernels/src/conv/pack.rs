//! The packed layouts of the weights.
//!
//! Output channels (input channels for backward-data) are cut into blocks of R, the last one taking the rest r;
//! within a block the layout is `[channel that is summed][kz][ky][kx][R or r]`, so that the micro-kernel reads it
//! from front to back. Nothing is padded: block `b` starts at `b * R * channels * taps`.
//! For backward-data the taps are in reverse order, which makes that pass a correlation too.

use super::Geometry;
use super::family::best_rows;
use crate::Kernels;
use core::ops::Range;

impl Kernels {
    /// The number of output channels of a register block of [`Kernels::conv_forward`]; tasks split the output
    /// channels at multiples of it.
    pub fn forward_block(&self, geometry: &Geometry) -> usize {
        best_rows(self.micro().convolve, geometry.c_out)
    }

    /// Floats of the packed weights of [`Kernels::conv_forward`].
    pub fn packed_forward_len(&self, geometry: &Geometry) -> usize {
        geometry.weights_len()
    }

    /// Packs the weights of some output channels for [`Kernels::conv_forward`].
    ///
    /// `weights` are all of the layer, `[c_out][c_in][kz][ky][kx]`. `out_channels` starts at a multiple of
    /// [`Kernels::forward_block`] and ends at one or at `c_out`. `packed` is the part of these channels in the whole
    /// of [`Kernels::packed_forward_len`] floats: those from `out_channels.start * c_in * taps` to
    /// `out_channels.end * c_in * taps`.
    pub fn pack_forward(
        &self,
        geometry: &Geometry,
        weights: &[f32],
        out_channels: Range<usize>,
        packed: &mut [f32],
    ) {
        let block = self.forward_block(geometry);
        check_blocks(&out_channels, block, geometry.c_out);
        let terms = geometry.c_in * geometry.taps();
        assert_eq!(weights.len(), geometry.weights_len(), "weights");
        assert_eq!(packed.len(), out_channels.len() * terms, "packed weights");
        if packed.is_empty() {
            return;
        }
        let weights = &weights[out_channels.start * terms..out_channels.end * terms];
        for (packed, weights) in packed.chunks_mut(block * terms).zip(weights.chunks(block * terms)) {
            let rows = packed.len() / terms;
            for (row, weights) in weights.chunks_exact(terms).enumerate() {
                for (to, from) in packed[row..].iter_mut().step_by(rows).zip(weights) {
                    *to = *from;
                }
            }
        }
    }

    /// The number of input channels of a register block of [`Kernels::conv_backward_data`]; tasks split the input
    /// channels at multiples of it.
    pub fn backward_data_block(&self, geometry: &Geometry) -> usize {
        best_rows(self.micro().convolve, geometry.c_in)
    }

    /// Floats of the packed weights of [`Kernels::conv_backward_data`].
    pub fn packed_backward_data_len(&self, geometry: &Geometry) -> usize {
        geometry.weights_len()
    }

    /// Packs the weights of some input channels for [`Kernels::conv_backward_data`].
    ///
    /// `weights` are all of the layer, `[c_out][c_in][kz][ky][kx]`. `in_channels` starts at a multiple of
    /// [`Kernels::backward_data_block`] and ends at one or at `c_in`. `packed` is the part of these channels in the
    /// whole of [`Kernels::packed_backward_data_len`] floats: those from `in_channels.start * c_out * taps` to
    /// `in_channels.end * c_out * taps`.
    pub fn pack_backward_data(
        &self,
        geometry: &Geometry,
        weights: &[f32],
        in_channels: Range<usize>,
        packed: &mut [f32],
    ) {
        let block = self.backward_data_block(geometry);
        check_blocks(&in_channels, block, geometry.c_in);
        let taps = geometry.taps();
        let terms = geometry.c_out * taps;
        assert_eq!(weights.len(), geometry.weights_len(), "weights");
        assert_eq!(packed.len(), in_channels.len() * terms, "packed weights");
        if packed.is_empty() {
            return;
        }
        for (index, packed) in packed.chunks_mut(block * terms).enumerate() {
            let rows = packed.len() / terms;
            let first = in_channels.start + index * block;
            for (out_channel, packed) in packed.chunks_exact_mut(taps * rows).enumerate() {
                for row in 0..rows {
                    let start = (out_channel * geometry.c_in + first + row) * taps;
                    let reversed = weights[start..start + taps].iter().rev();
                    for (to, from) in packed[row..].iter_mut().step_by(rows).zip(reversed) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Asserts that a range of channels consists of whole blocks.
pub(crate) fn check_blocks(channels: &Range<usize>, block: usize, all: usize) {
    assert!(channels.start <= channels.end && channels.end <= all, "channels {channels:?} of {all}");
    assert!(
        channels.start.is_multiple_of(block) && (channels.end.is_multiple_of(block) || channels.end == all),
        "channels {channels:?} are not whole blocks of {block}"
    );
}
