//! One battery for every backend: the definition in f64, and properties.
//!
//! Under Miri: `cargo miri test --lib fft::`.

use std::f64::consts::TAU;
use std::sync::Arc;

use aligned_vec::AVec;
use num_complex::{Complex32, Complex64};

use super::{ALIGNMENT, Backend, Effort, FftError, Planner, RealTransform};
use crate::volume::Extent;

/// The reproducible pseudo-random numbers of splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// An image with voxels in [-1, 1).
    fn image(&mut self, extent: Extent) -> AVec<f32> {
        AVec::from_iter(
            ALIGNMENT,
            (0..extent.len()).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0),
        )
    }
}

/// Axes of one voxel, even, odd, prime, and larger than a vector; then random ones.
fn extents() -> Vec<Extent> {
    let chosen = [
        [1, 1, 1],
        [1, 1, 2],
        [2, 1, 1],
        [1, 1, 7],
        [1, 7, 1],
        [7, 1, 1],
        [1, 5, 5],
        [1, 8, 8],
        [3, 5, 7],
        [2, 3, 4],
    ];
    let larger = [
        [1, 40, 40],
        [4, 33, 2],
        [8, 8, 8],
        [11, 13, 17],
        [12, 20, 33],
        [2, 3, 37],
        [31, 2, 6],
        [16, 18, 21],
    ];
    let mut random = Random(1);
    let drawn = (0..40).map(|_| [1 + random.below(9), 1 + random.below(20), 1 + random.below(40)]);
    let all = chosen.into_iter().map(Extent::from);
    // Miri is some thousand times slower.
    if cfg!(miri) {
        all.collect()
    } else {
        all.chain(larger.into_iter().chain(drawn).map(Extent::from)).collect()
    }
}

/// Runs `test` with every compiled library and planning effort.
fn each_planner(test: impl Fn(&Planner)) {
    assert!(Backend::COMPILED.contains(&Backend::DEFAULT));
    for &backend in Backend::COMPILED {
        for effort in [Effort::Estimate, Effort::Measure] {
            test(&Planner::with_backend(backend, effort));
        }
    }
}

fn aligned<T: Copy>(value: T, len: usize) -> AVec<T> {
    AVec::from_iter(ALIGNMENT, std::iter::repeat_n(value, len))
}

fn forward(plan: &dyn RealTransform, image: &[f32]) -> AVec<Complex32> {
    let mut spectrum = aligned(Complex32::new(f32::NAN, f32::NAN), plan.spectrum_extent().len());
    plan.forward(image, &mut spectrum);
    spectrum
}

fn inverse(plan: &dyn RealTransform, mut spectrum: AVec<Complex32>) -> AVec<f32> {
    let mut image = aligned(f32::NAN, plan.extent().len());
    plan.inverse(&mut spectrum, &mut image);
    image
}

/// The half spectrum by its definition, one axis after the other, in f64.
fn definition(extent: Extent, image: &[f32]) -> Vec<Complex64> {
    let mut values: Vec<Complex64> = image.iter().map(|&voxel| Complex64::from(f64::from(voxel))).collect();
    let strides = [extent.y * extent.x, extent.x, 1];
    for (n, stride) in extent.to_array().into_iter().zip(strides) {
        let from = values.clone();
        for (i, value) in values.iter_mut().enumerate() {
            let u = i / stride % n;
            let start = i - u * stride;
            *value = (0..n)
                .map(|k| from[start + k * stride] * Complex64::cis(-TAU * (u * k % n) as f64 / n as f64))
                .sum();
        }
    }
    values.chunks_exact(extent.x).flat_map(|row| &row[..extent.x / 2 + 1]).copied().collect()
}

/// Coefficients are sums of N voxels of size about 1: sqrt(N) large, as are their errors in units of the rounding.
fn assert_spectrum(got: &[Complex32], expected: &[Complex64], extent: Extent, what: &str) {
    let tolerance = 2e-6 * (extent.len() as f64).sqrt();
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let got = Complex64::new(got.re.into(), got.im.into());
        let error = (got - expected).norm();
        assert!(error <= tolerance, "{what} {extent}: coefficient {i} is {got}, expected {expected}");
    }
}

