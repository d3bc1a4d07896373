//! The text format of networks, `.znn`.
//!
//! ```text
//! nodes input              # a comment: from a word that begins with # to the end of the line
//! type input
//! size 1
//!
//! edges conv1
//! type conv
//! size 1,3,3
//! init msra
//! input input
//! output out
//!
//! nodes out
//! type transfer
//! function rectify_linear
//! size 24
//! ```
//!
//! `nodes NAME` or `edges NAME` opens a group; the lines behind it are `KEY VALUE`, both of them words without white
//! space. Groups and keys come in any order. Sizes along three axes are `z,y,x`, where x is contiguous in memory.
//!
//! | nodes of type | keys |
//! |---|---|
//! | all | `type`, `size` = number of feature maps, `dense` 0 or 1 = 0: the dilation starts again at 1 behind this group |
//! | `input` | |
//! | `sum`, `average`, `multiply` | |
//! | `concat` | the maps of its edges, in the order of the file: `size` is the sum of theirs |
//! | `maxout` | |
//! | `softmax` | over the maps of each voxel |
//! | `transfer` | `function`, `function_args`, `init` = zero (of the biases), `init_args`, and the keys of training |
//! | `normalise` | the same, `function` = linear; `epsilon` = 1e-5, `statistics` own or running = running, `fraction` = 0.01 |
//!
//! | edges of type | keys |
//! |---|---|
//! | all | `type`, `input`, `output` = names of node groups |
//! | `conv` | `size`, `stride` = 1,1,1 (of the dilation behind it), `pad` = 0,0,0, `downsample` = 1,1,1 (a real stride), `repeat` = 1,1,1, `fft` 0 or 1, `init`, `init_args` and the keys of training, or `share` = name of the conv edge whose kernels it uses |
//! | `deconv` | `size`, `stride` = 1,1,1 (how much larger images become), `pad` = 0,0,0 (cut off), `init`, `init_args`, and the keys of training |
//! | `max_filter` | `size`, at most 256 along each axis, `stride` |
//! | `max_pool` | `size`, the same, `downsample` = `size`, `pad` = 0,0,0 |
//! | `average_pool`, `upsample` | `size` |
//! | `dropout` | `ratio` = 0.5, the probability that a voxel is **kept** |
//! | `node_dropout` | `ratio` = 0.5, the probability that a map is **kept** |
//! | `crop` | `offset`, removed on both sides |
//! | `scale` | a learned factor for each map: `init` = constant 1, `init_args`, and the keys of training |
//! | `slice` | `first`, the first map that is taken, counted from 0 |
//! | `maxout`, `dummy` | |
//!
//! Keys of training: `eta`, `momentum`, `weight_decay`, which override the trainer's values for this group, and
//! `seeding` 0 or 1 = 1, whether the values may be copied from another network's file.
//!
//! | `function` | `function_args` | value |
//! |---|---|---|
//! | `linear` | `a,b` = 1,0 | a x + b |
//! | `rectify_linear` | | max(x, 0) |
//! | `leaky_rectify_linear` | `a` = 0.01, not negative | x where x > 0, else a x |
//! | `parametric_rectify_linear` | `a` = 0.25 | the same, a is learned for each map; not for `normalise` |
//! | `exponential_linear` | `a` = 1, not negative | x where x > 0, else a (exp(x) - 1) |
//! | `tanh` | `a,b` = 1,1 | a tanh(b x) |
//! | `soft_sign` | | x / (1 + abs(x)) |
//! | `logistics` | | 1 / (1 + exp(-x)) |
//! | `forward_logistics` | | the same, but gradients pass unchanged |
//!
//! | `init` | `init_args` | values |
//! |---|---|---|
//! | `zero` | | 0 |
//! | `constant` | `c` | c |
//! | `uniform` | `a,b` = -0.1,0.1 or `r` for -r,r | uniform within a..b |
//! | `gaussian` | `mu,sigma` = 0,0.01 | normal |
//! | `bernoulli` | `p` = 0.5 | 1 with probability p, else 0 |
//! | `xavier` | | uniform within -r..r, r = sqrt(6 / (fan in + fan out)); not for biases |
//! | `msra` | | normal, sigma = sqrt(2 / fan in); not for biases |
//!
//! `docs/networks.md` explains them with the rules for sizes.
//!
//! The same may be written in TOML ([`parse_toml`], [`to_toml`]): a table `[nodes.NAME]` or `[edges.NAME]` for each group,
//! with the same keys; lists of numbers are arrays there.
//!
//! Keys that mean nothing for their group are kept, written again and reported as warnings. Everything that can be
//! wrong is reported with file, line and group, up to fifty errors at once.

mod diagnostic;
mod document;
mod edge;
mod group;
mod init;
mod node;
pub(crate) mod suggest;
mod toml_form;
mod value;
mod write;

use std::path::Path;

pub use diagnostic::{Diagnostic, SpecError};
use document::Document;
pub use toml_form::to_toml;

