//! The errors of all variants against f64: the table of `docs/accuracy.md`.

use znn_kernels::Isa;

use super::layer::{Hosts, Layout, SingleLayer};
use super::reference::Case;
use crate::conv::{Accuracy, Decision, Pass, Passes, Problem, Variant, fft, winograd};
use crate::volume::Extent;

/// The root mean square of the error, relative to that of the result.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let square = |value: f64| value * value;
    let error: f64 = found.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - b)).sum();
    (error / expected.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// The variants of the table: the tiles that a layer may get.
fn variants(problem: &Problem) -> Vec<Variant> {
    let cube = |n: usize| {
        let size = problem.kernel.zip(Extent::new(n, n, n), |taps, n| if taps == 1 { 1 } else { n });
        Variant::TiledFft(size)
    };
    let mut found = vec![Variant::Direct];
    found.extend([8, 12, 16, 32].into_iter().map(cube).filter(|&variant| match variant {
        Variant::TiledFft(size) => fft::fits(size, problem.kernel),
        _ => false,
    }));
    found.push(Variant::WholeFft);
    if winograd::admits(problem) {
        // One for each number of axes with larger tiles; which axes does not matter.
        let tiles = winograd::tiles(problem, Pass::Forward, Accuracy::Fast).into_iter();
        let grows = |tile: &Extent| (tile.z <= tile.y || tile.z == 1) && tile.y <= tile.x;
        found.extend(tiles.filter(grows).map(Variant::Winograd));
    }
    found
}

/// Prints the table (with `--nocapture`), and holds what each accuracy admits to what it promises.
#[test]
fn errors_of_all_variants() {
    let layer = |maps, output: [usize; 3], kernel: [usize; 3]| {
        let kernel = Extent::from(kernel);
        Problem::valid(maps, maps, Extent::from(output) + kernel - Extent::ONE, kernel, Extent::ONE)
    };
    let hosts = Hosts::new();
    let best = |variant: &super::layer::Variant<'_>| {
        variant.tools.kernels.isa() == Isa::best() && variant.pool.threads() == 1
    };
    let host = hosts.variants().find(best).expect("the best tier");
    println!("\n| maps, kernel, output | algorithm | forward | backward-data | backward-weights |");
    println!("|---|---|---|---|---|");
    for (problem, seed) in [
        layer(8, [24, 24, 24], [3, 3, 3]),
        layer(32, [10, 10, 10], [3, 3, 3]),
        layer(16, [10, 10, 10], [5, 5, 5]),
        layer(8, [10, 10, 10], [7, 7, 7]),
        layer(16, [1, 64, 64], [1, 3, 3]),
        layer(8, [1, 64, 64], [1, 9, 9]),
    ]
    .into_iter()
    .zip(40..)
    {
        let case = Case::random(problem, seed);
        let (y, dx, dw) = (case.forward(), case.backward_data(), case.backward_weights());
        let mut direct = None;
        for variant in variants(&problem) {
            let found = SingleLayer::by(Decision::all(variant), host, problem, Layout::PLAIN).run(&case);
            let errors =
                [error(&found.y, &y.values), error(&found.dx, &dx.values), error(&found.dw, &dw.values)];
            let of_direct = *direct.get_or_insert(errors);
            let cell = |i: usize| format!("{:.1e} ({:.1})", errors[i], errors[i] / of_direct[i]);
            let head = format!("{}, {}, {}", problem.c_in, problem.kernel, problem.output());
            let head = if variant == Variant::Direct { head } else { String::new() };
            println!("| {head} | {variant} | {} | {} | {} |", cell(0), cell(1), cell(2));
            for (i, &pass) in Passes::Training.list().iter().enumerate() {
                let is_standard = match variant {
                    Variant::Winograd(tile) => {
                        winograd::tiles(&problem, pass, Accuracy::Standard).contains(&tile)
                    }
                    _ => true,
                };
                let limit = if is_standard { 4.0 } else { 16.0 };
                assert!(errors[i] <= limit * of_direct[i], "{variant}, {pass:?} of {problem}: {}", cell(i));
                assert!(errors[i] > 0.0, "{variant} rounds");
            }
        }
    }
}
