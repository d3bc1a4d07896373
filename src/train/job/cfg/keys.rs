//! The keys of a job.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use toml::{Table, Value};

use super::{LossKind, Target};
use crate::conv::{Choice, Method};
use crate::data::ini::{Entry, Ini, IniError, Remark};
use crate::network::spec::suggest;
use crate::volume::Extent;

/// The section of the job.
pub(super) const SECTION: &str = "parameters";

/// All keys, in lower case.
pub(super) const KEYS: [&str; 45] = [
    "fnet_spec",
    "fdata_spec",
    "num_threads",
    "dtype",
    "out_type",
    "logging",
    "train_net_prefix",
    "train_net",
    "train_save_net",
    "train_range",
    "test_range",
    "train_outsz",
    "train_conv_mode",
    "is_train_optimize",
    "is_forward_optimize",
    "force_fft",
    "cost_fn",
    "is_malis",
    "malis_norm_type",
    "is_constrained_malis",
    "eta",
    "anneal_factor",
    "momentum",
    "weight_decay",
    "num_iter_per_annealing",
    "is_data_aug",
    "is_bd_mirror",
    "rebalance_mode",
    "is_rebalance",
    "is_patch_rebalance",
    "is_visual",
    "is_stdio",
    "is_debug",
    "is_check",
    "num_iter_per_show",
    "num_iter_per_test",
    "test_num",
    "num_iter_per_save",
    "max_iter",
    "forward_range",
    "forward_net",
    "forward_outsz",
    "forward_conv_mode",
    "output_prefix",
    "train_load_net",
];

/// The keys of one file, understood.
pub(super) struct Keys<'a> {
    ini: &'a Ini,
    entries: &'a [Entry],
    /// The keys of the native job, but for its files.
    pub layer: Table,
    pub prefix: Option<String>,
    pub mirror: bool,
    pub threads: usize,
    pub target: Target,
    pub loss: LossKind,
    pub forward_algorithm: Choice,
}

impl<'a> Keys<'a> {
    pub fn read(ini: &'a Ini, warnings: &mut Vec<Remark>) -> Result<Self, IniError> {
        let Some(section) = ini.section(SECTION) else {
            return Err(ini.error(1, format!("the section [{SECTION}] is missing")));
        };
        let mut keys = Self {
            ini,
            entries: &section.entries,
            layer: defaults(),
            prefix: None,
            mirror: false,
            threads: 0,
            target: Target::Boundary,
            loss: LossKind::Auto,
            forward_algorithm: Choice::Measure,
        };
        for entry in &section.entries {
            // As in the original, a key without a value is as good as absent.
            if KEYS.contains(&entry.key.as_str()) && entry.value.is_empty() {
                continue;
            }
            keys.read_entry(entry, warnings)?;
        }
        if keys.entry("out_type").is_none() {
            return Err(ini.error(section.line, "the required key `out_type` is missing"));
        }
        Ok(keys)
    }

