//! A convolution layer as a case, and the plans of its passes.

use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use znn::conv::{self, Decision, Destination, Layer, Passes};
use znn::plan::{Label, Plan};
use znn::{Engine, Extent, Problem};
use znn_kernels::Transfer;

use super::super::table::Case;

/// A layer.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LayerCase {
    pub name: String,
    c_in: usize,
    c_out: usize,
    kernel: Extent,
    output: Extent,
    #[serde(default = "one")]
    dilation: Extent,
    #[serde(default = "one")]
    stride: Extent,
    /// Zeros on each side.
    #[serde(default = "zero")]
    padding: Extent,
}

fn one() -> Extent {
    Extent::ONE
}

fn zero() -> Extent {
    Extent::ZERO
}

impl LayerCase {
    pub fn problem(&self) -> Problem {
        let Self { c_in, c_out, kernel, output, dilation, stride, padding, .. } = *self;
        let padded = (output - Extent::ONE) * stride + Extent::ONE + kernel.zip(dilation, |k, d| (k - 1) * d);
        let input = padded.zip(padding, |padded, padding| padded.saturating_sub(2 * padding).max(1));
        Problem { stride, padding: [padding; 2], ..Problem::valid(c_in, c_out, input, kernel, dilation) }
    }

    /// Whether the input is an image, whose gradient nobody wants.
    fn is_first(&self) -> bool {
        self.c_in == 1
    }
}

impl Case for LayerCase {
    const BUILT_IN: &'static str = include_str!("../../../../benches/conv.toml");
    const FILE: &'static str = "benches/conv.toml";

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [self.kernel, self.output, self.dilation, self.stride];
        if self.c_in == 0 || self.c_out == 0 || sizes.iter().any(|size| size.is_empty()) {
            return Err("expected sizes of at least 1".to_owned());
        }
        if self.problem().output() != self.output {
            return Err("so much padding leaves no input".to_owned());
        }
        Ok(())
    }
}

/// What is timed of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// With what it needs of the weights, as training derives it from them in every iteration.
    Forward,
    BackwardData,
    BackwardWeights,
    /// All passes of training.
    Step,
    /// Forward with weights that do not change.
    Inference,
}

impl Pass {
    pub const ALL: [Self; 5] =
        [Self::Forward, Self::BackwardData, Self::BackwardWeights, Self::Step, Self::Inference];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::BackwardData => "backward_data",
            Self::BackwardWeights => "backward_weights",
            Self::Step => "step",
            Self::Inference => "inference",
        }
    }

    /// Whether the layer has this pass.
    pub fn is_of(self, case: &LayerCase) -> bool {
        self != Self::BackwardData || !case.is_first()
    }

    /// The passes for which the algorithm is chosen: forward stands for itself, though it prepares the weights each time.
    pub fn tuned_for(self, case: &LayerCase) -> Passes {
        match self {
            Self::Forward | Self::Inference => Passes::Inference,
            _ if case.is_first() => Passes::FirstLayer,
            _ => Passes::Training,
        }
    }

    /// What computes it, for people: the variants of several passes where they differ.
    pub fn variant(self, case: &LayerCase, decision: &Decision) -> String {
        let of = |passes: &[conv::Pass]| {
            let mut names: Vec<String> = passes.iter().map(|&pass| decision.of(pass).to_string()).collect();
            names.dedup();
            names.join(" + ")
        };
        match self {
            Self::Forward | Self::Inference => of(&[conv::Pass::Forward]),
            Self::BackwardData => of(&[conv::Pass::BackwardData]),
            Self::BackwardWeights => of(&[conv::Pass::BackwardWeights]),
            Self::Step => of(self.tuned_for(case).list()),
        }
    }

    /// The operations of the direct method.
    pub fn flops(self, case: &LayerCase) -> f64 {
        let one = case.problem().flops();
        match self {
            Self::Step if case.is_first() => 2.0 * one,
            Self::Step => 3.0 * one,
            _ => one,
        }
    }
}

