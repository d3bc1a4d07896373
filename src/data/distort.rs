//! Distortions of training patches beyond symmetries: what a microscope and the alignment of its sections do to images.
//! Those that move structures move the labels with them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::mirror::reflect;
use super::patch::{Margins, Orientation};
use crate::volume::{Extent, Tensor};

/// How strongly patches are distorted; 0 turns a distortion off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distort {
    /// Rotation in the plane of sections around the centre of the patch, by an angle of at most so many degrees to either
    /// side. Images are interpolated, labels take the nearest voxel.
    pub rotate: f64,
    /// What is added to an image: at most so much up or down, in units of its (normalised) values.
    pub brightness: f64,
    /// The factor of an image: within 1 minus and 1 plus so much.
    pub contrast: f64,
    /// The probability of a section of the image to be missing: it has its mean value everywhere. Not for networks that see
    /// a single section.
    pub missing_section: f64,
    /// In every second patch sections are displaced by at most so many voxels along y and x: either a single one, whose
    /// labels stay where they were, or all from one on, with their labels.
    pub misalign: f64,
    /// In every second patch some sections of the image are out of focus: blurred by a Gaussian of at most this
    /// standard deviation, in voxels.
    pub blur: f64,
}

impl Distort {
    /// None.
    pub const NONE: Self =
        Self { rotate: 0.0, brightness: 0.0, contrast: 0.0, missing_section: 0.0, misalign: 0.0, blur: 0.0 };
}

/// What happens to one section of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Section {
    /// Displacement of image and labels along y, x.
    shift: [f32; 2],
    /// Displacement of the image beyond that.
    slip: [f32; 2],
    gain: f32,
    offset: f32,
    /// Standard deviation in voxels; 0 for none.
    blur: f32,
    is_missing: bool,
}

/// The distortion of one sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distortion {
    /// Cosine and sine of the rotation.
    turn: [f32; 2],
    /// The sections of the patch, of which the first lies so many before the first of the output.
    before: usize,
    sections: Vec<Section>,
}

/// What is read of a volume, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An image: interpolated.
    Image,
    /// Labels or a mask: the nearest voxel.
    Labels,
}

