//! A network with an output patch, as a case.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use znn::Extent;
use znn::network::{Network, spec};

use super::super::paper::Family;
use super::super::table::Case;

/// A network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetCase {
    name: String,
    network: Source,
    pub output: Extent,
    /// Whether every max pooling is read as a max filter, so that the output is dense.
    #[serde(default)]
    dense: bool,
}

/// Where it comes from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Source {
    /// A file, by its path from the folder of the table.
    File(PathBuf),
    /// The 3D network of the paper with this width.
    #[serde(rename = "paper-3d")]
    Paper3d(usize),
    /// The 2D one.
    #[serde(rename = "paper-2d")]
    Paper2d(usize),
}

impl Case for NetCase {
    const BUILT_IN: &'static str = include_str!("../../../../benches/net.toml");
    const FILE: &'static str = "benches/net.toml";

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), String> {
        let empty_width = matches!(self.network, Source::Paper3d(0) | Source::Paper2d(0));
        if self.output.is_empty() || empty_width {
            return Err("expected sizes of at least 1".to_owned());
        }
        Ok(())
    }
}

impl NetCase {
    /// The network; `None`, where its file is not there. `table` is the file of the table.
    pub fn network(&self, table: &Path) -> Result<Option<Arc<Network>>, Box<dyn Error>> {
        let network = match &self.network {
            Source::Paper3d(width) => Family::ThreeD.network(*width),
            Source::Paper2d(width) => Family::TwoD.network(*width),
            Source::File(path) => {
                let path = table.parent().unwrap_or(Path::new("")).join(path);
                if !path.exists() {
                    return Ok(None);
                }
                Arc::new(spec::read(&path)?.network)
            }
        };
        Ok(Some(if self.dense { Arc::new(network.to_dense()) } else { network }))
    }
}

#[cfg(test)]
mod tests {
    use znn::network::EdgeOp;

    use super::*;

    fn table(text: &str) -> Vec<NetCase> {
        #[derive(Deserialize)]
        struct Table {
            case: Vec<NetCase>,
        }
        toml::from_str::<Table>(text).unwrap().case
    }

    #[test]
    fn the_table_of_the_project_makes_sense() {
        let cases = table(NetCase::BUILT_IN);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(NetCase::FILE);
        let mut found = 0;
        for case in &cases {
            assert_eq!(case.check(), Ok(()), "{}", case.name);
            // Those of the original system may be missing.
            if let Some(network) = case.network(&file).unwrap() {
                network.shapes(case.output).unwrap_or_else(|error| panic!("{}: {error}", case.name));
                found += 1;
            }
        }
        assert!(found >= 7, "{found} networks");
        let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cases.len(), "names are unique");
    }

    #[test]
    fn files_are_found_from_the_table_and_read_as_dense() {
        let folder = tempfile::tempdir().unwrap();
        let text = "
            nodes a\ntype input\nsize 1\n
            edges p\ntype max_pool\nsize 1,2,2\ninput a\noutput b\n
            nodes b\ntype sum\nsize 1\n";
        std::fs::write(folder.path().join("pool.znn"), text).unwrap();
        let cases = table(
            "[[case]]\nname = 'dense'\nnetwork = { file = 'pool.znn' }\noutput = [1, 4, 4]\ndense = true\n\
             [[case]]\nname = 'pooled'\nnetwork = { file = 'pool.znn' }\noutput = [1, 4, 4]\n\
             [[case]]\nname = 'missing'\nnetwork = { file = 'none.znn' }\noutput = [1, 4, 4]\n",
        );
        let file = folder.path().join("table.toml");
        let op = |case: &NetCase| case.network(&file).unwrap().map(|network| network.edges()[0].op);
        assert!(matches!(op(&cases[0]), Some(EdgeOp::MaxFilter { .. })));
        assert!(matches!(op(&cases[1]), Some(EdgeOp::MaxPool { .. })));
        assert_eq!(op(&cases[2]), None);
    }
}
