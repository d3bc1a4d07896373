//! Tiles of an image: which, how large, and where they lie.

use znn_kernels::tile_fft::{Patch, SIZES, TileShape};

use super::Load;
use crate::conv::Problem;
use crate::volume::Extent;

/// A tile of the output and the tile of the input that it is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub input: Patch,
    pub output: Patch,
}

/// A division of a layer's images into tiles.
///
/// A tile of `size` voxels of the input gives `size - kernel + 1` of the output. With a dilation, the voxels of a tile
/// are that far apart: each sub-lattice of the image is a convolution of its own, without dilation.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    pub shape: TileShape,
    pub tiles: Vec<Tile>,
    /// Distances of a tile's voxels in the input and in the output, along z, y and x.
    pub input_steps: [usize; 3],
    pub output_steps: [usize; 3],
}

/// What a tile does along one axis.
struct Segment {
    /// The first voxel, of the output as of the input.
    start: usize,
    /// Voxels of the output.
    output: usize,
    /// Voxels of the input.
    input: usize,
}

impl Tiling {
    /// The division of the images of `problem` into tiles of a shape not smaller than the kernel.
    pub fn new(problem: &Problem, shape: TileShape) -> Self {
        let (kernel, dilation) = (problem.kernel.to_array(), problem.dilation.to_array());
        let (input, output) = (problem.input, problem.output());
        let [along_z, along_y, along_x] = [0, 1, 2].map(|axis| {
            let len = output.to_array()[axis];
            segments(len, kernel[axis], dilation[axis], shape.size()[axis])
        });
        let mut tiles = Vec::with_capacity(along_z.len() * along_y.len() * along_x.len());
        // Tiles that follow each other in the lanes do not lie side by side along x: where their rows overlap, a vector
        // would be loaded that has just been stored in two parts, which no processor does quickly.
        for x in &along_x {
            for z in &along_z {
                for y in &along_y {
                    let patch = |size: Extent, extent: [usize; 3]| Patch {
                        offset: size.index(z.start, y.start, x.start),
                        extent,
                    };
                    tiles.push(Tile {
                        input: patch(input, [z.input, y.input, x.input]),
                        output: patch(output, [z.output, y.output, x.output]),
                    });
                }
            }
        }
        let steps = |size: Extent| [dilation[0] * size.y * size.x, dilation[1] * size.x, dilation[2]];
        Self { shape, tiles, input_steps: steps(input), output_steps: steps(output) }
    }
}

/// The tiles along an axis: those of all sub-lattices side by side.
fn segments(len: usize, kernel: usize, dilation: usize, size: usize) -> Vec<Segment> {
    let most = size - kernel + 1;
    let mut segments = Vec::new();
    for block in (0..len).step_by(most * dilation) {
        for start in block..len.min(block + dilation) {
            let output = most.min((len - start).div_ceil(dilation));
            segments.push(Segment { start, output, input: output + kernel - 1 });
        }
    }
    segments
}

/// How many [`segments`] there are.
fn segment_count(len: usize, kernel: usize, dilation: usize, size: usize) -> usize {
    let block = (size - kernel + 1) * dilation;
    len / block * dilation + (len % block).min(dilation)
}

/// How many tiles of `shape` the images of `problem` have.
pub(super) fn tile_count(problem: &Problem, shape: TileShape) -> usize {
    let [output, kernel, dilation] =
        [problem.output(), problem.kernel, problem.dilation].map(Extent::to_array);
    (0..3).map(|axis| segment_count(output[axis], kernel[axis], dilation[axis], shape.size()[axis])).product()
}

/// The shapes of tiles that are not smaller than the kernel, and of one voxel where it is of one.
pub(super) fn shapes(kernel: Extent) -> impl Iterator<Item = TileShape> {
    let [z, y, x] = kernel
        .to_array()
        .map(|taps| SIZES.into_iter().filter(move |&size| if taps == 1 { size == 1 } else { size >= taps }));
    z.flat_map(move |z| {
        let x = x.clone();
        y.clone().flat_map(move |y| x.clone().filter_map(move |x| TileShape::new([z, y, x])))
    })
}

/// The time of a layer's passes by a model, in floating-point operations at full speed.
pub(super) fn work(problem: &Problem, load: &Load, lanes: usize, shape: TileShape) -> f64 {
    /// Fractions of full speed that products and transforms reach.
    const PRODUCTS: f64 = 0.75;
    const TRANSFORMS: f64 = 0.6;
    /// Operations in the time of moving one byte of spectra.
    const BYTE: f64 = 10.0;
    let tiles = tile_count(problem, shape).next_multiple_of(lanes) as f64;
    let (c_in, c_out) = (problem.c_in as f64, problem.c_out as f64);
    let pairs = c_in * problem.c_out.next_multiple_of(lanes) as f64;
    let frequencies = shape.frequencies() as f64;
    let voxels: f64 = shape.size().iter().map(|&n| n as f64).product();
    let transform = (2.5 * voxels * voxels.log2().max(1.0) + 6.0 * voxels) / TRANSFORMS;
    let moved = 8.0 * frequencies * BYTE;
    let image = tiles * (transform + moved);
    // Mostly zeros, and stored in longer runs. Kept ones are read.
    let kernels = match load.kernels {
        0.0 => 0.25 * pairs * moved,
        times => times * pairs * (0.4 * transform + 0.5 * moved),
    };
    let product = 8.0 * frequencies * c_in * c_out * tiles / PRODUCTS;
    load.images * image + kernels + load.products * product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each voxel of the output belongs to one tile, whose input has all of its taps.
    #[test]
    fn tiles_cover_the_output_once() {
        for len in 1..30 {
            for (kernel, dilation, size) in [(1, 1, 1), (3, 1, 4), (3, 2, 8), (2, 5, 6), (4, 3, 4), (1, 3, 1)]
            {
                let mut covered = vec![0; len];
                let segments = segments(len, kernel, dilation, size);
                assert_eq!(segments.len(), segment_count(len, kernel, dilation, size));
                for segment in segments {
                    assert!(segment.input <= size && segment.output > 0);
                    for voxel in 0..segment.output {
                        covered[segment.start + voxel * dilation] += 1;
                    }
                    let last = segment.start + (segment.input - 1) * dilation;
                    assert!(last < len + (kernel - 1) * dilation);
                }
                assert_eq!(covered, vec![1; len], "{len} {kernel} {dilation} {size}");
            }
        }
    }
}
