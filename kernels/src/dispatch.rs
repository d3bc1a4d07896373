//! The one place where a generic kernel meets an instruction set.
//!
//! `kernel_table!` lists every kernel once and makes of it a field of `KernelTable` and three instantiations.
//! To add a kernel, write it generic over `V: Vector` in a file of its own with a safe method on [`Kernels`]
//! beside it, and add a line here.

use core::ops::Range;

use crate::conv::family::{MicroKernels, register_tiles};
use crate::conv::product::Product;
use crate::conv::reduction::Reduction;
use crate::conv::tile::Tile;
use crate::isa::Isa;
use crate::tile_fft::lines::{Codelets, ComplexLines, RealLines};
use crate::tile_fft::product::{MAX_ROWS, MAX_VECTORS, Micro, MicroTile};
use crate::tile_fft::{Dft, Length, SIZES, tile_codelets};
use crate::vector::F32x4;
#[cfg(target_arch = "x86_64")]
use crate::vector::{F32x8, F32x16};
use crate::winograd::gradient::{Outer, outer_tiles};
use crate::winograd::product::{Products, product_tiles};

/// The kernels of one tier. A value is the proof that the tier is available.
#[derive(Clone, Copy)]
pub struct Kernels {
    table: &'static KernelTable,
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Kernels({})", self.isa())
    }
}

impl Kernels {
    /// The kernels of `isa`, or `None` where this machine lacks it.
    pub fn new(isa: Isa) -> Option<Self> {
        if !isa.is_available() {
            return None;
        }
        let table = match isa {
            Isa::Scalar => &SCALAR,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512f => &AVX512F,
            #[cfg(not(target_arch = "x86_64"))]
            _ => return None,
        };
        Some(Self { table })
    }

    /// The kernels of the widest tier of this machine.
    pub fn best() -> Self {
        Self::new(Isa::best()).unwrap_or(Self { table: &SCALAR })
    }

    /// The tier.
    pub fn isa(&self) -> Isa {
        self.table.isa
    }

    /// The number of f32 lanes of the tier's vectors.
    pub fn lanes(&self) -> usize {
        self.table.lanes
    }

    #[inline(always)]
    pub(crate) fn table(&self) -> &'static KernelTable {
        self.table
    }

    /// The micro-kernels of the direct convolution.
    #[inline(always)]
    pub(crate) fn micro(&self) -> &'static MicroKernels {
        &self.table.micro
    }

    /// The transforms of lines of all lengths.
    #[inline(always)]
    pub(crate) fn tile_codelets(&self) -> &'static [Codelets; SIZES.len()] {
        &self.table.tile_codelets
    }

    /// The micro-kernels of spectral products, plain and conjugated, and the largest register tile to be used.
    #[inline(always)]
    pub(crate) fn spectral_micro(&self) -> (&'static SpectralMicro, [usize; 2]) {
        (&self.table.spectral_micro, if self.table.registers < 32 { [5, 1] } else { [6, 2] })
    }
}

type SpectralMicro = [[[Micro; MAX_VECTORS]; MAX_ROWS]; 2];

