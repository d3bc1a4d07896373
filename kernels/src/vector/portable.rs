//! The portable tier.

use super::{SQRT_HALF_BITS, Vector};

/// The vector of the portable tier.
#[derive(Clone, Copy, Debug)]
pub struct F32x4([f32; 4]);

impl F32x4 {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        let mut lanes = self.0;
        for (a, b) in lanes.iter_mut().zip(other.0) {
            *a = op(*a, b);
        }
        Self(lanes)
    }
}

/// The square root by Newton's method in double precision, since `core` has none. It has more than twice the bits of the
/// result, and the root of a float is never so near the middle between two that its last ones decide.
fn root(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == 0.0 || x.is_infinite() {
        return x;
    }
    let x = f64::from(x);
    // Half the exponent; off by less than a sixteenth.
    let mut y = f64::from_bits((x.to_bits() >> 1) + (1023 << 51));
    for _ in 0..4 {
        y = 0.5 * (y + x / y);
    }
    y as f32
}

impl Vector for F32x4 {
    const LANES: usize = 4;
    type Mask = [bool; 4];
    type Words = crate::words::U32x4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn first(n: usize) -> Self::Mask {
        [0 < n, 1 < n, 2 < n, 3 < n]
    }
    #[inline(always)]
    unsafe fn between(start: usize, end: usize) -> Self::Mask {
        core::array::from_fn(|i| start <= i && i < end)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's contract; an array has the alignment of its elements.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                *lane = unsafe { from.add(i).read() };
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: usize, mask: Self::Mask) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                *lane = unsafe { from.add(i * stride).read() };
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's contract; an array has the alignment of its elements.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        for (i, lane) in self.0.into_iter().enumerate() {
            if mask[i] {
                // SAFETY: the caller's contract for chosen lanes.
                unsafe { to.add(i).write(lane) }
            }
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(root))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }
    #[inline(always)]
    fn negative_mul_add(self, factor: Self, addend: Self) -> Self {
        addend.sub(self.mul(factor))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn greater(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] > other.0[i])
    }
    #[inline(always)]
    fn exceeds(self, other: Self) -> Self::Mask {
        core::array::from_fn(|i| self.0[i] > other.0[i] || self.0[i].is_nan())
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, other: Self) -> Self {
        Self(core::array::from_fn(|i| if mask[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    fn add_masked(self, mask: Self::Mask, addend: Self) -> Self {
        self.add(addend).select(mask, self)
    }
    #[inline(always)]
    fn even_twice(self) -> Self {
        let [a, _, c, _] = self.0;
        Self([a, a, c, c])
    }
    #[inline(always)]
    fn odd_twice(self) -> Self {
        let [_, b, _, d] = self.0;
        Self([b, b, d, d])
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        (Self([a, c, e, g]), Self([b, d, f, h]))
    }
    #[inline(always)]
    fn bits(self) -> Self::Words {
        crate::words::U32x4(self.0.map(f32::to_bits))
    }
    #[inline(always)]
    fn zip(self, other: Self) -> (Self, Self) {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        (Self([a, e, b, f]), Self([c, g, d, h]))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([b, a, d, c])
    }
    #[inline(always)]
    fn sub_add(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a - e, b + f, c - g, d + h])
    }
    #[inline(always)]
    fn add_sub(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a + e, b - f, c + g, d - h])
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self) -> Self {
        // From 2^23 on every float is an integer; below it the sum has no bits left for a fraction.
        const INTEGERS: f32 = 8_388_608.0;
        Self(self.0.map(|x| {
            let shift = INTEGERS.copysign(x);
            if x.abs() < INTEGERS { ((x + shift) - shift).copysign(x) } else { x }
        }))
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        self.zip(n, |x, n| {
            // Two factors, because 2^n itself may lie outside the normal floats.
            let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
            let n = n as i32;
            x * power(n >> 1) * power(n - (n >> 1))
        })
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        let exponents = self.0.map(|x| (x.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS) >> 23);
        let mantissa =
            |i: usize| f32::from_bits(self.0[i].to_bits().wrapping_sub((exponents[i] << 23) as u32));
        (Self(core::array::from_fn(mantissa)), Self(exponents.map(|e| e as f32)))
    }
    #[inline(always)]
    fn reduce_add(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn then(self, index: usize) -> usize {
        index
    }
}

#[cfg(test)]
mod tests {
    use super::root;
    use crate::testing::Random;

    #[test]
    fn the_root_is_that_of_the_standard_library() {
        let special =
            [0.0, -0.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        let mut random = Random::new(17);
        let drawn = (0..100_000).map(|_| f32::from_bits(random.bits() as u32));
        for x in special.into_iter().chain(drawn) {
            let (found, expected) = (root(x), std::primitive::f32::sqrt(x));
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{x}");
        }
    }
}
