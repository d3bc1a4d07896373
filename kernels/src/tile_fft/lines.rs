//! Transforms of many lines along one axis of a tile: what lies around the codelets of [`dft`](super::dft).

use super::dft::{Complex, Dft, Length};
use crate::vector::{Vector, prefetch, prefetch_write};

/// Complex lines of one length. All distances are in floats; a real or an imaginary part is a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComplexLines {
    /// How many.
    pub count: usize,
    /// The real and the imaginary part of the first input of the first line.
    pub from: [*const f32; 2],
    /// From one input to the next.
    pub from_step: usize,
    /// From one line to the next.
    pub from_next: usize,
    /// Inputs that are read; the others are zero.
    pub inputs: usize,
    /// The real and the imaginary part of the first output of the first line.
    pub to: [*mut f32; 2],
    /// From one output to the next.
    pub to_step: usize,
    /// From one line to the next.
    pub to_next: usize,
    /// Outputs that are stored.
    pub outputs: usize,
}

impl ComplexLines {
    /// The same lines with real and imaginary parts exchanged: a forward transform of these is the inverse of those.
    pub fn swapped(self) -> Self {
        let ([re, im], [to_re, to_im]) = (self.from, self.to);
        Self { from: [im, re], to: [to_im, to_re], ..self }
    }
}

/// Two real lines of length `N` and their half-spectra: of complex coefficients `0..=N / 2`, the imaginary part one
/// vector behind the real one. Distances are in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealLines {
    /// The first element of each real line.
    pub real: [*mut f32; 2],
    /// From one element to the next.
    pub real_step: usize,
    /// Elements of the real lines that are read (the others being zero), or stored.
    pub elements: usize,
    /// The first coefficient of each half-spectrum.
    pub spectrum: [*mut f32; 2],
    /// From one coefficient to the next.
    pub spectrum_step: usize,
    /// What the two real coefficients, 0 and `N / 2`, are multiplied by; all others are by 2.
    pub scale_of_real: f32,
}

/// Floats between elements from which on they are fetched ahead: half a page.
const AFAR: usize = 512;
/// How many lines ahead.
const AHEAD: usize = 2;

/// Transforms complex lines.
///
/// # Safety
/// The tier of `V` is enabled in the caller; the inputs are readable and the outputs writable. Inputs and outputs of
/// one line may be the same memory.
#[inline(always)]
pub(crate) unsafe fn complex<V: Vector, const N: usize>(lines: &ComplexLines)
where
    Dft: Length<N>,
{
    // SAFETY: the caller's contract.
    unsafe {
        let ([mut re, mut im], [mut to_re, mut to_im]) = (lines.from, lines.to);
        // Elements that lie far apart are on pages of their own, which no hardware prefetcher crosses.
        let (from_afar, to_afar) = (lines.from_step >= AFAR, lines.to_step >= AFAR);
        for _ in 0..lines.count {
            if from_afar {
                for n in 0..N {
                    let at = n * lines.from_step + AHEAD * lines.from_next;
                    prefetch(re.wrapping_add(at));
                    prefetch(im.wrapping_add(at));
                }
            }
            if to_afar {
                for n in 0..N {
                    let at = n * lines.to_step + AHEAD * lines.to_next;
                    prefetch_write(to_re.wrapping_add(at));
                    prefetch_write(to_im.wrapping_add(at));
                }
            }
            let mut x = [Complex { re: V::zero(), im: V::zero() }; N];
            if lines.inputs == N {
                for (n, x) in x.iter_mut().enumerate() {
                    let at = n * lines.from_step;
                    *x = Complex { re: V::load(re.add(at)), im: V::load(im.add(at)) };
                }
            } else {
                for (n, x) in x.iter_mut().enumerate() {
                    if n < lines.inputs {
                        let at = n * lines.from_step;
                        *x = Complex { re: V::load(re.add(at)), im: V::load(im.add(at)) };
                    }
                }
            }
            let y = Dft::dft(x);
            if lines.outputs == N {
                for (n, y) in y.iter().enumerate() {
                    y.re.store(to_re.add(n * lines.to_step));
                    y.im.store(to_im.add(n * lines.to_step));
                }
            } else {
                for (n, y) in y.iter().enumerate() {
                    if n < lines.outputs {
                        y.re.store(to_re.add(n * lines.to_step));
                        y.im.store(to_im.add(n * lines.to_step));
                    }
                }
            }
            // wrapping: the last step may lead beyond the memory
            (re, im) = (re.wrapping_add(lines.from_next), im.wrapping_add(lines.from_next));
            (to_re, to_im) = (to_re.wrapping_add(lines.to_next), to_im.wrapping_add(lines.to_next));
        }
    }
}

