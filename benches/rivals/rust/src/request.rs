//! Questions and answers: those of `benches/rival_torch_pass.py`, but for memory formats.

use serde::{Deserialize, Serialize};

/// What is to be timed.
#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Question {
    Convolution(Request),
}

/// A pass of a convolution of one image. Sizes are z, y, x.
#[derive(Deserialize)]
pub struct Request {
    pub c_in: usize,
    pub c_out: usize,
    pub input: [usize; 3],
    pub kernel: [usize; 3],
    pub dilation: [usize; 3],
    pub stride: [usize; 3],
    /// Zeros on each side.
    pub padding: [usize; 3],
    pub pass: PassName,
    /// Seconds to spend.
    pub seconds: f64,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum PassName {
    Forward,
    Inference,
    BackwardData,
    BackwardWeights,
    /// Forward, and the gradients of what is learned: not of an image, which has one channel.
    Step,
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Milliseconds of a call; `single` where the first one took so long that it is the only one.
    Time { ms: f64, single: bool },
    /// Why there is no time.
    Cannot { cannot: String },
}

impl Request {
    /// Whether the image is flat, for which there are 2D operations.
    pub fn is_flat(&self) -> bool {
        self.input[0] == 1 && self.kernel[0] == 1
    }

    /// The last two of three axes.
    pub fn flat([_, y, x]: [usize; 3]) -> [usize; 2] {
        [y, x]
    }

    /// Voxels of an output map.
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|axis| {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis];
            (self.input[axis] + 2 * self.padding[axis] - reach - 1) / self.stride[axis] + 1
        })
    }

    /// Whether a step computes the gradient of the input.
    pub fn wants_dx(&self) -> bool {
        self.c_in > 1
    }
}

/// Values between -1 and 1, without an order.
pub fn values(len: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as i32 as f32 / (1_u32 << 31) as f32
    };
    (0..len).map(|_| next()).collect()
}
