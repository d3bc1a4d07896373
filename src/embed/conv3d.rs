//! A planned convolution.

use znn_kernels::Transfer;

use super::passes::{Lowering, Planned};
use super::strides::{Layout, check_len};
use super::{Conv3dError, Strides, transfer};
use crate::conv::{Choice, Decision, Pass, Passes, Problem};
use crate::engine::Engine;
use crate::machine::memory;
use crate::plan::Plan;

/// How a [`Conv3d`] is made.
///
/// ```
/// use znn::conv::{Choice, Passes};
/// use znn::{Conv3d, Conv3dError, Conv3dOptions, Engine, EngineOptions, Extent, Problem};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// # let problem = Problem::valid(1, 1, Extent::new(4, 4, 4), Extent::new(3, 3, 3), Extent::ONE);
/// // No gradients, and no measurement.
/// let options = Conv3dOptions { passes: Passes::Inference, algorithm: Choice::Estimate, ..Default::default() };
/// let mut conv = Conv3d::new(&engine, problem, &options)?;
/// let error = conv.backward_data(&[0.0; 8], &[0.0; 27], &mut [0.0; 64]).unwrap_err();
/// assert!(matches!(error, Conv3dError::NotPlanned { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv3dOptions {
    /// Images of a call; at least one.
    pub batch: usize,
    /// The passes that will be called, for which the algorithm is chosen: the others are refused.
    pub passes: Passes,
    /// How the algorithm is chosen; one that cannot compute the problem gives way to the direct one. Measuring takes a fraction of a second the first time that an engine meets a
    /// problem.
    pub algorithm: Choice,
    /// Applied by the forward pass after the bias, in place.
    pub transfer: Transfer,
    /// Where the maps of `x` and `dx` lie; `None`: they are contiguous.
    pub input: Option<Strides>,
    /// Where the maps of `y` and `dy` lie; `None`: they are contiguous.
    pub output: Option<Strides>,
}

impl Default for Conv3dOptions {
    /// One contiguous image, all passes, the algorithm measured, no transfer function.
    fn default() -> Self {
        Self {
            batch: 1,
            passes: Passes::Training,
            algorithm: Choice::Measure,
            transfer: Transfer::IDENTITY,
            input: None,
            output: None,
        }
    }
}

/// A convolution, planned for one problem and batch size, on the workers of an [`Engine`], and then called as often as one
/// likes.
///
/// All arrays are 32-bit floats. A batch of images is `[image][map][z][y][x]`; weights are applied as a cross-correlation:
/// the conventions of PyTorch. Images that are a part of a larger array are described by [`Strides`]. A 2D convolution has
/// extents of one voxel along z. Arrays are the caller's: `x` and `dx` of [`input_len`](Conv3d::input_len) floats, `y` and `dy` of
/// [`output_len`](Conv3d::output_len), weights and their gradient `[c_out][c_in][kz][ky][kx]` of
/// [`weights_len`](Conv3d::weights_len), bias and its gradient of `c_out`. Outputs are overwritten; the calls are
/// independent of each other, but for one thing: what an algorithm derives from the weights is kept until a call brings
/// other ones.
///
/// A call returns when its result is complete. It may come from any thread, but not from a task of the engine's pool.
/// Convolutions of one engine take turns. The workers live as long as the engine or any of its plans.
///
/// ```
/// use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem, Transfer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::new(&EngineOptions { threads: Some(2), ..Default::default() })?;
/// let valid = Problem::valid(3, 8, Extent::new(10, 12, 14), Extent::new(3, 3, 3), Extent::ONE);
/// let problem = Problem { padding: [Extent::ONE; 2], ..valid };
/// let options = Conv3dOptions { batch: 2, transfer: Transfer::RectifyLinear, ..Default::default() };
/// let mut conv = Conv3d::new(&engine, problem, &options)?;
/// assert_eq!((conv.problem(), conv.batch()), (&problem, 2));
/// println!("{}, {} bytes", conv.decision().forward, conv.bytes());
///
/// let x = vec![1.0; conv.input_len()];
/// let (weights, bias) = (vec![0.5; conv.weights_len()], vec![2.0; 8]);
/// let mut y = vec![0.0; conv.output_len()];
/// conv.forward(&x, &weights, Some(&bias), &mut y)?;
/// // In the middle of an image, all of 3 x 27 taps are inside.
/// let middle = problem.output().index(5, 5, 5);
/// assert_eq!(y[middle], 3.0 * 27.0 * 0.5 + 2.0);
///
/// // All of y is positive: the gradient goes through the rectifier unchanged.
/// let mut dy = vec![1.0; conv.output_len()];
/// let mut db = vec![0.0; 8];
/// conv.backward_transfer(&y, &mut dy, &mut db)?;
/// assert_eq!(db, [2.0 * 10.0 * 12.0 * 14.0; 8]);
/// // Without a transfer function, the gradient by the bias is that of dy alone.
/// conv.backward_bias(&dy, &mut db)?;
/// let (mut dx, mut dw) = (vec![0.0; conv.input_len()], vec![0.0; conv.weights_len()]);
/// conv.backward_data(&dy, &weights, &mut dx)?;
/// conv.backward_weights(&x, &dy, &mut dw)?;
/// assert_eq!(dx[middle], 8.0 * 27.0 * 0.5);
/// assert_eq!(dw[13], db[0]);
/// # Ok(())
/// # }
/// ```
pub struct Conv3d {
    problem: Problem,
    input: Layout,
    output: Layout,
    decision: Decision,
    forward: Planned,
    backward_data: Option<Planned>,
    backward_weights: Option<Planned>,
    backward_transfer: Option<Plan>,
    backward_bias: Option<Plan>,
    no_bias: Vec<f32>,
}

