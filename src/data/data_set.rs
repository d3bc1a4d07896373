//! Data sets of the original system, `.spec`: which files are images and labels, and which of them belong together.
//!
//! | section | key | |
//! |---|---|---|
//! | `[imageN]` | `fnames` | the file |
//! | | `pp_types` | how it is normalised: `standard2D`, `standard3D`, `symetric_rescale` or `none` |
//! | `[labelN]` | `fnames` | the file |
//! | | `fmasks` | where the label is valid (> 0) |
//! | both | `is_auto_crop`; in labels `pp_types` | without effect: images and labels are always aligned by their centres, and the job's `out_type` says what is learned |
//! | `[sampleN]` | name of an input group of the network | number of an image |
//! | | name of an output group | number of a label |

use std::path::PathBuf;

use super::Preprocess;
use super::ini::{Entry, Ini, IniError, Remark, Section};
use crate::network::Network;
use crate::network::spec::suggest;

/// A data set for one network.
pub struct DataSet<'a> {
    sections: Vec<Found<'a>>,
    network: &'a Network,
    warnings: Vec<Remark>,
}

/// The images of one sample and, but for inference, its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSample {
    /// The number of the section.
    pub id: u64,
    /// For each input group of the network, in their order.
    pub images: Vec<DataImage>,
    /// For each output group of the network, in their order; none where the sample names no label.
    pub labels: Vec<DataLabel>,
}

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub struct DataImage {
    /// The file.
    pub image: PathBuf,
    /// How it is normalised.
    pub preprocess: Preprocess,
}

/// A label.
#[derive(Clone, Debug, PartialEq)]
pub struct DataLabel {
    /// The label.
    pub label: PathBuf,
    /// Where it is valid; everywhere where absent.
    pub mask: Option<PathBuf>,
}

/// What a section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Label,
    Sample,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Image, "image"), (Self::Label, "label"), (Self::Sample, "sample")];

    /// Kind and number of a section, `None` for another one.
    fn of(name: &str) -> Option<(Self, u64)> {
        Self::ALL.iter().find_map(|&(kind, word)| Some((kind, name.strip_prefix(word)?.parse().ok()?)))
    }

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// Whether a section of this name belongs to a data set.
pub fn is_section(name: &str) -> bool {
    Kind::of(name).is_some()
}

impl<'a> DataSet<'a> {
    /// The data set of the sections in `files`, for `network`.
    ///
    /// # Errors
    /// With file and line, where a key is unknown.
    pub fn new(files: &[&'a Ini], network: &'a Network) -> Result<Self, IniError> {
        let mut sections = Vec::new();
        let mut warnings = Vec::new();
        for &ini in files {
            for section in &ini.sections {
                let Some((kind, id)) = Kind::of(&section.name) else { continue };
                check_keys(ini, section, kind, &mut warnings)?;
                sections.push(Found { ini, section, kind, id });
            }
        }
        Ok(Self { sections, network, warnings })
    }

    /// What has no effect.
    pub fn warnings(&self) -> &[Remark] {
        &self.warnings
    }

    /// The sample of that number; `None` where there is none.
    ///
    /// # Errors
    /// With file and line, where a number names no section, a file is not there, or the sample gives the network no image.
    pub fn sample(&self, id: u64) -> Result<Option<DataSample>, IniError> {
        let found = self.sections.iter().find(|found| found.kind == Kind::Sample && found.id == id);
        found.map(|found| sample(found, &self.sections, self.network)).transpose()
    }
}

/// A section with its file.
struct Found<'a> {
    ini: &'a Ini,
    section: &'a Section,
    kind: Kind,
    id: u64,
}

fn check_keys(ini: &Ini, section: &Section, kind: Kind, warnings: &mut Vec<Remark>) -> Result<(), IniError> {
    const KEYS: [&str; 4] = ["fnames", "pp_types", "is_auto_crop", "fmasks"];
    if kind == Kind::Sample {
        return Ok(());
    }
    for entry in &section.entries {
        let key = entry.key.as_str();
        if !KEYS.contains(&key) || (key == "fmasks" && kind == Kind::Image) {
            let hint = suggest::hint(key, KEYS);
            let what = kind.word();
            return Err(ini.error(entry.line, format!("`{key}` is not a key of [{what}N]{hint}")));
        }
        let is_label_type = key == "pp_types" && kind == Kind::Label;
        if is_label_type && !entry.list().all(|part| matches!(part, "auto" | "none")) {
            let message = "`pp_types` of labels has no effect: `out_type` of the job says what is learned";
            warnings.push(ini.remark(entry.line, message));
        }
    }
    Ok(())
}

