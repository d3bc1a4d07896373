//! Fourier transforms of one line, straight-line code of vectors: each lane transforms a line of its own.
//!
//! Lines of prime length use the symmetry of the roots of unity; others are put together from two shorter lengths, by
//! the prime-factor method (Good 1958) where these are coprime, which needs no twiddle factors, or by that of Cooley
//! and Tukey (1965). Only the forward transform (exponent of a negative sign) is written: the inverse is the same with
//! real and imaginary parts exchanged before and after, which costs nothing where they are loaded and stored.

use super::trig::{cosine, sine};
use crate::vector::Vector;

/// A complex number in each lane.
#[derive(Clone, Copy)]
pub(crate) struct Complex<V> {
    pub re: V,
    pub im: V,
}

impl<V: Vector> Complex<V> {
    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self { re: self.re.add(other.re), im: self.im.add(other.im) }
    }

    #[inline(always)]
    pub fn sub(self, other: Self) -> Self {
        Self { re: self.re.sub(other.re), im: self.im.sub(other.im) }
    }

    /// `self * factor + addend`.
    #[inline(always)]
    fn mul_add(self, factor: V, addend: Self) -> Self {
        Self { re: self.re.mul_add(factor, addend.re), im: self.im.mul_add(factor, addend.im) }
    }

    /// `self - i other`.
    #[inline(always)]
    fn sub_i(self, other: Self) -> Self {
        Self { re: self.re.add(other.im), im: self.im.sub(other.re) }
    }

    /// `self + i other`.
    #[inline(always)]
    fn add_i(self, other: Self) -> Self {
        Self { re: self.re.sub(other.im), im: self.im.add(other.re) }
    }
}

/// `x exp(-2 pi i K / N)`.
///
/// # Safety
/// The tier of `V` is enabled in the caller.
#[inline(always)]
unsafe fn rotate<V: Vector, const K: usize, const N: usize>(x: Complex<V>) -> Complex<V> {
    // SAFETY: the caller's contract.
    unsafe {
        let zero = Complex { re: V::zero(), im: V::zero() };
        if K == 0 {
            x
        } else if 4 * K == N {
            zero.sub_i(x)
        } else if 2 * K == N {
            zero.sub(x)
        } else if 4 * K == 3 * N {
            zero.add_i(x)
        } else if 8 * K == N {
            let half = V::splat(const { cosine(1, 8) });
            Complex { re: x.re.add(x.im).mul(half), im: x.im.sub(x.re).mul(half) }
        } else if 8 * K == 3 * N {
            let (half, minus) = (V::splat(const { cosine(1, 8) }), V::splat(const { -cosine(1, 8) }));
            Complex { re: x.im.sub(x.re).mul(half), im: x.re.add(x.im).mul(minus) }
        } else {
            let (cos, sin) = (V::splat(const { cosine(K, N) }), V::splat(const { sine(K, N) }));
            Complex { re: x.im.mul_add(sin, x.re.mul(cos)), im: x.re.negative_mul_add(sin, x.im.mul(cos)) }
        }
    }
}

/// The transform of lines of length `N`.
pub(crate) trait Length<const N: usize> {
    /// `y[k] = sum over n of x[n] exp(-2 pi i k n / N)`.
    ///
    /// # Safety
    /// The tier of `V` is enabled in the caller.
    unsafe fn dft<V: Vector>(x: [Complex<V>; N]) -> [Complex<V>; N];
}

/// Has a [`Length`] for each size in [`SIZES`](super::SIZES), and for their factors.
pub(crate) struct Dft;

/// A block for each number below a literal, which is a constant in it: every index in it is known at compile time,
/// whatever the optimiser thinks of unrolling.
macro_rules! each {
    ($i:ident < 2 $body:block) => { each!(@ $i [0 1] $body) };
    ($i:ident < 3 $body:block) => { each!(@ $i [0 1 2] $body) };
    ($i:ident < 4 $body:block) => { each!(@ $i [0 1 2 3] $body) };
    ($i:ident < 5 $body:block) => { each!(@ $i [0 1 2 3 4] $body) };
    ($i:ident < 6 $body:block) => { each!(@ $i [0 1 2 3 4 5] $body) };
    ($i:ident < 7 $body:block) => { each!(@ $i [0 1 2 3 4 5 6] $body) };
    ($i:ident < 8 $body:block) => { each!(@ $i [0 1 2 3 4 5 6 7] $body) };
    ($i:ident < 9 $body:block) => { each!(@ $i [0 1 2 3 4 5 6 7 8] $body) };
    (@ $i:ident [$($value:literal)*] $body:block) => { $( { const $i: usize = $value; $body } )* };
}

impl Length<1> for Dft {
    #[inline(always)]
    unsafe fn dft<V: Vector>(x: [Complex<V>; 1]) -> [Complex<V>; 1] {
        x
    }
}

impl Length<2> for Dft {
    #[inline(always)]
    unsafe fn dft<V: Vector>([a, b]: [Complex<V>; 2]) -> [Complex<V>; 2] {
        [a.add(b), a.sub(b)]
    }
}

impl Length<4> for Dft {
    #[inline(always)]
    unsafe fn dft<V: Vector>([a, b, c, d]: [Complex<V>; 4]) -> [Complex<V>; 4] {
        let (sum, difference) = (a.add(c), a.sub(c));
        let (other_sum, other_difference) = (b.add(d), b.sub(d));
        [
            sum.add(other_sum),
            difference.sub_i(other_difference),
            sum.sub(other_sum),
            difference.add_i(other_difference),
        ]
    }
}

