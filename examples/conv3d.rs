//! The engine inside of another program: a convolution on its arrays, forward and backward, timed.
//! `cargo run --release --example conv3d`

use std::time::Instant;

use znn::conv::{Choice, Method};
use znn::{Conv3d, Conv3dError, Conv3dOptions, Engine, EngineOptions, Extent, Problem, Strides};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(&EngineOptions::default())?;
    let valid = Problem::valid(20, 40, Extent::new(32, 32, 32), Extent::new(3, 3, 3), Extent::ONE);
    let problem = Problem { padding: [Extent::ONE; 2], ..valid };

    // The host's images have 24 maps, of which the convolution reads the last 20.
    let voxels = problem.input.len();
    let all_maps = 24;
    let input = Strides { image: all_maps * voxels, map: voxels };
    let options = Conv3dOptions { batch: 2, input: Some(input), ..Default::default() };
    let mut conv = Conv3d::new(&engine, problem, &options)?;

    let host: Vec<f32> = (0..2 * all_maps * voxels).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect();
    let x = &host[4 * voxels..];
    let weights: Vec<f32> = (0..conv.weights_len()).map(|i| (i % 7) as f32 / 7.0 - 0.4).collect();
    let bias = vec![0.25; problem.c_out];
    let mut y = vec![0.0; conv.output_len()];
    let mut dw = vec![0.0; conv.weights_len()];

    println!("{problem}, batch {}, {} threads: {}", conv.batch(), engine.threads(), conv.decision().forward);
    // The first call touches fresh memory and prepares the weights.
    for call in ["first call", "second call"] {
        let start = Instant::now();
        conv.forward(x, &weights, Some(&bias), &mut y)?;
        let forward = start.elapsed();
        let dy = &y;
        conv.backward_weights(x, dy, &mut dw)?;
        let rate = 2.0 * problem.flops() / forward.as_secs_f64() / 1e9;
        println!(
            "{call}: forward {forward:.1?} = {rate:.0} GFLOP/s, with backward_weights {:.1?}",
            start.elapsed()
        );
    }

    // The direct method gives the same, but for rounding.
    let direct = Conv3dOptions { algorithm: Choice::Fixed(Method::Direct), ..options };
    let mut expected = vec![0.0; conv.output_len()];
    Conv3d::new(&engine, problem, &direct)?.forward(x, &weights, Some(&bias), &mut expected)?;
    let difference = y.iter().zip(&expected).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
    println!("largest difference from direct convolution: {difference:.1e}");

    // Mistakes are errors, with what was expected.
    let error = conv.forward(&x[1..], &weights, None, &mut y).unwrap_err();
    assert!(matches!(error, Conv3dError::Length { array: "x", .. }));
    println!("as it should be: {error}");
    Ok(())
}