#[test]
fn forward_is_the_definition() {
    each_planner(|planner| {
        for extent in extents() {
            let image = Random(2).image(extent);
            let plan = planner.plan(extent).unwrap();
            assert_eq!(plan.extent(), extent);
            let before = image.clone();
            let spectrum = forward(&*plan, &image);
            assert_eq!(image, before, "the input of {extent} was changed");
            assert_spectrum(&spectrum, &definition(extent, &image), extent, planner.backend().name());
        }
    });
}

#[test]
fn inverse_undoes_forward_times_voxels() {
    each_planner(|planner| {
        for extent in extents() {
            let image = Random(3).image(extent);
            let plan = planner.plan(extent).unwrap();
            let back = inverse(&*plan, forward(&*plan, &image));
            for (got, expected) in back.iter().zip(image.iter()) {
                let got = got / extent.len() as f32;
                assert!(
                    (got - expected).abs() <= 2e-6,
                    "{} {extent}: {got} {expected}",
                    planner.backend().name()
                );
            }
        }
    });
}

#[test]
fn forward_is_linear() {
    each_planner(|planner| {
        for extent in extents() {
            let mut random = Random(4);
            let (a, b) = (random.image(extent), random.image(extent));
            let sum =
                AVec::<f32>::from_iter(ALIGNMENT, a.iter().zip(b.iter()).map(|(a, b)| 0.5 * a - 2.0 * b));
            let plan = planner.plan(extent).unwrap();
            let expected: Vec<Complex64> = forward(&*plan, &a)
                .iter()
                .zip(forward(&*plan, &b).iter())
                .map(|(a, b)| a * 0.5 - b * 2.0)
                .map(|c| Complex64::new(c.re.into(), c.im.into()))
                .collect();
            assert_spectrum(&forward(&*plan, &sum), &expected, extent, planner.backend().name());
        }
    });
}

/// The energy of the spectrum is N times that of the image; coefficients of which only one of a pair is stored count twice.
#[test]
fn energy_is_kept() {
    each_planner(|planner| {
        for extent in extents() {
            let image = Random(5).image(extent);
            let plan = planner.plan(extent).unwrap();
            let width = plan.spectrum_extent().x;
            let energy: f64 = forward(&*plan, &image)
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    let x = i % width;
                    let alone = x == 0 || 2 * x == extent.x;
                    f64::from(c.norm_sqr()) * if alone { 1.0 } else { 2.0 }
                })
                .sum();
            let expected = extent.len() as f64 * image.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            assert!((energy - expected).abs() <= 1e-5 * expected, "{extent}: {energy} {expected}");
        }
    });
}

/// Buffers side by side in one allocation; and what any other address gets.
#[test]
fn strides_keep_alignment() {
    each_planner(|planner| {
        for extent in [[4, 6, 8], [2, 3, 5]].map(Extent::from) {
            let plan = planner.plan(extent).unwrap();
            let (image_stride, spectrum_stride) = (plan.image_stride(), plan.spectrum_stride());
            assert!(image_stride >= extent.len() && spectrum_stride >= plan.spectrum_extent().len());
            let mut images = aligned(0.0, 3 * image_stride);
            let mut spectra = aligned(Complex32::ZERO, 3 * spectrum_stride);
            for (image, spectrum) in images.chunks_mut(image_stride).zip(spectra.chunks_mut(spectrum_stride))
            {
                let voxels = Random(6).image(extent);
                image[..extent.len()].copy_from_slice(&voxels);
                let spectrum = &mut spectrum[..plan.spectrum_extent().len()];
                plan.forward(&image[..extent.len()], spectrum);
                assert_spectrum(spectrum, &definition(extent, &voxels), extent, planner.backend().name());
                plan.inverse(spectrum, &mut image[..extent.len()]);
            }
        }
    });
}

#[test]
#[should_panic(expected = "the image does not begin at a multiple of 64 bytes")]
fn unaligned_images_panic() {
    let plan = Planner::new(Effort::Estimate).plan(Extent::new(2, 3, 4)).unwrap();
    plan.forward(&aligned(0.0, 25)[1..], &mut aligned(Complex32::ZERO, 18));
}

#[test]
#[should_panic(expected = "the spectrum does not begin at a multiple of 64 bytes")]
fn unaligned_spectra_panic() {
    let plan = Planner::new(Effort::Estimate).plan(Extent::new(2, 3, 4)).unwrap();
    plan.inverse(&mut aligned(Complex32::ZERO, 19)[1..], &mut aligned(0.0, 24));
}

