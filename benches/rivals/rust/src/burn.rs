//! burn's CPU backend, in the operations that its autodiff calls.

use burn_backend::TensorData;
use burn_backend::ops::{ConvOptions, ModuleOps};
use burn_flex::{Flex, FlexTensor};

use crate::Run;
use crate::request::{PassName, Request, values};

pub fn prepare(request: &Request) -> Result<Run, String> {
    let Request { c_in, c_out, input, kernel, stride, padding, dilation, .. } = *request;
    let output = request.output();
    Ok(if request.is_flat() {
        let [stride, padding, dilation] = [stride, padding, dilation].map(Request::flat);
        let options = ConvOptions::<2>::new(stride, padding, dilation, 1);
        let tensor = |maps: [usize; 2], axes| tensor(maps, &Request::flat(axes));
        let (x, w, dy) =
            (tensor([1, c_in], input), tensor([c_out, c_in], kernel), tensor([1, c_out], output));
        let operands = move || (x.clone(), w.clone(), dy.clone(), options.clone());
        run(
            request,
            operands,
            Operations {
                forward: |(x, w, _, options)| Flex::conv2d(x, w, None, options),
                backward_data: |(x, w, dy, options)| Flex::conv2d_x_backward(x, w, dy, options),
                backward_weights: |(x, w, dy, options)| Flex::conv2d_weight_backward(x, w, dy, options),
            },
        )
    } else {
        let options = ConvOptions::<3>::new(stride, padding, dilation, 1);
        let tensor = |maps: [usize; 2], axes: [usize; 3]| tensor(maps, &axes);
        let (x, w, dy) =
            (tensor([1, c_in], input), tensor([c_out, c_in], kernel), tensor([1, c_out], output));
        let operands = move || (x.clone(), w.clone(), dy.clone(), options.clone());
        run(
            request,
            operands,
            Operations {
                forward: |(x, w, _, options)| Flex::conv3d(x, w, None, options),
                backward_data: |(x, w, dy, options)| Flex::conv3d_x_backward(x, w, dy, options),
                backward_weights: |(x, w, dy, options)| Flex::conv3d_weight_backward(x, w, dy, options),
            },
        )
    })
}

fn tensor(maps: [usize; 2], axes: &[usize]) -> FlexTensor {
    let shape: Vec<usize> = maps.iter().chain(axes).copied().collect();
    FlexTensor::from_data(TensorData::new(values(shape.iter().product()), shape))
}

/// The operations of two or of three axes.
struct Operations<O> {
    forward: fn(O) -> FlexTensor,
    backward_data: fn(O) -> FlexTensor,
    backward_weights: fn(O) -> FlexTensor,
}

fn run<O: 'static>(request: &Request, operands: impl Fn() -> O + 'static, operations: Operations<O>) -> Run {
    let Operations { forward, backward_data, backward_weights } = operations;
    let (pass, wants_dx) = (request.pass, request.wants_dx());
    Box::new(move || {
        if matches!(pass, PassName::Forward | PassName::Inference | PassName::Step) {
            drop(forward(operands()));
        }
        if pass == PassName::BackwardData || (pass == PassName::Step && wants_dx) {
            drop(backward_data(operands()));
        }
        if matches!(pass, PassName::BackwardWeights | PassName::Step) {
            drop(backward_weights(operands()));
        }
        Ok(())
    })
}