impl FromStr for Pass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|pass| pass.name() == text);
        found.ok_or_else(|| format!("expected one of {names}, found `{text}`"))
    }
}

/// A plan of one pass of a layer, or of all of training.
pub fn plan(
    engine: &Engine,
    case: &LayerCase,
    pass: Pass,
    decision: Decision,
) -> Result<Plan, Box<dyn Error>> {
    let problem = case.problem();
    let mut plan = engine.plan();
    let Problem { c_in, c_out, input, kernel, .. } = problem;
    let weights = plan.persistent(c_out, c_in * kernel.len());
    let x = plan.persistent(c_in, input.len());
    // The output, and where its gradient is then.
    let y = plan.persistent(c_out, problem.output().len());
    let name: Arc<str> = Arc::from("layer");
    let layer = Layer { name: name.clone(), problem, weights, frozen: pass == Pass::Inference };
    let mut algorithm = conv::begin(decision, layer, engine.tools())?;
    if matches!(pass, Pass::Forward | Pass::Inference | Pass::Step) {
        let to = Destination { y, accumulate: false, bias: None, transfer: Transfer::IDENTITY };
        algorithm.forward(&mut plan, x, to);
    }
    if pass == Pass::BackwardData || (pass == Pass::Step && !case.is_first()) {
        let dx = plan.persistent(c_in, input.len());
        algorithm.backward_data(&mut plan, y, dx, false);
    }
    if matches!(pass, Pass::BackwardWeights | Pass::Step) {
        for found in algorithm.backward_weights(&mut plan, x, y) {
            // An update would change the weights here: what is derived from them waits for it.
            let block = plan.region(weights, found.rows, found.cols);
            let collect = plan.task(Label::new(&name, "collect"), 0.0).write(block).collect(found.sum);
            collect.deferred().run(|views| {
                std::hint::black_box(views.sum);
            });
        }
    }
    Ok(plan.build(engine.pool(), engine.kernels()))
}

#[cfg(test)]
mod tests {
    use znn::conv::{Choice, Method};

    use super::*;

    #[test]
    fn the_tables_of_the_project_make_sense() {
        let tables = [(LayerCase::BUILT_IN, 33), (include_str!("../../../../benches/transform.toml"), 30)];
        for (text, least) in tables {
            #[derive(Deserialize)]
            struct Table {
                case: Vec<LayerCase>,
            }
            let Table { case: cases } = toml::from_str(text).unwrap();
            assert!(cases.len() >= least, "{} cases", cases.len());
            let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), cases.len(), "names are unique");
            cases.iter().for_each(|case| assert_eq!(case.check(), Ok(()), "{}", case.name));
        }
    }

    #[test]
    fn a_first_layer_has_no_gradient_of_its_image() {
        let case = |c_in| LayerCase {
            name: String::new(),
            c_in,
            c_out: 4,
            kernel: Extent::new(3, 3, 3),
            output: Extent::new(6, 6, 6),
            dilation: Extent::ONE,
            stride: Extent::ONE,
            padding: Extent::ZERO,
        };
        let engine = Engine::new(&znn::EngineOptions { threads: Some(1), ..Default::default() });
        let engine = engine.unwrap();
        for (c_in, passes) in [(1, 2.0), (2, 3.0)] {
            let case = case(c_in);
            assert_eq!(Pass::BackwardData.is_of(&case), c_in > 1);
            assert_eq!(Pass::Step.flops(&case), passes * Pass::Forward.flops(&case));
            for pass in Pass::ALL {
                assert_eq!(pass.name().parse(), Ok(pass));
                let decision =
                    engine.method(Choice::Fixed(Method::Fft), &case.problem(), pass.tuned_for(&case));
                assert_eq!(pass.variant(&case, &decision), decision.forward.to_string());
                let mut plan = plan(&engine, &case, pass, decision).unwrap();
                plan.step(&[], &mut []).unwrap();
            }
        }
        assert!("backwards".parse::<Pass>().is_err());
    }
}
