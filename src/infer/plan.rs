//! Which tiles a volume is predicted in.

use super::blend::Blend;
use super::cascade::{Chain, Pooling};
use super::tiling::aligned;
use super::{Border, DenseOptions, Flips, InferError, Stage, Tiling};
use crate::engine::Engine;
use crate::machine::memory::{self, Bytes};
use crate::network::ShapeError;
use crate::volume::Extent;

/// How a volume of one extent is predicted: which tiles. They are read, computed and written one by one, by three threads,
/// so that the volume may be larger than the memory.
///
/// ```
/// use znn::conv::Choice;
/// use znn::data::{MemoryReader, Normalisation};
/// use znn::infer::{DenseOptions, DensePlan, Input, Part, Stage};
/// use znn::network::{Parameters, spec};
/// use znn::{Engine, EngineOptions, Extent, Tensor};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// # let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// # let parameters = Parameters::init(&network, 1);
/// // Any `VolumeReader` will do, such as `znn::data::volume_file::open` gives.
/// let volume = Tensor::from_fn(1, Extent::new(8, 20, 20), |i| (i % 7) as f32);
/// let reader = MemoryReader::new(&volume);
/// let mut input = Input::new(Box::new(reader), Normalisation::NONE, "volume");
///
/// let stage = Stage { network: &network, parameters: &parameters, softmax: 0 };
/// let tile = Some(Extent::new(8, 10, 10));
/// let options = DenseOptions { tile, algorithm: Choice::Estimate, ..DenseOptions::default() };
/// let plan = DensePlan::new(&engine, &[stage], 1, volume.extent(), &options, None)?;
/// assert_eq!((plan.tile(), plan.blocks()), (Extent::new(8, 10, 10), 4));
/// assert_eq!((plan.output(), plan.maps()), (volume.extent(), vec![2]));
/// println!("{} bytes", plan.bytes(&engine, plan.tile(), usize::MAX)?);
///
/// // Parts of the prediction, to be written wherever one likes.
/// let mut voxels = 0;
/// let blocks: Vec<usize> = (0..plan.blocks()).collect();
/// let mut write = |part: Part| {
///     voxels += part.maps[0].extent().len();
///     Ok(())
/// };
/// plan.run(&engine, &mut input, &blocks, &mut write, |_done, _all| true)?;
/// assert_eq!(voxels, plan.output().len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DensePlan<'a> {
    pub(super) chain: Chain<'a>,
    pub(super) options: DenseOptions,
    pub(super) output: Extent,
    pub(super) tiling: Tiling,
    /// Which stages are computed by fragments.
    pub(super) fragments: Vec<bool>,
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
    pub(super) fn overlap(&self, tile: Extent) -> Extent {
        let several = tile.zip(self.output, |tile, output| usize::from(tile < output));
        let wanted = match self.options.overlap {
            Some(overlap) => overlap,
            None if self.chain.is_uniform() => Extent::ZERO,
            None => tile.zip(Extent::ONE, |tile, _| tile / 4),
        };
        wanted.min(tile.zip(Extent::ONE, |tile, _| tile - 1)) * several
    }

    /// Whether overlapping tiles are blended.
    pub(super) fn is_blended(&self) -> bool {
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
    #[doc(hidden)]
    pub fn with_tiles(self, tile: Extent, step: Extent, chunk: Option<Extent>, fragments: &[bool]) -> Self {
        let tiling = Tiling::exact(self.output, tile, Extent::ZERO).with_blocks(step.min(tile));
        Self { tiling, chunk, fragments: fragments.to_vec(), ..self }
    }

    /// Which stages are computed by fragments.
    #[doc(hidden)]
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
    #[doc(hidden)]
    pub fn step(&self) -> Extent {
        self.tiling.step()
    }

    /// The chunk that the output should have.
    #[doc(hidden)]
    pub fn chunk(&self) -> Option<Extent> {
        self.chunk
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.tiling.counts().len()
    }

    /// Sections in which blended output is written.
    pub(super) fn depth(&self) -> usize {
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
        // Reading takes a patch up to three times, as the bytes of the file become a box that goes on mirrored; writing the
        // maps as often.
        let mut waiting = 3 * patch + 3 * maps * tile.len();
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
}
