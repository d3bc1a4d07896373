//! The operation on tensors of the CPU backend, and its gradients.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn::tensor::TensorData;
use znn::conv::Passes;

use crate::case::Case;
use crate::engine::{Key, with_plan};

/// What a backend needs for the functions of this crate. The 32-bit operands have the shapes of `case`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Convolution: Backend {
    /// A convolution, or a transposed one.
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, case: Case) -> FloatTensor<Self>;

    /// A convolution with a bias.
    fn convolve_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        case: Case,
    ) -> FloatTensor<Self>;
}

impl Convolution for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, case: Case) -> FlexTensor {
        forward(case, Passes::Inference, &x, &weight, None)
    }

    fn convolve_biased(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, case: Case) -> FlexTensor {
        forward(case, Passes::Inference, &x, &weight, Some(&bias))
    }
}

impl<C: CheckpointStrategy> Convolution for Autodiff<Flex, C> {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, case: Case) -> FloatTensor<Self> {
        record::<C, 2>([x, weight], case)
    }

    fn convolve_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        case: Case,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], case)
    }
}

/// Computes the convolution of `[x, weight]` or `[x, weight, bias]`, and notes how to go back.
fn record<C: CheckpointStrategy, const N: usize>(
    operands: [FloatTensor<Autodiff<Flex>>; N],
    case: Case,
) -> FloatTensor<Autodiff<Flex>> {
    let passes = match &operands[..] {
        [x, ..] if x.is_tracked() => Passes::Training,
        others if others.iter().any(|operand| operand.is_tracked()) => Passes::FirstLayer,
        _ => Passes::Inference,
    };
    let bias = operands.get(2).map(|bias| bias.primitive());
    let y = forward(case, passes, operands[0].primitive(), operands[1].primitive(), bias);
    let nodes = operands.each_ref().map(|operand| operand.node());
    match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let [x, weight] = [0, 1].map(|index| prepared.checkpoint(&operands[index]));
            prepared.finish(Recorded { x, weight, case, passes }, y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(y),
    }
}

/// The way back of a convolution with `N` operands.
#[derive(Debug)]
struct Gradient;

/// What the way back needs.
#[derive(Clone, Debug)]
struct Recorded {
    x: NodeId,
    weight: NodeId,
    case: Case,
    passes: Passes,
}

impl<const N: usize> Backward<Flex, N> for Gradient {
    type State = Recorded;

    fn backward(self, ops: Ops<Recorded, N>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let Recorded { x, weight, case, passes } = ops.state;
        let [x, weight] = [x, weight].map(|node| checkpointer.retrieve_node_output::<FlexTensor>(node));
        let mut parents = ops.parents.into_iter().map(|node| node.map(|node| node.id));
        let mut next = || parents.next().flatten();
        if let Some(node) = next() {
            gradients.register::<Flex>(node, backward_data(case, passes, &x, &weight, &dy));
        }
        if let Some(node) = next() {
            gradients.register::<Flex>(node, backward_weights(case, passes, &x, &weight, &dy));
        }
        if let Some(node) = next() {
            gradients.register::<Flex>(node, backward_bias(case, passes, &dy));
        }
    }
}

fn forward(
    case: Case,
    passes: Passes,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
) -> FlexTensor {
    let (x, weight, bias) = (Values::of(x), Values::of(weight), bias.map(Values::of));
    let Case { problem, batch, transposed } = case;
    let maps = if transposed { problem.input } else { problem.output() };
    let axes = x.0.layout().shape().num_dims() - 2;
    let shape = [batch, case.c_out()].into_iter().chain(maps.to_array().into_iter().skip(3 - axes));
    result(shape.collect(), |y| match transposed {
        true => with_plan(key(case, Passes::Training), |plan| plan.backward_data(x.get(), weight.get(), y)),
        false => {
            let bias = bias.as_ref().map(Values::get);
            with_plan(key(case, passes), |plan| plan.forward(x.get(), weight.get(), bias, y));
        }
    })
}

fn backward_data(
    case: Case,
    passes: Passes,
    x: &FlexTensor,
    weight: &FlexTensor,
    dy: &FlexTensor,
) -> FlexTensor {
    let (weight, dy) = (Values::of(weight), Values::of(dy));
    result(x.layout().shape().to_vec(), |dx| match case.transposed {
        true => with_plan(key(case, Passes::Training), |plan| plan.forward(dy.get(), weight.get(), None, dx)),
        false => with_plan(key(case, passes), |plan| plan.backward_data(dy.get(), weight.get(), dx)),
    })
}

fn backward_weights(
    case: Case,
    passes: Passes,
    x: &FlexTensor,
    weight: &FlexTensor,
    dy: &FlexTensor,
) -> FlexTensor {
    let (x, dy) = (Values::of(x), Values::of(dy));
    result(weight.layout().shape().to_vec(), |dw| match case.transposed {
        true => with_plan(key(case, Passes::Training), |plan| plan.backward_weights(dy.get(), x.get(), dw)),
        false => with_plan(key(case, passes), |plan| plan.backward_weights(x.get(), dy.get(), dw)),
    })
}

fn backward_bias(case: Case, passes: Passes, dy: &FlexTensor) -> FlexTensor {
    let dy = Values::of(dy);
    result(vec![case.c_out()], |db| with_plan(key(case, passes), |plan| plan.backward_bias(dy.get(), db)))
}

fn key(case: Case, passes: Passes) -> Key {
    Key { problem: case.problem, batch: case.batch, passes }
}

/// A tensor, contiguous.
struct Values(FlexTensor);

impl Values {
    fn of(tensor: &FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }

    fn get(&self) -> &[f32] {
        self.0.as_slice().expect("the functions of the crate take 32-bit floats alone")
    }
}

/// A tensor that `write` fills.
fn result(shape: Vec<usize>, write: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut values = vec![0.0; shape.iter().product()];
    write(&mut values);
    FlexTensor::from_data(TensorData::new(values, shape))
}
