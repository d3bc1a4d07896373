//! Volumes whose voxels hold their own coordinates show where each voxel of a sample came from.

use super::*;
use crate::data::reflect;

fn options(target: Target) -> SamplerOptions {
    SamplerOptions { seed: 1, stream: 0, target, mirror: false, augment: Augment::NONE, rebalance: None }
}

/// Voxel z,y,x of channel c has the value c z y x in digits of base 40, exact in f32.
fn coordinates(channels: usize, extent: Extent) -> Tensor {
    Tensor::from_fn(channels, extent, |i| {
        let (channel, voxel) = (i / extent.len(), i % extent.len());
        let (z, y, x) = (voxel / (extent.y * extent.x), voxel / extent.x % extent.y, voxel % extent.x);
        (((channel * 40 + z) * 40 + y) * 40 + x) as f32
    })
}

fn decode(value: f32) -> [isize; 3] {
    let value = value as isize;
    [value / 1600 % 40, value / 40 % 40, value % 40]
}

fn volume(extent: Extent) -> TrainingVolume {
    TrainingVolume::new("v", vec![coordinates(1, extent)], coordinates(1, extent), None).unwrap()
}

/// The voxel of the label that an output voxel at `p` (may lie outside of the patch) stands for.
fn source_of(patch: &Patch, output: Extent, p: [isize; 3]) -> [isize; 3] {
    let Orientation { flip, transpose } = patch.orientation;
    let centre = patch.centre.to_array();
    let (mut p, mut size) = (p, output.to_array());
    // The transposition is the last step of the turn, so it is undone first.
    if transpose {
        p.swap(1, 2);
        size.swap(1, 2);
    }
    [0, 1, 2].map(|a| {
        let along = if flip[a] { size[a] as isize - 1 - p[a] } else { p[a] };
        centre[a] as isize - ((size[a] - 1) / 2) as isize + along
    })
}

fn positions(extent: Extent) -> impl Iterator<Item = [usize; 3]> {
    (0..extent.len()).map(move |i| [i / (extent.y * extent.x), i / extent.x % extent.y, i % extent.x])
}

/// Checks each voxel of the sample at `patch` against the definition.
fn check(sampler: &Sampler, patch: &Patch) {
    let mut sample = sampler.new_sample();
    sampler.read(patch, &mut sample);
    let volume = &sampler.volumes()[patch.volume];
    let output = sampler.output;
    for (i, p) in positions(output).enumerate() {
        let expected = source_of(patch, output, p.map(|v| v as isize));
        assert_eq!(decode(sample.outputs[0].target.data()[i]), expected, "target at {p:?} of {patch:?}");
    }
    for (input, image) in sample.inputs.iter().zip(volume.images()) {
        let fov = (input.extent() - output + Extent::ONE).to_array();
        let (size, label) = (image.extent().to_array(), volume.extent().to_array());
        for channel in 0..image.channels() {
            for (i, q) in positions(input.extent()).enumerate() {
                // Of the field of view of an output voxel, (fov - 1) / 2 voxels lie before it.
                let p = [0, 1, 2].map(|a| q[a] as isize - ((fov[a] - 1) / 2) as isize);
                let voxel = source_of(patch, output, p);
                let expected = [0, 1, 2].map(|a| {
                    let shift = ((size[a] - 1) / 2) as isize - ((label[a] - 1) / 2) as isize;
                    let inside = voxel[a] + shift;
                    if !sampler.options.mirror {
                        assert!((0..size[a] as isize).contains(&inside), "outside of the image: {patch:?}");
                    }
                    reflect(inside, size[a]) as isize
                });
                let found = input.channel(channel)[i];
                assert_eq!(decode(found), expected, "input at {q:?} of {patch:?}");
                assert_eq!(found as usize / 64_000, channel);
            }
        }
    }
}

