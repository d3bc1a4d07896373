//! Reads the keys of one group, and says what it did not understand.

use super::diagnostic::Report;
use super::document::{Entry, Group};
use super::{suggest, value};
use crate::network::{GroupKind, GroupName, UpdateOverrides};

/// Keys that mean something for some group of nodes, but not for every type.
const NODE_KEYS: &[&str] = &[
    "function",
    "function_args",
    "init",
    "init_args",
    "eta",
    "momentum",
    "weight_decay",
    "seeding",
    "epsilon",
    "statistics",
    "fraction",
];

/// Keys that mean something for some group of edges, but not for every type.
const EDGE_KEYS: &[&str] = &[
    "size",
    "stride",
    "init",
    "init_args",
    "fft",
    "repeat",
    "eta",
    "momentum",
    "weight_decay",
    "seeding",
    "ratio",
    "offset",
    "pad",
    "downsample",
    "share",
    "first",
];

/// The reader of one group. Each key that it is asked for is one that the group knows.
pub(super) struct GroupReader<'a> {
    group: &'a Group,
    /// Which keys the group knows.
    known: Vec<&'static str>,
    /// Required keys that were not found.
    missing: Vec<&'static str>,
    failed: bool,
    report: &'a mut Report,
}

impl<'a> GroupReader<'a> {
    pub fn new(group: &'a Group, report: &'a mut Report) -> Self {
        Self { group, known: vec!["type"], missing: Vec::new(), failed: false, report }
    }

    /// The name of the group.
    pub fn name(&self) -> &'a GroupName {
        &self.group.name
    }

    /// The type of the group, one of `types`; without it no other key can be judged.
    pub fn group_type(&mut self, types: &[&'static str]) -> Option<&'static str> {
        let Some(entry) = self.find("type") else {
            let near =
                self.group.entries.iter().find(|entry| suggest::closest(&entry.key, ["type"]).is_some());
            let (line, found) = match near {
                Some(entry) => (entry.line, format!("`{}` is not a key; did you mean `type`? ", entry.key)),
                None => (self.group.line, String::new()),
            };
            let message = format!("{found}The required key `type` is missing, one of {}", types.join(", "));
            self.error(line, message);
            return None;
        };
        let found = types.iter().find(|&&word| word == entry.value).copied();
        if found.is_none() {
            let hint = suggest::hint(&entry.value, types.iter().copied());
            let message = format!("`type` is `{}`, expected one of {}{hint}", entry.value, types.join(", "));
            self.error(entry.line, message);
        }
        found
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key, or `None` where it is absent or wrong.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let entry = self.find(key)?;
        if entry.value.is_empty() {
            self.error(entry.line, format!("`{key}` has no value"));
            return None;
        }
        match parse(&entry.value) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.error(entry.line, format!("`{key}` is `{}`, expected {expected}", entry.value));
                None
            }
        }
    }

    /// The value of a key, or `None` where it is wrong or, which is an error, absent.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.find(key).is_none() {
            self.missing.push(key);
        }
        self.optional(key, parse)
    }

    /// Takes a key that has no meaning as known where its value is `harmless`.
    pub fn accept(&mut self, key: &'static str, harmless: impl FnOnce(&str) -> bool) {
        if self.find(key).is_some_and(|entry| harmless(&entry.value)) {
            self.known.push(key);
        }
    }

    /// The keys that override the trainer's constants.
    pub fn update_overrides(&mut self) -> UpdateOverrides {
        UpdateOverrides {
            eta: self.optional("eta", value::not_negative),
            momentum: self.optional("momentum", value::fraction),
            weight_decay: self.optional("weight_decay", value::fraction),
        }
    }

    /// The key `seeding`.
    pub fn seeding(&mut self) -> bool {
        self.optional("seeding", value::flag).unwrap_or(true)
    }

    /// Values in binary are refused.
    pub fn refuse_binary(&mut self, key: &'static str) {
        if let Some(entry) = self.find(key) {
            let message =
                format!("`{key}` holds values in binary, which a text cannot; give them in a weights file");
            self.error(entry.line, message);
            self.known.push(key);
        }
    }

    /// An error at the line of a key, or of the group where the key is absent.
    pub fn error_at(&mut self, key: &str, message: impl Into<String>) {
        let line = self.find(key).map_or(self.group.line, |entry| entry.line);
        self.error(line, message);
    }

    /// Reports what was missing and what was not understood. `what` names the group in messages, such as
    /// `a conv edge`. The keys that have no meaning, or `None` where anything was wrong.
    pub fn finish(mut self, what: &str) -> Option<Vec<(String, String)>> {
        let group = self.group;
        let unknown: Vec<&Entry> =
            group.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())).collect();
        let mut explained = Vec::new();
        for key in std::mem::take(&mut self.missing) {
            let slip = unknown.iter().find(|entry| suggest::closest(&entry.key, [key]).is_some());
            match slip {
                Some(entry) => {
                    explained.push(entry.line);
                    let message = format!(
                        "`{}` is not a key of {what}; did you mean `{key}`? The required key `{key}` is missing",
                        entry.key
                    );
                    self.error(entry.line, message);
                }
                None => self.error(group.line, format!("the required key `{key}` of {what} is missing")),
            }
        }
        for entry in unknown.iter().filter(|entry| !explained.contains(&entry.line)) {
            if self.report.warns_enough() {
                break;
            }
            let message = self.about_unknown(&entry.key, what);
            self.report.warning(entry.line, Some(&group.name), message);
        }
        if self.failed {
            return None;
        }
        Some(unknown.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect())
    }

    fn about_unknown(&self, key: &str, what: &str) -> String {
        let others = match self.group.name.kind {
            GroupKind::Nodes => NODE_KEYS,
            GroupKind::Edges => EDGE_KEYS,
        };
        if others.contains(&key) {
            return format!("`{key}` has no effect on {what}");
        }
        let hint = suggest::hint(key, self.known.iter().copied());
        format!("`{key}` is not a key of {what} and has no effect{hint}")
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.group.entries.iter().find(|entry| entry.key == key)
    }

    fn error(&mut self, line: usize, message: impl Into<String>) {
        self.failed = true;
        self.report.error(line, Some(&self.group.name), message);
    }
}