    /// The entry of a key, unless it has no value.
    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key && !entry.value.is_empty())
    }

    pub fn required(&self, key: &str) -> Result<&'a Entry, IniError> {
        self.entry(key).ok_or_else(|| {
            let line = self.ini.section(SECTION).map_or(1, |section| section.line);
            self.ini.error(line, format!("the required key `{key}` is missing"))
        })
    }

    /// The network's file.
    pub fn net(&self) -> Result<PathBuf, IniError> {
        let entry = self.required("fnet_spec")?;
        self.ini.locate(entry, &entry.value)
    }

    fn read_entry(&mut self, entry: &Entry, warnings: &mut Vec<Remark>) -> Result<(), IniError> {
        let mut warn = |message: &str| {
            warnings.push(self.ini.remark(entry.line, format!("`{}` has no effect: {message}", entry.key)));
        };
        match entry.key.as_str() {
            "fnet_spec" | "fdata_spec" | "train_range" | "test_range" | "forward_range" | "forward_net"
            | "output_prefix" | "malis_norm_type" => {}
            "num_threads" => {
                let count: i64 = self.parse(entry, "a whole number")?;
                self.threads = usize::try_from(count).unwrap_or(0);
                self.set("threads", Value::Integer(count.max(0)));
            }
            "dtype" => match entry.value.as_str() {
                "float32" | "single" => {}
                "float64" | "double" => warn("all computing is in 32 bits"),
                _ => return Err(self.expected(entry, "float32 or float64")),
            },
            "out_type" => {
                self.target = match entry.value.as_str() {
                    value if value.contains("boundary") => Target::Boundary,
                    value if value.contains("affinity") => Target::Affinity,
                    value if value.contains("semantic") => Target::Semantic,
                    _ => return Err(self.expected(entry, "boundary, affinity or semantic")),
                };
                self.set("target", Value::String(self.target.to_string()));
            }
            "logging" => {
                if self.flag(entry)? {
                    warn("the history is always written, to metrics.jsonl");
                }
            }
            "train_net_prefix" | "train_net" | "train_save_net" => {
                let prefix = entry.value.strip_suffix(".h5").unwrap_or(&entry.value);
                // The first of the aliases is the key of the last version.
                if entry.key == "train_net_prefix" || self.entry("train_net_prefix").is_none() {
                    self.prefix = Some(prefix.to_owned());
                }
            }
            "train_load_net" => warn("give the file with --weights"),
            "train_outsz" => {
                let size: Extent = self.extent(entry)?;
                let axes = size.to_array().map(|axis| Value::Integer(axis as i64));
                self.set("output-size", Value::Array(axes.to_vec()));
            }
            "forward_outsz" => {
                self.extent(entry)?;
                warn("tiles are as large as the memory allows (--memory); the result is the same");
            }
            "train_conv_mode" => {
                let algorithm = self.algorithm(entry)?;
                self.set("algorithm", Value::String(algorithm.to_string()));
            }
            "forward_conv_mode" => self.forward_algorithm = self.algorithm(entry)?,
            "is_train_optimize" | "force_fft" => {
                let is_on = self.flag(entry)?;
                // Other keys of the same meaning are older.
                if self.entry("train_conv_mode").is_none() {
                    let algorithm = match (entry.key.as_str(), is_on) {
                        ("force_fft", true) => Some(Choice::Fixed(Method::Fft)),
                        ("force_fft", false) => None,
                        (_, true) => Some(Choice::Measure),
                        (_, false) => Some(Choice::Fixed(Method::Direct)),
                    };
                    if let Some(algorithm) = algorithm {
                        self.set("algorithm", Value::String(algorithm.to_string()));
                    }
                }
            }
            "is_forward_optimize" => {
                let is_on = self.flag(entry)?;
                if self.entry("forward_conv_mode").is_none() {
                    self.forward_algorithm =
                        if is_on { Choice::Measure } else { Choice::Fixed(Method::Direct) };
                }
            }
            "cost_fn" => {
                self.loss = match entry.value.as_str() {
                    "auto" => LossKind::Auto,
                    value if value.contains("square-square") || value.contains("square_square") => {
                        LossKind::SquareSquare
                    }
                    value if value.contains("square") => LossKind::Square,
                    value if value.contains("binomial") => LossKind::BinomialCrossEntropy,
                    value if value.contains("softmax") => LossKind::Softmax,
                    _ => {
                        let names =
                            "auto, square_loss, square-square_loss, binomial_cross_entropy or softmax_loss";
                        return Err(self.expected(entry, names));
                    }
                };
                self.set("loss", Value::String(self.loss.to_string()));
            }
            "is_malis" => {
                if self.flag(entry)? && !self.layer.contains_key("malis") {
                    let mode = match self.entry("malis_norm_type").map(|entry| (entry, entry.value.as_str()))
                    {
                        None | Some((_, "none")) => "pairs",
                        Some((_, mode @ ("frac" | "num" | "pair"))) => mode,
                        Some((_, "constrain")) => "constrained",
                        Some((entry, _)) => {
                            return Err(self.expected(entry, "none, frac, num, pair or constrain"));
                        }
                    };
                    self.set("malis", Value::String(mode.to_owned()));
                }
            }
            "is_constrained_malis" => {
                let is_malis = match self.entry("is_malis") {
                    Some(entry) => self.flag(entry)?,
                    None => false,
                };
                if self.flag(entry)? && is_malis {
                    self.set("malis", Value::String("constrained".to_owned()));
                }
            }
            "eta" => self.number(entry, "eta", |v| v > 0.0, "a number above 0")?,
            "anneal_factor" => {
                let expected = "a number above 0 and at most 1";
                self.number(entry, "anneal-factor", |v| v > 0.0 && v <= 1.0, expected)?;
            }
            "momentum" => {
                self.number(entry, "momentum", |v| (0.0..1.0).contains(&v), "a number from 0 to below 1")?;
            }
            "weight_decay" => {
                self.number(entry, "weight-decay", |v| (0.0..=1.0).contains(&v), "a number from 0 to 1")?;
            }
            "num_iter_per_annealing" => self.count(entry, "anneal-every")?,
            "num_iter_per_show" => self.count(entry, "report-every")?,
            "num_iter_per_test" => self.count(entry, "validate-every")?,
            "test_num" => self.count(entry, "validate-patches")?,
            "num_iter_per_save" => self.count(entry, "checkpoint-every")?,
            "max_iter" => self.count(entry, "iterations")?,
            "is_data_aug" => {
                let is_on = self.flag(entry)?;
                self.set("augment", Value::Boolean(is_on));
            }
            "is_bd_mirror" => {
                self.mirror = self.flag(entry)?;
                self.set("mirror", Value::Boolean(self.mirror));
            }
            "rebalance_mode" => {
                let mode = match entry.value.to_lowercase().as_str() {
                    mode @ ("none" | "global" | "patch") => mode.to_owned(),
                    _ => return Err(self.expected(entry, "none, global or patch")),
                };
                self.set("rebalance", Value::String(mode));
            }
            "is_rebalance" | "is_patch_rebalance" => {
                if self.flag(entry)? {
                    warn("give rebalance_mode = global or patch");
                }
            }
            "is_visual" => {
                if self.flag(entry)? {
                    warn("curve.png and preview.png are always written");
                }
            }
            "is_stdio" => {
                let layout = if self.flag(entry)? { "single" } else { "root" };
                self.set("hdf5-layout", Value::String(layout.to_owned()));
            }
            "is_debug" => {
                if self.flag(entry)? {
                    warn("patches are not stored; preview.png shows one");
                }
            }
            "is_check" => {
                if self.flag(entry)? {
                    warn("gradients are checked with `znn check`");
                }
            }
            key => {
                let hint = suggest::hint(key, KEYS);
                return Err(self.ini.error(entry.line, format!("unknown key `{key}`{hint}")));
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value) {
        self.layer.insert(key.to_owned(), value);
    }

    fn expected(&self, entry: &Entry, expected: impl Display) -> IniError {
        let Entry { key, value, line } = entry;
        self.ini.error(*line, format!("{key} = {value}: expected {expected}"))
    }

    fn parse<T: FromStr>(&self, entry: &Entry, expected: &str) -> Result<T, IniError> {
        entry.value.parse().map_err(|_| self.expected(entry, expected))
    }

    fn number(
        &mut self,
        entry: &Entry,
        key: &str,
        is_valid: impl Fn(f64) -> bool,
        expected: &str,
    ) -> Result<(), IniError> {
        let value: f64 = self.parse(entry, expected)?;
        if !value.is_finite() || !is_valid(value) {
            return Err(self.expected(entry, expected));
        }
        self.set(key, Value::Float(value));
        Ok(())
    }

    fn count(&mut self, entry: &Entry, key: &str) -> Result<(), IniError> {
        let expected = "a whole number above 0";
        let count: i64 = self.parse(entry, expected)?;
        if count < 1 {
            return Err(self.expected(entry, expected));
        }
        self.set(key, Value::Integer(count));
        Ok(())
    }

    fn flag(&self, entry: &Entry) -> Result<bool, IniError> {
        match entry.value.to_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Ok(true),
            "no" | "false" | "off" | "0" => Ok(false),
            _ => Err(self.expected(entry, "yes or no")),
        }
    }

    fn extent(&self, entry: &Entry) -> Result<Extent, IniError> {
        let parts: Vec<&str> = entry.list().collect();
        let size = parts.join(",").parse().ok().filter(|size: &Extent| !size.is_empty());
        size.ok_or_else(|| self.expected(entry, "three integers z,y,x above 0"))
    }

    fn algorithm(&self, entry: &Entry) -> Result<Choice, IniError> {
        match entry.value.as_str() {
            "fft" => Ok(Choice::Fixed(Method::Fft)),
            "direct" => Ok(Choice::Fixed(Method::Direct)),
            "optimize" => Ok(Choice::Measure),
            _ => Err(self.expected(entry, "fft, direct or optimize")),
        }
    }
}

/// What the original does where a key is absent and a native job something else.
fn defaults() -> Table {
    let mut table = Table::new();
    for key in ["augment", "group-rates"] {
        table.insert(key.to_owned(), Value::Boolean(false));
    }
    table.insert("centred".to_owned(), Value::Boolean(true));
    table.insert("report-every".to_owned(), Value::Integer(100));
    table
}