/// Transforms two real lines as the real and the imaginary part of a complex one.
///
/// With `z` the transform of `a + i b`: `2 a[k] = z[k] + conj z[N - k]` and `2 b[k] = -i (z[k] - conj z[N - k])`.
///
/// # Safety
/// As [`complex`].
#[inline(always)]
pub(crate) unsafe fn from_real<V: Vector, const N: usize>(lines: &RealLines)
where
    Dft: Length<N>,
{
    // SAFETY: the caller's contract.
    unsafe {
        let [a, b] = lines.real;
        let mut x = [Complex { re: V::zero(), im: V::zero() }; N];
        for (n, x) in x.iter_mut().enumerate() {
            if n < lines.elements {
                let at = n * lines.real_step;
                *x = Complex { re: V::load(a.add(at)), im: V::load(b.add(at)) };
            }
        }
        let z = Dft::dft(x);
        let [a, b] = lines.spectrum;
        for k in 0..=N / 2 {
            let at = k * lines.spectrum_step;
            let mirror = (N - k) % N;
            let (a, b) = (a.add(at), b.add(at));
            if k == mirror {
                let scale = V::splat(lines.scale_of_real);
                z[k].re.mul(scale).store(a);
                V::zero().store(a.add(V::LANES));
                z[k].im.mul(scale).store(b);
                V::zero().store(b.add(V::LANES));
            } else {
                let (z, mirror) = (z[k], z[mirror]);
                z.re.add(mirror.re).store(a);
                z.im.sub(mirror.im).store(a.add(V::LANES));
                z.im.add(mirror.im).store(b);
                mirror.re.sub(z.re).store(b.add(V::LANES));
            }
        }
    }
}

/// The inverse of [`from_real`] without its factors: half-spectra to real lines, times `N`.
///
/// # Safety
/// As [`complex`].
#[inline(always)]
pub(crate) unsafe fn to_real<V: Vector, const N: usize>(lines: &RealLines)
where
    Dft: Length<N>,
{
    // SAFETY: the caller's contract.
    unsafe {
        let [a, b] = lines.spectrum;
        // Real and imaginary parts exchanged: the inverse transform.
        let mut x = [Complex { re: V::zero(), im: V::zero() }; N];
        for k in 0..=N / 2 {
            let at = k * lines.spectrum_step;
            let mirror = (N - k) % N;
            let (a, b) = (a.add(at), b.add(at));
            let (a_re, b_re) = (V::load(a), V::load(b));
            if k == mirror {
                x[k] = Complex { re: b_re, im: a_re };
            } else {
                let (a_im, b_im) = (V::load(a.add(V::LANES)), V::load(b.add(V::LANES)));
                x[k] = Complex { re: a_im.add(b_re), im: a_re.sub(b_im) };
                x[mirror] = Complex { re: b_re.sub(a_im), im: a_re.add(b_im) };
            }
        }
        let y = Dft::dft(x);
        let [a, b] = lines.real;
        for (n, y) in y.iter().enumerate() {
            if n < lines.elements {
                y.im.store(a.add(n * lines.real_step));
                y.re.store(b.add(n * lines.real_step));
            }
        }
    }
}

/// The three kinds of lines of one length, for one tier.
#[derive(Clone, Copy)]
pub(crate) struct Codelets {
    pub complex: unsafe fn(&ComplexLines),
    pub from_real: unsafe fn(&RealLines),
    pub to_real: unsafe fn(&RealLines),
}