impl Distortion {
    /// That of iteration `iteration`, for patches of at most `sections` sections of which `before` lie before the output.
    /// It depends on nothing else, so that a run is resumed without stored state.
    pub fn draw(
        strength: &Distort,
        [seed, stream, iteration]: [u64; 3],
        before: usize,
        sections: usize,
    ) -> Self {
        // Apart from the generator of the places.
        let mut rng =
            ChaCha8Rng::seed_from_u64(seed ^ stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.set_stream(iteration);
        let mut within = |amplitude: f64| (amplitude * rng.random_range(-1.0..=1.0)) as f32;
        let angle = within(strength.rotate).to_radians();
        let whole = [within(strength.contrast), within(strength.brightness)];
        let mut all: Vec<Section> = (0..sections)
            .map(|_| {
                let own = [within(strength.contrast), within(strength.brightness)];
                Section { gain: 1.0 + own[0], offset: own[1], ..Section::default() }
            })
            .collect();
        if rng.random() {
            all.iter_mut().for_each(|section| (section.gain, section.offset) = (1.0 + whole[0], whole[1]));
        }
        let focus: bool = rng.random();
        for section in &mut all {
            section.is_missing = sections > 1 && rng.random_bool(strength.missing_section);
            let (blurred, sigma): (bool, f64) = (rng.random(), rng.random_range(0.0..=1.0));
            section.blur = if focus && blurred { (strength.blur * sigma) as f32 } else { 0.0 };
        }
        let (displace, slip): (bool, bool) = (rng.random(), rng.random());
        if displace && sections > 1 && strength.misalign > 0.0 {
            let by = [0; 2].map(|_| (strength.misalign * rng.random_range(-1.0..=1.0)).round() as f32);
            let first = rng.random_range(1..sections);
            match slip {
                true => all[first].slip = by,
                false => all[first..].iter_mut().for_each(|section| section.shift = by),
            }
        }
        Self { turn: [angle.cos(), angle.sin()], before, sections: all }
    }

    /// As [`gather`](super::patch::gather), distorted: the patch has `margins` around an output of `output` voxels.
    pub fn gather(
        &self,
        volume: &Tensor,
        origin: [isize; 3],
        orientation: Orientation,
        (margins, output): (Margins, Extent),
        role: Role,
        out: &mut Tensor,
    ) {
        let size = volume.extent().to_array();
        let strides = [size[1] * size[2], size[2], 1];
        let patch = out.extent().to_array();
        // The place in the volume of any voxel along an axis of the patch, also of those beside it.
        let place = |axis: usize, at: isize| {
            let source = orientation.source_axis(axis);
            let at = if orientation.flip[source] { patch[axis] as isize - 1 - at } else { at };
            reflect(origin[source] + at, size[source]) * strides[source]
        };
        // No voxel is read from farther away.
        let reach = (patch[1] + patch[2]) as isize + self.farthest();
        let tables = [1, 2].map(|axis| -> Vec<usize> {
            (-reach..patch[axis] as isize + reach).map(|at| place(axis, at)).collect()
        });
        let at = |axis: usize, position: isize| tables[axis][(position + reach) as usize];
        let centre = [
            margins.before.y as f32 + (output.y - 1) as f32 / 2.0,
            margins.before.x as f32 + (output.x - 1) as f32 / 2.0,
        ];
        let [cos, sin] = self.turn;
        for z in 0..patch[0] {
            let section = self.section(z, margins.before.z);
            let plane = place(0, z as isize);
            let slip = if role == Role::Image { section.slip } else { [0.0; 2] };
            let [down, right] = [0, 1].map(|i| section.shift[i] + slip[i] + centre[i]);
            for channel in 0..out.channels() {
                let from = volume.channel(channel);
                let to = &mut out.channel_mut(channel)[z * patch[1] * patch[2]..][..patch[1] * patch[2]];
                for (i, voxel) in to.iter_mut().enumerate() {
                    let (y, x) = ((i / patch[2]) as f32 - centre[0], (i % patch[2]) as f32 - centre[1]);
                    let (y, x) = (cos * y - sin * x + down, sin * y + cos * x + right);
                    let value = |y: isize, x: isize| from[plane + at(0, y) + at(1, x)];
                    *voxel = match role {
                        Role::Labels => value(y.round() as isize, x.round() as isize),
                        Role::Image => {
                            let (top, left) = (y.floor(), x.floor());
                            let (dy, dx) = (y - top, x - left);
                            let (y, x) = (top as isize, left as isize);
                            let row = |y| value(y, x) * (1.0 - dx) + value(y, x + 1) * dx;
                            row(y) * (1.0 - dy) + row(y + 1) * dy
                        }
                    };
                }
            }
        }
    }

    /// Brightness, contrast, focus and absence of the sections of an image, of which `before` lie before the output.
    pub fn retouch(&self, before: usize, image: &mut Tensor) {
        let extent = image.extent();
        let mut row = Vec::new();
        for channel in 0..image.channels() {
            for (z, plane) in image.channel_mut(channel).chunks_exact_mut(extent.y * extent.x).enumerate() {
                let section = self.section(z, before);
                if section.is_missing {
                    let mean = plane.iter().sum::<f32>() / plane.len() as f32;
                    plane.fill(mean);
                }
                if section.blur > 0.0 {
                    let weights = gaussian(section.blur);
                    (0..extent.y).for_each(|y| blur(plane, y * extent.x, 1, extent.x, &weights, &mut row));
                    (0..extent.x).for_each(|x| blur(plane, x, extent.x, extent.y, &weights, &mut row));
                }
                plane.iter_mut().for_each(|value| *value = *value * section.gain + section.offset);
            }
        }
    }

    /// Section `z` of a patch of which `before` lie before the output.
    fn section(&self, z: usize, before: usize) -> Section {
        self.sections[(z + self.before).saturating_sub(before).min(self.sections.len() - 1)]
    }

    /// How far sections are displaced at most, rounded up.
    fn farthest(&self) -> isize {
        let far = |section: &Section| [0, 1].map(|i| (section.shift[i] + section.slip[i]).abs());
        self.sections.iter().flat_map(far).fold(0.0, f32::max).ceil() as isize + 2
    }
}

/// The weights of a Gaussian of the standard deviation `sigma` at distances 0, 1, ..., of sum 1 over both sides.
fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f32> = (0..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum = 2.0 * weights.iter().sum::<f32>() - weights[0];
    weights.iter().map(|weight| weight / sum).collect()
}

/// Blurs the `len` values from `start` on that lie `step` apart, which go on by reflection. `line` is scratch.
fn blur(values: &mut [f32], start: usize, step: usize, len: usize, weights: &[f32], line: &mut Vec<f32>) {
    line.clear();
    line.extend((0..len).map(|i| values[start + i * step]));
    for i in 0..len {
        let side = |at: isize| line[reflect(at, len)];
        let near = |(d, weight): (usize, &f32)| match d {
            0 => weight * line[i],
            _ => weight * (side(i as isize - d as isize) + side((i + d) as isize)),
        };
        values[start + i * step] = weights.iter().enumerate().map(near).sum();
    }
}

#[cfg(test)]
mod tests;
