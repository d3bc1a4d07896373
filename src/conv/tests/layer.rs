//! A plan of one layer.

use std::fmt;
use std::sync::Arc;

use znn_kernels::{Isa, Kernels, Transfer};

use super::reference::Case;
use crate::conv::{Accuracy, Decision, Destination, Layer, Method, Passes, Problem, Tools, begin, of_method};
use crate::fft::{Effort, Planner};
use crate::ops::{Maps, Site, copy};
use crate::plan::{Buffer, Label, Plan, PlanBuilder};
use crate::pool::{Pool, PoolOptions};
use crate::volume::Extent;

/// Workers and transforms that the layers of a test share.
pub struct Hosts {
    pools: Vec<Pool>,
    planner: Planner,
    kernels: Vec<Kernels>,
}

/// One way to compute a layer.
#[derive(Clone, Copy)]
pub struct Variant<'a> {
    pub method: Method,
    pub tools: Tools<'a>,
    pub pool: &'a Pool,
    pub deterministic: bool,
}

impl fmt::Debug for Variant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, tools, pool, deterministic } = self;
        let (isa, threads) = (tools.kernels.isa(), pool.threads());
        write!(f, "{method} on {isa}, {threads} threads, deterministic {deterministic}")
    }
}

impl Hosts {
    pub fn new() -> Self {
        // More workers than processors are worth a test too, but then no two may be bound to one.
        let pool =
            |threads| Pool::new(PoolOptions { threads: Some(threads), pin: false, ..PoolOptions::default() });
        Self {
            pools: [1, 3].map(|threads| pool(threads).expect("a pool")).into(),
            planner: Planner::new(Effort::Estimate),
            kernels: Isa::ALL.into_iter().filter_map(Kernels::new).collect(),
        }
    }

    /// The tiers of this machine.
    pub fn tiers(&self) -> impl Iterator<Item = Isa> + '_ {
        self.kernels.iter().map(Kernels::isa)
    }

    pub fn variants(&self) -> impl Iterator<Item = Variant<'_>> {
        Method::ALL.into_iter().flat_map(move |method| {
            self.kernels.iter().flat_map(move |&kernels| {
                let tools = Tools {
                    kernels,
                    planner: &self.planner,
                    accuracy: Accuracy::Standard,
                    workspace: usize::MAX,
                };
                self.pools.iter().flat_map(move |pool| {
                    [false, true].map(|deterministic| Variant { method, tools, pool, deterministic })
                })
            })
        })
    }
}

/// What the layer of a test does.
#[derive(Clone, Copy)]
pub struct Layout {
    pub accumulate: bool,
    pub bias: bool,
    pub transfer: Transfer,
    /// Forward alone.
    pub frozen: bool,
    /// What the collectors of the gradient multiply it by before they take it from the weights.
    pub learning_rate: f32,
}

impl Layout {
    pub const PLAIN: Layout = Layout {
        accumulate: false,
        bias: false,
        transfer: Transfer::IDENTITY,
        frozen: false,
        learning_rate: 0.0,
    };
}

/// What the passes give.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub dw: Vec<f32>,
}

/// The passes of one layer. Its images are copies in transient memory, as those inside a network.
pub struct SingleLayer {
    plan: Plan,
    x: Buffer,
    dy: Buffer,
    weights: Buffer,
    bias: Option<Buffer>,
    /// What `y` and `dx` hold before the passes that accumulate, and what they hold after all.
    before: [Buffer; 2],
    after: [Buffer; 2],
    dw: Buffer,
}

impl SingleLayer {
    /// By the method of `variant`, as a model of the work prefers it.
    pub fn new(variant: Variant<'_>, problem: Problem, layout: Layout) -> Self {
        let passes = if layout.frozen { Passes::Inference } else { Passes::Training };
        let decision = of_method(variant.method, &problem, passes, variant.tools);
        Self::by(decision, variant, problem, layout)
    }

