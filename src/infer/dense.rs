//! A volume in tiles.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::blend::Blend;
use super::cascade::{Chain, Pooling};
use super::tiling::aligned;
use super::{Block, Flips, InferError, Input, Stage, Tiling};
use crate::conv::Choice;
use crate::data::formats::MemoryReader;
use crate::data::{DataError, Normalisation};
use crate::engine::Engine;
use crate::machine::memory::{self, Bytes};
use crate::network::{Network, Parameters, ShapeError};
use crate::volume::{Extent, Tensor};

/// What is predicted near the border of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Every voxel: the volume is mirrored at its border.
    #[default]
    Mirror,
    /// Those whose field of view lies inside: the output is smaller than the volume by field of view - 1.
    Valid,
}

/// How a volume is predicted.
#[derive(Clone, Copy, Debug)]
pub struct DenseOptions {
    /// What happens at the border.
    pub border: Border,
    /// The extent of the output tiles; `None`: the largest that fits `memory`.
    pub tile: Option<Extent>,
    /// The bytes that the network's images and weights, and the tiles that wait to be computed or written, may take.
    pub memory: usize,
    /// How convolutions are computed, where the network's file does not say.
    pub algorithm: Choice,
    /// How what follows a pooling is computed.
    pub pooling: Pooling,
    /// By how much neighbouring tiles overlap; what they give there is blended. `None`: not at all where a tile's border is
    /// as good as its middle, for networks without padding; else by a quarter.
    pub overlap: Option<Extent>,
    /// Blocks do not depend on each other: in place of blending, each is the middle of its tile.
    pub independent: bool,
    /// The images of a patch over which the prediction is averaged.
    pub flips: Flips,
}

/// Mirrored borders, 2 GiB, measured algorithms, no overlap and no flips.
impl Default for DenseOptions {
    fn default() -> Self {
        Self {
            border: Border::Mirror,
            tile: None,
            memory: 2 << 30,
            algorithm: Choice::Measure,
            pooling: Pooling::Auto,
            overlap: None,
            independent: false,
            flips: Flips::NONE,
        }
    }
}

/// Applies a network around every voxel of `volume`, which is given to each input node; `progress` is told how many
/// of how many tiles are done, and ends the work early by returning `false`. Returns the maps of each output node,
/// or `None` where it was ended.
///
/// Max pooling is read as max filtering followed by dilated operations, or is computed by fragments ([`Pooling`]), so that
/// the prediction is dense. The tiles
/// only bound the memory: the result is the same for any, but for the rounding of convolutions by FFT. A network with padding,
/// strides or deconvolution is applied to tiles of sizes that it takes, which overlap and are blended.
pub fn dense(
    engine: &Engine,
    network: &Network,
    parameters: &Parameters,
    volume: &Tensor,
    options: &DenseOptions,
    progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<Tensor>>, InferError> {
    let stage = Stage { network, parameters, softmax: false };
    let plan = DensePlan::new(engine, &[stage], volume.channels(), volume.extent(), options, None)?;
    let bytes = |channels: usize, extent: Extent| (channels * extent.len() * size_of::<f32>()) as u64;
    let maps: usize = plan.maps().iter().sum();
    memory::check(bytes(volume.channels(), volume.extent()) + bytes(maps, plan.output()))
        .map_err(|source| InferError::Volume { volume: volume.extent(), source })?;
    let mut predicted: Vec<Tensor> =
        plan.maps().iter().map(|&maps| Tensor::zeros(maps, plan.output())).collect();
    let mut input = Input::new(Box::new(MemoryReader::new(volume)), Normalisation::NONE, "");
    let all: Vec<usize> = (0..plan.blocks()).collect();
    let is_done = plan.run(
        engine,
        &mut input,
        &all,
        &mut |part| {
            predicted.iter_mut().zip(&part.maps).for_each(|(to, from)| to.paste(from, part.origin));
            Ok(())
        },
        progress,
    )?;
    Ok(is_done.then_some(predicted))
}

/// A box of the output.
pub struct Part {
    /// The blocks that are complete with it.
    pub blocks: Vec<usize>,
    /// Its first voxel.
    pub origin: Extent,
    /// The maps of each output node.
    pub maps: Vec<Tensor>,
}

/// How a volume of one extent is predicted: which tiles. They are read, computed and written one by one, by three threads,
/// so that the volume may be larger than the memory.
pub struct DensePlan<'a> {
    chain: Chain<'a>,
    options: DenseOptions,
    output: Extent,
    tiling: Tiling,
    /// Which stages are computed by fragments.
    fragments: Vec<bool>,
    /// The chunks of the output, on whose borders blocks begin and end.
    chunk: Option<Extent>,
}

