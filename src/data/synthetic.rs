//! A volume that looks like electron microscopy of nervous tissue, made from a seed.
//!
//! Cells are the Voronoi regions of jittered lattice points, some of them joined to processes; space is bent
//! before the regions are looked up, so that membranes curve. Inside the cells lie organelles, whose outlines are
//! as dark and as wide as a membrane, and vesicles: to tell them apart takes their surroundings. Sections are
//! thicker than a pixel is wide and differ in brightness and contrast.
//!
//! Every voxel is a function of the seed and its position. A larger volume continues a smaller one.

use crate::volume::{Extent, Tensor};

/// Section thickness in pixels.
const SECTION: f32 = 3.0;
/// Distance of the lattice points of cells and of organelles, in pixels.
const CELL: f32 = 30.0;
const ORGANELLE: f32 = 17.0;
/// Half of a membrane's width in the label, in pixels.
const MEMBRANE: f32 = 1.9;

/// A synthetic image, gray values from about 0 to 1, and its label: 255 inside cells, 0 on membranes. Both have one
/// channel. Takes some tenths of a microsecond per voxel.
pub fn synthetic(seed: u64, extent: Extent) -> (Tensor, Tensor) {
    let mut image = Tensor::zeros(1, extent);
    let mut label = Tensor::zeros(1, extent);
    if extent.is_empty() {
        return (image, label);
    }
    let tissue = Tissue::new(seed, extent);
    // One pixel more on each side, which the blur needs.
    let (rows, columns) = (extent.y + 2, extent.x + 2);
    let mut clean = vec![0.0; rows * columns];
    let section = extent.y * extent.x;
    for z in 0..extent.z {
        let optics = Optics::of_section(seed, z);
        let label = &mut label.data_mut()[z * section..][..section];
        for row in 0..rows {
            for column in 0..columns {
                let (y, x) = (row as f32 - 1.0, column as f32 - 1.0);
                let (value, is_membrane) = tissue.at([z as f32 * SECTION, y, x]);
                clean[row * columns + column] = value;
                let is_inside = (1..=extent.y).contains(&row) && (1..=extent.x).contains(&column);
                if is_inside && !is_membrane {
                    label[(row - 1) * extent.x + column - 1] = 255.0;
                }
            }
        }
        let image = &mut image.data_mut()[z * section..][..section];
        for y in 0..extent.y {
            for x in 0..extent.x {
                let row = |dy: usize| &clean[(y + dy) * columns + x..][..3];
                let blur = |r: &[f32]| 0.25 * r[0] + 0.5 * r[1] + 0.25 * r[2];
                let value = 0.25 * blur(row(0)) + 0.5 * blur(row(1)) + 0.25 * blur(row(2));
                image[y * extent.x + x] = optics.expose(value, [z as i32, y as i32, x as i32]);
            }
        }
    }
    (image, label)
}

/// Lattices of random points, far enough beyond the volume for the bending.
struct Tissue {
    seed: u64,
    cells: Lattice,
    organelles: Lattice,
}

impl Tissue {
    fn new(seed: u64, extent: Extent) -> Self {
        let size = [extent.z as f32 * SECTION, extent.y as f32, extent.x as f32];
        Self {
            seed,
            cells: Lattice::new(hash(seed, 1, [0; 3]), CELL, size),
            organelles: Lattice::new(hash(seed, 2, [0; 3]), ORGANELLE, size),
        }
    }

    /// Gray value without noise, and whether it is a membrane, at a position in pixels.
    fn at(&self, position: [f32; 3]) -> (f32, bool) {
        let noise = |kind: u64, wavelength: f32| value_noise(self.seed, kind, position, wavelength);
        let bent = [0, 1, 2].map(|axis| {
            position[axis] + 9.0 * noise(10 + axis as u64, 31.0) + 2.5 * noise(20 + axis as u64, 11.0)
        });
        let (cell, to_membrane) = self.cells.nearest_border(bent);
        let tone = unit(hash(cell, 3, [0; 3]));

        // Cytoplasm: a tone for each cell, coarse and fine grain.
        let mut value = 0.66 + 0.08 * tone + 0.07 * noise(30, 7.0) + 0.05 * noise(31, 2.6);
        let organelle = self.organelles.inside(bent, to_membrane);
        if let Some(Inside { depth, kind }) = organelle {
            let outline = bump(depth - 1.2, 1.3);
            let fill = smooth(depth, 0.0, 3.0) * (0.10 + 0.14 * unit(hash(kind, 4, [0; 3])));
            let folds = 0.10 * noise(32, 4.0) * smooth(depth, 1.0, 4.0);
            value -= (0.36 * outline).max(fill) - folds;
        }
        // The contrast of a membrane varies along it.
        let strength = 0.32 + 0.12 * noise(33, 13.0);
        value -= strength * bump(to_membrane, 1.5);
        (value, to_membrane < MEMBRANE)
    }
}

