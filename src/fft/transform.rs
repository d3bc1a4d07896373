//! The transform of one extent.

use num_complex::Complex32;

use crate::volume::Extent;

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
/// A transform is used by any number of threads at once, each with its own images. Buffers need no particular
/// alignment; 64 bytes is the fastest. The caller passes no scratch.
pub trait RealTransform: Send + Sync {
    /// The extent of the images.
    fn extent(&self) -> Extent;

    /// `spectrum` = transform of `image`. Panics where a length is wrong.
    fn forward(&self, image: &[f32], spectrum: &mut [Complex32]);

    /// `image` = inverse transform of `spectrum`, times the number of voxels. **Destroys `spectrum`**: it is scratch,
    /// and its contents afterwards are unspecified.
    ///
    /// A spectrum which is not that of any real image (whose stored part contradicts the symmetry above) gives some
    /// finite real image, which one depends on the backend. Panics where a length is wrong.
    fn inverse(&self, spectrum: &mut [Complex32], image: &mut [f32]);

    /// The extent of the half spectrum.
    fn spectrum_extent(&self) -> Extent {
        spectrum_extent(self.extent())
    }
}

/// The extent of the half spectrum of images of `extent`.
pub(super) fn spectrum_extent(extent: Extent) -> Extent {
    Extent::new(extent.z, extent.y, extent.x / 2 + 1)
}

/// Panics unless the buffers fit a transform of images of `extent`.
#[track_caller]
pub(super) fn check_lengths(extent: Extent, image: &[f32], spectrum: &[Complex32]) {
    assert_eq!(image.len(), extent.len(), "voxels of an image of {extent}");
    assert_eq!(spectrum.len(), spectrum_extent(extent).len(), "coefficients of the half spectrum of {extent}");
}