impl Conv3d {
    /// Chooses the algorithm and plans the passes.
    ///
    /// # Errors
    /// Where the problem has no solution, the strides let maps overlap, or there is not enough memory.
    pub fn new(engine: &Engine, problem: Problem, options: &Conv3dOptions) -> Result<Self, Conv3dError> {
        problem.check().map_err(|source| Conv3dError::Problem { problem, source })?;
        let &Conv3dOptions { batch, passes, algorithm, transfer, .. } = options;
        if batch == 0 {
            return Err(Conv3dError::EmptyBatch);
        }
        let voxels = problem.output().len();
        let input = Layout::new(options.input, batch, problem.c_in, problem.input.len())?;
        let output = Layout::new(options.output, batch, problem.c_out, voxels)?;
        // The caller's arrays have to be somewhere; what is too large for that is not worth a plan.
        let floats = [input.len, output.len, problem.weights()].map(|len| len as u64);
        memory::check(floats.iter().sum::<u64>() * size_of::<f32>() as u64)?;

        let decision = engine.method(algorithm, &problem, passes);
        let lowering = Lowering { engine, problem, input, output, transfer, decision };
        let planned = |pass| passes.list().contains(&pass).then(|| lowering.pass(pass)).transpose();
        let trained = !passes.is_frozen();
        let extent = problem.output();
        Ok(Self {
            decision,
            forward: lowering.pass(Pass::Forward)?,
            backward_data: planned(Pass::BackwardData)?,
            backward_weights: planned(Pass::BackwardWeights)?,
            backward_transfer: trained
                .then(|| transfer::backward_transfer(engine, &output, extent, transfer)),
            backward_bias: trained.then(|| transfer::backward_bias(engine, &output)),
            problem,
            input,
            output,
            no_bias: vec![0.0; problem.c_out],
        })
    }

    /// The sizes.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The images of a call.
    pub fn batch(&self) -> usize {
        self.input.batch
    }

    /// Floats of `x` and `dx`, from the first to the last voxel.
    pub fn input_len(&self) -> usize {
        self.input.len
    }

    /// Floats of `y` and `dy`, from the first to the last voxel.
    pub fn output_len(&self) -> usize {
        self.output.len
    }

    /// Floats of the weights.
    pub fn weights_len(&self) -> usize {
        self.problem.weights()
    }

    /// What computes each pass.
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// The memory that the plans hold, in bytes. Pages that no call has touched take none of the machine's.
    pub fn bytes(&self) -> usize {
        let passes = [Some(&self.forward), self.backward_data.as_ref(), self.backward_weights.as_ref()];
        let plans = passes.into_iter().flatten().map(|pass| &pass.plan);
        let others = [&self.backward_transfer, &self.backward_bias].into_iter().flatten();
        plans.chain(others).map(Plan::bytes).sum()
    }