/// A point of a lattice, moved by up to 0.45 of its distance to the next.
#[derive(Clone, Copy)]
struct Site {
    position: [f32; 3],
    /// Equal for points that were joined.
    id: u64,
}

struct Lattice {
    spacing: f32,
    first: [i32; 3],
    size: [i32; 3],
    sites: Vec<Site>,
}

struct Inside {
    /// Distance to the surface.
    depth: f32,
    kind: u64,
}

impl Lattice {
    fn new(seed: u64, spacing: f32, size: [f32; 3]) -> Self {
        // The bending moves by at most 11.5 pixels, and neighbours are looked up.
        let first = [-(12.0 / spacing).ceil() as i32 - 2; 3];
        let size = size.map(|s| ((s + 12.0) / spacing).ceil() as i32 + 3 - first[0]);
        let mut sites = Vec::with_capacity((size[0] * size[1] * size[2]) as usize);
        for z in 0..size[0] {
            for y in 0..size[1] {
                for x in 0..size[2] {
                    let cell = [first[0] + z, first[1] + y, first[2] + x];
                    let jitter = [5, 6, 7].map(|kind| 0.9 * (unit(hash(seed, kind, cell)) - 0.5));
                    let position = [0, 1, 2].map(|a| spacing * (cell[a] as f32 + 0.5 + jitter[a]));
                    sites.push(Site { position, id: Self::joined(seed, cell) });
                }
            }
        }
        Self { spacing, first, size, sites }
    }

    /// Half of the points belong to a neighbour, where that one stands by itself.
    fn joined(seed: u64, cell: [i32; 3]) -> u64 {
        let stands_alone = |cell: [i32; 3]| unit(hash(seed, 8, cell)) < 0.5;
        if !stands_alone(cell) {
            let choice = hash(seed, 9, cell) % 6;
            let mut neighbour = cell;
            neighbour[(choice / 2) as usize] += if choice % 2 == 0 { 1 } else { -1 };
            if stands_alone(neighbour) {
                return hash(seed, 10, neighbour);
            }
        }
        hash(seed, 10, cell)
    }

    /// The 27 points around a position.
    fn around(&self, position: [f32; 3]) -> impl Iterator<Item = &Site> {
        let cell = [0, 1, 2].map(|a| (position[a] / self.spacing).floor() as i32 - self.first[a]);
        let start = [0, 1, 2].map(|a| cell[a].clamp(1, self.size[a] - 2) - 1);
        (0..9).flat_map(move |i| {
            let row = ((start[0] + i / 3) * self.size[1] + start[1] + i % 3) * self.size[2] + start[2];
            &self.sites[row as usize..row as usize + 3]
        })
    }

    /// The cell at a position and the distance to its border, the bisector with the nearest point of another.
    fn nearest_border(&self, position: [f32; 3]) -> (u64, f32) {
        let square = |a: [f32; 3], b: [f32; 3]| -> f32 { (0..3).map(|i| (a[i] - b[i]).powi(2)).sum() };
        let mut own = (f32::INFINITY, Site { position, id: 0 });
        for site in self.around(position) {
            let distance = square(site.position, position);
            if distance < own.0 {
                own = (distance, *site);
            }
        }
        let (distance, own) = own;
        let border = self
            .around(position)
            .filter(|site| site.id != own.id)
            .map(|site| {
                (square(site.position, position) - distance)
                    / (2.0 * square(site.position, own.position).sqrt())
            })
            .fold(self.spacing, f32::min);
        (own.id, border)
    }

