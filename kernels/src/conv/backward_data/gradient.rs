//! The gradient of the output as the source of the products.

use super::{Apart, BackwardData};
use crate::Rows;
use crate::conv::Geometry;
use crate::conv::blocking::Part;
use crate::conv::panel::{Panel, TapRows};

impl BackwardData {
    /// The gradient of the output as the input of panels.
    pub(super) fn image(&self) -> Geometry {
        let distance = if self.apart == Apart::All { 1 } else { Panel::distance(&self.geometry) };
        Geometry::valid(self.geometry.c_out, 1, self.geometry.output(), [1; 3], [distance, 1, 1])
    }

    /// The output planes that a part of the input meets: the first one, and how many at the part's distance.
    pub(super) fn readers(&self, part: &Part) -> (usize, usize) {
        let planes = part.first_plane..part.first_plane + (part.planes - 1) * part.distance + 1;
        let found = self.geometry.readers(0, &planes);
        if self.geometry.stride[0] > 1 {
            return (found.start, found.len());
        }
        // those of the same phase
        let phase = (part.first_plane + self.geometry.padding[0][0]) % part.distance;
        let first = found.start + (phase + part.distance - found.start % part.distance) % part.distance;
        (first, found.end.saturating_sub(first).div_ceil(part.distance))
    }

    /// Floats of a panel for so many input planes and rows, at most.
    pub(super) fn panel_bound(&self, planes: usize, rows: usize) -> usize {
        let geometry = &self.geometry;
        let output = geometry.output();
        let distance = self.image().dilation[0];
        let most_planes = (planes + geometry.reach(0) / distance).div_ceil(geometry.stride[0]);
        let most_rows = (rows + geometry.reach(1)).div_ceil(geometry.stride[1]);
        let (planes, rows) = if self.apart == Apart::All {
            (output[0].div_ceil(distance), output[1])
        } else {
            (most_planes.min(output[0].div_ceil(distance)), most_rows.min(output[1]))
        };
        geometry.c_out * Panel::bound(&self.image(), planes, rows, TapRows::Shared)
    }

    pub(super) fn panel_len(&self) -> usize {
        self.panel_bound(self.largest.planes, self.largest.rows)
    }
}

/// The part of the gradient of the output that some rows of the input meet, in a panel.
pub(super) struct Source<'a> {
    pub floats: &'a [f32],
    /// The first plane and row.
    pub first: [usize; 2],
    pub rows: usize,
    /// Distance between its planes.
    pub distance: usize,
    pub plane_step: usize,
    pub channel_step: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        pass: &BackwardData,
        dy: Rows<'_>,
        first_plane: usize,
        part: &Part,
        memory: &'a mut [f32],
    ) -> Self {
        let image = pass.image();
        let [depth, height, _] = image.input;
        let ((first_z, planes), rows) = if pass.apart == Apart::All {
            ((0, depth), 0..height)
        } else {
            (pass.readers(part), pass.geometry.readers(1, &part.rows))
        };
        let distance = part.distance;
        if planes == 0 || rows.is_empty() {
            // no tap reads anything
            let first = [first_z, rows.start];
            return Self { floats: &[], first, rows: rows.len(), distance, plane_step: 0, channel_step: 0 };
        }
        let first = [first_z, rows.start];
        let count = rows.len();
        let panel = Panel::of_phase(&image, first_z, planes, rows, TapRows::Shared);
        let floats = &mut memory[..image.c_in * panel.channel_step()];
        panel.fill(&pass.kernels, dy, first_plane, 0..image.c_in, floats);
        let (plane_step, channel_step) = (panel.run_step(), panel.channel_step());
        Self { floats, first, rows: count, distance, plane_step, channel_step }
    }

    /// Where a row of the gradient starts.
    pub(super) fn position(&self, plane: usize, row: usize, width: usize) -> usize {
        (plane - self.first[0]) / self.distance * self.plane_step + (row - self.first[1]) * width
    }
}
