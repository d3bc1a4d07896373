use super::super::patch::gather;
use super::super::{Augment, Sampler, SamplerOptions, Target, TrainingVolume};
use super::*;

const PLAIN: Section =
    Section { shift: [0.0; 2], slip: [0.0; 2], gain: 1.0, offset: 0.0, blur: 0.0, is_missing: false };

fn distortion(turn: [f32; 2], sections: &[Section]) -> Distortion {
    Distortion { turn, before: 0, sections: sections.to_vec() }
}

/// A value of its own for each voxel.
fn volume(extent: Extent) -> Tensor {
    Tensor::from_fn(2, extent, |i| i as f32)
}

fn no_margins() -> Margins {
    Margins::of_labels(0)
}

#[test]
fn without_strength_a_patch_is_what_it_was() {
    let volume = volume(Extent::new(3, 9, 11));
    let none = Distortion::draw(&Distort::NONE, [1, 0, 7], 1, 3);
    for index in 0..16 {
        let orientation = Orientation::from_index(index);
        for role in [Role::Image, Role::Labels] {
            let output = Extent::new(1, 3, 4);
            let margins = Margins::of_input(Extent::new(3, 6, 6), output);
            let mut plain = Tensor::zeros(2, Extent::new(3, 6, 6));
            let mut found = plain.clone();
            // Also beyond the border.
            let origin = [-1, -2, 4];
            gather(&volume, origin, orientation, &mut plain);
            none.gather(&volume, origin, orientation, (margins, output), role, &mut found);
            none.retouch(1, &mut found);
            assert_eq!(found, plain, "{orientation:?}");
        }
    }
}

#[test]
fn a_quarter_turn_is_exact() {
    for side in [4, 5] {
        let extent = Extent::new(1, side, side);
        let volume = volume(extent);
        let quarter = distortion([0.0, 1.0], &[PLAIN]);
        for role in [Role::Image, Role::Labels] {
            let mut found = Tensor::zeros(2, extent);
            quarter.gather(&volume, [0; 3], Orientation::default(), (no_margins(), extent), role, &mut found);
            let turned = Tensor::from_fn(2, extent, |i| {
                let (channel, y, x) = (i / extent.len(), i / side % side, i % side);
                volume.channel(channel)[side * (side - 1 - x) + y]
            });
            assert_eq!(found, turned);
            assert_ne!(found, volume);
        }
    }
}

#[test]
fn labels_turn_with_their_image() {
    let extent = Extent::new(1, 60, 60);
    // Linear, so that interpolation is exact.
    let image = Tensor::from_fn(1, extent, |i| 3.0 * (i / 60) as f32 + (i % 60) as f32);
    let output = Extent::new(1, 10, 12);
    for degrees in [10.0_f32, -33.0, 77.0, 180.0] {
        let angle = degrees.to_radians();
        let turned = distortion([angle.cos(), angle.sin()], &[PLAIN]);
        let margins = Margins::of_input(Extent::new(1, 16, 17), output);
        let mut input = Tensor::zeros(1, Extent::new(1, 16, 17));
        let mut labels = Tensor::zeros(1, output);
        let at = [0, 22, 25];
        let before = [at[0], at[1] - margins.before.y as isize, at[2] - margins.before.x as isize];
        let upright = Orientation::default();
        turned.gather(&image, before, upright, (margins, output), Role::Image, &mut input);
        turned.gather(&image, at, upright, (no_margins(), output), Role::Labels, &mut labels);
        let seen = input.crop(margins.before, output);
        for (seen, label) in seen.data().iter().zip(labels.data()) {
            assert!((seen - label).abs() <= 0.5 * (3.0 + 1.0) + 1e-3, "{degrees}: {seen} {label}");
        }
        let centre = |tensor: &Tensor| tensor.data().iter().sum::<f32>() / tensor.data().len() as f32;
        assert!((centre(&seen) - centre(&image.crop(Extent::new(0, 22, 25), output))).abs() < 0.01);
    }
}