#[test]
fn every_turn_of_every_shape_is_aligned() {
    let extent = Extent::new(7, 21, 24);
    // Square and oblong patches, odd and even sizes and fields of view.
    let shapes = [
        (Extent::new(1, 1, 1), Extent::new(1, 1, 1)),
        (Extent::new(3, 9, 9), Extent::new(1, 5, 5)),
        (Extent::new(4, 10, 9), Extent::new(2, 3, 6)),
        (Extent::new(3, 12, 7), Extent::new(3, 4, 4)),
        (Extent::new(2, 6, 13), Extent::new(1, 5, 2)),
    ];
    for (input, output) in shapes {
        for mirror in [false, true] {
            let options = SamplerOptions { mirror, augment: Augment::ALL, ..options(Target::Raw) };
            let sampler = Sampler::new(vec![volume(extent)], &[input], output, options).unwrap();
            for index in 0..16 {
                let orientation = Orientation::from_index(index);
                // The first and the last centre, whose patches touch the border, and one between.
                let candidates = &sampler.candidates[usize::from(orientation.transpose)][0];
                for i in [0, candidates.len() / 2, candidates.len() - 1] {
                    let centre = candidates.get(i, None);
                    check(&sampler, &Patch { volume: 0, centre, orientation });
                }
            }
        }
    }
}

#[test]
fn several_inputs_channels_and_extents_are_aligned_by_their_centres() {
    let (label, larger, smaller) = (Extent::new(5, 11, 12), Extent::new(8, 20, 19), Extent::new(3, 9, 10));
    let images = vec![coordinates(2, larger), coordinates(1, smaller)];
    let volume = TrainingVolume::centred("v", images, coordinates(1, label), None).unwrap();
    let inputs = [Extent::new(3, 8, 7), Extent::new(1, 3, 5)];
    for mirror in [false, true] {
        let options = SamplerOptions { mirror, augment: Augment::ALL, ..options(Target::Raw) };
        let sampler = Sampler::new(vec![volume.clone()], &inputs, Extent::new(1, 2, 3), options).unwrap();
        (0..200).for_each(|i| check(&sampler, &sampler.draw(i)));
    }
}

/// Without flips of an even field of view, the places counted by hand.
#[test]
fn all_places_are_used() {
    let extent = Extent::new(4, 9, 10);
    let (input, output) = (Extent::new(2, 6, 5), Extent::new(1, 3, 3));
    let sampler = Sampler::new(vec![volume(extent)], &[input], output, options(Target::Raw)).unwrap();
    assert_eq!(sampler.candidates[0][0].len(), 3 * 4 * 6);
    let mirrored = SamplerOptions { mirror: true, ..options(Target::Raw) };
    let sampler = Sampler::new(vec![volume(extent)], &[input], output, mirrored).unwrap();
    assert_eq!(sampler.candidates[0][0].len(), 4 * 7 * 8);
    // An affinity needs a predecessor within the label, on either side when flipped.
    let affinity = SamplerOptions { mirror: true, ..options(Target::Affinity) };
    let sampler = Sampler::new(vec![volume(extent)], &[input], output, affinity).unwrap();
    assert_eq!(sampler.candidates[0][0].len(), 3 * 6 * 7);
    let flipped = SamplerOptions { augment: Augment { flip: [true; 3], ..Augment::NONE }, ..affinity };
    let sampler = Sampler::new(vec![volume(extent)], &[input], output, flipped).unwrap();
    assert_eq!(sampler.candidates[0][0].len(), 2 * 5 * 6);
}

#[test]
fn affinities_are_those_of_the_turned_label() {
    let extent = Extent::new(6, 12, 14);
    let labels = Tensor::from_fn(1, extent, |i| (((i * 2_654_435_761) >> 9) & 3) as f32);
    let mask = Tensor::from_fn(1, extent, |i| f32::from(((i * 40_503) >> 7) & 3 > 0));
    let at = |t: &Tensor, p: [isize; 3]| t.data()[extent.index(p[0] as usize, p[1] as usize, p[2] as usize)];
    let volume = TrainingVolume::new("v", vec![labels.clone()], labels.clone(), Some(mask.clone())).unwrap();
    let output = Extent::new(2, 3, 4);
    let options = SamplerOptions { mirror: true, augment: Augment::ALL, ..options(Target::Affinity) };
    let sampler = Sampler::new(vec![volume], &[Extent::new(3, 5, 6)], output, options).unwrap();
    let mut sample = sampler.new_sample();
    let mut turns = [0; 16];
    for iteration in 0..400 {
        let patch = sampler.draw(iteration);
        sampler.read(&patch, &mut sample);
        for (i, p) in positions(output).enumerate() {
            let p = p.map(|v| v as isize);
            let here = source_of(&patch, output, p);
            for (channel, axis) in [2, 1, 0].into_iter().enumerate() {
                let mut before = p;
                before[axis] -= 1;
                let before = source_of(&patch, output, before);
                let (a, b) = (at(&labels, here), at(&labels, before));
                let affinity = f32::from(a == b && a > 0.0);
                assert_eq!(
                    sample.outputs[0].target.channel(channel)[i],
                    affinity,
                    "{channel} at {p:?} of {patch:?}"
                );
                let valid = f32::from(at(&mask, here) > 0.0 || at(&mask, before) > 0.0);
                assert_eq!(sample.outputs[0].weight.as_ref().unwrap().channel(channel)[i], valid);
            }
        }
        let [z, y, x] = patch.orientation.flip.map(usize::from);
        turns[z + 2 * y + 4 * x + 8 * usize::from(patch.orientation.transpose)] += 1;
    }
    assert!(turns.iter().all(|&n| n > 0), "all turns occur: {turns:?}");
}

