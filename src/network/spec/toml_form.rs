//! Networks written in TOML: a table for each group, with the keys of the text format.
//!
//! ```toml
//! [nodes.input]
//! type = "input"
//! size = 1
//!
//! [edges.conv1]
//! type = "conv"
//! size = [1, 3, 3]
//! input = "input"
//! output = "out"
//! ```
//!
//! It becomes the same [`Document`] as a text, so that both mean the same and are checked by the same code.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::diagnostic::Report;
use super::document::{Document, Entry, Group};
use crate::network::{GroupKind, GroupName, Network};

impl Document {
    /// `None` where the bytes are no TOML; whatever else is wrong is only reported.
    pub fn parse_toml(bytes: &[u8], report: &mut Report) -> Option<Self> {
        let line_at = |end: usize| 1 + bytes[..end.min(bytes.len())].iter().filter(|&&b| b == b'\n').count();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let message = "expected a network in TOML, but this is not UTF-8 text";
                report.error(line_at(error.valid_up_to()), None, message);
                return None;
            }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            if report.is_full() {
                break;
            }
            let line = error.span().map_or(0, |span| line_at(span.start));
            report.error(line, None, error.message().trim());
        }
        if !errors.is_empty() {
            return None;
        }
        let mut groups = Vec::new();
        for (key, value) in table.get_ref() {
            let line = line_at(key.span().start);
            let kind = match key.get_ref().as_ref() {
                "nodes" => GroupKind::Nodes,
                "edges" => GroupKind::Edges,
                other => {
                    let message = format!("expected tables [nodes.NAME] and [edges.NAME], found `{other}`");
                    report.error(line, None, message);
                    continue;
                }
            };
            let Some(named) = value.get_ref().as_table() else {
                report.error(line, None, format!("expected tables [{kind}.NAME], found a value"));
                continue;
            };
            for (name, group) in named {
                let line = line_at(name.span().start);
                let name = GroupName { kind, name: name.get_ref().to_string() };
                match group.get_ref().as_table() {
                    Some(table) => {
                        let entries = entries(table, &name, line_at, report);
                        groups.push(Group { name, line, entries });
                    }
                    None => report.error(line, Some(&name), "expected a table of keys, found a value"),
                }
            }
        }
        if groups.is_empty() && !report.has_errors() {
            report.error(0, None, "expected tables [nodes.NAME] and [edges.NAME], found none");
        }
        groups.sort_by_key(|group| group.line);
        Some(Self { groups })
    }
}

/// The keys of a group, in the order of the file.
fn entries(
    table: &DeTable<'_>,
    name: &GroupName,
    line_at: impl Fn(usize) -> usize,
    report: &mut Report,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let line = line_at(key.span().start);
        match word(value) {
            Some(value) => entries.push(Entry { key: key.get_ref().to_string(), value, line }),
            None => {
                let message = format!(
                    "`{}` is {}, expected a number, a word, true, false or a list of numbers",
                    key.get_ref(),
                    value.get_ref().type_str()
                );
                report.error(line, Some(name), message);
            }
        }
    }
    entries.sort_by_key(|entry| entry.line);
    entries
}

/// The value as a text has it: lists with commas, truth as 1 and 0.
fn word(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(is) => Some(u8::from(*is).to_string()),
        DeValue::Array(items) => {
            let scalar = |item: &Spanned<DeValue<'_>>| {
                let is_scalar = item.get_ref().is_integer() || item.get_ref().is_float();
                if is_scalar { word(item) } else { None }
            };
            Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// The network in TOML: reading it gives the same network.
///
/// ```
/// use znn::network::spec;
///
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let text = spec::to_toml(&network);
/// assert!(text.contains("[edges.first]"), "{text}");
/// assert_eq!(spec::parse_toml(text, "hello.toml")?.network, network);
/// # Ok::<(), spec::SpecError>(())
/// ```
pub fn to_toml(network: &Network) -> String {
    let mut report = Report::new("a network");
    let text = network.to_string();
    let document = Document::parse(text.as_bytes(), &mut report).expect("a network is written as text");
    let mut out = String::new();
    for Group { name, entries, .. } in &document.groups {
        // A name or key may need quotes, which the library knows.
        let key = |key: &str| toml::to_string(&Table::from_iter([(key.to_owned(), Value::from(0))]));
        let key = |text: &str| {
            let line = key(text).expect("a key can be written");
            line.strip_suffix(" = 0\n").expect("a key and its value").to_owned()
        };
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("[{}.{}]\n", name.kind, key(&name.name)));
        for entry in entries {
            out.push_str(&format!("{} = {}\n", key(&entry.key), value(&entry.value)));
        }
    }
    out
}

/// A word of the text format as a value: numbers and lists of numbers as such, all else as a string.
fn value(word: &str) -> Value {
    let number = |text: &str| {
        // What is not written as it was read is no number, such as 007.
        let integer = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        let float = || text.parse::<f64>().ok().filter(|number| number.is_finite() && is_float(text));
        integer.map(Value::from).or_else(|| float().map(Value::from))
    };
    let numbers = || word.split(',').map(number).collect::<Option<Vec<_>>>();
    match numbers() {
        Some(list) if list.len() == 1 => list[0].clone(),
        Some(list) => Value::Array(list),
        None => Value::from(word),
    }
}

/// Whether it has the form of a decimal fraction that Rust's shortest writing keeps.
fn is_float(text: &str) -> bool {
    text.contains('.') && text.parse::<f64>().is_ok_and(|number| number.to_string() == text)
}
