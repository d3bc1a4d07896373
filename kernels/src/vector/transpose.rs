//! Transposition in registers.

use super::{MAX_LANES, Vector};

/// Exchanges rows and lanes of the first `LANES` vectors.
///
/// Each round takes pairs of rows whose numbers differ in one bit and sorts the elements of both into even and odd ones:
/// the lowest bit of the lane becomes that bit of the row, which becomes the highest bit of the lane. After as many
/// rounds as there are bits, all of them have changed places.
#[inline(always)]
pub(crate) fn transpose<V: Vector>(rows: &mut [V; MAX_LANES]) {
    let mut bit = 1;
    while bit < V::LANES {
        let mut row = 0;
        while row < V::LANES {
            if row & bit == 0 {
                (rows[row], rows[row | bit]) = rows[row].unzip(rows[row | bit]);
            }
            row += 1;
        }
        bit *= 2;
    }
}
