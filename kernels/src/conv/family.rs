//! The family of register tiles, and the choice of one for a number of channels.

use super::product::Product;
use super::reduction::Reduction;
use super::tile::Tile;

/// The largest number of rows (channels) of a register tile.
pub(crate) const MAX_ROWS: usize = 8;
/// The largest number of vectors of a register tile.
pub(crate) const MAX_VECTORS: usize = 6;

/// One micro-kernel for each register tile: `family[rows - 1][vectors - 1]`.
///
/// The number of entries tells the tallest tile, the length of an entry the widest one of that height: a tile of
/// R x V takes R * V accumulators, V operands and one more register, and none of the family exceeds the tier's
/// registers.
pub(crate) type Family<F> = &'static [&'static [F]];

/// The micro-kernels of one tier.
pub(crate) struct MicroKernels {
    /// Forward and backward-data.
    pub convolve: Family<unsafe fn(&Tile<'_>)>,
    /// Backward-weights.
    pub reduce: Family<unsafe fn(&Reduction)>,
    /// The products of the Winograd convolution.
    pub winograd_products: crate::winograd::product::Family,
    /// Those of its backward-weights pass.
    pub winograd_outers: crate::winograd::gradient::Family,
    /// The same for small images.
    pub product: Family<unsafe fn(&Product)>,
}

/// All register tiles of a micro-kernel for a tier of 16 or 32 vector registers.
macro_rules! register_tiles {
    (16, $kernel:ident) => {
        register_tiles!(@ $kernel 1: 1 2 3 4 5 6, 2: 1 2 3 4 5, 3: 1 2 3, 4: 1 2 3, 5: 1 2, 6: 1 2)
    };
    (32, $kernel:ident) => {
        register_tiles!(@ $kernel 1: 1 2 3 4 5 6, 2: 1 2 3 4 5 6, 3: 1 2 3 4 5 6, 4: 1 2 3 4 5 6,
            5: 1 2 3 4 5, 6: 1 2 3 4, 7: 1 2 3, 8: 1 2 3)
    };
    (@ $kernel:ident $($rows:literal : $($vectors:literal)*),*) => {
        &[$( register_tiles!(@row $kernel $rows $($vectors)*) ),*]
    };
    (@row $kernel:ident $rows:literal $($vectors:literal)*) => { &[$( $kernel::<$rows, $vectors> ),*] };
}
pub(crate) use register_tiles;

/// The height of the blocks into which `channels` are cut, the last one taking the rest.
pub(crate) fn best_rows<F>(family: Family<F>, channels: usize) -> usize {
    cut(family, channels).1
}

/// The modelled time of `channels` cut that way, in multiply-adds for a vector of positions.
pub(crate) fn cost_of_rows<F>(family: Family<F>, channels: usize) -> f32 {
    if channels == 0 { 0.0 } else { cut(family, channels).0 }
}

fn cut<F>(family: Family<F>, channels: usize) -> (f32, usize) {
    // Multiply-adds of a vector position, and the accesses to the L1 cache beside them: one broadcast per row,
    // two per unaligned vector. The latter hide behind the former but for a tenth.
    let cost = |rows: usize| match rows {
        0 => 0.0,
        _ => {
            let vectors = family[rows - 1].len() as f32;
            let rows = rows as f32;
            rows + 0.1 * (rows + 2.0 * vectors) / vectors
        }
    };
    let mut best = (f32::INFINITY, 1);
    for rows in 1..=family.len().min(channels) {
        let rest = channels % rows;
        // A rest leaves tasks of unequal size.
        let unequal = if rest == 0 { 1.0 } else { 1.02 };
        let total = ((channels / rows) as f32 * cost(rows) + cost(rest)) * unequal;
        if total <= best.0 {
            best = (total, rows);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_widths_are_cut_without_rest() {
        fn nothing() {}
        fn kernel<const R: usize, const N: usize>() {
            nothing()
        }
        let wide: Family<fn()> = register_tiles!(32, kernel);
        let narrow: Family<fn()> = register_tiles!(16, kernel);
        for channels in [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 28, 32, 36, 40, 48, 64, 80] {
            assert_eq!(channels % best_rows(wide, channels), 0, "{channels}");
            assert_eq!(channels % best_rows(narrow, channels), 0, "{channels}");
        }
        for channels in [40, 64, 80] {
            assert_eq!(best_rows(wide, channels), 8);
        }
        assert_eq!(wide.len(), MAX_ROWS);
        assert_eq!(wide.iter().map(|row| row.len()).max(), Some(MAX_VECTORS));
    }

    #[test]
    fn tiles_fit_the_registers() {
        fn kernel<const R: usize, const N: usize>() -> usize {
            R * N + N + 1
        }
        let wide: Family<fn() -> usize> = register_tiles!(32, kernel);
        let narrow: Family<fn() -> usize> = register_tiles!(16, kernel);
        for (family, registers) in [(wide, 32), (narrow, 16)] {
            assert!(family.iter().flat_map(|row| row.iter()).all(|needed| needed() <= registers));
        }
    }
}
