//! The text format of the original system's job and data set files.
//!
//! `[SECTION]`, then lines `key = value` or `key: value`; a line that begins with white space goes on with the value
//! before it. `#` and `;` at the start of a line begin a comment, ` ;` one behind a value. Keys are read as lower
//! case. Of a key that is given twice in a section the last value counts, and a section may be opened again. `%(name)s` in
//! a value is replaced by the value of that key of the same section, or of the section `[DEFAULT]`, and then `%%` by `%`.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes: hundreds of times what jobs need.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The section whose keys others may name.
const DEFAULTS: &str = "DEFAULT";
/// How often a value may name a key whose value names a key.
const MAX_DEPTH: usize = 10;

/// A file, as sections of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ini {
    /// The file, as errors name it.
    pub path: PathBuf,
    /// The sections, in the order in which they are opened first.
    pub sections: Vec<Section>,
    /// Keys that are given again.
    pub warnings: Vec<Remark>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets.
    pub name: String,
    /// The line of the brackets, from 1.
    pub line: usize,
    /// The keys in the order of the file, each once.
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key in lower case.
    pub key: String,
    /// The value; lines that go on with it are joined by a line feed.
    pub value: String,
    /// The line of the key, from 1.
    pub line: usize,
}

/// What is said about one line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 where it is about none.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// Written `file:line: message`.
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.path.display(), self.message);
        }
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// A file cannot be read, or a line in it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum IniError {
    /// The system refuses.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no such file.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A line is wrong.
    #[error("{0}")]
    Line(Remark),
}

impl Ini {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Where the system refuses, the file is far too long or no text, and as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, IniError> {
        let io = |source| IniError::Io { path: path.to_owned(), source };
        let file = |reason| IniError::File { path: path.to_owned(), reason };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(file(format!("{bytes} bytes, more than the {MAX_FILE_BYTES} of the longest job")));
        }
        let text = String::from_utf8(std::fs::read(path).map_err(io)?)
            .map_err(|_| file("this is no text (UTF-8)".to_owned()))?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file that errors call `path`.
    ///
    /// # Errors
    /// Where a line is neither a section nor a key, or is not in a section.
    pub fn parse(path: &Path, text: &str) -> Result<Self, IniError> {
        let mut ini = Self { path: path.to_owned(), sections: Vec::new(), warnings: Vec::new() };
        // The section and the key to which a line that goes on belongs.
        let (mut section, mut entry) = (None, None);
        for (index, full) in text.lines().enumerate() {
            let line = index + 1;
            let content = without_comment(full);
            if content.trim().is_empty() {
                continue;
            }
            if full.starts_with(char::is_whitespace)
                && let (Some(section), Some(entry)) = (section, entry)
            {
                let section: &mut Section = &mut ini.sections[section];
                let entry: &mut Entry = &mut section.entries[entry];
                entry.value.push('\n');
                entry.value.push_str(content.trim());
                continue;
            }
            let content = content.trim();
            if let Some(name) = content.strip_prefix('[') {
                let Some((name, _)) = name.split_once(']').filter(|(name, _)| !name.trim().is_empty()) else {
                    return Err(ini.error(line, format!("expected `[SECTION]`, found `{content}`")));
                };
                let name = name.trim();
                let known = ini.sections.iter().position(|section| section.name == name);
                section = Some(known.unwrap_or_else(|| {
                    ini.sections.push(Section { name: name.to_owned(), line, entries: Vec::new() });
                    ini.sections.len() - 1
                }));
                entry = None;
                continue;
            }
            let Some(section) = section else {
                return Err(
                    ini.error(line, format!("expected `[SECTION]` before the first key, found `{content}`"))
                );
            };
            let Some(end) = content.find(['=', ':']).filter(|&end| end > 0) else {
                return Err(ini.error(line, format!("expected `key = value`, found `{content}`")));
            };
            let key = content[..end].trim().to_lowercase();
            let value = content[end + 1..].trim().to_owned();
            let entries = &mut ini.sections[section].entries;
            let new = Entry { key, value, line };
            entry = Some(match entries.iter().position(|entry| entry.key == new.key) {
                Some(known) => {
                    let message =
                        format!("`{}` replaces the value given at line {}", new.key, entries[known].line);
                    entries[known] = new;
                    ini.warnings.push(Remark { path: ini.path.clone(), line, message });
                    known
                }
                None => {
                    entries.push(new);
                    entries.len() - 1
                }
            });
        }
        ini.interpolate()?;
        Ok(ini)
    }

