//! The micro-kernel of backward-weights: R rows of the gradient x N shifted rows of the input.

use super::family::MAX_VECTORS;
use crate::vector::Vector;
use core::mem::MaybeUninit;

/// Lanes of the widest tier.
const MAX_LANES: usize = 16;
/// Accumulators of the largest register tile.
const MAX_SUMS: usize = 25;

/// The operands of one call: `target[r][n] += sum over planes, lines and positions of gradient[r][..] *
/// source[n][..]`.
#[derive(Debug)]
pub(crate) struct Reduction {
    /// The first float of the first of the R rows.
    pub gradient: *const f32,
    /// Distance between the rows.
    pub gradient_stride: usize,
    /// What `sources` counts from.
    pub source: *const f32,
    /// The first float of each of the N shifted rows.
    pub sources: [usize; MAX_VECTORS],
    /// Planes that are summed.
    pub planes: usize,
    /// Distance between planes of the gradient and of the source.
    pub plane_steps: [usize; 2],
    /// Lines of a plane that are summed.
    pub lines: usize,
    /// Distance between lines, of both.
    pub line_step: usize,
    /// Floats of a line.
    pub length: usize,
    /// `[R][N]` sums.
    pub target: *mut f32,
    /// Distance between rows of the target.
    pub target_stride: usize,
}

/// # Safety
/// The tier of `V` is enabled in the caller. All `length` floats of every line of all planes are readable in R rows
/// of the gradient and N of the source; R x N floats of the target are writable and initialised.
#[inline(always)]
pub(crate) unsafe fn reduce<V: Vector, const R: usize, const N: usize>(run: &Reduction) {
    // SAFETY: the loops visit the planes, lines and positions of the contract, the last ones of a line by a mask.
    unsafe {
        let mut sum = [[V::zero(); N]; R];
        let whole = run.length - run.length % V::LANES;
        let tail = V::first(run.length - whole);
        let mut gradient = [run.gradient; R];
        let mut source = [run.source; N];
        for plane in 0..run.planes {
            for line in 0..run.lines {
                for (r, from) in gradient.iter_mut().enumerate() {
                    *from = run
                        .gradient
                        .add(r * run.gradient_stride + plane * run.plane_steps[0] + line * run.line_step);
                }
                for (n, from) in source.iter_mut().enumerate() {
                    *from =
                        run.source.add(run.sources[n] + plane * run.plane_steps[1] + line * run.line_step);
                }
                let mut i = 0;
                while i < whole {
                    let mut x = [V::zero(); N];
                    for n in 0..N {
                        x[n] = V::load(source[n].add(i));
                    }
                    for r in 0..R {
                        let dy = V::load(gradient[r].add(i));
                        for n in 0..N {
                            sum[r][n] = x[n].mul_add(dy, sum[r][n]);
                        }
                        i = sum[r][N - 1].then(i);
                    }
                    i += V::LANES;
                }
                if i < run.length {
                    let mut x = [V::zero(); N];
                    for n in 0..N {
                        x[n] = V::load_masked(source[n].add(i), tail);
                    }
                    for r in 0..R {
                        let dy = V::load_masked(gradient[r].add(i), tail);
                        for n in 0..N {
                            sum[r][n] = x[n].mul_add(dy, sum[r][n]);
                        }
                    }
                }
            }
        }
        // Horizontal sums take the lower halves of registers, which exist (without AVX-512VL) for the first 16 only:
        // summed in place, all accumulators would be squeezed into those throughout the loop. So they go through
        // memory, by a way that the compiler cannot short-circuit.
        let mut lanes = [MaybeUninit::<[f32; MAX_LANES]>::uninit(); MAX_SUMS];
        let lanes = lanes.as_mut_ptr().cast::<f32>();
        for (r, row) in sum.iter().enumerate() {
            for (n, value) in row.iter().enumerate() {
                value.store(lanes.add((r * N + n) * MAX_LANES));
            }
        }
        let lanes = lanes.add(sum[R - 1][N - 1].then(0));
        for r in 0..R {
            for n in 0..N {
                let value = V::load(lanes.add((r * N + n) * MAX_LANES));
                *run.target.add(r * run.target_stride + n) += value.reduce_add();
            }
        }
    }
}
