//! What the tests of several kernels share.

use crate::{Isa, Kernels};
use std::vec::Vec;

/// The kernels of every tier of this machine; the first is the portable one.
pub fn tiers() -> Vec<Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::new).collect()
}

/// A small generator with a fixed seed (xorshift64*), so that a failure repeats.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A whole number in `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() >> 33) as usize % (high - low + 1)
    }

    /// A float in `low..high`.
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// `len` floats in `-1..1`.
    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float(-1.0, 1.0)).collect()
    }

    /// `len` floats out of a handful of values, so that neighbours are often equal.
    pub fn ties(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.within(0, 3) as f32 - 1.0).collect()
    }
}

/// Asserts `|a - b| <= tolerance * max(1, |b|)` everywhere, `b` being the f64 reference.
#[track_caller]
pub fn assert_close(a: &[f32], b: &[f64], tolerance: f64, place: &dyn core::fmt::Debug) {
    assert_eq!(a.len(), b.len());
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        assert!((f64::from(a) - b).abs() <= bound, "{place:?}: [{i}] is {a}, expected {b}");
    }
}