macro_rules! kernel_table {
    ($( $name:ident = $generic:path : ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)?; )*) => {
        /// One function pointer per kernel.
        pub(crate) struct KernelTable {
            isa: Isa,
            lanes: usize,
            micro: MicroKernels,
            tile_codelets: [Codelets; SIZES.len()],
            spectral_micro: SpectralMicro,
            registers: usize,
            $( pub(crate) $name: unsafe fn($($ty),*) $(-> $ret)?, )*
        }

        kernel_table!(@tier SCALAR, scalar, Isa::Scalar, F32x4, 16, [];
            $( $name = $generic : ($($arg : $ty),*) $(-> $ret)?; )*);
        #[cfg(target_arch = "x86_64")]
        kernel_table!(@tier AVX2, avx2, Isa::Avx2, F32x8, 16, [#[target_feature(enable = "avx2,fma")]];
            $( $name = $generic : ($($arg : $ty),*) $(-> $ret)?; )*);
        #[cfg(target_arch = "x86_64")]
        kernel_table!(@tier AVX512F, avx512f, Isa::Avx512f, F32x16, 32, [#[target_feature(enable = "avx512f,avx2,fma")]];
            $( $name = $generic : ($($arg : $ty),*) $(-> $ret)?; )*);
    };
    (@tier $table:ident, $tier:ident, $isa:expr, $vector:ty, $registers:tt, $features:tt;
        $( $name:ident = $generic:path : ($($arg:ident : $ty:ty),*) $(-> $ret:ty)?; )*) => {
        mod $tier {
            #[allow(unused_imports)]
            use super::*;
            $( kernel_table!(@kernel $features $vector, $name = $generic : ($($arg : $ty),*) $(-> $ret)?); )*
            kernel_table!(@micro $features $vector, $registers);
            kernel_table!(@codelets $features $vector);
        }
        static $table: KernelTable = KernelTable {
            isa: $isa,
            lanes: <$vector as crate::vector::Vector>::LANES,
            micro: $tier::MICRO,
            tile_codelets: $tier::TILE_CODELETS,
            spectral_micro: $tier::SPECTRAL_MICRO,
            registers: $registers,
            $( $name: $tier::$name, )*
        };
    };
    (@kernel [$($features:tt)*] $vector:ty, $name:ident = $generic:path : ($($arg:ident : $ty:ty),*) $(-> $ret:ty)?) => {
        $($features)*
        pub unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            use $generic as generic;
            // SAFETY: the caller keeps the kernel's contract; the features are enabled on this function.
            unsafe { generic::<$vector>($($arg),*) }
        }
    };
    // The micro-kernels of the direct convolution, for every register tile that fits the tier's registers.
    (@micro [$($features:tt)*] $vector:ty, $registers:tt) => {
        $($features)*
        unsafe fn convolve<const R: usize, const N: usize>(tile: &Tile<'_>) {
            // SAFETY: the caller keeps the kernel's contract; the features are enabled on this function.
            unsafe { crate::conv::tile::convolve::<$vector, R, N>(tile) }
        }
        $($features)*
        unsafe fn reduce<const R: usize, const N: usize>(run: &Reduction) {
            // SAFETY: as above.
            unsafe { crate::conv::reduction::reduce::<$vector, R, N>(run) }
        }
        $($features)*
        unsafe fn winograd_products<const R: usize, const N: usize>(products: &Products) {
            // SAFETY: as above.
            unsafe { crate::winograd::product::multiply::<$vector, R, N>(products) }
        }
        $($features)*
        unsafe fn winograd_outer<const R: usize, const N: usize>(outer: &Outer) {
            // SAFETY: as above.
            unsafe { crate::winograd::gradient::accumulate::<$vector, R, N>(outer) }
        }
        $($features)*
        unsafe fn multiply<const R: usize, const N: usize>(product: &Product) {
            // SAFETY: as above.
            unsafe { crate::conv::product::multiply::<$vector, R, N>(product) }
        }
        pub(super) const MICRO: MicroKernels = MicroKernels {
            convolve: register_tiles!($registers, convolve),
            reduce: register_tiles!($registers, reduce),
            winograd_products: product_tiles!($registers, winograd_products),
            winograd_outers: outer_tiles!($registers, winograd_outer),
            product: register_tiles!($registers, multiply),
        };
    };
    // The transforms of lines of every length.
    (@codelets [$($features:tt)*] $vector:ty) => {
        $($features)*
        unsafe fn complex_lines<const N: usize>(lines: &ComplexLines) where Dft: Length<N> {
            // SAFETY: the caller keeps the kernel's contract; the features are enabled on this function.
            unsafe { crate::tile_fft::lines::complex::<$vector, N>(lines) }
        }
        $($features)*
        unsafe fn lines_from_real<const N: usize>(lines: &RealLines) where Dft: Length<N> {
            // SAFETY: as above.
            unsafe { crate::tile_fft::lines::from_real::<$vector, N>(lines) }
        }
        $($features)*
        unsafe fn lines_to_real<const N: usize>(lines: &RealLines) where Dft: Length<N> {
            // SAFETY: as above.
            unsafe { crate::tile_fft::lines::to_real::<$vector, N>(lines) }
        }
        pub(super) const TILE_CODELETS: [Codelets; SIZES.len()] =
            tile_codelets!(complex_lines, lines_from_real, lines_to_real);
        $($features)*
        unsafe fn multiply_spectra<const R: usize, const N: usize, const CONJUGATE: bool>(tile: &MicroTile) {
            // SAFETY: as above.
            unsafe { crate::tile_fft::product::multiply::<$vector, R, N, CONJUGATE>(tile) }
        }
        pub(super) const SPECTRAL_MICRO: SpectralMicro = [
            [
                [multiply_spectra::<1, 1, false>, multiply_spectra::<1, 2, false>],
                [multiply_spectra::<2, 1, false>, multiply_spectra::<2, 2, false>],
                [multiply_spectra::<3, 1, false>, multiply_spectra::<3, 2, false>],
                [multiply_spectra::<4, 1, false>, multiply_spectra::<4, 2, false>],
                [multiply_spectra::<5, 1, false>, multiply_spectra::<5, 2, false>],
                [multiply_spectra::<6, 1, false>, multiply_spectra::<6, 2, false>],
            ],
            [
                [multiply_spectra::<1, 1, true>, multiply_spectra::<1, 2, true>],
                [multiply_spectra::<2, 1, true>, multiply_spectra::<2, 2, true>],
                [multiply_spectra::<3, 1, true>, multiply_spectra::<3, 2, true>],
                [multiply_spectra::<4, 1, true>, multiply_spectra::<4, 2, true>],
                [multiply_spectra::<5, 1, true>, multiply_spectra::<5, 2, true>],
                [multiply_spectra::<6, 1, true>, multiply_spectra::<6, 2, true>],
            ],
        ];
    };
}

