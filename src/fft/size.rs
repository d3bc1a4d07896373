//! Fast sizes of an axis.

/// The smallest fast size that is at least `n`.
pub(super) fn good_size(n: usize, table: &[u16]) -> usize {
    let _ = table;
    n
}
pub(super) const FFTW: &[u16] = &[];
pub(super) const RUST: &[u16] = &[];
