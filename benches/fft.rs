//! Times one transform forth and back of images of several extents, with every library that is compiled in, on one thread.
//!
//! `cargo bench --bench fft [--features fftw-source] [-- z,y,x ...]`
//!
//! Prints a table: milliseconds for r2c + c2r (the fastest of many repetitions) and the rate at the customary
//! 2.5 N log2 N operations for each direction.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aligned_vec::AVec;
use num_complex::Complex32;
use znn::fft::{Backend, Effort, Planner};
use znn::volume::Extent;

const EXTENTS: [Extent; 7] = [
    Extent::new(16, 16, 16),
    Extent::new(24, 64, 64),
    Extent::new(32, 32, 32),
    Extent::new(48, 48, 48),
    Extent::new(64, 64, 64),
    Extent::new(100, 100, 100),
    Extent::new(1, 128, 128),
];

/// Repetitions of one measurement take at least this long together.
const PATIENCE: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` itself passes `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let extents = match arguments.is_empty() {
        true => EXTENTS.to_vec(),
        false => arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
    };
    for backend in Backend::COMPILED {
        println!("{}: {}", backend.name(), backend.description());
    }
    println!(
        "{:>12} {:>8} {:>9} {:>10} {:>9} {:>9}",
        "extent", "library", "effort", "plan ms", "ms", "GFLOP/s"
    );
    for extent in extents {
        for &backend in Backend::COMPILED {
            for effort in [Effort::Estimate, Effort::Measure] {
                // A planner of its own, so that planning is timed and nothing is shared.
                let planner = Planner::with_backend(backend, effort);
                let start = Instant::now();
                planner.plan(extent)?;
                let planning = start.elapsed();
                let time = seconds(&planner, extent)?;
                let voxels = extent.len() as f64;
                println!(
                    "{:>12} {:>8} {:>9} {:>10.2} {:>9.4} {:>9.1}",
                    extent,
                    backend.name(),
                    format!("{effort:?}"),
                    planning.as_secs_f64() * 1e3,
                    time * 1e3,
                    2.0 * 2.5 * voxels * voxels.log2() / time * 1e-9,
                );
            }
        }
    }
    Ok(())
}

/// The least time of one transform forth and back.
fn seconds(planner: &Planner, extent: Extent) -> Result<f64, Box<dyn Error>> {
    let plan = planner.plan(extent)?;
    let mut image = AVec::<f32>::from_iter(64, (0..extent.len()).map(|i| (i % 17) as f32 / 17.0 - 0.5));
    let mut spectrum =
        AVec::<Complex32>::from_iter(64, (0..plan.spectrum_extent().len()).map(|_| Complex32::ZERO));
    let scale = 1.0 / extent.len() as f32;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let start = Instant::now();
        plan.forward(black_box(&image), black_box(&mut spectrum));
        plan.inverse(black_box(&mut spectrum), black_box(&mut image));
        best = best.min(start.elapsed());
        // Keeps the values where they were; they would soon overflow otherwise.
        image.iter_mut().for_each(|voxel| *voxel *= scale);
    }
    Ok(best.as_secs_f64())
}
