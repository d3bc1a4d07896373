//! The products: for each point, weights `[R][c_in]` times inputs `[c_in][tiles]`, lanes along the tiles.

use crate::vector::Vector;

/// The most vectors of a register tile.
pub(crate) const MAX_VECTORS: usize = 2;

/// One micro-kernel for each register tile: `family[rows - 1][vectors - 1]`.
pub(crate) type Family = &'static [[unsafe fn(&Products); MAX_VECTORS]];

/// Register tiles of a tier of 16 or 32 vector registers: R * N sums, N inputs and a weight fit.
macro_rules! product_tiles {
    (16, $kernel:ident) => { product_tiles!(@ $kernel 1 2 3 4 5 6) };
    (32, $kernel:ident) => { product_tiles!(@ $kernel 1 2 3 4 5 6 7 8 9 10 11 12) };
    (@ $kernel:ident $($rows:literal)*) => { &[$( [$kernel::<$rows, 1>, $kernel::<$rows, 2>] ),*] };
}
pub(crate) use product_tiles;

/// The operands of one call: for each point, `sums[r][t] = sum over i of weights[i][r] * inputs[i][t]` for R rows and
/// N vectors of tiles.
#[derive(Debug)]
pub(crate) struct Products {
    /// Points.
    pub points: usize,
    /// Input maps.
    pub maps: usize,
    /// `[point][map][R]`.
    pub weights: *const f32,
    /// The first vector of tiles of the first map and point.
    pub inputs: *const f32,
    /// Distance between maps of the inputs.
    pub input_map: usize,
    /// Distance between points of the inputs.
    pub input_point: usize,
    /// The first vector of the first row and point.
    pub sums: *mut f32,
    /// Distance between rows of the sums.
    pub sum_row: usize,
    /// Distance between points of the sums.
    pub sum_point: usize,
}

/// # Safety
/// The tier of `V` is enabled in the caller; weights, inputs and sums are valid for what [`Products`] says, and the sums
/// overlap nothing.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, const R: usize, const N: usize>(product: &Products) {
    // SAFETY: the loops visit the points, maps, rows and vectors of the contract.
    unsafe {
        let (mut weights, mut inputs, mut sums) = (product.weights, product.inputs, product.sums);
        for _ in 0..product.points {
            let mut sum = [[V::zero(); N]; R];
            let mut input = inputs;
            for _ in 0..product.maps {
                let mut x = [V::zero(); N];
                for (v, x) in x.iter_mut().enumerate() {
                    *x = V::load(input.add(v * V::LANES));
                }
                for (r, row) in sum.iter_mut().enumerate() {
                    let w = V::splat(*weights.add(r));
                    for (sum, x) in row.iter_mut().zip(x) {
                        *sum = x.mul_add(w, *sum);
                    }
                }
                input = input.add(product.input_map);
                weights = weights.add(R);
            }
            for (r, row) in sum.iter().enumerate() {
                for (v, sum) in row.iter().enumerate() {
                    sum.store(sums.add(r * product.sum_row + v * V::LANES));
                }
            }
            inputs = inputs.add(product.input_point);
            sums = sums.add(product.sum_point);
        }
    }
}
