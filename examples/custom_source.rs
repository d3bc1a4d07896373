//! Training on data that no file holds: patches come from a source of one's own, here a generator of noisy balls.
//! `cargo run --release --example custom_source`

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn::conv::Choice;
use znn::network::{Parameters, spec, weights_file};
use znn::train::{Loss, Settings, StepOptions, TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Extent, Tensor};

const ITERATIONS: usize = 300;

/// Gives pairs of an image and of what the network should make of it. A camera, a simulation or a database would do.
struct Balls {
    rng: ChaCha8Rng,
    input: Extent,
    output: Extent,
}

impl Iterator for Balls {
    type Item = (Tensor, Tensor);

    /// Noise with a few bright balls; the labels (ball, background) of the voxels in the middle.
    fn next(&mut self) -> Option<(Tensor, Tensor)> {
        let Self { rng, input, output } = self;
        let balls: Vec<([f32; 3], f32)> = (0..12)
            .map(|_| {
                let centre = input.to_array().map(|size| rng.random_range(0.0..size as f32));
                (centre, rng.random_range(2.0..4.0))
            })
            .collect();
        let is_inside = |at: [usize; 3]| {
            balls.iter().any(|(centre, radius)| {
                centre.iter().zip(at).map(|(c, at)| (c - at as f32).powi(2)).sum::<f32>() < radius * radius
            })
        };
        let place =
            |extent: Extent, i: usize| [i / (extent.y * extent.x), i / extent.x % extent.y, i % extent.x];
        let image = Tensor::from_fn(1, *input, |i| {
            let signal = if is_inside(place(*input, i)) { 1.0 } else { 0.0 };
            signal + rng.random_range(-1.0..1.0) - 0.2
        });
        let margin = (*input - *output).to_array().map(|rest| rest / 2);
        let labels = Tensor::from_fn(2, *output, |i| {
            let at = place(*output, i % output.len());
            let inside = is_inside([0, 1, 2].map(|axis| at[axis] + margin[axis]));
            if inside == (i < output.len()) { 1.0 } else { 0.0 }
        });
        Some((image, labels))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = Arc::new(spec::parse(include_str!("networks/hello.znn"), "hello.znn")?.network);
    let engine = Engine::new(&EngineOptions::default())?;
    let output = Extent::new(12, 24, 24);
    let options = StepOptions {
        loss: Loss::BINOMIAL_CROSS_ENTROPY,
        momentum: 0.9,
        algorithm: Choice::Measure,
        ..StepOptions::default()
    };
    let mut step = TrainingStep::new(&engine, &network, output, &options)?;
    let mut parameters = Parameters::init(&network, 1);
    step.load(&parameters)?;

    let input = step.extent(network.inputs().next().expect("an input"));
    let source = Balls { rng: ChaCha8Rng::seed_from_u64(1), input, output };
    let mut errors = Vec::new();
    for (iteration, (image, labels)) in source.take(ITERATIONS).enumerate() {
        let settings = Settings { eta: 0.02, factor: 1.0, key: iteration as u64 };
        let outcome = step.run(&[&image], &[Wanted { target: &labels, weight: None }], settings)?;
        errors.push(outcome.pixel_error());
        if iteration % 50 == 0 || iteration + 1 == ITERATIONS {
            println!(
                "iteration {iteration:3}: loss {:.3}, error {:.3}",
                outcome.mean_loss(),
                errors[iteration]
            );
        }
    }
    // The weights go where one likes; this is the file that `znn infer --model` reads.
    step.store(&mut parameters)?;
    let path = std::env::temp_dir().join("znn-custom-source.safetensors");
    weights_file::save(&path, &network, &parameters, &Default::default(), false)?;
    println!("written to {}", path.display());
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    let (first, last) = (mean(&errors[..20]), mean(&errors[ITERATIONS - 20..]));
    assert!(last < 0.6 * first, "error from {first} to {last}");
    Ok(())
}
