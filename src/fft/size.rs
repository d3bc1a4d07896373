//! Fast sizes of an axis.
//!
//! The tables come from timing r2c + c2r of n x n x n (n <= 128) and 1 x n x n (above) with `benches/fft.rs`, for all n
//! that are products of small primes: a size is listed unless a larger one takes less time by a tenth or more. So 100 is
//! missing for rustfft, where 108 is faster, and 18, 27 and 30 for FFTW, where 20 and 32 are.

/// Fast sizes of FFTW 3.3.8 with SSE2 to AVX-512 codelets and measured plans, ascending.
#[cfg(any(feature = "fftw-source", feature = "fftw-system"))]
pub(super) const FFTW: &[usize] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 20, 21, 22, 24, 25, 32, 36, 40, 42, 44, 48, 50, 52, 54,
    56, 64, 66, 72, 80, 84, 88, 90, 96, 100, 104, 108, 112, 120, 128, 144, 160, 168, 180, 192, 200, 216, 224,
    240, 256,
];

/// Fast sizes of rustfft 6.4 and realfft 3.5 with AVX, ascending.
pub(super) const RUST: &[usize] = &[
    1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 18, 24, 27, 32, 36, 40, 48, 54, 56, 64, 72, 80, 81, 84, 88, 96, 108,
    112, 120, 128, 144, 160, 162, 168, 192, 216, 224, 240, 256,
];

/// The smallest fast size that is at least `n`; beyond the table, twice that of half as many voxels.
pub(super) fn good_size(n: usize, table: &[usize]) -> usize {
    match table.get(table.partition_point(|&size| size < n)) {
        Some(&size) => size,
        None => 2 * good_size(n.div_ceil(2), table),
    }
}

#[cfg(test)]
mod tests {
    use crate::fft::Backend;

    #[test]
    fn good_sizes_are_the_smallest_of_their_kind() {
        for &backend in Backend::COMPILED {
            let mut before = 1;
            for n in 0..2000 {
                let good = backend.good_size(n);
                assert!(good >= n.max(1) && good >= before, "{n} -> {good}");
                assert!(good <= n + n / 3 + 1, "{n} -> {good}: much padding");
                assert_eq!(backend.good_size(good), good, "{n} -> {good}, which is not good");
                before = good;
            }
        }
    }

    #[test]
    fn measured_tables_beat_small_primes() {
        assert_eq!(Backend::Rust.good_size(1), 1);
        assert_eq!(Backend::Rust.good_size(100), 108);
        assert_eq!(Backend::Rust.good_size(257), 2 * 144);
    }
}
