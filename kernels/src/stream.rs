//! One plain pass over memory: what a pass between convolutions is measured against.

use core::hint::black_box;

use crate::Kernels;
use crate::vector::Vector;

impl Kernels {
    /// Loads every float of `read`, stores every one of `write`, loads and stores every one of `update`, by vectors
    /// and without more arithmetic than that needs. The three advance in proportion, as the operands of an
    /// operation do. What `write` and `update` hold then depends on the tier.
    pub fn stream(&self, read: &[f32], write: &mut [f32], update: &mut [f32]) {
        let operands = Operands {
            read: (read.as_ptr(), read.len()),
            write: (write.as_mut_ptr(), write.len()),
            update: (update.as_mut_ptr(), update.len()),
        };
        // SAFETY: the tier exists, as `self` proves; the pointers are valid for their lengths.
        black_box(unsafe { (self.table().stream)(operands, black_box(1.0)) });
    }
}

/// Pointers and their lengths.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    read: (*const f32, usize),
    write: (*mut f32, usize),
    update: (*mut f32, usize),
}

/// # Safety
/// The tier of `V` is enabled in the caller; the operands are valid for their lengths and do not overlap.
#[inline(always)]
pub(crate) unsafe fn stream<V: Vector>(operands: Operands, factor: f32) -> f32 {
    /// Floats of the longest operand in a turn.
    const TURN: usize = 1024;
    let Operands { read, write, update } = operands;
    let turns = read.1.max(write.1).max(update.1).div_ceil(TURN).max(1);
    let part = |len: usize, turn: usize| {
        let cut = |turn: usize| if turn == turns { len } else { len * turn / turns / V::LANES * V::LANES };
        cut(turn)..cut(turn + 1)
    };
    // SAFETY: every access is below its length: by the count.
    unsafe {
        let mut sums = [V::zero(); 4];
        let factor = V::splat(factor);
        for turn in 0..turns {
            let reads = part(read.1, turn);
            let mut i = reads.start;
            while i + 4 * V::LANES <= reads.end {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(V::load(read.0.add(i + n * V::LANES)));
                }
                i += 4 * V::LANES;
            }
            for i in (i..reads.end).step_by(V::LANES) {
                sums[0] = sums[0].add(V::load_first(read.0.add(i), reads.end - i));
            }
            let writes = part(write.1, turn);
            for i in writes.clone().step_by(V::LANES) {
                factor.store_first(write.0.add(i), writes.end - i);
            }
            let updates = part(update.1, turn);
            for i in updates.clone().step_by(V::LANES) {
                let n = updates.end - i;
                V::load_first(update.0.add(i), n).mul(factor).store_first(update.0.add(i), n);
            }
        }
        let [a, b, c, d] = sums;
        a.add(b).add(c.add(d)).reduce_add()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::tiers;
    use std::vec;

    #[test]
    fn all_is_stored_and_nothing_else_changes() {
        for kernels in tiers() {
            for (read, write, update) in
                [(0, 0, 0), (5, 0, 70), (3000, 1, 17), (100, 4099, 0), (1, 500, 1500)]
            {
                let (mut to, mut both) = (vec![7.0; write + 1], vec![7.0; update]);
                kernels.stream(&vec![1.0; read], &mut to[..write], &mut both);
                assert!(to[..write].iter().all(|&to| to == 1.0), "{kernels:?}");
                assert_eq!(to[write], 7.0);
                assert!(both.iter().all(|&both| both == 7.0));
            }
        }
    }
}
