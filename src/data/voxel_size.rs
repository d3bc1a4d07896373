//! The size of a voxel.

use std::fmt;

/// The size of a voxel along z, y and x, which need not be equal.
///
/// ```
/// use znn::data::VoxelSize;
///
/// assert_eq!(VoxelSize::new([40.0, 4.0, 4.0], "nm").expect("a size").size[0], 40.0);
/// assert_eq!(VoxelSize::new([0.0, 4.0, 4.0], "nm"), None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VoxelSize {
    /// Along z, y and x; finite and positive.
    pub size: [f64; 3],
    /// `nm`, `um`, `mm`, ... or empty where the file does not say.
    pub unit: String,
}

impl VoxelSize {
    /// A size that a file gives; `None` where it is none (zero, negative or not finite).
    pub fn new(size: [f64; 3], unit: &str) -> Option<Self> {
        let is_size = size.iter().all(|axis| axis.is_finite() && *axis > 0.0);
        is_size.then(|| Self { size, unit: short(unit).to_owned() })
    }

    /// The length of the unit in metres, where it is a known one.
    pub(crate) fn metres(&self) -> Option<f64> {
        UNITS.iter().find(|(names, _)| names[0] == self.unit).map(|&(_, metres)| metres)
    }

    /// The same size in another unit, one of those known here; itself where its own is unknown.
    #[doc(hidden)]
    pub fn in_unit(&self, unit: &str) -> Self {
        let wanted = Self { unit: short(unit).to_owned(), ..self.clone() };
        match (self.metres(), wanted.metres()) {
            (Some(own), Some(other)) if own != other => {
                Self { size: self.size.map(|axis| axis * (own / other)), ..wanted }
            }
            _ => self.clone(),
        }
    }
}

/// The names of a unit, the short one first, and its length in metres.
const UNITS: [([&str; 6], f64); 6] = [
    (["nm", "nanometer", "nanometre", "nanometers", "nanometres", "nm"], 1e-9),
    (["um", "micrometer", "micrometre", "micron", "microns", "\u{b5}m"], 1e-6),
    (["mm", "millimeter", "millimetre", "millimeters", "millimetres", "mm"], 1e-3),
    (["cm", "centimeter", "centimetre", "centimeters", "centimetres", "cm"], 1e-2),
    (["m", "meter", "metre", "meters", "metres", "m"], 1.0),
    (["inch", "inch", "inches", "in", "\"", "inch"], 0.0254),
];

/// The short name of a unit, itself where it is unknown.
fn short(unit: &str) -> &str {
    // Fiji writes the Greek letter, and TIFF files the escape for it.
    let unit = match unit {
        "\u{3bc}m" | "\\u00B5m" => "um",
        other => other,
    };
    UNITS.iter().find(|(names, _)| names.contains(&unit)).map_or(unit, |(names, _)| names[0])
}

/// Written `30,4,4 nm`.
impl fmt::Display for VoxelSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [z, y, x] = self.size;
        write!(f, "{z},{y},{x}")?;
        if self.unit.is_empty() { Ok(()) } else { write!(f, " {}", self.unit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_one_name() {
        for (text, unit) in [("nanometer", "nm"), ("micron", "um"), ("\u{b5}m", "um"), ("pixel", "pixel")] {
            assert_eq!(VoxelSize::new([1.0; 3], text).unwrap().unit, unit);
        }
        let size = VoxelSize::new([30.0, 4.0, 4.0], "nm").unwrap();
        assert_eq!(size.to_string(), "30,4,4 nm");
        let micrometres = size.in_unit("um");
        assert_eq!(micrometres.unit, "um");
        assert!((micrometres.size[0] - 0.03).abs() < 1e-12 && (micrometres.size[2] - 0.004).abs() < 1e-12);
        assert_eq!(size.in_unit("parsec"), size);
    }

    #[test]
    fn what_is_no_size_is_none() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(VoxelSize::new([1.0, bad, 1.0], "nm"), None);
        }
    }
}
