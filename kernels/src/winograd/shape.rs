//! The sizes of a correlation by tiles.

use core::ops::Range;

use crate::conv::Geometry;

/// A correlation of `c_in` to `c_out` maps without stride that is cut into tiles: forward as it is, backward-data as the
/// correlation of the padded gradient with the reversed kernels.
///
/// `y[o][p] = sum over i, k of w[o][i][k] * x[i][p + k * dilation - before]`, where `x` is zero outside. Sizes are in
/// voxels, in the order z, y, x.
///
/// A dilated correlation takes each *phase*, the sub-lattice of every `dilation`-th voxel, by itself. Tile `t` of a
/// phase computes the outputs `(t * tile ..) * dilation + phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    /// Zeros before the input; negative where its first voxels are not read.
    pub(crate) before: [isize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) tile: [usize; 3],
    pass: Pass,
}

/// What a correlation serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Forward,
    BackwardData,
    /// The output's gradient, whose tiles are those of the forward pass and overlap nowhere.
    Gradient,
}

impl Shape {
    /// Whether there are tiles for `geometry`: kernels of one or three taps along each axis, not one along all, and
    /// no stride.
    pub fn admits(geometry: &Geometry) -> bool {
        geometry.stride == [1; 3]
            && geometry.kernel.iter().all(|taps| [1, 3].contains(taps))
            && geometry.kernel != [1; 3]
    }

    /// The forward pass with `tile` outputs of a tile along each axis: 2 or 4 where the kernel has three taps, else 1.
    ///
    /// # Panics
    /// Where `geometry` is not [admitted](Self::admits), or the tile does not fit the kernel.
    pub fn forward(geometry: &Geometry, tile: [usize; 3]) -> Self {
        assert!(Self::admits(geometry), "no tiles for {geometry:?}");
        for (outputs, taps) in tile.into_iter().zip(geometry.kernel) {
            assert!(matches!((outputs, taps), (1, 1) | (2 | 4, 3)), "tile {tile:?} for {geometry:?}");
        }
        let Geometry { c_in, c_out, input, kernel, dilation, padding: [before, _], .. } = *geometry;
        let output = geometry.output();
        let before = before.map(|zeros| zeros as isize);
        Self { c_in, c_out, input, output, before, kernel, dilation, tile, pass: Pass::Forward }
    }

    /// The backward-data pass: its input is the gradient of the output.
    ///
    /// # Panics
    /// As [`Shape::forward`].
    pub fn backward_data(geometry: &Geometry, tile: [usize; 3]) -> Self {
        let forward = Self::forward(geometry, tile);
        let Self { c_in, c_out, input, output, before, .. } = forward;
        Self {
            c_in: c_out,
            c_out: c_in,
            input: output,
            output: input,
            before: [0, 1, 2].map(|axis| geometry.reach(axis) as isize - before[axis]),
            pass: Pass::BackwardData,
            ..forward
        }
    }

    /// The gradient of the output of the forward pass, as an input of backward-weights.
    pub(crate) fn gradient(&self) -> Self {
        assert_eq!(self.pass, Pass::Forward);
        Self { c_in: self.c_out, input: self.output, before: [0; 3], pass: Pass::Gradient, ..*self }
    }

    /// Whether this is a backward-data pass, whose kernels are `w[input map of the layer]` reversed.
    pub(crate) fn is_reversed(&self) -> bool {
        self.pass == Pass::BackwardData
    }

    /// Whether the elements of a tile are gradients of its outputs, not its inputs.
    pub(crate) fn is_gradient(&self) -> bool {
        self.pass == Pass::Gradient
    }

    /// Elements of `tiles` neighbouring tiles along `axis`.
    pub(crate) fn elements_along(&self, axis: usize, tiles: usize) -> usize {
        tiles * self.tile[axis] + if self.is_gradient() { 0 } else { self.kernel[axis] - 1 }
    }

    /// Inputs, and points, of a tile along `axis`.
    pub(crate) fn points_along(&self, axis: usize) -> usize {
        self.tile[axis] + self.kernel[axis] - 1
    }

    /// Points of a tile: products of a pair of maps.
    pub fn points(&self) -> usize {
        (0..3).map(|axis| self.points_along(axis)).product()
    }

    /// Tiles of the largest phase along `axis`.
    pub(crate) fn tiles_along(&self, axis: usize) -> usize {
        self.output[axis].div_ceil(self.dilation[axis] * self.tile[axis])
    }

    /// The phases that have an output, and their number along each axis.
    pub(crate) fn phases_along(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.dilation[axis].min(self.output[axis]))
    }

    /// Products of each pair of maps.
    pub fn products(&self) -> usize {
        let tiles: usize = (0..3).map(|axis| self.tiles_along(axis) * self.phases_along()[axis]).product();
        self.points() * tiles
    }

    /// Input maps.
    pub fn c_in(&self) -> usize {
        self.c_in
    }

    /// Output maps.
    pub fn c_out(&self) -> usize {
        self.c_out
    }

    /// The axis that tasks divide: z, or y where the output is one plane. Its slabs are runs of an output map.
    fn slab_axis(&self) -> usize {
        usize::from(self.output[0] == 1)
    }

    /// The number of slabs, each one row of tiles of all phases high. A range of them is what a call computes.
    pub fn slabs(&self) -> usize {
        self.tiles_along(self.slab_axis())
    }

    /// The tiles along each axis that `slabs` consist of.
    pub(crate) fn tiles_of(&self, slabs: &Range<usize>) -> [Range<usize>; 3] {
        let slab_axis = self.slab_axis();
        [0, 1, 2].map(|axis| if axis == slab_axis { slabs.clone() } else { 0..self.tiles_along(axis) })
    }

    /// The voxels of an output map that `slabs` consist of.
    pub fn voxels_of(&self, slabs: &Range<usize>) -> Range<usize> {
        let axis = self.slab_axis();
        let slice: usize = self.output[axis + 1..].iter().product();
        let cut = |slab: usize| (slab * self.tile[axis] * self.dilation[axis]).min(self.output[axis]) * slice;
        cut(slabs.start)..cut(slabs.end)
    }
}