    /// `y = transfer(x * weights + bias)` for each image of the batch.
    ///
    /// # Errors
    /// Where an array has not the right length, or a task fails.
    pub fn forward(
        &mut self,
        x: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> Result<(), Conv3dError> {
        self.input.check("x", x.len())?;
        self.check_weights("weights", weights)?;
        let bias = bias.unwrap_or(&self.no_bias);
        check_len("bias", bias.len(), self.problem.c_out)?;
        self.output.check("y", y.len())?;
        self.forward.load(weights)?;
        for images in self.forward.steps(self.input.batch) {
            let inputs: Vec<&[f32]> = self.input.images(x, images.clone()).chain([bias]).collect();
            let mut outputs: Vec<&mut [f32]> = self.output.images_mut(y, images).collect();
            self.forward.plan.step(&inputs, &mut outputs)?;
        }
        Ok(())
    }

    /// The gradient by the input: `dx = adjoint(weights) dy` for each image. `dy` is the gradient before the transfer
    /// function, see [`backward_transfer`](Conv3d::backward_transfer).
    ///
    /// # Errors
    /// Where an array has not the right length, or a task fails, or only other [passes](Conv3dOptions::passes) are
    /// planned.
    pub fn backward_data(&mut self, dy: &[f32], weights: &[f32], dx: &mut [f32]) -> Result<(), Conv3dError> {
        self.output.check("dy", dy.len())?;
        self.check_weights("weights", weights)?;
        self.input.check("dx", dx.len())?;
        let pass = planned(&mut self.backward_data, Pass::BackwardData.name())?;
        pass.load(weights)?;
        for images in pass.steps(self.input.batch) {
            let inputs: Vec<&[f32]> = self.output.images(dy, images.clone()).collect();
            let mut outputs: Vec<&mut [f32]> = self.input.images_mut(dx, images).collect();
            pass.plan.step(&inputs, &mut outputs)?;
        }
        Ok(())
    }

    /// The gradient by the weights, summed over the batch:
    /// `dw[o][i][k] = sum over images and p of dy[o][p] x[i][p * stride + k * dilation - padding]`.
    ///
    /// # Errors
    /// As [`backward_data`](Conv3d::backward_data).
    pub fn backward_weights(&mut self, x: &[f32], dy: &[f32], dw: &mut [f32]) -> Result<(), Conv3dError> {
        self.input.check("x", x.len())?;
        self.output.check("dy", dy.len())?;
        self.check_weights("dw", dw)?;
        let pass = planned(&mut self.backward_weights, Pass::BackwardWeights.name())?;
        for images in pass.steps(self.input.batch) {
            let add = add_to_earlier(images.start);
            let inputs: Vec<&[f32]> = self
                .input
                .images(x, images.clone())
                .chain(self.output.images(dy, images))
                .chain([&add[..]])
                .collect();
            pass.plan.step(&inputs, &mut [&mut *dw])?;
        }
        Ok(())
    }

    /// The gradient by the bias: the sum of `dy` over the batch and the voxels of each map.
    ///
    /// # Errors
    /// As [`backward_data`](Conv3d::backward_data).
    pub fn backward_bias(&mut self, dy: &[f32], db: &mut [f32]) -> Result<(), Conv3dError> {
        self.output.check("dy", dy.len())?;
        check_len("db", db.len(), self.problem.c_out)?;
        let plan = planned(&mut self.backward_bias, "backward_bias")?;
        for image in 0..self.output.batch {
            plan.step(&[&dy[self.output.image(image)], &add_to_earlier(image)], &mut [&mut *db])?;
        }
        Ok(())
    }

    /// Takes the gradient back through the transfer function, in place: `dy *= transfer'`, where `y` is what the forward
    /// pass gave; and gives the gradient by the bias, as [`backward_bias`](Conv3d::backward_bias) of the result would.
    ///
    /// # Errors
    /// As [`backward_data`](Conv3d::backward_data).
    pub fn backward_transfer(
        &mut self,
        y: &[f32],
        dy: &mut [f32],
        db: &mut [f32],
    ) -> Result<(), Conv3dError> {
        self.output.check("y", y.len())?;
        self.output.check("dy", dy.len())?;
        check_len("db", db.len(), self.problem.c_out)?;
        let plan = planned(&mut self.backward_transfer, "backward_transfer")?;
        for image in 0..self.output.batch {
            let place = self.output.image(image);
            let inputs = [&y[place.clone()], &add_to_earlier(image)];
            plan.step(&inputs, &mut [&mut dy[place], &mut *db])?;
        }
        Ok(())
    }

    fn check_weights(&self, array: &'static str, weights: &[f32]) -> Result<(), Conv3dError> {
        check_len(array, weights.len(), self.problem.weights())
    }
}

/// The input of plans that sum over the batch which says whether there were earlier images.
fn add_to_earlier(image: usize) -> [f32; 1] {
    [if image > 0 { 1.0 } else { 0.0 }]
}

fn planned<'a, T>(pass: &'a mut Option<T>, name: &'static str) -> Result<&'a mut T, Conv3dError> {
    pass.as_mut().ok_or(Conv3dError::NotPlanned { pass: name })
}
