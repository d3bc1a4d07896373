//! Fourier transforms of many small tiles, a tile in each lane, and the products of their spectra.
//!
//! A *tile* is a box of an image with zeros behind it, of a [`TileShape`] whose lengths are among [`SIZES`]. `LANES`
//! tiles are transformed at once, so that the code of the transforms has no shuffles and any tile may lie anywhere: the
//! tiles of a map side by side, the sub-lattices of a dilated convolution, or the kernels of `LANES` maps.
//!
//! # Spectra
//!
//! Of the coefficients of a real tile those of `kx <= X / 2` determine the others; of those with `kx = 0` and `kx = X /
//! 2` it takes only `ky <= Y / 2`. These are [`TileShape::frequencies`], in an order of their own. Each is a pair of
//! vectors: the real parts of the `LANES` tiles, then the imaginary parts. Forward transforms are multiplied by 2 (what
//! taking two real rows as one complex one leaves), the inverse divides by nothing: a product of two spectra transformed
//! back is the circular convolution times [`TileShape::scale_of_product`]'s inverse.
//!
//! A *spectral matrix* has one row of floats for each frequency, `[row][column / LANES][re, im][column % LANES]`: see
//! [`product`]. A group of tiles of a map is `LANES` columns of one row of it.

mod dft;
pub(crate) mod lines;
pub mod product;
#[cfg(test)]
mod tests;
pub(crate) mod transform;
mod trig;

use crate::vector::MAX_LANES;
use crate::{Kernels, Rows, RowsMut};
use lines::Codelets;
use transform::Group;

/// The lengths of tiles. The length along x is even or 1.
pub const SIZES: [usize; 14] = [1, 2, 4, 6, 8, 9, 10, 12, 14, 16, 18, 20, 24, 32];

/// The lengths of tiles along z, y and x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileShape {
    size: [usize; 3],
}

impl TileShape {
    /// Tiles of these lengths along z, y and x; `None` where they are not among [`SIZES`], or x is odd and not 1.
    pub fn new(size: [usize; 3]) -> Option<Self> {
        let known = size.iter().all(|length| SIZES.contains(length));
        (known && (size[2] == 1 || size[2].is_multiple_of(2))).then_some(Self { size })
    }

    /// The lengths along z, y and x.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Lines along z of the half-spectrum.
    pub(crate) fn columns(&self) -> usize {
        let [_, height, width] = self.size;
        let half = height / 2 + 1;
        if width == 1 { half } else { 2 * half + (width / 2 - 1) * height }
    }

    /// Coefficients of a spectrum.
    pub fn frequencies(&self) -> usize {
        self.columns() * self.size[0]
    }

    /// What the inverse transform of the product of two spectra is to be multiplied by.
    pub fn scale_of_product(&self) -> f32 {
        let [z, y, x] = self.size;
        1.0 / (4 * z * y * x) as f32
    }
}

/// A box of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Its first voxel.
    pub offset: usize,
    /// Its voxels along z, y and x, at the distances of the call; zeros for an empty lane.
    pub extent: [usize; 3],
}

impl Patch {
    /// The place behind the last voxel.
    fn end(&self, steps: [usize; 3]) -> usize {
        if self.extent.contains(&0) {
            return 0;
        }
        let last: usize = self.extent.iter().zip(steps).map(|(n, step)| (n - 1) * step).sum();
        self.offset + last + 1
    }
}

/// What becomes of the inverse transform `v` of a voxel: `max(floor, v * scale + bias (+ former value))`.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// See [`TileShape::scale_of_product`].
    pub scale: f32,
    /// Added to each.
    pub bias: f32,
    /// Whether the former value is added.
    pub accumulate: bool,
    /// The least value that is stored: 0 for the rectifier; minus infinity keeps all. NaN is kept in any case.
    pub floor: f32,
}

impl Kernels {
    /// Floats of scratch memory that a transform of tiles needs.
    pub fn tile_scratch_len(&self, shape: TileShape) -> usize {
        transform::scratch_len(&shape, self.lanes())
    }