    /// The organelle at a position: an ellipsoid around some of the points, kept off the membrane.
    fn inside(&self, position: [f32; 3], to_membrane: f32) -> Option<Inside> {
        let mut deepest: Option<Inside> = None;
        for site in self.around(position) {
            let kind = hash(site.id, 11, site.position.map(|p| (8.0 * p) as i32));
            if unit(kind) > 0.55 {
                continue;
            }
            // From vesicles to mitochondria, which are long in one direction.
            let random = |k: u64| unit(hash(kind, k, [0; 3]));
            let radius = 2.2 + 5.8 * random(12).powi(2);
            let long = (random(13) * 3.0) as usize;
            let stretched: f32 = (0..3)
                .map(|a| {
                    let stretch = if a == long { 1.8 } else { 1.0 };
                    ((position[a] - site.position[a]) / stretch).powi(2)
                })
                .sum();
            let depth = (radius - stretched.sqrt()).min(to_membrane - 3.6);
            if depth > deepest.as_ref().map_or(0.0, |found| found.depth) {
                deepest = Some(Inside { depth, kind });
            }
        }
        deepest
    }
}

/// What the microscope does to a section.
struct Optics {
    seed: u64,
    brightness: f32,
    contrast: f32,
}

impl Optics {
    fn of_section(seed: u64, z: usize) -> Self {
        let random = |kind: u64| 2.0 * unit(hash(seed, kind, [z as i32, 0, 0])) - 1.0;
        Self { seed, brightness: 0.06 * random(40), contrast: 1.0 + 0.15 * random(41) }
    }

    fn expose(&self, value: f32, voxel: [i32; 3]) -> f32 {
        // Uneven illumination, the same in all sections.
        let light = value_noise(self.seed, 42, [0.0, voxel[1] as f32, voxel[2] as f32], 97.0);
        let value = 0.5 + self.contrast * (value - 0.5) + self.brightness + 0.05 * light;
        // Counted electrons scatter by the square root of their number; the amplifier adds a constant.
        let scatter = (0.008 * value.max(0.0) + 0.002).sqrt();
        value + scatter * gaussian(hash(self.seed, 43, voxel))
    }
}

/// Smooth noise between -1 and 1: random values at lattice points, blended between them.
fn value_noise(seed: u64, kind: u64, position: [f32; 3], wavelength: f32) -> f32 {
    let scaled = position.map(|p| p / wavelength);
    let cell = scaled.map(|s| s.floor() as i32);
    let blend = [0, 1, 2].map(|a| {
        let t = scaled[a] - cell[a] as f32;
        t * t * (3.0 - 2.0 * t)
    });
    let mut sum = 0.0;
    for corner in 0..8 {
        let step = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
        let weight: f32 = (0..3).map(|a| if step[a] == 1 { blend[a] } else { 1.0 - blend[a] }).product();
        let point = [0, 1, 2].map(|a| cell[a] + step[a]);
        sum += weight * (2.0 * unit(hash(seed, kind, point)) - 1.0);
    }
    sum
}

/// 1 at zero, falling over a distance of `width`.
fn bump(distance: f32, width: f32) -> f32 {
    (-(distance / width).powi(2)).exp()
}

/// From 0 at `low` to 1 at `high`.
fn smooth(value: f32, low: f32, high: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A hash of a lattice point: the finaliser of SplitMix64 (Steele, Lea, Flood 2014) after each coordinate.
fn hash(seed: u64, kind: u64, point: [i32; 3]) -> u64 {
    let mut state = mix(seed ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let [z, y, x] = point.map(|p| u64::from(p as u32));
    state = mix(state ^ (z << 32 | y));
    mix(state.wrapping_add(x.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(mut v: u64) -> u64 {
    v = (v ^ v >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    v = (v ^ v >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ v >> 31
}

/// A number in 0..1 of the upper bits of a hash.
fn unit(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u64 << 24) as f32
}

/// A number of about standard normal distribution: the sum of four uniform ones.
fn gaussian(hash: u64) -> f32 {
    let sum: f32 = (0..4).map(|i| (hash >> (16 * i) & 0xffff) as f32 / 65536.0 - 0.5).sum();
    sum * 3.0f32.sqrt()
}
