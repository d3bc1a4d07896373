//! Decisions by a model of the work, and which variants are worth a measurement.

use crate::conv::{Decision, Method, Pass, Passes, Problem, Tools, Variant, fft, winograd};
use crate::volume::Extent;

/// The decision that a model of the work prefers; it depends on the problem and the tools' options alone.
pub fn estimate(problem: &Problem, passes: Passes, tools: Tools<'_>) -> Decision {
    let candidates = Candidates::new(problem, passes, tools);
    let alone = candidates.alone();
    let Some(&(fft, _)) = candidates.fft.first() else { return alone };
    let mixes = shares(passes).into_iter().map(|share| alone.with(&share, fft));
    [alone].into_iter().chain(mixes).fold(alone, |best, mix| {
        let work = |decision| work(decision, problem, passes, tools);
        if work(mix) < work(best) { mix } else { best }
    })
}

/// The decision for a layer all of whose passes are by `method`, in the variants that the model prefers; by the direct
/// method where `method` cannot compute the problem.
pub fn of_method(method: Method, problem: &Problem, passes: Passes, tools: Tools<'_>) -> Decision {
    match method.or_direct(problem) {
        Method::Direct => Decision::all(Variant::Direct),
        Method::Fft => {
            let candidates = fft::candidates(problem, passes, tools);
            Decision::all(candidates.first().map_or(Variant::WholeFft, |&(variant, _)| variant))
        }
        Method::Winograd => passes.list().iter().fold(Decision::all(Variant::Direct), |decision, &pass| {
            let best =
                winograd_tiles(problem, pass, tools).into_iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
            best.map_or(decision, |(variant, _)| decision.with(&[pass], variant))
        }),
    }
}

/// The modelled time of the passes of a layer, in floating-point operations at full speed.
pub(super) fn work(decision: Decision, problem: &Problem, passes: Passes, tools: Tools<'_>) -> f64 {
    let mut left = passes.list().to_vec();
    let mut sum = 0.0;
    while let Some(&pass) = left.first() {
        let variant = decision.of(pass);
        let (alike, others): (Vec<Pass>, Vec<Pass>) =
            left.into_iter().partition(|&pass| decision.of(pass) == variant);
        sum += work_alike(variant, problem, &alike, passes.is_frozen(), tools);
        left = others;
    }
    sum
}

/// The same of some passes by one variant.
fn work_alike(variant: Variant, problem: &Problem, passes: &[Pass], frozen: bool, tools: Tools<'_>) -> f64 {
    /// The fraction of full speed that the direct kernels reach.
    const DIRECT: f64 = 0.85;
    match variant {
        Variant::Direct => passes.len() as f64 * problem.flops() / DIRECT,
        Variant::Winograd(tile) => passes.iter().map(|&pass| winograd::work(problem, pass, tile)).sum(),
        Variant::WholeFft | Variant::TiledFft(_) => fft::work(variant, problem, passes, frozen, tools),
    }
}

/// The passes of which some share spectra while the others are computed alone: all that make sense.
pub(super) fn shares(passes: Passes) -> Vec<Vec<Pass>> {
    let all = passes.list();
    (1..1_usize << all.len())
        .rev()
        .map(|set| (0..all.len()).filter(|i| set >> i & 1 == 1).map(|i| all[i]).collect())
        .collect()
}

/// Variants that may be the fastest, with their modelled work, the least first.
pub(super) struct Candidates {
    /// Of each pass: those that share nothing with other passes.
    pub single: Vec<(Pass, Vec<(Variant, f64)>)>,
    /// Those of all passes that share spectra.
    pub fft: Vec<(Variant, f64)>,
}

impl Candidates {
    pub fn new(problem: &Problem, passes: Passes, tools: Tools<'_>) -> Self {
        let single = passes.list().iter().map(|&pass| (pass, Self::of_pass(problem, pass, tools))).collect();
        // A kernel of one tap is a product of matrices already. Copies of images with their padding do not pay where Winograd
        // tiles know it: about as fast, they took four times the memory.
        let has_padding = problem.padding != [Extent::ZERO; 2];
        let is_worth_trying = problem.kernel.len() > 1
            && !(has_padding && Method::Winograd.or_direct(problem) == Method::Winograd);
        let fft = if is_worth_trying && Method::Fft.or_direct(problem) == Method::Fft {
            let fits =
                |&(variant, _): &(Variant, f64)| fft::bytes(variant, problem, tools) <= tools.workspace;
            fft::candidates(problem, passes, tools).into_iter().filter(fits).collect()
        } else {
            Vec::new()
        };
        Self { single, fft }
    }

    fn of_pass(problem: &Problem, pass: Pass, tools: Tools<'_>) -> Vec<(Variant, f64)> {
        let direct = (Variant::Direct, work_alike(Variant::Direct, problem, &[pass], false, tools));
        let mut found = winograd_tiles(problem, pass, tools);
        found.push(direct);
        found.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        found
    }

    /// Each pass by the best variant that shares nothing.
    fn alone(&self) -> Decision {
        self.single.iter().fold(Decision::all(Variant::Direct), |decision, (pass, variants)| {
            decision.with(&[*pass], variants[0].0)
        })
    }

    /// Leaves what is worth a measurement.
    pub fn prune(mut self) -> Self {
        /// What is so much slower by the model than something of another kind, is so in truth.
        const HOPELESS: f64 = 2.5;
        /// The same of something of the same kind.
        const SINGLE: f64 = 2.0;
        const FFT: f64 = 1.2;
        /// At most so many variants of a kind.
        const MOST: usize = 3;
        let alone: f64 = self.single.iter().map(|(_, variants)| variants[0].1).sum();
        let shared = self.fft.first().map_or(f64::INFINITY, |&(_, work)| work);
        for (_, variants) in &mut self.single {
            let limit = SINGLE * variants[0].1;
            variants.retain(|&(_, work)| work <= limit);
            let direct = variants.iter().position(|&(variant, _)| variant == Variant::Direct);
            let direct = direct.map(|place| variants.remove(place));
            variants.truncate(MOST - 1);
            variants.extend(direct);
        }
        if shared > HOPELESS * alone {
            self.fft.clear();
        }
        // The model of whole images is another one.
        self.fft.retain(|&(variant, work)| {
            work <= if variant == Variant::WholeFft { SINGLE } else { FFT } * shared
        });
        let whole = self.fft.iter().position(|&(variant, _)| variant == Variant::WholeFft);
        let whole = whole.map(|place| self.fft.remove(place));
        self.fft.truncate(MOST);
        self.fft.extend(whole);
        if alone > HOPELESS * shared {
            self.single.clear();
        }
        self
    }
}

/// The Winograd variants of a pass that are exact enough, with their modelled work.
fn winograd_tiles(problem: &Problem, pass: Pass, tools: Tools<'_>) -> Vec<(Variant, f64)> {
    if Method::Winograd.or_direct(problem) != Method::Winograd {
        return Vec::new();
    }
    let tiles = winograd::tiles(problem, pass, tools.accuracy).into_iter();
    tiles.map(|tile| (Variant::Winograd(tile), winograd::work(problem, pass, tile))).collect()
}
