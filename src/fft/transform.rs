//! The transform of one extent.

use num_complex::Complex32;

use crate::volume::Extent;

/// Images and spectra begin at a multiple of this many bytes: a cache line.
///
/// FFTW's plans serve buffers aligned like those it planned with; plans that take any address find fewer SIMD codelets and
/// took up to twice as long. Sixteen bytes would do for FFTW, a whole line keeps vector loads from splitting lines.
pub const ALIGNMENT: usize = 64;

/// The 3D Fourier transform of real images of one extent, and its inverse.
///
/// With N = `extent()` and the extent M = `spectrum_extent()` of the half spectrum, M.x = N.x / 2 + 1:
///
/// - an image is N.len() real voxels `[z][y][x]`;
/// - a spectrum is M.len() complex coefficients `[z][y][x]`, real and imaginary parts interleaved. The coefficient at
///   (u, v, w) is the sum over voxels of image(z, y, x) exp(-2 pi i (u z / N.z + v y / N.y + w x / N.x)); those of
///   w >= M.x follow from the symmetry F(-u, -v, -w) = conj F(u, v, w) and are not stored.
///
/// Neither direction divides by anything: `inverse` after `forward` multiplies the image by N.len().
///
/// A transform is used by any number of threads at once, each with its own buffers. These must begin at a multiple of
/// [`ALIGNMENT`] bytes; to keep several in one allocation, set them [`image_stride`](Self::image_stride) or
/// [`spectrum_stride`](Self::spectrum_stride) apart. The caller passes no scratch.
pub trait RealTransform: Send + Sync {
    /// The extent of the images.
    fn extent(&self) -> Extent;

    /// `spectrum` = transform of `image`. Panics where a length or an address is wrong.
    fn forward(&self, image: &[f32], spectrum: &mut [Complex32]);

    /// `image` = inverse transform of `spectrum`, times the number of voxels. **Destroys `spectrum`**: it is scratch,
    /// and its contents afterwards are unspecified.
    ///
    /// A spectrum which is not that of any real image (whose stored part contradicts the symmetry above) gives some
    /// finite real image, which one depends on the backend. Panics where a length or an address is wrong.
    fn inverse(&self, spectrum: &mut [Complex32], image: &mut [f32]);

    /// The extent of the half spectrum.
    fn spectrum_extent(&self) -> Extent {
        spectrum_extent(self.extent())
    }

    /// The voxels from the start of one image to that of the next, when both are to be aligned.
    fn image_stride(&self) -> usize {
        self.extent().len().next_multiple_of(ALIGNMENT / size_of::<f32>())
    }

    /// The coefficients from the start of one spectrum to that of the next, when both are to be aligned.
    fn spectrum_stride(&self) -> usize {
        self.spectrum_extent().len().next_multiple_of(ALIGNMENT / size_of::<Complex32>())
    }
}

/// The extent of the half spectrum of images of `extent`.
pub(super) fn spectrum_extent(extent: Extent) -> Extent {
    Extent::new(extent.z, extent.y, extent.x / 2 + 1)
}

/// Panics unless the buffers fit a transform of images of `extent`.
#[track_caller]
pub(super) fn check_buffers(extent: Extent, image: &[f32], spectrum: &[Complex32]) {
    assert_eq!(image.len(), extent.len(), "voxels of an image of {extent}");
    assert_eq!(
        spectrum.len(),
        spectrum_extent(extent).len(),
        "coefficients of the half spectrum of {extent}"
    );
    assert!(
        image.as_ptr().addr().is_multiple_of(ALIGNMENT),
        "the image does not begin at a multiple of 64 bytes"
    );
    assert!(
        spectrum.as_ptr().addr().is_multiple_of(ALIGNMENT),
        "the spectrum does not begin at a multiple of 64 bytes"
    );
}
