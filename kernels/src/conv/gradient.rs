//! The padded layout of the output's gradient, which serves backward-data and backward-weights.
//!
//! Rows lie at the *input's* pitch, with zeros in the columns that the output has not; the planes lie at the size of
//! an input plane, rounded up, with zeros below the rows; and zeros precede the first plane. So a tap that
//! reads to the left of a row or above a plane finds the zeros that end the row or the plane before it:
//!
//! ```text
//! lead zeros | plane 0: | row 0, zeros | row 1, zeros | ... | zeros | plane 1: | ...
//! ```
//!
//! Lead and planes are multiples of [`ALIGN`] floats: in an aligned buffer the gradient's vectors never split a
//! cache line in backward-weights.

use super::Geometry;
use crate::Kernels;

/// Floats of a cache line.
const ALIGN: usize = 16;

/// The offsets of the padded layout of one channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaddedGradient {
    /// Floats before the first plane.
    pub lead: usize,
    /// Distance between planes.
    pub plane: usize,
    /// Floats of a channel.
    pub len: usize,
}

impl PaddedGradient {
    pub fn new(geometry: &Geometry) -> Self {
        let lead = (geometry.reach(1) * geometry.pitch() + geometry.reach(2)).next_multiple_of(ALIGN);
        let plane = geometry.plane().next_multiple_of(ALIGN);
        Self { lead, plane, len: lead + geometry.output()[0] * plane }
    }
}

impl Kernels {
    /// Floats of one channel in the padded layout of [`Kernels::pad_gradient`]; a multiple of 16.
    pub fn padded_gradient_len(&self, geometry: &Geometry) -> usize {
        PaddedGradient::new(geometry).len
    }

    /// Brings the gradient of one output channel, `dy[z][y][x]`, into the padded layout that
    /// [`Kernels::conv_backward_data`] and [`Kernels::conv_backward_weights`] read; `padded` has
    /// [`Kernels::padded_gradient_len`] floats, all of which are written. These passes are faster where `padded` is
    /// aligned to 64 bytes.
    pub fn pad_gradient(&self, geometry: &Geometry, dy: &[f32], padded: &mut [f32]) {
        let layout = PaddedGradient::new(geometry);
        let [_, height, width] = geometry.output();
        assert_eq!(dy.len(), geometry.output_len(), "gradient");
        assert_eq!(padded.len(), layout.len, "padded gradient");
        let (lead, planes) = padded.split_at_mut(layout.lead);
        lead.fill(0.0);
        for (plane, dy) in planes.chunks_exact_mut(layout.plane).zip(dy.chunks_exact(height * width)) {
            let (rows, below) = plane.split_at_mut(height * geometry.pitch());
            for (row, dy) in rows.chunks_exact_mut(geometry.pitch()).zip(dy.chunks_exact(width)) {
                let (row, right) = row.split_at_mut(width);
                row.copy_from_slice(dy);
                right.fill(0.0);
            }
            below.fill(0.0);
        }
    }
}