/// Threads that plan, share and drop plans at once get what one thread alone gets, bit for bit.
#[test]
fn threads_share_plans() {
    each_planner(|planner| {
        let extents = [[4, 6, 8], [1, 7, 9], [5, 4, 6]].map(Extent::from);
        let plans: Vec<_> = extents.iter().map(|&extent| planner.plan(extent).unwrap()).collect();
        let expected = |plan: &dyn RealTransform, seed| {
            let spectrum = forward(plan, &Random(seed).image(plan.extent()));
            (spectrum.clone(), inverse(plan, spectrum))
        };
        let alone: Vec<Vec<_>> =
            (0..4).map(|seed| plans.iter().map(|plan| expected(&**plan, seed)).collect()).collect();
        std::thread::scope(|scope| {
            for (seed, alone) in alone.iter().enumerate() {
                scope.spawn(move || {
                    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
                        for (&extent, alone) in extents.iter().zip(alone) {
                            let plan = planner.plan(extent).unwrap();
                            assert_eq!(expected(&*plan, seed as u64), *alone);
                        }
                        // A planner of one's own plans and destroys beside the others' executions.
                        Planner::with_backend(planner.backend(), Effort::Estimate).plan(extents[0]).unwrap();
                    }
                });
            }
        });
    });
}

#[test]
#[cfg_attr(miri, ignore = "large")]
fn backends_agree_on_large_images() {
    for extent in [[48, 50, 54], [1, 200, 225], [64, 64, 64], [3, 101, 97]].map(Extent::from) {
        let image = Random(7).image(extent);
        let spectra: Vec<_> = Backend::COMPILED
            .iter()
            .map(|&backend| {
                forward(&*Planner::with_backend(backend, Effort::Estimate).plan(extent).unwrap(), &image)
            })
            .collect();
        let expected: Vec<_> = spectra[0].iter().map(|c| Complex64::new(c.re.into(), c.im.into())).collect();
        for spectrum in &spectra[1..] {
            assert_spectrum(spectrum, &expected, extent, "backends differ");
        }
    }
}

#[test]
fn plans_are_remembered() {
    let planner = Planner::new(Effort::Estimate);
    let extent = Extent::new(2, 3, 4);
    let plan = planner.plan(extent).unwrap();
    assert!(Arc::ptr_eq(&plan, &planner.plan(extent).unwrap()));
    assert!(!Arc::ptr_eq(&plan, &planner.plan(Extent::new(2, 4, 3)).unwrap()));
}

#[test]
fn impossible_extents_are_errors() {
    each_planner(|planner| {
        for extent in
            [[0, 4, 4], [4, 0, 4], [4, 4, 0], [0, 0, 0], [0, usize::MAX, usize::MAX]].map(Extent::from)
        {
            assert_eq!(planner.plan(extent).err(), Some(FftError::Empty(extent)));
        }
        for extent in [
            [usize::MAX, 1, 1],
            [1, usize::MAX, usize::MAX],
            [1 << 31, 1, 1],
            [1 << 30, 1 << 30, 1 << 30],
            [1 << 20, 1 << 20, 1 << 21],
        ]
        .map(Extent::from)
        {
            assert_eq!(planner.plan(extent).err(), Some(FftError::TooLarge(extent)));
        }
        let message = planner.plan(Extent::new(3, 0, 4)).err().unwrap().to_string();
        assert!(message.contains("3,0,4") && message.contains("at least one voxel"), "{message}");
    });
}

#[test]
#[should_panic(expected = "voxels of an image of 2,3,4")]
fn short_images_panic() {
    let plan = Planner::new(Effort::Estimate).plan(Extent::new(2, 3, 4)).unwrap();
    plan.forward(&aligned(0.0, 23), &mut aligned(Complex32::ZERO, 18));
}

#[test]
#[should_panic(expected = "coefficients of the half spectrum of 2,3,4")]
fn short_spectra_panic() {
    let plan = Planner::new(Effort::Estimate).plan(Extent::new(2, 3, 4)).unwrap();
    plan.inverse(&mut aligned(Complex32::ZERO, 17), &mut aligned(0.0, 24));
}

#[test]
fn descriptions_name_the_library() {
    for &backend in Backend::COMPILED {
        let text = backend.description().to_lowercase();
        assert!(text.contains(&backend.name().to_lowercase()), "{text}");
        assert!(!text.contains('\n'));
    }
    assert_eq!(super::backend_description(), Backend::DEFAULT.description());
}