    /// Transforms boxes of `image`, one in each lane, padded with zeros to `shape`.
    ///
    /// * `steps`: distances of neighbouring voxels along z, y and x.
    /// * `patches`: at most as many as there are lanes; the other lanes are zeros.
    /// * `spectra`: [`TileShape::frequencies`] rows of two vectors.
    ///
    /// # Panics
    /// Where a box is larger than the shape or leaves the image, or a view has another shape.
    pub fn tile_forward(
        &self,
        shape: TileShape,
        image: &[f32],
        steps: [usize; 3],
        patches: &[Patch],
        mut spectra: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        assert_eq!((spectra.rows(), spectra.cols()), (shape.frequencies(), 2 * self.lanes()), "spectra");
        let group = self.group(shape, steps, patches, image.len(), spectra.stride(), scratch);
        // SAFETY: the tier exists, as `self` proves; `group` has checked the boxes and the scratch memory.
        unsafe { (self.table().tile_forward)(&group, image.as_ptr(), spectra.as_mut_ptr()) }
    }

    /// Transforms spectra back and stores boxes at the origin of the tiles to `image`, one from each lane in their
    /// order. Boxes may overlap where `store` accumulates.
    ///
    /// Operands and panics as in [`tile_forward`](Self::tile_forward).
    #[allow(clippy::too_many_arguments, reason = "an image and its boxes, spectra, how to store, scratch")]
    pub fn tile_inverse(
        &self,
        shape: TileShape,
        spectra: Rows<'_>,
        store: &Store,
        image: &mut [f32],
        steps: [usize; 3],
        patches: &[Patch],
        scratch: &mut [f32],
    ) {
        assert_eq!((spectra.rows(), spectra.cols()), (shape.frequencies(), 2 * self.lanes()), "spectra");
        let group = self.group(shape, steps, patches, image.len(), spectra.stride(), scratch);
        // SAFETY: as in `tile_forward`.
        unsafe { (self.table().tile_inverse)(&group, spectra.as_ptr(), store, image.as_mut_ptr()) }
    }

    fn group(
        &self,
        shape: TileShape,
        steps: [usize; 3],
        patches: &[Patch],
        image_len: usize,
        stride: usize,
        scratch: &mut [f32],
    ) -> Group {
        assert!(patches.len() <= self.lanes(), "{} patches", patches.len());
        for patch in patches {
            let fits = patch.extent.iter().zip(shape.size).all(|(&extent, size)| extent <= size);
            assert!(fits && patch.end(steps) <= image_len, "{patch:?} in {shape:?} of {image_len} voxels");
        }
        assert!(scratch.len() >= self.tile_scratch_len(shape), "scratch memory");
        let codelets = shape.size.map(|length| self.codelets(length));
        let extent =
            core::array::from_fn(|axis| patches.iter().map(|patch| patch.extent[axis]).max().unwrap_or(0));
        let mut lanes = [Patch::default(); MAX_LANES];
        lanes[..patches.len()].copy_from_slice(patches);
        Group {
            shape,
            codelets,
            steps,
            patches: lanes,
            extent,
            alike: lanes[..self.lanes()].iter().all(|patch| patch.extent == lanes[0].extent),
            stride,
            scratch: scratch.as_mut_ptr(),
        }
    }

    /// The codelets of a length among [`SIZES`].
    fn codelets(&self, length: usize) -> Codelets {
        let index = SIZES.iter().position(|&size| size == length).expect("a length of SIZES");
        self.tile_codelets()[index]
    }
}

/// The codelets of all [`SIZES`], by three functions that are generic over the length.
macro_rules! tile_codelets {
    ($complex:ident, $from_real:ident, $to_real:ident) => {
        tile_codelets!(@ $complex, $from_real, $to_real, [1 2 4 6 8 9 10 12 14 16 18 20 24 32])
    };
    (@ $complex:ident, $from_real:ident, $to_real:ident, [$($n:literal)*]) => {
        [$( $crate::tile_fft::lines::Codelets {
            complex: $complex::<$n>,
            from_real: $from_real::<$n>,
            to_real: $to_real::<$n>,
        } ),*]
    };
}
pub(crate) use dft::{Dft, Length};
pub(crate) use tile_codelets;
