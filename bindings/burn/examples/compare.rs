//! Times layers with burn's convolutions and with those of this crate, in turns:
//!
//! ```text
//! cargo run --release --example compare -- [--turns 5] [--only 40->40] [--json compare.json]
//! ```
//!
//! A time is the median of the turns, in milliseconds: `forward` without gradients, and `step`, forward and all
//! gradients (on one channel, an image, without that of the input). Both have as many threads as the process may use
//! cores; `RAYON_NUM_THREADS` limits burn's, and with it those of the engine.

use std::error::Error;
use std::time::Instant;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor, module};
use serde_json::json;
use znn_burn::{EngineOptions, init};

/// A layer, its padding such that the output has the size of the input.
struct Layer {
    channels: [usize; 2],
    kernel: [usize; 3],
    input: [usize; 3],
}

const LAYERS: [Layer; 9] = [
    Layer { channels: [1, 20], kernel: [3; 3], input: [48; 3] },
    Layer { channels: [20, 20], kernel: [3; 3], input: [48; 3] },
    Layer { channels: [40, 40], kernel: [3; 3], input: [32; 3] },
    Layer { channels: [80, 80], kernel: [3; 3], input: [24; 3] },
    Layer { channels: [40, 40], kernel: [5; 3], input: [32; 3] },
    Layer { channels: [40, 40], kernel: [1, 3, 3], input: [16, 64, 64] },
    Layer { channels: [64, 64], kernel: [1; 3], input: [32; 3] },
    Layer { channels: [64, 64], kernel: [1, 3, 3], input: [1, 56, 56] },
    Layer { channels: [40, 40], kernel: [1, 11, 11], input: [1, 64, 64] },
];

impl Layer {
    fn name(&self) -> String {
        let Self { channels: [c_in, c_out], kernel: [kz, ky, kx], input: [z, y, x] } = self;
        format!("{c_in}->{c_out} k{kz},{ky},{kx} in {z},{y},{x}")
    }

    fn options(&self) -> ConvOptions<3> {
        ConvOptions::new([1; 3], self.kernel.map(|taps| taps / 2), [1; 3], 1)
    }

    /// Input and weights, tracked where they are learned from.
    fn operands(&self, device: &Device) -> [Tensor<5>; 2] {
        let ([c_in, c_out], [z, y, x], [kz, ky, kx]) = (self.channels, self.input, self.kernel);
        let random = |shape: [usize; 5]| Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
        [random([1, c_in, z, y, x]), random([c_out, c_in, kz, ky, kx])]
    }
}

type Convolution = fn(Tensor<5>, Tensor<5>, &Layer) -> Tensor<5>;

/// burn's; a flat image by its 2D function.
fn of_burn(x: Tensor<5>, weight: Tensor<5>, layer: &Layer) -> Tensor<5> {
    let ConvOptions {
        stride: [_, stride @ ..],
        padding: [_, padding @ ..],
        dilation: [_, dilation @ ..],
        ..
    } = layer.options();
    if layer.input[0] > 1 {
        return module::conv3d(x, weight, None, layer.options());
    }
    let options = ConvOptions::new_with_padding(stride, padding, dilation, 1);
    module::conv2d(x.squeeze_dim::<4>(2), weight.squeeze_dim::<4>(2), None, options).unsqueeze_dim(2)
}

fn of_znn(x: Tensor<5>, weight: Tensor<5>, layer: &Layer) -> Tensor<5> {
    znn_burn::conv3d(x, weight, None, layer.options())
}

/// Milliseconds of a call.
fn milliseconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

fn forward(layer: &Layer, [x, weight]: &[Tensor<5>; 2], convolution: Convolution) -> f64 {
    milliseconds(|| drop(convolution(x.clone(), weight.clone(), layer)))
}

fn step(layer: &Layer, operands: &[Tensor<5>; 2], dy: &Tensor<5>, convolution: Convolution) -> f64 {
    let [x, weight] = operands.clone();
    let x = if layer.channels[0] > 1 { x.require_grad() } else { x };
    milliseconds(|| drop((convolution(x, weight.require_grad(), layer) * dy.clone()).sum().backward()))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Times of burn and of the engine in turns, after one turn that does not count.
fn contest(turns: usize, mut time: impl FnMut(Convolution) -> f64) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..=turns {
        for (times, convolution) in times.iter_mut().zip([of_burn as Convolution, of_znn]) {
            let time = time(convolution);
            if turn > 0 {
                times.push(time);
            }
        }
    }
    times.map(median)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1))
    };
    let turns: usize = option("--turns").map_or(Ok(5), |turns| turns.parse())?;
    if turns == 0 {
        return Err("--turns must be at least 1".into());
    }
    let threads = std::env::var("RAYON_NUM_THREADS").ok().map(|threads| threads.parse()).transpose()?;
    init(&EngineOptions { threads, ..Default::default() })?;

    let (device, plain) = (Device::flex().autodiff(), Device::flex());
    let mut rows = Vec::new();
    println!("{:<28} {:>9} {:>8} {:>6}   {:>9} {:>8} {:>6}", "", "forward", "", "", "step", "", "");
    println!(
        "{:<28} {:>9} {:>8} {:>6}   {:>9} {:>8} {:>6}",
        "layer", "burn ms", "znn ms", "ratio", "burn ms", "znn ms", "ratio"
    );
    for layer in LAYERS.iter().filter(|layer| option("--only").is_none_or(|only| layer.name().contains(only)))
    {
        let operands = layer.operands(&plain);
        let [burn, znn] = contest(turns, |convolution| forward(layer, &operands, convolution));
        let operands = layer.operands(&device);
        let dy = of_znn(operands[0].clone(), operands[1].clone(), layer);
        let [burn_step, znn_step] = contest(turns, |convolution| step(layer, &operands, &dy, convolution));
        println!(
            "{:<28} {burn:>9.2} {znn:>8.2} {:>6.1}   {burn_step:>9.2} {znn_step:>8.2} {:>6.1}",
            layer.name(),
            burn / znn,
            burn_step / znn_step
        );
        for (pass, burn, znn) in [("forward", burn, znn), ("step", burn_step, znn_step)] {
            rows.push(json!({"layer": layer.name(), "pass": pass, "burn_ms": burn, "znn_ms": znn, "ratio": burn / znn}));
        }
    }
    if let Some(path) = option("--json") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}
