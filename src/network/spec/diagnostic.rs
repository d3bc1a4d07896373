//! What is said about a network file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::network::GroupName;

/// After so many remarks of one kind the rest is not worth reading.
const MAX_REMARKS: usize = 50;

/// One remark about one place of a network file.
///
/// ```
/// use znn::network::spec::{self, Diagnostic, SpecError};
///
/// let SpecError::Invalid(found) = spec::parse("nodes image\ntype inptu\nsize 1\n", "a.znn").unwrap_err() else {
///     panic!("a text that is wrong");
/// };
/// let Diagnostic { file, line, message, .. } = &found[0];
/// assert_eq!((file.as_str(), *line), ("a.znn", 2), "{message}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The name of the file.
    pub file: String,
    /// The line, from 1; 0 where the remark is about the file as a whole.
    pub line: usize,
    /// The group that the line belongs to.
    pub group: Option<GroupName>,
    /// What was found and what was expected.
    pub message: String,
}

/// Written `file:line: group: message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(group) = &self.group {
            write!(f, ": {group}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A network file cannot be used.
///
/// ```
/// use znn::network::spec::{self, SpecError};
///
/// let error = spec::read("there/is/none.znn".as_ref()).unwrap_err();
/// assert!(matches!(error, SpecError::Read { .. }), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is too long to be a network file.
    #[error("{}: expected a network file, but this has {bytes} bytes, more than {limit}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// Its text is wrong; one line for each reason.
    #[error("{}", lines(.0))]
    Invalid(Vec<Diagnostic>),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects the remarks about one file.
pub(super) struct Report {
    file: String,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Report {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), warnings: Vec::new() }
    }

    pub fn error(&mut self, line: usize, group: Option<&GroupName>, message: impl Into<String>) {
        if !self.is_full() {
            let error = self.diagnostic(line, group, message.into());
            self.errors.push(error);
        }
    }

    pub fn warning(&mut self, line: usize, group: Option<&GroupName>, message: impl Into<String>) {
        if !self.warns_enough() {
            let warning = self.diagnostic(line, group, message.into());
            self.warnings.push(warning);
        }
    }

    fn diagnostic(&self, line: usize, group: Option<&GroupName>, message: String) -> Diagnostic {
        Diagnostic { file: self.file.clone(), line, group: group.cloned(), message }
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether further errors are dropped, so that there is no use in searching for them.
    pub fn is_full(&self) -> bool {
        self.errors.len() >= MAX_REMARKS
    }

    /// Whether further warnings are dropped.
    pub fn warns_enough(&self) -> bool {
        self.warnings.len() >= MAX_REMARKS
    }

    /// The warnings, or else the errors, in the order of the file.
    pub fn into_result(self) -> Result<Vec<Diagnostic>, SpecError> {
        let sorted = |mut list: Vec<Diagnostic>| {
            list.sort_by_key(|diagnostic| diagnostic.line);
            list
        };
        if self.errors.is_empty() {
            Ok(sorted(self.warnings))
        } else {
            Err(SpecError::Invalid(sorted(self.errors)))
        }
    }
}
