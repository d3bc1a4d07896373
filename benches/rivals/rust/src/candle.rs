//! candle on CPUs, in the operations that its backpropagation calls.

use candle_core::{Device, Result, Tensor};

use crate::Run;
use crate::request::{PassName, Request, values};

/// A convolution of flat images, of which candle has one size for both axes.
struct Convolution {
    x: Tensor,
    w: Tensor,
    dy: Tensor,
    padding: usize,
    stride: usize,
    dilation: usize,
    /// Rows of the input that the last place of the kernel does not reach.
    rest: usize,
}

impl Convolution {
    fn new(request: &Request) -> std::result::Result<Self, String> {
        if !request.is_flat() {
            return Err("candle has no 3D convolution".to_owned());
        }
        let same = |axes: [usize; 3], name: &str| match axes {
            [_, y, x] if y == x => Ok(x),
            _ => Err(format!("candle has one {name} for both axes")),
        };
        let padding = same(request.padding, "padding")?;
        let stride = same(request.stride, "stride")?;
        let dilation = same(request.dilation, "dilation")?;
        let Request { c_in, c_out, input, kernel, .. } = *request;
        let rest = (0..3).map(|axis| {
            let reach = (request.output()[axis] - 1) * request.stride[axis]
                + (kernel[axis] - 1) * request.dilation[axis]
                + 1;
            input[axis] + 2 * request.padding[axis] - reach
        });
        let rest = same(rest.collect::<Vec<_>>().try_into().expect("three axes"), "rest")?;
        let tensor = |first: usize, second: usize, [_, y, x]: [usize; 3]| {
            let values = values(first * second * y * x);
            Tensor::from_vec(values, (first, second, y, x), &Device::Cpu).map_err(|error| error.to_string())
        };
        Ok(Self {
            x: tensor(1, c_in, input)?,
            w: tensor(c_out, c_in, kernel)?,
            dy: tensor(1, c_out, request.output())?,
            padding,
            stride,
            dilation,
            rest,
        })
    }

    fn forward(&self) -> Result<Tensor> {
        self.x.conv2d(&self.w, self.padding, self.stride, self.dilation, 1)
    }

    fn backward_data(&self) -> Result<Tensor> {
        self.dy.conv_transpose2d(&self.w, self.padding, self.rest, self.stride, self.dilation)
    }

    /// Channels and images exchanged; stride and dilation too.
    fn backward_weights(&self) -> Result<Tensor> {
        let (x, dy) = (self.x.transpose(0, 1)?, self.dy.transpose(0, 1)?);
        let dw = x.conv2d(&dy, self.padding, self.dilation, self.stride, 1)?.transpose(0, 1)?;
        let (_, _, y, x) = self.w.dims4()?;
        dw.narrow(2, 0, y)?.narrow(3, 0, x)
    }
}

pub fn prepare(request: &Request) -> std::result::Result<Run, String> {
    let convolution = Convolution::new(request)?;
    let (pass, wants_dx) = (request.pass, request.wants_dx());
    Ok(Box::new(move || {
        let run = || {
            if matches!(pass, PassName::Forward | PassName::Inference | PassName::Step) {
                convolution.forward()?;
            }
            if pass == PassName::BackwardData || (pass == PassName::Step && wants_dx) {
                convolution.backward_data()?;
            }
            if matches!(pass, PassName::BackwardWeights | PassName::Step) {
                convolution.backward_weights()?;
            }
            Result::Ok(())
        };
        run().map_err(|error| format!("candle: {error}"))
    }))
}