    /// Replaces `%(name)s` by values of other keys.
    fn interpolate(&mut self) -> Result<(), IniError> {
        let plain = self.clone();
        let defaults = plain.section(DEFAULTS);
        for (section, before) in self.sections.iter_mut().zip(&plain.sections) {
            for entry in &mut section.entries {
                let value = |name: &str| {
                    let own = before.get(name).or_else(|| defaults?.get(name));
                    own.map(|entry| entry.value.as_str())
                };
                if entry.value.contains("%(") {
                    let replaced = replace(&entry.value, &value, MAX_DEPTH);
                    entry.value = replaced.map_err(|reason| {
                        plain.error(entry.line, format!("{} = {}: {reason}", entry.key, entry.value))
                    })?;
                }
            }
        }
        // Its keys are there for the others.
        self.sections.retain(|section| section.name != DEFAULTS);
        Ok(())
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// An error about a line.
    pub fn error(&self, line: usize, message: impl Into<String>) -> IniError {
        IniError::Line(self.remark(line, message))
    }

    /// A remark about a line.
    pub fn remark(&self, line: usize, message: impl Into<String>) -> Remark {
        Remark { path: self.path.clone(), line, message: message.into() }
    }

    /// The file or folder that a value names. As in the original system a relative path starts at the current folder;
    /// where there is nothing, at the folder of the file that names it.
    ///
    /// # Errors
    /// Where there is nothing at either.
    pub fn locate(&self, entry: &Entry, name: &str) -> Result<PathBuf, IniError> {
        let near = self.path.parent().unwrap_or(Path::new("")).join(name);
        let found = [PathBuf::from(name), near.clone()].into_iter().find(|path| path.exists());
        found.ok_or_else(|| {
            let message = match near == Path::new(name) {
                true => format!("{} = {name}: there is no such file", entry.key),
                false => format!("{} = {name}: there is no such file, and no {}", entry.key, near.display()),
            };
            self.error(entry.line, message)
        })
    }
}

impl Section {
    /// The entry of a key, which is in lower case.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Entry {
    /// The parts of the value between commas and line ends; empty ones are left out.
    pub fn list(&self) -> impl Iterator<Item = &str> {
        self.value.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty())
    }
}