#[test]
fn a_displaced_section_leaves_its_labels_or_takes_them_along() {
    let extent = Extent::new(3, 20, 20);
    let volume = volume(extent);
    let slip = Section { slip: [2.0, -3.0], ..PLAIN };
    let shift = Section { shift: [2.0, -3.0], ..PLAIN };
    let output = Extent::new(3, 4, 4);
    for (section, labels_move) in [(slip, false), (shift, true)] {
        let moved = distortion([1.0, 0.0], &[PLAIN, section, PLAIN]);
        let read = |role, origin: [isize; 3]| {
            let (mut found, mut plain) = (Tensor::zeros(2, output), Tensor::zeros(2, output));
            moved.gather(
                &volume,
                [0, 8, 8],
                Orientation::default(),
                (no_margins(), output),
                role,
                &mut found,
            );
            gather(&volume, origin, Orientation::default(), &mut plain);
            (found.channel(1).to_vec(), plain.channel(1).to_vec())
        };
        let (found, here) = read(Role::Image, [0, 8, 8]);
        let (_, there) = read(Role::Image, [0, 10, 5]);
        assert_eq!((&found[..16], &found[32..]), (&here[..16], &here[32..]));
        assert_eq!(found[16..32], there[16..32]);
        let (labels, _) = read(Role::Labels, [0, 8, 8]);
        assert_eq!(labels[16..32], if labels_move { &there } else { &here }[16..32]);
    }
}

#[test]
fn sections_are_blurred_shaded_and_missing() {
    let extent = Extent::new(4, 9, 9);
    let mut image = Tensor::from_fn(1, extent, |i| if i % 81 == 40 { 81.0 } else { 0.0 });
    let blurred = Section { blur: 1.2, ..PLAIN };
    let shaded = Section { gain: 0.5, offset: 2.0, ..PLAIN };
    let missing = Section { is_missing: true, ..PLAIN };
    distortion([1.0, 0.0], &[PLAIN, blurred, shaded, missing]).retouch(0, &mut image);
    let section = |z: usize| &image.data()[81 * z..81 * (z + 1)];
    assert_eq!((section(0)[40], section(0)[0]), (81.0, 0.0));
    let spread = section(1);
    assert!((spread.iter().sum::<f32>() - 81.0).abs() < 1e-3, "nothing is lost");
    assert!(spread[40] > spread[41] && spread[41] > spread[42] && spread[40] < 12.0);
    assert_eq!((spread[39], spread[31]), (spread[41], spread[49]));
    assert_eq!((section(2)[40], section(2)[0]), (42.5, 2.0));
    assert!(section(3).iter().all(|&value| value == 1.0));
}

#[test]
fn samples_depend_on_seed_and_iteration_alone() {
    let extent = Extent::new(9, 40, 40);
    let strength = Distort {
        rotate: 180.0,
        brightness: 0.3,
        contrast: 0.3,
        missing_section: 0.2,
        misalign: 5.0,
        blur: 2.0,
    };
    let make = |seed, distort| {
        let image = Tensor::from_fn(1, extent, |i| ((i * 2_654_435_761) >> 9 & 255) as f32);
        let label = Tensor::from_fn(1, extent, |i| (i % 40 / 8) as f32);
        let mask = Tensor::from_fn(1, extent, |i| f32::from(i % 3 > 0));
        let volume = TrainingVolume::new("v", vec![image], label, Some(mask)).unwrap();
        let augment = Augment { distort, ..Augment::ALL };
        let options = SamplerOptions {
            seed,
            stream: 0,
            target: Target::Affinity,
            mirror: false,
            augment,
            rebalance: None,
        };
        Sampler::new(vec![volume], &[Extent::new(5, 16, 16)], Extent::new(3, 8, 8), options).unwrap()
    };
    let samples = |sampler: &Sampler| {
        let mut sample = sampler.new_sample();
        (0..20).map(|i| (sampler.sample(i, &mut sample), sample.clone()).1).collect::<Vec<_>>()
    };
    let first = samples(&make(1, strength));
    assert_eq!(first, samples(&make(1, strength)));
    assert_ne!(first, samples(&make(2, strength)));
    let plain = samples(&make(1, Distort::NONE));
    assert!(first.iter().zip(&plain).all(|(a, b)| a.inputs != b.inputs));
    for sample in &first {
        assert!(sample.inputs[0].data().iter().all(|value| value.is_finite()));
        assert!(sample.outputs[0].target.data().iter().all(|&value| value == 0.0 || value == 1.0));
    }
    let missing = |sample: &super::super::Sample| {
        sample.inputs[0].data().chunks(256).filter(|plane| plane.iter().all(|v| v == &plane[0])).count()
    };
    let count: usize = first.iter().map(missing).sum();
    assert!((5..40).contains(&count), "{count} of 100 sections, of which a fifth should be missing");
}
