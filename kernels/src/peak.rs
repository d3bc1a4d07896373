//! The machine's peak: multiply-adds from registers alone.

use core::hint::black_box;

use crate::Kernels;
use crate::vector::Vector;

/// Independent sums: more than the latency times the throughput of a multiply-add on any known core (4 x 2), and
/// with their two operands fewer than the 16 registers of AVX2.
const SUMS: usize = 12;

impl Kernels {
    /// Does `rounds` rounds of multiply-adds in registers and returns how many floating-point operations they were.
    pub fn fma_peak(&self, rounds: usize) -> f64 {
        // SAFETY: the tier exists, as `self` proves.
        let sum = unsafe { (self.table().fma_peak)(rounds, black_box(0.5), black_box(1.0)) };
        black_box(sum);
        (2 * SUMS * self.lanes()) as f64 * rounds as f64
    }
}

/// # Safety
/// The tier of `V` is enabled in the caller.
#[inline(always)]
pub(crate) unsafe fn fma_peak<V: Vector>(rounds: usize, factor: f32, addend: f32) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        let (factor, addend) = (V::splat(factor), V::splat(addend));
        let mut sums = [V::zero(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, addend);
            }
        }
        let mut total = V::zero();
        for sum in sums {
            total = total.add(sum);
        }
        total.reduce_add()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::tiers;

    #[test]
    fn operations_are_counted() {
        for kernels in tiers() {
            assert_eq!(kernels.fma_peak(10), 10.0 * 24.0 * kernels.lanes() as f64);
        }
    }
}
