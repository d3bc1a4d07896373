//! Which instruction-set tiers this machine has.

use core::fmt;
use core::str::FromStr;

/// An instruction-set tier, ordered from the most portable to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Portable Rust, always available; the oracle of the others.
    Scalar,
    /// AVX2 and FMA, 8 lanes.
    Avx2,
    /// AVX-512 foundation (no BW, DQ or VL), 16 lanes.
    Avx512f,
}

impl Isa {
    /// All tiers, the most portable first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512f];

    /// The widest tier of this machine.
    pub fn best() -> Isa {
        *Self::ALL.iter().rev().find(|isa| isa.is_available()).unwrap_or(&Isa::Scalar)
    }

    /// Whether this machine and its operating system support the tier.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => detect::avx2_fma(),
            Isa::Avx512f => detect::avx2_fma() && detect::avx512f(),
        }
    }

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512f => "avx512f",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;
    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or(UnknownIsa)
    }
}

/// The name is not one of `scalar`, `avx2`, `avx512f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIsa;

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of scalar, avx2, avx512f")
    }
}

impl core::error::Error for UnknownIsa {}

/// `is_x86_feature_detected!` needs `std`; this asks the processor itself.
#[cfg(target_arch = "x86_64")]
mod detect {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// The register state that the operating system saves, or 0 without XSAVE.
    fn enabled_state() -> u64 {
        const OSXSAVE: u32 = 1 << 27;
        if __cpuid(1).ecx & OSXSAVE == 0 {
            return 0;
        }
        #[target_feature(enable = "xsave")]
        fn xcr0() -> u64 {
            // SAFETY: register 0 always exists where XGETBV does.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: OSXSAVE says that XGETBV exists and is enabled.
        unsafe { xcr0() }
    }

    fn leaf7_ebx() -> u32 {
        if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).ebx }
    }

    pub fn avx2_fma() -> bool {
        const FMA: u32 = 1 << 12;
        const AVX: u32 = 1 << 28;
        const AVX2: u32 = 1 << 5;
        const XMM_YMM: u64 = 0b110;
        let ecx = __cpuid(1).ecx;
        ecx & FMA != 0 && ecx & AVX != 0 && leaf7_ebx() & AVX2 != 0 && enabled_state() & XMM_YMM == XMM_YMM
    }

    pub fn avx512f() -> bool {
        const AVX512F: u32 = 1 << 16;
        // Mask registers, upper halves of zmm0-15, zmm16-31.
        const ZMM: u64 = 0b1110_0110;
        leaf7_ebx() & AVX512F != 0 && enabled_state() & ZMM == ZMM
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod detect {
    pub fn avx2_fma() -> bool {
        false
    }
    pub fn avx512f() -> bool {
        false
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn detection_agrees_with_std() {
        assert_eq!(
            Isa::Avx2.is_available(),
            std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
        );
        assert_eq!(Isa::Avx512f.is_available(), std::is_x86_feature_detected!("avx512f"));
    }
}