    /// By a decision in place of the method of `variant`.
    pub fn by(decision: Decision, variant: Variant<'_>, problem: Problem, layout: Layout) -> Self {
        let Variant { tools, pool, deterministic, .. } = variant;
        let mut plan = PlanBuilder::new(pool.threads(), deterministic);
        let name: Arc<str> = Arc::from("layer");
        let site = Site { name: name.clone(), kernels: tools.kernels };
        let Problem { c_in, c_out, input, kernel, .. } = problem;
        let output = problem.output();
        let (rows, cols) = (c_out, c_in * kernel.len());
        let (weights, dw) = (plan.persistent(rows, cols), plan.persistent(rows, cols));
        let images = |plan: &mut PlanBuilder| {
            (plan.persistent(c_in, input.len()), plan.persistent(c_out, output.len()))
        };
        let ((x, dy), (dx_before, y_before), (dx_after, y_after)) =
            (images(&mut plan), images(&mut plan), images(&mut plan));
        let bias = layout.bias.then(|| plan.persistent(1, c_out));

        let of_input = |buffer| Maps { buffer, count: c_in, extent: input };
        let of_output = |buffer| Maps { buffer, count: c_out, extent: output };
        let image =
            |plan: &mut PlanBuilder, count: usize, extent: Extent| plan.transient(count, extent.len());
        let (x_inside, y) = (image(&mut plan, c_in, input), image(&mut plan, c_out, output));
        copy::copy(&mut plan, &site, of_input(x), of_input(x_inside), false);
        if layout.accumulate {
            copy::copy(&mut plan, &site, of_output(y_before), of_output(y), false);
        }
        let layer = Layer { name: name.clone(), problem, weights, frozen: layout.frozen };
        let mut algorithm = begin(decision, layer, tools).expect("an algorithm");
        let Layout { accumulate, transfer, .. } = layout;
        algorithm.forward(&mut plan, x_inside, Destination { y, accumulate, bias, transfer });
        copy::copy(&mut plan, &site, of_output(y), of_output(y_after), false);
        if !layout.frozen {
            let (dy_inside, dx) = (image(&mut plan, c_out, output), image(&mut plan, c_in, input));
            copy::copy(&mut plan, &site, of_output(dy), of_output(dy_inside), false);
            if layout.accumulate {
                copy::copy(&mut plan, &site, of_input(dx_before), of_input(dx), false);
            }
            algorithm.backward_data(&mut plan, dy_inside, dx, layout.accumulate);
            copy::copy(&mut plan, &site, of_input(dx), of_input(dx_after), false);
            for gradient in algorithm.backward_weights(&mut plan, x_inside, dy_inside) {
                let block = |plan: &PlanBuilder, buffer| {
                    plan.region(buffer, gradient.rows.clone(), gradient.cols.clone())
                };
                let (dw, weights) = (block(&plan, dw), block(&plan, weights));
                let task = plan.task(Label::new(&name, "collect"), 0.0).collect(gradient.sum).deferred();
                task.write(dw).write(weights).run(move |views| {
                    let [mut dw, mut weights] = views.writes.take();
                    let cols = dw.cols();
                    for row in 0..dw.rows() {
                        dw.row_mut(row).copy_from_slice(&views.sum[row * cols..][..cols]);
                        let weights = weights.row_mut(row).iter_mut();
                        weights.zip(dw.row(row)).for_each(|(w, dw)| *w -= layout.learning_rate * dw);
                    }
                });
            }
        }
        Self {
            plan: plan.build(pool, tools.kernels),
            x,
            dy,
            weights,
            bias,
            before: [y_before, dx_before],
            after: [y_after, dx_after],
            dw,
        }
    }

    fn put(&mut self, buffer: Buffer, values: &[f32]) {
        self.plan.buffer_mut(buffer).expect("no task failed").copy_from_slice(values);
    }

    fn get(&mut self, buffer: Buffer) -> Vec<f32> {
        self.plan.buffer(buffer).expect("no task failed").to_vec()
    }

    pub fn set(&mut self, case: &Case) {
        self.put(self.x, &case.x);
        self.put(self.dy, &case.dy);
        self.put(self.weights, &case.weights);
    }

    pub fn set_bias(&mut self, bias: &[f32]) {
        self.put(self.bias.expect("a layer with bias"), bias);
    }

    /// What `y` and `dx` hold before they are added to.
    pub fn set_before(&mut self, y: &[f32], dx: &[f32]) {
        let [y_before, dx_before] = self.before;
        self.put(y_before, y);
        self.put(dx_before, dx);
    }

    pub fn step(&mut self) {
        self.plan.step(&[], &mut []).expect("a step");
    }

    pub fn results(&mut self) -> Results {
        let [y, dx] = self.after;
        Results { y: self.get(y), dx: self.get(dx), dw: self.get(self.dw) }
    }

    /// One step on the operands of `case`.
    pub fn run(&mut self, case: &Case) -> Results {
        self.set(case);
        self.step();
        self.results()
    }
}
