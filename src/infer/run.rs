//! Reading, computing and writing the tiles of a volume, each by a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::blend::Blend;
use super::{Block, Border, DensePlan, InferError, Input, Tiling};
use crate::data::DataError;
use crate::engine::Engine;
use crate::volume::{Extent, Tensor};

/// A box of the output.
///
/// ```
/// use znn::infer::Part;
/// use znn::{Extent, Tensor};
///
/// // Pastes a part of a prediction where it belongs.
/// fn paste(part: &Part, whole: &mut Tensor) {
///     whole.paste(&part.maps[0], part.origin);
/// }
/// # let mut whole = Tensor::zeros(1, Extent::new(1, 2, 2));
/// # let maps = vec![Tensor::from_fn(1, Extent::ONE, |_| 1.0)];
/// # paste(&Part { blocks: vec![0], origin: Extent::new(0, 1, 1), maps }, &mut whole);
/// # assert_eq!(whole.data(), [0.0, 0.0, 0.0, 1.0]);
/// ```
pub struct Part {
    /// The blocks that are complete with it.
    pub blocks: Vec<usize>,
    /// Its first voxel.
    pub origin: Extent,
    /// The maps of each output node.
    pub maps: Vec<Tensor>,
}

impl DensePlan<'_> {
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