/// Mean and spread of the counts of equally likely outcomes: chi-squared within five standard deviations.
fn assert_uniform(counts: &[u64]) {
    let n: u64 = counts.iter().sum();
    let expected = n as f64 / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    assert!(
        (chi - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(),
        "chi-squared {chi} for {freedom}: {counts:?}"
    );
}

#[test]
fn centres_and_turns_are_uniform_over_all_volumes() {
    let small = Extent::new(2, 5, 6);
    let large = Extent::new(3, 6, 7);
    let mask = Tensor::from_fn(1, large, |i| f32::from(i % 3 == 0));
    let masked =
        TrainingVolume::new("m", vec![coordinates(1, large)], coordinates(1, large), Some(mask.clone()))
            .unwrap();
    let options = SamplerOptions { mirror: true, augment: Augment::ALL, ..options(Target::Raw) };
    let (input, output) = (Extent::new(1, 5, 5), Extent::new(1, 3, 3));
    let sampler = Sampler::new(vec![volume(small), masked], &[input], output, options).unwrap();
    let mut places = std::collections::BTreeMap::new();
    let mut turns = [0; 16];
    for iteration in 0..20_000 {
        let patch = sampler.draw(iteration);
        *places.entry((patch.volume, patch.centre.to_array())).or_insert(0u64) += 1;
        let [z, y, x] = patch.orientation.flip.map(usize::from);
        turns[z + 2 * y + 4 * x + 8 * usize::from(patch.orientation.transpose)] += 1;
    }
    let inside = |extent: Extent, [_, y, x]: [usize; 3]| {
        (1..extent.y - 1).contains(&y) && (1..extent.x - 1).contains(&x)
    };
    let valid =
        positions(large).enumerate().filter(|&(i, p)| inside(large, p) && mask.data()[i] > 0.0).count();
    let whole = positions(small).filter(|&p| inside(small, p)).count();
    assert_eq!(places.len(), valid + whole);
    assert_uniform(&places.into_values().collect::<Vec<_>>());
    assert_uniform(&turns);
}

#[test]
fn a_sample_depends_on_seed_stream_and_iteration_only() {
    let make = |seed, stream| {
        let options = SamplerOptions { seed, stream, augment: Augment::ALL, ..options(Target::Raw) };
        let extent = Extent::new(6, 30, 30);
        Sampler::new(vec![volume(extent)], &[Extent::new(2, 7, 7)], Extent::new(1, 3, 3), options).unwrap()
    };
    let draws = |sampler: &Sampler| (0..50).map(|i| sampler.draw(i)).collect::<Vec<_>>();
    let reference = draws(&make(1, 0));
    assert_eq!(draws(&make(1, 0)), reference);
    let (one, mut backwards) = (make(1, 0), Vec::new());
    let mut sample = one.new_sample();
    for i in (0..50).rev() {
        one.sample(i, &mut sample);
        backwards.insert(0, one.draw(i));
    }
    assert_eq!(backwards, reference);
    for other in [make(2, 0), make(1, 1)] {
        let same = draws(&other).iter().zip(&reference).filter(|(a, b)| a == b).count();
        assert!(same < 5, "{same} of 50 are equal");
    }
    // Iterations beyond any training still have a place in the generator's sequence.
    assert_ne!(one.draw(u64::MAX), one.draw(u64::MAX - 1));
}

#[test]
fn weights_are_mask_times_class_weight() {
    let extent = Extent::new(4, 12, 12);
    let label = Tensor::from_fn(1, extent, |i| 255.0 * f32::from(((i * 2_654_435_761) >> 9) & 3 > 0));
    let mask = Tensor::from_fn(1, extent, |i| 255.0 * f32::from(i % 5 > 0));
    let count = |class: bool| -> f64 {
        let valid = |i: &usize| mask.data()[*i] > 0.0 && (label.data()[*i] > 0.0) == class;
        (0..extent.len()).filter(valid).count() as f64
    };
    let (n1, n0) = (count(true), count(false));
    let output = Extent::new(2, 5, 5);
    for rebalance in [None, Some(Rebalance::Global), Some(Rebalance::Patch)] {
        let volume =
            TrainingVolume::new("v", vec![label.clone()], label.clone(), Some(mask.clone())).unwrap();
        let target = Target::Boundary { channels: 2 };
        let options = SamplerOptions { rebalance, augment: Augment::ALL, ..options(target) };
        let sampler = Sampler::new(vec![volume], &[output], output, options).unwrap();
        let mut sample = sampler.new_sample();
        for iteration in 0..40 {
            let patch = sampler.draw(iteration);
            sampler.read(&patch, &mut sample);
            let voxels: Vec<(f32, bool)> = positions(output)
                .map(|p| {
                    let [z, y, x] = source_of(&patch, output, p.map(|v| v as isize)).map(|v| v as usize);
                    let i = extent.index(z, y, x);
                    (label.data()[i] / 255.0, mask.data()[i] > 0.0)
                })
                .collect();
            let here = |class: f32| voxels.iter().filter(|v| v.1 && v.0 == class).count() as f64;
            let (p1, p0) = (here(1.0), here(0.0));
            let weight = sample.outputs[0].weight.as_ref().unwrap();
            for (i, &(class, is_valid)) in voxels.iter().enumerate() {
                assert_eq!(sample.inputs[0].data()[i], 255.0 * class);
                let own = |one: f64, zero: f64| if class > 0.0 { one } else { zero };
                let expected = match rebalance {
                    _ if !is_valid => 0.0,
                    None => 1.0,
                    Some(Rebalance::Global) => (n1 + n0) / (2.0 * own(n1, n0)),
                    Some(Rebalance::Patch) if p1 * p0 == 0.0 => 1.0,
                    Some(Rebalance::Patch) => (1.0 / own(p1, p0)) / (1.0 / p1 + 1.0 / p0),
                };
                for channel in 0..2 {
                    let found = f64::from(weight.channel(channel)[i]);
                    assert!((found - expected).abs() < 1e-6, "{rebalance:?}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn global_affinity_weights_count_the_whole_volume() {
    let extent = Extent::new(3, 5, 6);
    let label = Tensor::from_fn(1, extent, |i| (((i * 2_654_435_761) >> 9) & 1) as f32);
    let volume = TrainingVolume::new("v", vec![label.clone()], label.clone(), None).unwrap();
    let inner = extent - Extent::ONE;
    let mut target = Tensor::zeros(3, inner);
    Target::Affinity.compute(&label, &mut target);
    let options = SamplerOptions { rebalance: Some(Rebalance::Global), ..options(Target::Affinity) };
    let sampler = Sampler::new(vec![volume], &[inner], inner, options).unwrap();
    let mut sample = sampler.new_sample();
    sampler.sample(0, &mut sample);
    assert_eq!(sample.outputs[0].target, target);
    for channel in 0..3 {
        let positive = target.channel(channel).iter().sum::<f32>() / inner.len() as f32;
        assert!(positive > 0.0 && positive < 1.0);
        let weights = sample.outputs[0].weight.as_ref().unwrap().channel(channel);
        for (&weight, &value) in weights.iter().zip(target.channel(channel)) {
            let expected = if value > 0.0 { 1.0 - positive } else { positive };
            assert!((weight - expected).abs() < 1e-6);
        }
    }
}

#[test]
fn tiles_cover_the_volume_without_overlap() {
    let extent = Extent::new(5, 13, 17);
    let output = Extent::new(2, 4, 5);
    let options = SamplerOptions { mirror: true, ..options(Target::Raw) };
    let sampler = Sampler::new(vec![volume(extent)], &[Extent::new(4, 9, 9)], output, options).unwrap();
    let tiles = sampler.tiles(usize::MAX);
    assert_eq!(tiles.len(), 2 * 3 * 3);
    let mut covered = std::collections::BTreeSet::new();
    for tile in &tiles {
        check(&sampler, tile);
        for p in positions(output) {
            assert!(covered.insert(source_of(tile, output, p.map(|v| v as isize))), "covered twice");
        }
    }
    assert_eq!(sampler.tiles(usize::MAX), tiles);
    let few = sampler.tiles(5);
    assert_eq!(few.len(), 5);
    assert!(few.iter().all(|tile| tiles.contains(tile)) && few.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(sampler.tiles(1).len(), 1);
    assert!(sampler.tiles(0).is_empty());

    let mask = Tensor::from_fn(1, extent, |i| f32::from(i == 0 || i == extent.index(4, 12, 2)));
    let masked =
        TrainingVolume::new("m", vec![coordinates(1, extent)], coordinates(1, extent), Some(mask)).unwrap();
    let all = Extent::ONE;
    let sampler = Sampler::new(vec![masked], &[all], all, options).unwrap();
    assert_eq!(sampler.tiles(100).len(), 2);
}

fn error(volumes: Vec<TrainingVolume>, inputs: &[Extent], output: Extent, options: SamplerOptions) -> String {
    Sampler::new(volumes, inputs, output, options).err().expect("an error").to_string()
}

#[test]
fn volumes_that_are_too_small() {
    let extent = Extent::new(4, 20, 20);
    let output = Extent::new(1, 9, 5);
    let plain = options(Target::Raw);
    let input = Extent::new(5, 24, 20);
    let text = error(vec![volume(extent)], &[input], output, plain);
    assert!(text.contains("the image, of extent 4,20,20, must have at least 5,24,20"), "{text}");
    assert!(text.contains("mirrored borders"), "{text}");
    let mirror = SamplerOptions { mirror: true, ..plain };
    assert!(Sampler::new(vec![volume(extent)], &[input], output, mirror).is_ok());
    let output = Extent::new(1, 21, 5);
    let text = error(vec![volume(extent)], &[output], output, mirror);
    assert!(text.contains("the label, of extent 4,20,20, must have at least 1,21,5"), "{text}");
    assert!(!text.contains("mirror"), "{text}");
    let oblong = Extent::new(4, 8, 6);
    let turned = SamplerOptions { augment: Augment::ALL, ..mirror };
    let output = Extent::new(1, 7, 5);
    assert!(Sampler::new(vec![volume(oblong)], &[output], output, mirror).is_ok());
    let text = error(vec![volume(oblong)], &[output], output, turned);
    assert!(text.contains("transposed by augmentation") && text.contains("1,5,7"), "{text}");
}

#[test]
fn requests_that_make_no_sense() {
    let extent = Extent::new(4, 20, 20);
    let (input, output) = (Extent::new(1, 5, 5), Extent::new(1, 3, 3));
    let plain = options(Target::Raw);
    assert!(error(vec![], &[input], output, plain).contains("no volume"));
    assert!(error(vec![volume(extent)], &[input], Extent::ZERO, plain).contains("empty"));
    assert!(error(vec![volume(extent)], &[output], input, plain).contains("smaller than the output patch"));
    let text = error(vec![volume(extent)], &[input, input], output, plain);
    assert!(text.contains("1 images for a network with 2 inputs"), "{text}");
    for channels in [0, 3] {
        let text = error(vec![volume(extent)], &[input], output, options(Target::Boundary { channels }));
        assert!(text.contains("1 or 2 channels"), "{text}");
    }
    let colour =
        TrainingVolume::new("c", vec![coordinates(2, extent)], coordinates(1, extent), None).unwrap();
    let text = error(vec![volume(extent), colour], &[input], output, plain);
    assert!(text.contains("c: image 1 has 2 channels"), "{text}");
    let nothing = Some(Tensor::zeros(1, extent));
    let masked =
        TrainingVolume::new("m", vec![coordinates(1, extent)], coordinates(1, extent), nothing).unwrap();
    assert!(error(vec![masked], &[input], output, plain).contains("m: the mask has no valid voxel"));
}

#[test]
fn labels_of_one_class_give_a_warning() {
    let extent = Extent::new(1, 5, 5);
    let flat =
        || TrainingVolume::new("f", vec![coordinates(1, extent)], Tensor::zeros(1, extent), None).unwrap();
    let make = |target| Sampler::new(vec![flat()], &[Extent::ONE], Extent::ONE, options(target)).unwrap();
    assert_eq!(make(Target::Boundary { channels: 1 }).warnings().len(), 1);
    assert!(make(Target::Raw).warnings().is_empty());
}
