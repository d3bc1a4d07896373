//! Matrices of spectra as buffers of a plan, and the parts of them that a task sees.

use znn_kernels::tile_fft::Patch;
use znn_kernels::tile_fft::product::Spectral;
use znn_kernels::{Kernels, Rows, RowsMut};

use crate::plan::Buffer;

/// As many lanes as any tier has.
pub(super) const MAX_LANES: usize = 16;

/// Matrices of spectra, one for each frequency.
#[derive(Clone, Copy)]
pub(super) struct Spectra {
    pub buffer: Buffer,
    pub rows: usize,
    pub columns: usize,
}

/// A factor of a product.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    pub spectra: Spectra,
    pub transposed: bool,
}

impl Factor {
    pub fn of(self, view: Rows<'_>) -> Spectral<'_> {
        let Self { spectra: Spectra { rows, columns, .. }, transposed } = self;
        Spectral { view, rows, columns, transposed }
    }
}

/// The spectra of the lanes of a group of columns, from the column of a view at which its matrix row begins.
pub(super) fn lanes<'a>(view: Rows<'a>, kernels: Kernels, start: usize, group: usize) -> Rows<'a> {
    let pair = 2 * kernels.lanes();
    let start = start + group * pair;
    view.part(0..view.rows(), start..start + pair)
}

pub(super) fn lanes_mut<'a>(
    view: &'a mut RowsMut<'_>,
    kernels: Kernels,
    start: usize,
    group: usize,
) -> RowsMut<'a> {
    let pair = 2 * kernels.lanes();
    let start = start + group * pair;
    view.part(0..view.rows(), start..start + pair)
}

/// The kernels of a group of output maps as boxes of a slice.
pub(super) fn taps(
    patches: &mut [Patch; MAX_LANES],
    lanes: usize,
    group: usize,
    c_out: usize,
    kernel: [usize; 3],
    place: impl Fn(usize) -> usize,
) -> &[Patch] {
    let maps = group * lanes..c_out.min((group + 1) * lanes);
    for (patch, o) in patches.iter_mut().zip(maps.clone()) {
        *patch = Patch { offset: place(o), extent: kernel };
    }
    &patches[..maps.len()]
}
