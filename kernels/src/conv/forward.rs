//! The forward pass.

use super::Geometry;
use super::blocking::Blocking;
use super::family::{MAX_ROWS, MAX_VECTORS, best_rows, cost_of_rows};
use super::sweep::sweep;
use super::table;
use super::tile::{NO_BIAS, Tap, Tile, TileVector};
use crate::{Kernels, Rows, RowsMut, Transfer};
use core::ops::Range;

/// What happens to a sum before it is stored: `y = transfer(sum + bias (+ y))`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Whether the sum is added to the former value of `y`, before the transfer function.
    pub accumulate: bool,
    /// One value for each output channel of the whole layer.
    pub bias: Option<&'a [f32]>,
    /// The transfer function.
    pub transfer: Transfer,
}

impl Epilogue<'_> {
    /// `y = sum`.
    pub const STORE: Epilogue<'static> =
        Epilogue { accumulate: false, bias: None, transfer: Transfer::IDENTITY };
    /// `y += sum`.
    pub const ACCUMULATE: Epilogue<'static> =
        Epilogue { accumulate: true, bias: None, transfer: Transfer::IDENTITY };
}

/// The forward pass of a layer, with what is decided once for all calls.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    kernels: Kernels,
    geometry: Geometry,
    blocking: Blocking,
}

impl Forward {
    /// Decides how the pass is cut into panels.
    pub fn new(kernels: Kernels, geometry: Geometry) -> Self {
        Self { kernels, geometry, blocking: Blocking::new(&geometry, kernels.lanes()) }
    }

    /// The input planes that the given output rows read, those in the padding left out.
    pub fn reads(&self, rows: &Range<usize>) -> Range<usize> {
        let height = self.geometry.output()[1];
        self.geometry.input_planes(&(rows.start / height..rows.end.div_ceil(height)))
    }

    /// The modelled time of a call for some output rows and a number of output channels, in vector operations.
    pub fn cost(&self, rows: Range<usize>, out_channels: usize) -> f32 {
        let multiply_adds = cost_of_rows(self.kernels.micro().convolve, out_channels);
        self.blocking.cost(&self.geometry, self.kernels.lanes(), rows, out_channels, multiply_adds)
    }

    /// Floats of scratch memory that [`Forward::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.blocking.panel_len(&self.geometry) + table::floats::<Tap>(self.geometry.taps())
    }

    /// Computes some output channels and rows of a convolution.
    ///
    /// * `x`: `c_in` rows, each the input planes [`Forward::reads`] of `rows`.
    /// * `weights`: a row for each of `out_channels`, `[c_in][kz][ky][kx]`.
    /// * `rows`: output rows, those of all planes counted on.
    /// * `y`: one row for each of `out_channels`, each the `rows` of an output image.
    /// * `scratch`: [`Forward::scratch_len`] floats of any content, best aligned to 64 bytes.
    ///
    /// The result does not depend, in any bit, on how the work is split into calls.
    #[allow(
        clippy::too_many_arguments,
        reason = "three operands, two ranges, how to combine them, and memory"
    )]
    pub fn run(
        &self,
        x: Rows<'_>,
        weights: Rows<'_>,
        epilogue: &Epilogue<'_>,
        out_channels: Range<usize>,
        rows: Range<usize>,
        mut y: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let Self { kernels, geometry, blocking } = self;
        let [depth, height, width] = geometry.output();
        let taps = geometry.taps();
        assert!(out_channels.start <= out_channels.end && out_channels.end <= geometry.c_out, "channels");
        assert!(rows.start <= rows.end && rows.end <= depth * height, "rows {rows:?} of {depth} x {height}");
        let x_planes = self.reads(&rows);
        assert_eq!((x.rows(), x.cols()), (geometry.c_in, x_planes.len() * geometry.plane()), "input");
        assert_eq!((weights.rows(), weights.cols()), (out_channels.len(), geometry.c_in * taps), "weights");
        assert_eq!((y.rows(), y.cols()), (out_channels.len(), rows.len() * width), "output");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), geometry.c_out, "bias");
        }
        let (floor, later) = match epilogue.transfer {
            Transfer::IDENTITY => (f32::NEG_INFINITY, None),
            Transfer::RectifyLinear => (0.0, None),
            other => (f32::NEG_INFINITY, Some(other)),
        };
        let (panel_floats, memory) = scratch.split_at_mut(blocking.panel_len(geometry));
        let family = kernels.micro().convolve;
        let block = best_rows(family, geometry.c_out);
        for part in blocking.largest.parts(height, rows.clone()) {
            let panel = blocking.panel(geometry, &part);
            let table = table::write(
                memory,
                (0..taps).map(|tap| Tap { source: panel.tap(geometry.tap(tap)) as u32, weight: tap as u32 }),
            );
            let runs = panel.runs_to(height * width);
            let start = (part.first_plane * height + part.rows.start - rows.start) * width;
            for first in (0..geometry.c_in).step_by(blocking.channels) {
                let channels = first..(first + blocking.channels).min(geometry.c_in);
                let floats = &mut panel_floats[..channels.len() * panel.channel_step()];
                panel.fill(kernels, x, x_planes.start, channels.clone(), floats);
                let last = channels.end == geometry.c_in;
                for channel in (0..out_channels.len()).step_by(block) {
                    let rows = block.min(out_channels.len() - channel);
                    let bias = match epilogue.bias {
                        Some(bias) if first == 0 => &bias[out_channels.start + channel..][..rows],
                        _ => &NO_BIAS[..rows],
                    };
                    let mut tile = Tile {
                        source: floats.as_ptr(),
                        channels: channels.len(),
                        channel_step: panel.channel_step(),
                        taps: table,
                        weights: weights.as_ptr().wrapping_add(channel * weights.stride() + first * taps),
                        weight_step: taps,
                        weight_rows: core::array::from_fn::<_, MAX_ROWS, _>(|row| row * weights.stride()),
                        vectors: [TileVector::default(); MAX_VECTORS],
                        target: y.as_mut_ptr().wrapping_add(channel * y.stride() + start),
                        target_step: y.stride(),
                        bias: bias.as_ptr(),
                        accumulate: epilogue.accumulate || first > 0,
                        floor: if last { floor } else { f32::NEG_INFINITY },
                    };
                    // SAFETY: `kernels` proves the tier. Every tap reads the positions of the runs within the panel, and
                    // a vector beyond the last of them within its slack; the runs are the rows of the panel one after
                    // the other, which `y` was checked to have; `weights` has the weights of all channels.
                    unsafe { sweep(family, kernels.lanes(), rows, &runs, &mut tile) }
                    if let Some(transfer) = later.filter(|_| last) {
                        for row in channel..channel + rows {
                            for plane in 0..part.planes {
                                let start = start + plane * part.distance * height * width;
                                let y = &mut y.row_mut(row)[start..start + part.rows.len() * width];
                                kernels.bias_transfer(transfer, 0.0, y);
                            }
                        }
                    }
                }
            }
        }
    }
}
