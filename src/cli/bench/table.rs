//! Tables of cases: what is measured is data.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use znn_kernels::Isa;

/// Which cases are measured, and how.
#[derive(Args)]
pub struct TableArgs {
    /// Measure with this number of threads only.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The instruction set [default: the widest of the machine].
    #[arg(long, value_name = "TIER")]
    pub isa: Option<Isa>,
    /// Cases of your own, in a file of the form of the built-in one (benches/*.toml).
    #[arg(long, value_name = "FILE.toml")]
    cases: Option<PathBuf>,
    /// Only the cases whose names contain one of these.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<String>,
    /// Also write the figures to a file, an array of JSON objects.
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
}

/// A case of a table.
pub trait Case: DeserializeOwned {
    /// The table that is used unless a file is given.
    const BUILT_IN: &'static str;
    /// Where it is in the project.
    const FILE: &'static str;

    /// By which it is chosen and reported.
    fn name(&self) -> &str;

    /// What is wrong with its sizes.
    fn check(&self) -> Result<(), String>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table<C> {
    case: Vec<C>,
}

impl TableArgs {
    /// The chosen cases of the table.
    ///
    /// # Errors
    /// Where the table cannot be read, one of its cases makes no sense, or none is chosen.
    pub fn read<C: Case>(&self) -> Result<Vec<C>, Box<dyn Error>> {
        let place = self.file::<C>().display().to_string();
        let text = match &self.cases {
            Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?,
            None => C::BUILT_IN.to_owned(),
        };
        let table: Table<C> = toml::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
        for case in &table.case {
            case.check().map_err(|error| format!("{place}: case `{}`: {error}", case.name()))?;
        }
        let wanted =
            |case: &C| self.only.is_empty() || self.only.iter().any(|text| case.name().contains(text));
        let cases: Vec<C> = table.case.into_iter().filter(wanted).collect();
        if cases.is_empty() { Err(format!("{place}: no case is chosen").into()) } else { Ok(cases) }
    }

    /// The table's file, from which the paths in it start.
    pub fn file<C: Case>(&self) -> &Path {
        self.cases.as_deref().unwrap_or(Path::new(C::FILE))
    }

    /// The numbers of threads to measure with: one and `all`, unless a number is asked for.
    pub fn thread_counts(&self, all: usize) -> Vec<usize> {
        let mut counts = self.threads.map_or(vec![1, all], |n| vec![n]);
        counts.dedup();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Named {
        name: String,
        size: usize,
    }

    impl Case for Named {
        const BUILT_IN: &'static str = "[[case]]\nname = 'a 1'\nsize = 1\n[[case]]\nname = 'a 2'\nsize = 2\n[[case]]\nname = 'b'\nsize = 3\n";
        const FILE: &'static str = "benches/named.toml";

        fn name(&self) -> &str {
            &self.name
        }

        fn check(&self) -> Result<(), String> {
            if self.size > 0 { Ok(()) } else { Err("expected a size".to_owned()) }
        }
    }

    fn args(cases: Option<&Path>, only: &[&str]) -> TableArgs {
        TableArgs {
            threads: None,
            isa: None,
            cases: cases.map(Path::to_owned),
            only: only.iter().map(|&text| text.to_owned()).collect(),
            json: None,
        }
    }

    #[test]
    fn cases_are_chosen_by_parts_of_their_names() {
        let sizes = |only: &[&str]| -> Vec<usize> {
            args(None, only).read::<Named>().unwrap().iter().map(|case| case.size).collect()
        };
        assert_eq!(sizes(&[]), [1, 2, 3]);
        assert_eq!(sizes(&["a"]), [1, 2]);
        assert_eq!(sizes(&["b", "2"]), [2, 3]);
        let none = args(None, &["c"]).read::<Named>().unwrap_err();
        assert_eq!(none.to_string(), "benches/named.toml: no case is chosen");
    }

    #[test]
    fn errors_name_file_and_case() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        for (text, expected) in [
            ("[[case]]\nname = 'x'\nsize = 0\n", "own.toml: case `x`: expected a size"),
            ("[[case]]\nname = 'x'\n", "own.toml: TOML parse error"),
            ("[[cases]]\nname = 'x'\n", "own.toml: TOML parse error"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = args(Some(&path), &[]).read::<Named>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn one_thread_and_all_unless_asked() {
        let mut args = args(None, &[]);
        assert_eq!(args.thread_counts(4), [1, 4]);
        assert_eq!(args.thread_counts(1), [1]);
        args.threads = Some(3);
        assert_eq!(args.thread_counts(4), [3]);
    }
}
