//! Convolution by products of spectra: of tiles, or of whole images where the kernel is larger than any tile or a model
//! of the work prefers them.

mod spectra;
mod tiled;
mod tiling;
mod whole;

use tiled::Tiled;
use tiling::Tiling;
use whole::WholeImage;

use super::{Algorithm, Layer, Passes, Problem, Tools};
use crate::fft::FftError;

/// Begins to lower a layer.
pub(super) fn begin(layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    let passes = if layer.frozen { Passes::Inference } else { Passes::Training };
    let Layer { problem, .. } = layer;
    let tiled = Tiling::best(&problem, passes, tools.kernels.lanes());
    Ok(match tiled.filter(|_| tiles_are_best(&problem, passes, tools)) {
        Some(tiling) => Box::new(Tiled::new(layer, tools.kernels, tiling)),
        None => Box::new(WholeImage::new(layer, tools)?),
    })
}

/// Whether a model of the work prefers tiles to whole images.
fn tiles_are_best(problem: &Problem, passes: Passes, tools: Tools<'_>) -> bool {
    let whole = whole::work(problem, passes, tools.planner);
    tiling::cheapest(problem, passes, tools.kernels.lanes()).is_some_and(|(tiled, _)| tiled <= whole)
}

/// The time of a layer's passes by a model, in floating-point operations at full speed.
pub(super) fn work(problem: &Problem, passes: Passes, tools: Tools<'_>) -> f64 {
    let whole = whole::work(problem, passes, tools.planner);
    tiling::cheapest(problem, passes, tools.kernels.lanes()).map_or(whole, |(tiled, _)| tiled.min(whole))
}

/// Bytes that the passes of a layer hold.
pub(super) fn bytes(problem: &Problem, passes: Passes, tools: Tools<'_>) -> usize {
    let lanes = tools.kernels.lanes();
    match tiling::cheapest(problem, passes, lanes) {
        Some((_, shape)) if tiles_are_best(problem, passes, tools) => tiled::bytes(problem, shape, lanes),
        _ => WholeImage::bytes(problem, tools.planner.good_extent(problem.input)),
    }
}