/// `text` with the values of the keys that it names, to a depth of `depth`.
fn replace<'a>(text: &str, value: &impl Fn(&str) -> Option<&'a str>, depth: usize) -> Result<String, String> {
    let mut found = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        found.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(named) = behind.strip_prefix('(') {
            let (name, after) = named.split_once(")s").ok_or("expected `)s` behind `%(`")?;
            let name = name.trim().to_lowercase();
            let other = value(&name).ok_or_else(|| format!("there is no key `{name}` in this section"))?;
            if depth == 0 {
                return Err(format!("`{name}` comes to name itself"));
            }
            if found.len() > MAX_FILE_BYTES as usize {
                return Err("the value becomes longer than a file may be".to_owned());
            }
            let other =
                if other.contains("%(") { replace(other, value, depth - 1)? } else { other.to_owned() };
            found.push_str(&other);
            rest = after;
        } else {
            found.push('%');
            rest = behind.strip_prefix('%').unwrap_or(behind);
        }
    }
    found.push_str(rest);
    Ok(found)
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    let mut semicolons = line.match_indices(';').map(|(at, _)| at);
    let comment = semicolons.find(|&at| line[..at].ends_with(char::is_whitespace));
    comment.map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Ini, IniError> {
        Ini::parse(Path::new("job.cfg"), text)
    }

    #[test]
    fn keys_comments_and_long_values() {
        let ini = parse(
            "# head\n[parameters]\nEta = 0.01 ; rate\nfnet_spec: a;b.znn\n\n; note\nlist = a.tif,\n\tb.tif,\n\n  c.tif\n\
             empty =\n[image1]\nfnames = x = y\n[parameters]\neta = 0.02\n",
        )
        .unwrap();
        let names: Vec<&str> = ini.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, ["parameters", "image1"]);
        let section = ini.section("parameters").unwrap();
        let value = |key: &str| section.get(key).map(|entry| (entry.value.as_str(), entry.line));
        assert_eq!(value("eta"), Some(("0.02", 15)));
        assert_eq!(value("fnet_spec"), Some(("a;b.znn", 4)));
        assert_eq!(value("list"), Some(("a.tif,\nb.tif,\nc.tif", 7)));
        assert_eq!(value("empty"), Some(("", 11)));
        assert_eq!(section.get("list").unwrap().list().collect::<Vec<_>>(), ["a.tif", "b.tif", "c.tif"]);
        assert_eq!(ini.section("image1").unwrap().get("fnames").unwrap().value, "x = y");
        let warnings: Vec<String> = ini.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, ["job.cfg:15: `eta` replaces the value given at line 3"]);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, expected) in [
            ("eta = 1", "job.cfg:1: expected `[SECTION]` before the first key, found `eta = 1`"),
            ("[a]\n\n[ ]", "job.cfg:3: expected `[SECTION]`, found `[ ]`"),
            ("[a\n", "job.cfg:1: expected `[SECTION]`, found `[a`"),
            ("[a]\neta 1", "job.cfg:2: expected `key = value`, found `eta 1`"),
            ("[a]\n = 1", "job.cfg:2: expected `key = value`, found `= 1`"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.cfg");
        assert!(Ini::read(&path).unwrap_err().to_string().starts_with("cannot read"));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Ini::read(&path).unwrap_err().to_string().ends_with("this is no text (UTF-8)"));
        std::fs::write(&path, vec![b' '; (MAX_FILE_BYTES + 1) as usize]).unwrap();
        assert!(Ini::read(&path).unwrap_err().to_string().contains("more than the 1048576"));
    }

    #[test]
    fn values_name_other_keys() {
        let ini = parse(
            "[DEFAULT]\nroot = /data\n[a]\nBase = %(root)s/run%%1\nnet = %(BASE)s/net.znn\nrate = 50%\n[b]\nbase = x\n\
             net = %(base)s.%(base)s\n",
        )
        .unwrap();
        let value = |section: &str, key: &str| ini.section(section).unwrap().get(key).unwrap().value.clone();
        assert_eq!(value("a", "net"), "/data/run%1/net.znn");
        assert_eq!(value("a", "rate"), "50%");
        assert_eq!(value("b", "net"), "x.x");
        assert_eq!(ini.section("DEFAULT"), None);
        for (text, reason) in [
            ("[a]\nb = %(c)s", "job.cfg:2: b = %(c)s: there is no key `c` in this section"),
            ("[a]\nb = %(c", "job.cfg:2: b = %(c: expected `)s` behind `%(`"),
            ("[a]\nb = %(c)s\nc = %(b)s", "job.cfg:2: b = %(c)s: `c` comes to name itself"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), reason);
        }
        // Each level ten times the one before.
        let mut text = "[a]\nk0 = 0123456789\n".to_owned();
        (1..10).for_each(|i| text += &format!("k{i} = {}\n", format!("%(k{})s", i - 1).repeat(10)));
        assert!(parse(&text).is_err());
    }

    proptest! {
        /// Any text gives sections or an error at one of its lines.
        #[test]
        fn no_text_is_too_strange(text in "([\\[\\]=:;# \ta-c\n\u{e9}]|\\PC){0,60}") {
            match parse(&text) {
                Ok(ini) => prop_assert!(ini.sections.iter().all(|s| !s.name.is_empty())),
                Err(IniError::Line(remark)) => prop_assert!(remark.line >= 1 && remark.line <= text.lines().count()),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
