//! A 3D network applied to a volume: `cargo run --release --example hello`

use std::time::Instant;

use znn::infer::{Border, DenseOptions, dense};
use znn::network::{Parameters, spec};
use znn::{Engine, EngineOptions, Extent, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = spec::parse(include_str!("networks/hello.znn"), "hello.znn")?.network;
    let parameters = Parameters::init(&network, 1);
    let engine = Engine::new(&EngineOptions::default())?;

    // Any volume of floats, row-major [channel][z][y][x].
    let volume = Tensor::from_fn(1, Extent::new(24, 96, 96), |i| (i % 17) as f32 / 17.0);
    let options = DenseOptions { border: Border::Mirror, memory: 256 << 20, ..DenseOptions::default() };
    let start = Instant::now();
    let outputs = dense(&engine, &network, &parameters, &volume, &options, |_done, _all| true)?;
    let result = &outputs.expect("nobody ended it early")[0];

    println!(
        "field of view {}, {} maps of {} voxels",
        network.shapes(Extent::ONE)?.fov(),
        result.channels(),
        result.extent()
    );
    println!("{} threads, {}: {:.1?}", engine.threads(), engine.isa(), start.elapsed());
    assert!(result.data().iter().all(|value| (0.0..=1.0).contains(value)));
    Ok(())
}
