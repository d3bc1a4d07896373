//! One volume, from the file that is read to the files that are written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use indicatif::{ProgressBar, ProgressStyle};
use znn::data::formats::VolumeReader;
use znn::data::{DataError, Normalisation, Preprocess, volume_file};
use znn::infer::{
    DenseOptions, DensePlan, InferError, Input, Progress, Shard, SharedPlan, Stage, fingerprint,
};
use znn::network::Network;
use znn::network::weights_file::Model;
use znn::train::job::LossKind;
use znn::train::notes;
use znn::train::report::Verbosity;
use znn::{Engine, Extent};

use super::output::{Files, Kind};
use crate::cli::interrupt::Interrupt;
use crate::cli::warn;

/// The volume cannot be predicted.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unpredicted {
    path: PathBuf,
    source: InferError,
}

/// Volumes that are to be seen together do not fit.
#[derive(Debug, thiserror::Error)]
#[error("{}: {found} voxels (z,y,x), expected {expected} as in {}", path.display(), first.display())]
pub struct Unequal {
    path: PathBuf,
    found: Extent,
    expected: Extent,
    first: PathBuf,
}

/// A volume and how it is normalised.
pub struct Source {
    pub path: PathBuf,
    pub preprocess: Preprocess,
}

impl Source {
    fn measure(&self, reader: &mut dyn VolumeReader, memory: usize) -> Result<Normalisation, DataError> {
        self.preprocess.measure(&self.path.display().to_string(), reader, memory)
    }
}

/// What is the same for all volumes of a call.
pub struct Predictor<'a> {
    pub engine: &'a Engine,
    pub stages: Vec<Stage<'a>>,
    pub options: DenseOptions,
    pub interrupt: &'a Interrupt,
    pub verbosity: Verbosity,
}

/// How the blocks of a chunked output are shared and remembered.
pub struct Sharing<'a> {
    /// The output.
    pub output: &'a Path,
    pub shard: Shard,
    /// Whether what was begun is gone on with.
    pub resume: bool,
    /// Whether the folder stays when this process is done: others may need it.
    pub is_shared: bool,
    /// What else has to be the same for all.
    pub description: BTreeMap<String, String>,
}

