//! The lines of a network file, sorted into groups; keys and values are not interpreted here.

use std::collections::HashMap;

use super::diagnostic::Report;
use crate::network::{GroupKind, GroupName};

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    /// Empty where the line ends behind the key.
    pub value: String,
    pub line: usize,
}

/// The lines from one `nodes` or `edges` to the next. No key occurs twice.
#[derive(Debug)]
pub(super) struct Group {
    pub name: GroupName,
    pub line: usize,
    pub entries: Vec<Entry>,
}

/// All groups of a file, in its order. No name occurs twice among the groups of one kind.
#[derive(Debug)]
pub(super) struct Document {
    pub groups: Vec<Group>,
}

impl Document {
    /// `None` where the bytes are not text; whatever else is wrong is only reported.
    pub fn parse(text: &[u8], report: &mut Report) -> Option<Self> {
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let line = 1 + text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
                report.error(line, None, "expected a network file, but this is not UTF-8 text");
                return None;
            }
        };
        let mut reader = Reader { groups: Vec::new(), opened: HashMap::new(), keys: HashMap::new() };
        for (index, line) in text.split('\n').enumerate() {
            reader.line(index + 1, line, report);
            if report.is_full() {
                break;
            }
        }
        if reader.groups.is_empty() && !report.has_errors() {
            report.error(0, None, "expected groups of `nodes` and `edges`, found none");
        }
        Some(Self { groups: reader.groups })
    }
}

struct Reader {
    groups: Vec<Group>,
    /// The lines that opened the groups.
    opened: HashMap<GroupName, usize>,
    /// The lines of the keys of the last group.
    keys: HashMap<String, usize>,
}

impl Reader {
    fn line(&mut self, line: usize, text: &str, report: &mut Report) {
        let mut words = text.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(key) = words.next() else { return };
        let value = words.next();
        let kind = match key {
            "nodes" => Some(GroupKind::Nodes),
            "edges" => Some(GroupKind::Edges),
            _ => None,
        };
        match (kind, value) {
            (Some(kind), Some(name)) => self.open(kind, name, line, report),
            (Some(kind), None) => report.error(line, None, format!("expected `{kind} NAME`, found no name")),
            (None, value) => self.entry(key, value.unwrap_or_default(), line, report),
        }
        if let Some(word) = words.next() {
            let group = self.groups.last().map(|group| &group.name);
            report.warning(line, group, format!("`{word}` and what follows on this line is ignored"));
        }
    }

    fn open(&mut self, kind: GroupKind, name: &str, line: usize, report: &mut Report) {
        let name = GroupName { kind, name: name.to_owned() };
        if let Some(first) = self.opened.insert(name.clone(), line) {
            report.error(
                line,
                Some(&name),
                format!("there is a group of this name already, at line {first}"),
            );
        }
        self.groups.push(Group { name, line, entries: Vec::new() });
        self.keys.clear();
    }

    fn entry(&mut self, key: &str, value: &str, line: usize, report: &mut Report) {
        let Some(group) = self.groups.last_mut() else {
            let message =
                format!("expected `nodes NAME` or `edges NAME` before the first key, found `{key}`");
            return report.error(line, None, message);
        };
        if let Some(first) = self.keys.insert(key.to_owned(), line) {
            let message = format!("the key `{key}` is given already, at line {first}");
            return report.error(line, Some(&group.name), message);
        }
        group.entries.push(Entry { key: key.to_owned(), value: value.to_owned(), line });
    }
}