impl Length<3> for Dft {
    #[inline(always)]
    unsafe fn dft<V: Vector>([a, b, c]: [Complex<V>; 3]) -> [Complex<V>; 3] {
        // SAFETY: the caller's contract.
        unsafe {
            let (sum, difference) = (b.add(c), b.sub(c));
            let mean = sum.mul_add(V::splat(-0.5), a);
            let sin = V::splat(const { sine(1, 3) });
            [
                a.add(sum),
                Complex {
                    re: difference.im.mul_add(sin, mean.re),
                    im: difference.re.negative_mul_add(sin, mean.im),
                },
                Complex {
                    re: difference.im.negative_mul_add(sin, mean.re),
                    im: difference.re.mul_add(sin, mean.im),
                },
            ]
        }
    }
}

/// An odd prime `n = 2 h + 1`: outputs `k` and `n - k` are the sum and the difference of a cosine sum over
/// `x[j] + x[n - j]` and `i` times a sine sum over `x[j] - x[n - j]`.
macro_rules! prime {
    ($n:literal, $half:tt) => {
        impl Length<$n> for Dft {
            #[inline(always)]
            unsafe fn dft<V: Vector>(x: [Complex<V>; $n]) -> [Complex<V>; $n] {
                // SAFETY: the caller's contract.
                unsafe {
                    let mut y = x;
                    let (mut sum, mut difference) = ([x[0]; $half], [x[0]; $half]);
                    each!(J < $half {
                        sum[J] = x[J + 1].add(x[$n - 1 - J]);
                        difference[J] = x[J + 1].sub(x[$n - 1 - J]);
                        y[0] = y[0].add(sum[J]);
                    });
                    each!(K < $half {
                        let mut even = x[0];
                        let mut odd = Complex { re: V::zero(), im: V::zero() };
                        each!(J < $half {
                            const PHASE: usize = (J + 1) * (K + 1) % $n;
                            even = sum[J].mul_add(V::splat(const { cosine(PHASE, $n) }), even);
                            let sin = V::splat(const { sine(PHASE, $n) });
                            odd = if J == 0 {
                                Complex { re: difference[0].re.mul(sin), im: difference[0].im.mul(sin) }
                            } else {
                                difference[J].mul_add(sin, odd)
                            };
                        });
                        y[K + 1] = even.sub_i(odd);
                        y[$n - 1 - K] = even.add_i(odd);
                    });
                    y
                }
            }
        }
    };
}

prime!(5, 2);
prime!(7, 3);

/// The least `x` with `a x = 1` modulo `n`.
const fn inverse(a: usize, n: usize) -> usize {
    let mut x = 0;
    while a * x % n != 1 % n {
        x += 1;
    }
    x
}

/// A product of two coprime factors: input `b a' + a b'` and the output that is `a'` modulo `a` and `b'` modulo `b`
/// make it a transform of two dimensions.
macro_rules! coprime {
    ($n:literal = $a:tt x $b:tt) => {
        impl Length<$n> for Dft {
            #[inline(always)]
            unsafe fn dft<V: Vector>(x: [Complex<V>; $n]) -> [Complex<V>; $n] {
                // SAFETY: the caller's contract.
                unsafe {
                    let mut y = x;
                    let mut rows = [[x[0]; $b]; $a];
                    each!(A < $a {
                        each!(B < $b { rows[A][B] = x[($b * A + $a * B) % $n]; });
                        rows[A] = <Dft as Length<$b>>::dft(rows[A]);
                    });
                    each!(B < $b {
                        let mut column = [x[0]; $a];
                        each!(A < $a { column[A] = rows[A][B]; });
                        let column = <Dft as Length<$a>>::dft(column);
                        each!(A < $a {
                            const OUT: usize =
                                ($b * inverse($b, $a) * A + $a * inverse($a, $b) * B) % $n;
                            y[OUT] = column[A];
                        });
                    });
                    y
                }
            }
        }
    };
}

/// Any product: transforms of length `b` of the inputs that are equal modulo `a`, rotations, transforms of length `a`.
macro_rules! mixed {
    ($n:literal = $a:tt x $b:tt) => {
        impl Length<$n> for Dft {
            #[inline(always)]
            unsafe fn dft<V: Vector>(x: [Complex<V>; $n]) -> [Complex<V>; $n] {
                // SAFETY: the caller's contract.
                unsafe {
                    let mut y = x;
                    let mut rows = [[x[0]; $b]; $a];
                    each!(A < $a {
                        each!(B < $b { rows[A][B] = x[$a * B + A]; });
                        rows[A] = <Dft as Length<$b>>::dft(rows[A]);
                    });
                    each!(B < $b {
                        let mut column = [x[0]; $a];
                        each!(A < $a { column[A] = rotate::<V, { A * B % $n }, $n>(rows[A][B]); });
                        let column = <Dft as Length<$a>>::dft(column);
                        each!(A < $a { y[B + $b * A] = column[A]; });
                    });
                    y
                }
            }
        }
    };
}

coprime!(6 = 2 x 3);
mixed!(8 = 2 x 4);
mixed!(9 = 3 x 3);
coprime!(10 = 2 x 5);
coprime!(12 = 3 x 4);
coprime!(14 = 2 x 7);
mixed!(16 = 4 x 4);
coprime!(18 = 2 x 9);
coprime!(20 = 4 x 5);
coprime!(24 = 3 x 8);
mixed!(32 = 4 x 8);
