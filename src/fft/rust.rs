//! rustfft's side of [`RealTransform`]: realfft along x, rustfft along y and z.

use std::array;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use super::RealTransform;
use super::transform::{check_buffers, spectrum_extent};
use crate::volume::Extent;

/// The columns of a plane that are gathered, transformed and scattered together: two cache lines of each row, so that
/// gathering reads whole lines and the gathered columns stay in L1.
const COLUMNS: usize = 16;

/// Matrices are transposed in blocks of this many rows and columns.
const BLOCK: usize = 4;

/// 1D transforms along the axes of one extent; `None` along an axis of one voxel, where there is nothing to do.
pub(super) struct RustTransform {
    extent: Extent,
    forward_x: Arc<dyn RealToComplex<f32>>,
    inverse_x: Arc<dyn ComplexToReal<f32>>,
    forward_y: Option<Arc<dyn Fft<f32>>>,
    inverse_y: Option<Arc<dyn Fft<f32>>>,
    forward_z: Option<Arc<dyn Fft<f32>>>,
    inverse_z: Option<Arc<dyn Fft<f32>>>,
}

/// Buffers of one thread, kept between calls; they grow to the largest transform that the thread has executed.
#[derive(Default)]
struct Scratch {
    row: Vec<f32>,
    columns: Vec<Complex32>,
    work: Vec<Complex32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl RustTransform {
    /// The transform of a non-empty `extent`.
    pub(super) fn new(extent: Extent) -> Self {
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        let mut axis = |n: usize| {
            let planned = (n > 1).then(|| (complex.plan_fft_forward(n), complex.plan_fft_inverse(n)));
            planned.unzip()
        };
        let (forward_y, inverse_y) = axis(extent.y);
        let (forward_z, inverse_z) = axis(extent.z);
        Self {
            extent,
            forward_x: real.plan_fft_forward(extent.x),
            inverse_x: real.plan_fft_inverse(extent.x),
            forward_y,
            inverse_y,
            forward_z,
            inverse_z,
        }
    }

    /// The complex 1D transforms along y, plane by plane.
    fn along_y(&self, fft: Option<&Arc<dyn Fft<f32>>>, spectrum: &mut [Complex32], scratch: &mut Scratch) {
        let Some(fft) = fft else { return };
        let width = spectrum_extent(self.extent).x;
        for plane in spectrum.chunks_exact_mut(self.extent.y * width) {
            along_columns(&**fft, plane, width, scratch);
        }
    }

    /// The complex 1D transforms along z, with z-planes as rows.
    fn along_z(&self, fft: Option<&Arc<dyn Fft<f32>>>, spectrum: &mut [Complex32], scratch: &mut Scratch) {
        let Some(fft) = fft else { return };
        let width = spectrum_extent(self.extent).x * self.extent.y;
        along_columns(&**fft, spectrum, width, scratch);
    }
}

impl RealTransform for RustTransform {
    fn extent(&self) -> Extent {
        self.extent
    }

    fn forward(&self, image: &[f32], spectrum: &mut [Complex32]) {
        check_buffers(self.extent, image, spectrum);
        SCRATCH.with_borrow_mut(|scratch| {
            let row = at_least(&mut scratch.row, self.extent.x);
            let work = at_least(&mut scratch.work, self.forward_x.get_scratch_len());
            let width = spectrum_extent(self.extent).x;
            for (from, to) in image.chunks_exact(self.extent.x).zip(spectrum.chunks_exact_mut(width)) {
                row.copy_from_slice(from); // realfft destroys its input
                self.forward_x.process_with_scratch(row, to, work).expect("lengths were checked");
            }
            self.along_y(self.forward_y.as_ref(), spectrum, scratch);
            self.along_z(self.forward_z.as_ref(), spectrum, scratch);
        });
    }

    fn inverse(&self, spectrum: &mut [Complex32], image: &mut [f32]) {
        check_buffers(self.extent, image, spectrum);
        SCRATCH.with_borrow_mut(|scratch| {
            self.along_z(self.inverse_z.as_ref(), spectrum, scratch);
            self.along_y(self.inverse_y.as_ref(), spectrum, scratch);
            let work = at_least(&mut scratch.work, self.inverse_x.get_scratch_len());
            let width = spectrum_extent(self.extent).x;
            for (from, to) in spectrum.chunks_exact_mut(width).zip(image.chunks_exact_mut(self.extent.x)) {
                // Real by symmetry, but for rounding; realfft reports an error where they are not exactly real.
                from[0].im = 0.0;
                if self.extent.x.is_multiple_of(2) {
                    from[width - 1].im = 0.0;
                }
                self.inverse_x.process_with_scratch(from, to, work).expect("lengths were checked");
            }
        });
    }
}

/// Transforms each column of a row-major matrix with `width` columns, in place.
fn along_columns(fft: &dyn Fft<f32>, matrix: &mut [Complex32], width: usize, scratch: &mut Scratch) {
    let n = fft.len();
    let (columns, transformed) = at_least(&mut scratch.columns, 2 * n * COLUMNS).split_at_mut(n * COLUMNS);
    let work = at_least(&mut scratch.work, fft.get_outofplace_scratch_len());
    for first in (0..width).step_by(COLUMNS) {
        let count = COLUMNS.min(width - first);
        let (columns, transformed) = (&mut columns[..n * count], &mut transformed[..n * count]);
        transpose(&matrix[first..], width, columns, n, n, count);
        fft.process_outofplace_with_scratch(columns, transformed, work);
        transpose(transformed, n, &mut matrix[first..], width, count, n);
    }
}

/// `to[j * to_pitch + i] = from[i * from_pitch + j]` for i < rows, j < columns.
fn transpose(
    from: &[Complex32],
    from_pitch: usize,
    to: &mut [Complex32],
    to_pitch: usize,
    rows: usize,
    columns: usize,
) {
    let (whole_rows, whole_columns) = (rows - rows % BLOCK, columns - columns % BLOCK);
    for i in (0..whole_rows).step_by(BLOCK) {
        for j in (0..whole_columns).step_by(BLOCK) {
            // Of constant size, so that the block is transposed in registers.
            let block: [[Complex32; BLOCK]; BLOCK] = array::from_fn(|k| {
                from[(i + k) * from_pitch + j..][..BLOCK].try_into().expect("BLOCK elements")
            });
            for k in 0..BLOCK {
                let column: [Complex32; BLOCK] = array::from_fn(|l| block[l][k]);
                to[(j + k) * to_pitch + i..][..BLOCK].copy_from_slice(&column);
            }
        }
    }
    let mut edge = |rows: Range<usize>, columns: Range<usize>| {
        for i in rows {
            for j in columns.clone() {
                to[j * to_pitch + i] = from[i * from_pitch + j];
            }
        }
    };
    edge(0..whole_rows, whole_columns..columns);
    edge(whole_rows..rows, 0..columns);
}

/// The first `len` elements of a buffer that grows where it is shorter.
fn at_least<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// Name, version and instruction sets; rustfft chooses among those compiled in at run time.
pub(super) fn description() -> String {
    "rustfft 6 (pure Rust, SIMD chosen at run time)".to_owned()
}