impl Predictor<'_> {
    /// Predicts what `sources` have together, a volume for each input of the network or one for all; `chunk` is the wish for the chunks of the output, if it has any, `begin` makes the files for it. Returns `None` where it was stopped.
    pub fn run(
        &self,
        sources: &[Source],
        chunk: Option<Extent>,
        sharing: Option<&Sharing<'_>>,
        begin: impl FnOnce(&DensePlan<'_>, &Kind, &mut Files) -> Result<(), DataError>,
    ) -> Result<Option<Files>, Box<dyn std::error::Error>> {
        let first = &sources[0].path;
        let unpredicted = |source| Unpredicted { path: first.clone(), source };
        let mut readers = Vec::new();
        for Source { path, .. } in sources {
            readers.push(volume_file::open(path)?);
        }
        let info = readers[0].info().clone();
        for (reader, Source { path, .. }) in readers.iter().zip(sources) {
            let (path, found, expected) = (path.clone(), reader.info().extent, info.extent);
            if found != expected {
                return Err(Unequal { path, found, expected, first: first.clone() }.into());
            }
        }
        let channels = readers.iter().map(|reader| reader.info().channels).sum();
        let mut plan = DensePlan::new(self.engine, &self.stages, channels, info.extent, &self.options, chunk)
            .map_err(unpredicted)?;
        let mut measure = || -> Result<Vec<Normalisation>, DataError> {
            let sources = readers.iter_mut().zip(sources);
            let memory = self.options.memory / 4;
            sources.map(|(reader, source)| source.measure(reader.as_mut(), memory)).collect()
        };
        let mut progress = None;
        let mut blocks: Vec<usize> = (0..plan.blocks()).collect();
        let normalisations = match sharing {
            None => measure()?,
            Some(sharing) => {
                let folder = Progress::of(&volume_file::file_of(sharing.output));
                let shared = self.shared(sharing, &folder, &plan, measure)?;
                plan = plan.with_tiles(shared.tile, shared.step, Some(shared.chunk), &shared.fragments);
                let done = folder.done()?;
                blocks = sharing.shard.blocks(plan.blocks()).filter(|block| !done.contains(block)).collect();
                progress = Some(folder);
                let known = readers.iter().zip(&shared.normalisation).map(|(reader, bits)| {
                    Normalisation::from_bits(bits, reader.info().channels, info.extent.z)
                });
                let known: Option<Vec<Normalisation>> = known.collect();
                known
                    .filter(|known| known.len() == sources.len())
                    .ok_or("the plan of the prediction was made for another volume")?
            }
        };
        let kind = Kind { extent: plan.output(), voxel: info.voxel, chunk: plan.chunk() };
        let mut files = Files::default();
        begin(&plan, &kind, &mut files)?;
        let volumes = readers.into_iter().zip(normalisations).zip(sources);
        let mut input = volumes
            .map(|((reader, known), source)| Input::new(reader, known, &source.path.display().to_string()))
            .reduce(Input::with)
            .expect("at least one volume");
        let bar = progress_bar(self.verbosity);
        let is_done = plan
            .run(
                self.engine,
                &mut input,
                &blocks,
                &mut |part| files.write(&part, progress.as_ref()),
                |done, all| {
                    bar.set_length(all as u64);
                    bar.set_position(done as u64);
                    // Relaxed: the flag carries no data.
                    !self.interrupt.flag().load(Ordering::Relaxed)
                },
            )
            .map_err(unpredicted)?;
        bar.finish_and_clear();
        self.engine.take_warnings().iter().for_each(warn);
        if !is_done {
            return Ok(None);
        }
        if let (Some(progress), Some(false)) = (progress, sharing.map(|sharing| sharing.is_shared)) {
            progress.remove()?;
        }
        Ok(Some(files))
    }

    /// The plan that all who work on this output follow.
    fn shared(
        &self,
        sharing: &Sharing<'_>,
        folder: &Progress,
        plan: &DensePlan<'_>,
        measure: impl FnOnce() -> Result<Vec<Normalisation>, DataError>,
    ) -> Result<SharedPlan, Box<dyn std::error::Error>> {
        let mut description = sharing.description.clone();
        for (number, stage) in self.stages.iter().enumerate() {
            description.insert(format!("model {}", number + 1), model_fingerprint(stage));
        }
        description.insert("output extent".to_owned(), plan.output().to_string());
        description.insert("border".to_owned(), format!("{:?}", self.options.border));
        description.insert("overlap".to_owned(), format!("{:?}", self.options.overlap));
        description.insert("flips".to_owned(), self.options.flips.to_string());
        description.insert("algorithm".to_owned(), self.options.algorithm.to_string());
        let found = match folder.plan()? {
            Some(_) if !sharing.resume => {
                let folder = folder.folder().display();
                let message = format!(
                    "{folder}: a prediction has been begun here; --resume goes on with it, to begin anew remove this folder \
                     and the output"
                );
                return Err(message.into());
            }
            Some(found) => found,
            None => folder.begin(SharedPlan {
                description: description.clone(),
                tile: plan.tile(),
                step: plan.step(),
                chunk: plan.chunk().unwrap_or(plan.tile()),
                fragments: plan.fragments().to_vec(),
                normalisation: measure()?.iter().map(Normalisation::to_bits).collect(),
            })?,
        };
        found.agrees(folder.folder(), &description)?;
        Ok(found)
    }
}

/// What tells a model from others.
fn model_fingerprint(stage: &Stage<'_>) -> String {
    let network = format!("{:?}", stage.network);
    let edges = stage.network.edge_ids().filter_map(|edge| stage.parameters.edge(edge));
    let nodes = stage.network.node_ids().filter_map(|node| stage.parameters.node(node));
    let values = edges.map(|edge| edge.values()).chain(nodes.map(|node| node.values()));
    let bytes: Vec<Vec<u8>> =
        values.map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    fingerprint([network.as_bytes()].into_iter().chain(bytes.iter().map(Vec::as_slice)))
}

/// A model as a stage.
pub fn stage(model: &Model) -> Stage<'_> {
    let losses = model.notes.get(notes::LOSS).map_or("", String::as_str);
    let is_softmax = |loss: &str| loss == LossKind::Softmax.to_string();
    let softmax = bits(&model.network, losses.split(',').map(is_softmax));
    Stage { network: &model.network, parameters: &model.parameters, softmax }
}

/// The bits of the outputs that are `chosen` and not probabilities already.
pub fn bits(network: &Network, chosen: impl IntoIterator<Item = bool>) -> u64 {
    let outputs = network.outputs().zip(chosen).take(u64::BITS as usize).enumerate();
    let outputs = outputs.filter(|(_, (node, chosen))| *chosen && !network.gives_probabilities(*node));
    outputs.fold(0, |bits, (i, _)| bits | 1 << i)
}

/// Tiles done, on a terminal.
fn progress_bar(verbosity: Verbosity) -> ProgressBar {
    if verbosity == Verbosity::Quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("tile {pos}/{len} [{wide_bar}] {eta} left");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}