kernel_table! {
    combine = crate::conv::combine::combine: (work: &crate::conv::combine::Combine<'_>);
    fill_panel = crate::conv::fill::fill:
        (panel: &crate::conv::panel::Panel, x: *const f32, ahead: usize, to: *mut f32);
    add = crate::pointwise::add::add: (to: *mut f32, from: *const f32, len: usize);
    scale = crate::pointwise::scale::scale: (to: *mut f32, factor: f32, len: usize);
    multiply_by = crate::pointwise::multiply::multiply_by: (to: *mut f32, from: *const f32, len: usize);
    scaled = crate::pointwise::multiply::scaled:
        (factor: f32, from: *const f32, accumulate: bool, to: *mut f32, len: usize);
    deviations = crate::pointwise::sums::deviations: (x: *const f32, centre: f32, len: usize) -> [f64; 2];
    centred_dot = crate::pointwise::sums::centred_dot:
        (g: *const f32, x: *const f32, centre: f32, len: usize) -> f64;
    affine_transfer = crate::pointwise::normalise::affine_transfer:
        (t: crate::Transfer, affine: crate::Affine, x: *const f32, y: *mut f32, len: usize);
    affine_gradient = crate::pointwise::normalise::affine_gradient:
        (slope: f32, affine: crate::Affine, x: *const f32, g: *mut f32, len: usize);
    rectify = crate::pointwise::rectify::rectify:
        (slope: f32, bias: f32, x: *const f32, y: *mut f32, len: usize);
    rectify_backward = crate::pointwise::rectify::rectify_backward:
        (slope: f32, bias: f32, x: *const f32, g: *mut f32, len: usize) -> [f64; 2];
    softmax_backward = crate::pointwise::softmax::softmax_backward:
        (y: &crate::Rows<'_>, stride: usize, g: *mut f32);
    max_merge = crate::pointwise::maxout::max_merge:
        (edge: u8, from: *const f32, to: *mut f32, winners: *mut u8, len: usize);
    max_merge_backward = crate::pointwise::maxout::max_merge_backward:
        (edge: u8, winners: *const u8, g: *const f32, accumulate: bool, dx: *mut f32, len: usize);
    dropout = crate::pointwise::dropout::dropout:
        (mask: crate::pointwise::dropout::Mask, from: *const f32, to: *mut f32, len: usize);
    sgd = crate::pointwise::sgd::sgd:
        (step: crate::pointwise::sgd::Sgd, weights: *mut f32, velocity: *mut f32, gradient: *const f32,
         len: usize);
    adam = crate::pointwise::adam::adam:
        (step: crate::pointwise::adam::Adam, weights: *mut f32, state: [*mut f32; 2], gradient: *const f32,
         len: usize);
    is_finite = crate::pointwise::gradient::is_finite: (values: *const f32, len: usize) -> bool;
    sum_of_squares = crate::pointwise::gradient::sum_of_squares:
        (values: *const f32, scale: f32, len: usize) -> f64;
    clamp = crate::pointwise::gradient::clamp: (values: *mut f32, bound: f32, len: usize);
    loss = crate::pointwise::loss::loss:
        (loss: crate::Loss, p: *const f32, t: *const f32, weight: *const f32, g: *mut f32, len: usize) -> f64;
    softmax = crate::pointwise::softmax::softmax:
        (channels: usize, stride: usize, len: usize, maps: *mut f32);
    softmax_loss = crate::pointwise::softmax::softmax_loss:
        (problem: &crate::pointwise::softmax::Problem, g: *mut f32) -> f64;
    bias_transfer = crate::pointwise::transfer::bias_transfer:
        (t: crate::Transfer, bias: f32, row: *mut f32, len: usize);
    transfer_backward = crate::pointwise::transfer::transfer_backward:
        (t: crate::Transfer, y: *const f32, g: *mut f32, len: usize) -> f32;
    max_filter_forward = crate::pool::max_filter::forward:
        (shape: crate::pool::max_filter::Shape, x: *const f32, planes: Range<usize>, y: *mut f32,
         winners: *mut u8, scratch: *mut f32);
    max_filter_backward = crate::pool::max_filter::backward:
        (shape: crate::pool::max_filter::Shape, dy: *const f32, winners: *const u8, planes: Range<usize>,
         accumulate: bool, dx: *mut f32, scratch: *mut f32);
    max_pool_forward = crate::pool::max_pool::forward:
        (shape: crate::pool::max_pool::Shape, x: *const f32, y: *mut f32, winners: *mut u8);
    max_pool_backward = crate::pool::max_pool::backward:
        (shape: crate::pool::max_pool::Shape, dy: *const f32, winners: *const u8, accumulate: bool, dx: *mut f32);
    transpose = crate::conv::product::transpose: (run: &crate::conv::product::Transposition);
    spectral_multiply = crate::spectral::multiply: (problem: &crate::spectral::Multiply, out: *mut f32);
    stream = crate::stream::stream: (operands: crate::stream::Operands, factor: f32) -> f32;
    winograd_weights = crate::winograd::weights::transform: (kernels: &crate::winograd::weights::Kernels);
    winograd_input = crate::winograd::input::transform: (input: &crate::winograd::input::Input);
    winograd_transpose = crate::winograd::transpose::transpose: (blocks: &crate::winograd::transpose::Blocks);
    winograd_kernel_gradient = crate::winograd::gradient::transform:
        (sums: &crate::winograd::gradient::KernelSums);
    winograd_store = crate::winograd::output::store: (store: &crate::winograd::output::Store);
    winograd_output = crate::winograd::output::transform: (sums: &crate::winograd::output::Sums);
    fma_peak = crate::peak::fma_peak: (rounds: usize, factor: f32, addend: f32) -> f32;
    tile_forward = crate::tile_fft::transform::forward:
        (group: &crate::tile_fft::transform::Group, source: *const f32, to: *mut f32);
    tile_inverse = crate::tile_fft::transform::inverse:
        (group: &crate::tile_fft::transform::Group, from: *const f32, store: &crate::tile_fft::Store,
         to: *mut f32);
    spectral_product = crate::tile_fft::product::product: (product: &crate::tile_fft::product::Product);
    spectral_outer = crate::spectral::outer: (problem: &crate::spectral::Outer, out: *mut f32);
}