fn sample(found: &Found<'_>, sections: &[Found<'_>], network: &Network) -> Result<DataSample, IniError> {
    let (ini, section) = (found.ini, found.section);
    let inputs: Vec<&str> = network.inputs().map(|node| network[node].name.as_str()).collect();
    let outputs: Vec<&str> = network.outputs().map(|node| network[node].name.as_str()).collect();
    let (mut images, mut labels) = (vec![None; inputs.len()], vec![None; outputs.len()]);
    for entry in &section.entries {
        let place = |names: &[&str]| names.iter().position(|name| name.to_lowercase() == entry.key);
        let (kind, slot) = match (place(&inputs), place(&outputs)) {
            (Some(place), _) => (Kind::Image, &mut images[place]),
            (None, Some(place)) => (Kind::Label, &mut labels[place]),
            (None, None) => {
                let names = [&inputs[..], &outputs[..]].concat().join(", ");
                let message =
                    format!("`{}` is no input or output group of the network, which has {names}", entry.key);
                return Err(ini.error(entry.line, message));
            }
        };
        *slot = Some(section_of(ini, entry, kind, sections)?);
    }
    let Some(images) = for_all(images) else {
        let message = format!("[{}] gives no image to the network's input", section.name);
        return Err(ini.error(section.line, message));
    };
    Ok(DataSample {
        id: found.id,
        images: images.into_iter().map(image_of).collect::<Result<_, _>>()?,
        labels: for_all(labels).unwrap_or_default().into_iter().map(label_of).collect::<Result<_, _>>()?,
    })
}

/// What each group gets: its own, or where the sample names none, what the first group has that has something.
fn for_all<T: Copy>(slots: Vec<Option<T>>) -> Option<Vec<T>> {
    let first = slots.iter().copied().flatten().next()?;
    Some(slots.into_iter().map(|slot| slot.unwrap_or(first)).collect())
}

/// The section that a line of a sample names, as `3` or `image3`.
fn section_of<'a, 'b>(
    ini: &Ini,
    entry: &Entry,
    kind: Kind,
    sections: &'b [Found<'a>],
) -> Result<&'b Found<'a>, IniError> {
    let word = kind.word();
    let value = entry.value.trim();
    let number = value.strip_prefix(word).unwrap_or(value).trim();
    let Ok(id) = number.parse::<u64>() else {
        let message = format!("{} = {value}: expected the number of one [{word}N]", entry.key);
        return Err(ini.error(entry.line, message));
    };
    sections.iter().find(|found| found.kind == kind && found.id == id).ok_or_else(|| {
        ini.error(entry.line, format!("{} = {value}: there is no section [{word}{id}]", entry.key))
    })
}

/// The file of a key that names exactly one.
fn single_file(found: &Found<'_>, entry: &Entry) -> Result<PathBuf, IniError> {
    let names: Vec<&str> = entry.list().collect();
    match names[..] {
        [name] => found.ini.locate(entry, name),
        _ => {
            let message = format!("{}: {} files, expected one", entry.key, names.len());
            Err(found.ini.error(entry.line, message))
        }
    }
}

fn required<'a>(found: &Found<'a>, key: &str) -> Result<&'a Entry, IniError> {
    found.section.get(key).ok_or_else(|| {
        let message = format!("the required key `{key}` of [{}] is missing", found.section.name);
        found.ini.error(found.section.line, message)
    })
}

fn image_of(found: &Found<'_>) -> Result<DataImage, IniError> {
    let image = single_file(found, required(found, "fnames")?)?;
    let Some(entry) = found.section.get("pp_types") else {
        return Ok(DataImage { image, preprocess: Preprocess::None });
    };
    let types: Vec<&str> = entry.list().collect();
    let preprocess = match types[..] {
        [] => Ok(Preprocess::None),
        [name] => name.parse().map_err(|error| format!("pp_types: {error}")),
        _ => Err(format!("pp_types: {} types, expected one like the files", types.len())),
    };
    let preprocess = preprocess.map_err(|message| found.ini.error(entry.line, message))?;
    Ok(DataImage { image, preprocess })
}

fn label_of(found: &Found<'_>) -> Result<DataLabel, IniError> {
    let label = single_file(found, required(found, "fnames")?)?;
    let mask = found.section.get("fmasks").filter(|entry| entry.list().next().is_some());
    Ok(DataLabel { label, mask: mask.map(|entry| single_file(found, entry)).transpose()? })
}