use super::{GroupKind, GroupName, Network};

/// The longest file that is read, in bytes: hundreds of times what the networks of this field need.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A network and what its file gave reason to remark.
///
/// ```
/// use znn::network::spec::{self, Parsed};
///
/// let text = std::fs::read_to_string("examples/networks/hello.znn")?;
/// let parsed: Parsed = spec::parse(text + "colour red\n", "red.znn")?;
/// assert_eq!(parsed.network.nodes().len(), 3);
/// // A key that has no effect.
/// assert!(parsed.warnings[0].to_string().contains("colour"), "{}", parsed.warnings[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The network.
    pub network: Network,
    /// What has no effect, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the file at `path`: TOML where its name ends in `.toml`, else text.
///
/// # Errors
/// Where the file cannot be read, and as [`parse`].
///
/// ```
/// let network = znn::network::spec::read("examples/networks/hello.znn".as_ref())?.network;
/// assert_eq!(network.edges().len(), 2);
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
pub fn read(path: &Path) -> Result<Parsed, SpecError> {
    let fail = |source| SpecError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(fail)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(SpecError::TooLong { path: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    let (bytes, name) = (std::fs::read(path).map_err(fail)?, path.display().to_string());
    if is_toml(path) { parse_toml(bytes, &name) } else { parse(bytes, &name) }
}

/// Whether the name of the file says that it is TOML.
#[doc(hidden)]
pub fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// Reads the text of a network file; `file` is its name in messages. [`Network`]'s `Display` is the inverse.
///
/// # Errors
/// [`SpecError::Invalid`] with all that is wrong.
///
/// ```
/// let text = std::fs::read_to_string("examples/networks/hello.znn")?;
/// let network = znn::network::spec::parse(text, "hello.znn")?.network;
/// assert_eq!(network.find_node("hidden").map(|node| network[node].size), Some(12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse(text: impl AsRef<[u8]>, file: &str) -> Result<Parsed, SpecError> {
    parse_by(Document::parse, text.as_ref(), file)
}

/// As [`parse`], of a network in TOML; [`to_toml`] is the inverse.
///
/// # Errors
/// As [`parse`].
///
/// ```
/// use znn::network::spec;
///
/// let text = "
///     nodes.image = { type = 'input', size = 1 }
///     edges.filter = { type = 'conv', size = [1, 3, 3], init = 'msra', input = 'image', output = 'result' }
///     nodes.result = { type = 'transfer', function = 'rectify_linear', size = 4 }
/// ";
/// assert_eq!(spec::parse_toml(text, "small.toml")?.network.edges()[0].name, "filter");
/// # Ok::<(), spec::SpecError>(())
/// ```
pub fn parse_toml(text: impl AsRef<[u8]>, file: &str) -> Result<Parsed, SpecError> {
    parse_by(Document::parse_toml, text.as_ref(), file)
}

fn parse_by(
    read: fn(&[u8], &mut diagnostic::Report) -> Option<Document>,
    text: &[u8],
    file: &str,
) -> Result<Parsed, SpecError> {
    let mut report = diagnostic::Report::new(file);
    let document = read(text, &mut report);
    let network = document.and_then(|document| network(&document, &mut report));
    match (report.into_result(), network) {
        (Ok(warnings), Some(network)) => Ok(Parsed { network, warnings }),
        (Err(error), _) => Err(error),
        (Ok(_), None) => unreachable!("a network is refused for a reported reason"),
    }
}

fn network(document: &Document, report: &mut diagnostic::Report) -> Option<Network> {
    let (node_groups, edge_groups): (Vec<_>, Vec<_>) =
        document.groups.iter().partition(|group| group.name.kind == GroupKind::Nodes);
    let names = edge::Names::new(names(&node_groups), names(&edge_groups));
    let nodes: Vec<_> = node_groups.iter().map(|group| node::read(group, report)).collect();
    let edges: Vec<_> = edge_groups.iter().map(|group| edge::read(group, &names, report)).collect();
    if report.has_errors() {
        return None;
    }
    let (nodes, edges) = (nodes.into_iter().flatten().collect(), edges.into_iter().flatten().collect());
    match Network::new(nodes, edges) {
        Ok(network) => Some(network),
        Err(errors) => {
            for error in errors {
                if report.is_full() {
                    break;
                }
                let line = error.group.as_ref().map_or(0, |group| document.line_of(group));
                report.error(line, error.group.as_ref(), error.message);
            }
            None
        }
    }
}

fn names<'a>(groups: &[&'a document::Group]) -> Vec<&'a str> {
    groups.iter().map(|group| group.name.name.as_str()).collect()
}

impl Document {
    /// The line that opens the group.
    fn line_of(&self, name: &GroupName) -> usize {
        self.groups.iter().find(|group| group.name == *name).map_or(0, |group| group.line)
    }
}

#[cfg(test)]
mod tests;