impl<'a> DensePlan<'a> {
    /// Chooses the tiles for a volume: those of the options, or the largest that fit into the memory. Where the output is to
    /// be written in chunks, `chunk` is the wish for them, and blocks will end at their borders.
    ///
    /// # Errors
    /// Where the networks do not fit the volume or each other, or no tile fits into the memory.
    pub fn new(
        engine: &Engine,
        stages: &[Stage<'a>],
        channels: usize,
        volume: Extent,
        options: &DenseOptions,
        chunk: Option<Extent>,
    ) -> Result<Self, InferError> {
        let chain = Chain::new(stages, channels)?;
        let margin = chain.margin();
        let fov = margin + Extent::ONE;
        let output = match options.border {
            Border::Mirror => volume,
            Border::Valid => volume.checked_sub(margin).unwrap_or(Extent::ZERO),
        };
        if output.is_empty() {
            return Err(InferError::TooSmall { volume, fov });
        }
        if options.flips.transpose && margin.y != margin.x {
            return Err(InferError::Transpose { fov });
        }
        let fragments = vec![false; stages.len()];
        let tiling = Tiling::new(output, output);
        let mut plan = Self { chain, options: *options, output, tiling, fragments, chunk };
        let (tile, is_given) = match options.tile {
            Some(tile) if tile.is_empty() => return Err(ShapeError::Empty(tile).into()),
            Some(tile) => (plan.workable(Tiling::new(output, tile).tile())?, true),
            None => (plan.fitting(engine)?, false),
        };
        let overlap = plan.overlap(tile);
        // Equal tiles where nothing else is asked of them.
        let is_free = chunk.is_none() && overlap == Extent::ZERO;
        let tile = if is_free { plan.workable(Tiling::new(output, tile).tile())? } else { tile };
        let tile = plan.multiple(tile, is_given);
        plan.tiling = Tiling::exact(output, tile, overlap);
        plan.chunk = chunk.map(|wish| wish.min(output).max(Extent::ONE));
        if let (Some(wish), false) = (chunk, plan.is_blended()) {
            let (step, chunk) = aligned(plan.tiling.step(), wish, output);
            plan.chunk = Some(chunk);
            // What is not new to a tile is not computed, if tiles may have any size.
            let is_any = plan.chain.is_uniform() && !options.flips.transpose;
            let tile = if is_any && overlap == Extent::ZERO { step } else { tile };
            plan.tiling = Tiling::exact(output, tile, Extent::ZERO).with_blocks(step.min(tile));
        }
        plan.fragments = plan.choose(engine)?;
        if plan.is_blended() {
            let window = Blend::bytes(output, &plan.tiling, &plan.chain.maps(), plan.depth()) as u64;
            let volume = Extent { z: plan.tiling.tile().z, ..output };
            memory::check(window).map_err(|source| InferError::Volume { volume, source })?;
        }
        Ok(plan)
    }

    /// By how much tiles of that extent overlap.
    fn overlap(&self, tile: Extent) -> Extent {
        let several = tile.zip(self.output, |tile, output| usize::from(tile < output));
        let wanted = match self.options.overlap {
            Some(overlap) => overlap,
            None if self.chain.is_uniform() => Extent::ZERO,
            None => tile.zip(Extent::ONE, |tile, _| tile / 4),
        };
        wanted.min(tile.zip(Extent::ONE, |tile, _| tile - 1)) * several
    }

    /// Whether overlapping tiles are blended.
    fn is_blended(&self) -> bool {
        !self.options.independent && self.overlap(self.tile()) != Extent::ZERO
    }

    /// The tile of a size that works next to `tile`: square, where y and x are exchanged, and of a size that the network
    /// takes; not smaller where the volume can go on mirrored.
    fn workable(&self, tile: Extent) -> Result<Extent, InferError> {
        let side = tile.y.min(tile.x);
        let tile = if self.options.flips.transpose { Extent::new(tile.z, side, side) } else { tile };
        let frame = self.chain.frame();
        let up = tile.max(frame.least) - frame.least;
        let up = frame.least + up.zip(frame.step, |more, step| more.next_multiple_of(step));
        match self.options.border {
            Border::Mirror => Ok(up),
            Border::Valid => {
                frame.largest(tile.max(frame.least).min(self.output)).ok_or(InferError::TooSmall {
                    volume: self.output + self.chain.margin(),
                    fov: frame.least + self.chain.margin(),
                })
            }
        }
    }

    /// A tile near `tile` that admits fragments, where they may be wanted and there is one.
    fn multiple(&self, tile: Extent, is_given: bool) -> Extent {
        let step = match (self.options.pooling, self.chain.step()) {
            (Pooling::Dilated, _) | (_, None) => return tile,
            (Pooling::Auto, Some(_)) if is_given => return tile,
            (_, Some(step)) => step,
        };
        let fits = |tile: usize, step: usize, size: usize| {
            let up = tile.next_multiple_of(step);
            if up <= size { up } else { tile / step * step }
        };
        let [z, y, x] = [0, 1, 2]
            .map(|axis| fits(tile.to_array()[axis], step.to_array()[axis], self.output.to_array()[axis]));
        let found = Extent::new(z, y, x);
        if found.is_empty() { tile } else { found }
    }

    /// Which stages are computed by fragments.
    fn choose(&self, engine: &Engine) -> Result<Vec<bool>, InferError> {
        /// So many tiles are worth a measurement.
        const WORTH: usize = 8;
        let tile = self.tile();
        let admitted = self.chain.admit_fragments(tile);
        match self.options.pooling {
            Pooling::Fragments if !admitted.contains(&true) => {
                Err(InferError::Fragments { step: self.chain.step().unwrap_or(Extent::ONE) })
            }
            Pooling::Fragments => Ok(admitted),
            Pooling::Auto if self.blocks() >= WORTH && !engine.is_deterministic() => {
                self.chain.measure(engine, tile, self.options.algorithm, self.options.memory)
            }
            _ => Ok(vec![false; admitted.len()]),
        }
    }

    /// The tiles and blocks, replaced by those of a plan that is gone on with.
    #[must_use]
    pub fn with_tiles(self, tile: Extent, step: Extent, chunk: Option<Extent>, fragments: &[bool]) -> Self {
        let tiling = Tiling::exact(self.output, tile, Extent::ZERO).with_blocks(step.min(tile));
        Self { tiling, chunk, fragments: fragments.to_vec(), ..self }
    }

    /// Which stages are computed by fragments.
    pub fn fragments(&self) -> &[bool] {
        &self.fragments
    }

    /// The extent of the output.
    pub fn output(&self) -> Extent {
        self.output
    }

    /// The maps of each output node.
    pub fn maps(&self) -> Vec<usize> {
        self.chain.maps()
    }

    /// The extent of the tiles.
    pub fn tile(&self) -> Extent {
        self.tiling.tile()
    }

    /// The extent of the blocks, which are parts of tiles.
    pub fn step(&self) -> Extent {
        self.tiling.step()
    }

    /// The chunk that the output should have.
    pub fn chunk(&self) -> Option<Extent> {
        self.chunk
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.tiling.counts().len()
    }

    /// Sections in which blended output is written.
    fn depth(&self) -> usize {
        self.chunk.map_or(1, |chunk| chunk.z)
    }

    /// The largest tile whose computation keeps within the memory bound.
    fn fitting(&self, engine: &Engine) -> Result<Extent, InferError> {
        let mut tiling = Tiling::new(self.output, self.output);
        // More than the machine has is no help.
        let bound = memory::available()
            .map_or(self.options.memory, |there| self.options.memory.min(there.0 as usize));
        loop {
            let tile = self.workable(tiling.tile())?;
            let needed = self.bytes(engine, tile, bound)?;
            if needed <= bound {
                return Ok(tile);
            }
            let too_large =
                || InferError::Memory { needed: Bytes(needed as u64), bound: Bytes(bound as u64) };
            tiling = tiling.halve().ok_or_else(too_large)?;
        }
    }

    /// About the memory that tiles of that extent take: the plans of the networks, the patch and the maps that are computed,
    /// and those that are being read and written and wait for it. Where it is more than `bound`, at least so much.
    ///
    /// # Errors
    /// Where the sizes do not fit the networks.
    pub fn bytes(&self, engine: &Engine, tile: Extent, bound: usize) -> Result<usize, InferError> {
        let patch = (tile + self.chain.margin()).len() * self.chain.channels();
        let maps: usize = self.chain.maps().iter().sum();
        let mut waiting = 2 * patch + 3 * maps * tile.len();
        if self.options.flips != Flips::NONE {
            waiting += patch + maps * tile.len();
        }
        let mut needed = waiting * size_of::<f32>();
        let overlap = self.overlap(tile);
        if overlap != Extent::ZERO && !self.options.independent {
            let tiling = Tiling::exact(self.output, tile, overlap);
            needed += Blend::bytes(self.output, &tiling, &self.chain.maps(), self.depth());
        }
        if needed > bound {
            return Ok(needed);
        }
        Ok(needed
            + self.chain.bytes(engine, tile, self.options.algorithm, &self.fragments, bound - needed)?)
    }

    /// Predicts blocks in the order of their numbers, and gives them to `output`; overlapping tiles all, whatever is asked
    /// for. `progress` is told how many of how many are done, and ends the work early by returning `false`; then this returns
    /// `false`. Reading and writing go on while the networks compute.
    ///
    /// # Errors
    /// Where the volume cannot be read, a plan cannot be made or fails, or `output` fails.
    pub fn run(
        &self,
        engine: &Engine,
        input: &mut Input<'_>,
        blocks: &[usize],
        output: &mut (dyn FnMut(Part) -> Result<(), DataError> + Send),
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<bool, InferError> {
        if blocks.is_empty() {
            return Ok(true);
        }
        let mut cascade =
            self.chain.plan(engine, self.tiling.tile(), self.options.algorithm, &self.fragments)?;
        let mut assembler = Assembler::new(self, blocks.len());
        thread::scope(|scope| {
            // No queue: one patch is read and one part written while a tile is computed.
            let (read, patches) = sync_channel(0);
            let (parts, written) = sync_channel(0);
            scope.spawn(move || self.read(input, blocks, &read));
            let writer = scope.spawn(move || write(output, &written));
            let mut done = 0;
            let ended = compute(&patches, |block, patch| {
                let maps = cascade.predict(engine, &patch, self.options.flips)?;
                drop(patch);
                if let Some(part) = assembler.add(block, maps)
                    && parts.send(part).is_err()
                {
                    // The writer has failed, and says so below.
                    return Ok(false);
                }
                done += 1;
                Ok(progress(done, blocks.len()))
            });
            // These end both threads.
            drop((patches, parts));
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written?;
            ended
        })
    }

    fn read(
        &self,
        input: &mut Input<'_>,
        blocks: &[usize],
        patches: &SyncSender<Result<(Block, Tensor), DataError>>,
    ) {
        let margin = self.chain.margin();
        let low = match self.options.border {
            Border::Mirror => margin.zip(Extent::ONE, |margin, _| margin / 2),
            Border::Valid => Extent::ZERO,
        };
        let extent = self.tiling.tile() + margin;
        for &index in blocks {
            let block = self.tiling.block(index);
            let (at, low) = (block.tile_origin.to_array(), low.to_array());
            let origin = [0, 1, 2].map(|axis| at[axis] as isize - low[axis] as isize);
            let patch = input.patch(origin, extent);
            let is_error = patch.is_err();
            if patches.send(patch.map(|patch| (block, patch))).is_err() || is_error {
                return;
            }
        }
    }
}

/// Computes what comes, until nothing does or `compute` returns `false`; whether all was computed.
fn compute(
    patches: &Receiver<Result<(Block, Tensor), DataError>>,
    mut compute: impl FnMut(Block, Tensor) -> Result<bool, InferError>,
) -> Result<bool, InferError> {
    while let Ok(next) = patches.recv() {
        let (block, patch) = next?;
        if !compute(block, patch)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(
    output: &mut (dyn FnMut(Part) -> Result<(), DataError> + Send),
    parts: &Receiver<Part>,
) -> Result<(), DataError> {
    while let Ok(part) = parts.recv() {
        output(part)?;
    }
    Ok(())
}

/// Makes parts of the output of tiles.
enum Assembler {
    /// Of each tile what is new.
    Blocks,
    Blend {
        blend: Box<Blend>,
        tiling: Tiling,
        output: Extent,
        blocks: Vec<usize>,
        count: usize,
    },
}

impl Assembler {
    fn new(plan: &DensePlan<'_>, count: usize) -> Self {
        if !plan.is_blended() {
            return Self::Blocks;
        }
        let (tiling, output) = (plan.tiling, plan.output);
        let blend = Blend::new(output, &tiling, plan.overlap(plan.tile()), &plan.maps(), plan.depth());
        Self::Blend { blend: Box::new(blend), tiling, output, blocks: Vec::new(), count }
    }

    fn add(&mut self, block: Block, maps: Vec<Tensor>) -> Option<Part> {
        match self {
            Self::Blocks => {
                let inside = block.origin - block.tile_origin;
                let whole = maps.first().is_some_and(|maps| maps.extent() == block.extent);
                let maps = match whole {
                    true => maps,
                    false => maps.iter().map(|maps| maps.crop(inside, block.extent)).collect(),
                };
                Some(Part { blocks: vec![block.index], origin: block.origin, maps })
            }
            Self::Blend { blend, tiling, output, blocks, count } => {
                blend.add(block.tile_origin, &maps);
                blocks.push(block.index);
                let next = match block.index + 1 {
                    next if next == *count => output.z,
                    next => tiling.block(next).tile_origin.z,
                };
                let (origin, maps) = blend.complete(next)?;
                Some(Part { blocks: std::mem::take(blocks), origin, maps })
            }
        }
    }
}
