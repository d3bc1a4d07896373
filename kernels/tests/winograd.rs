//! The Winograd convolution, over every tile and tier of this machine, against a plain f64 reference.

mod reference;

use reference::{Problem, Random, edge_cases, random_geometry};
use znn_kernels::conv::{BackwardData, BackwardWeights, Epilogue, Forward, Geometry};
use znn_kernels::winograd::Shape;
use znn_kernels::{Isa, Kernels, Rows, RowsMut, Transfer};

fn tiers() -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::new)
}

/// Edge cases and random ones, with padding of any kind.
fn geometries() -> Vec<Geometry> {
    let mut random = Random::new(443);
    let case = Geometry::valid;
    let mut geometries = edge_cases();
    geometries.extend([
        case(1, 1, [3, 3, 3], [3, 3, 3], [1, 1, 1]),
        case(3, 5, [6, 6, 18], [3, 3, 3], [1, 1, 1]),
        case(2, 13, [6, 18, 66], [3, 3, 3], [1, 1, 1]),
        case(5, 3, [4, 14, 300], [1, 1, 3], [1, 1, 1]),
        case(3, 3, [5, 90, 7], [1, 3, 1], [1, 1, 1]),
        case(3, 2, [70, 3, 2], [3, 1, 1], [1, 1, 1]),
        case(1, 7, [1, 40, 38], [1, 3, 3], [1, 1, 1]),
        case(2, 2, [20, 21, 38], [3, 3, 3], [4, 4, 4]),
        case(2, 3, [9, 11, 43], [3, 3, 3], [2, 3, 5]),
        case(2, 3, [13, 40, 100], [3, 1, 3], [6, 2, 40]),
    ]);
    for index in 0..600 {
        let padding = [0; 2].map(|_| [0; 3].map(|_| if index % 2 == 0 { 0 } else { random.below(4) }));
        let geometry = Geometry { stride: [1; 3], padding, ..random_geometry(&mut random) };
        let fits = |axis: usize| {
            let padded = padding[0][axis] + geometry.input[axis] + padding[1][axis];
            (geometry.kernel[axis] - 1) * geometry.dilation[axis] < padded
        };
        if !(0..3).all(fits) {
            continue;
        }
        geometries.push(geometry);
    }
    geometries.retain(Shape::admits);
    assert!(geometries.len() > 80);
    geometries
}

/// All tiles for a kernel.
fn tiles(geometry: &Geometry) -> Vec<[usize; 3]> {
    let along = |axis: usize| if geometry.kernel[axis] == 1 { &[1][..] } else { &[2, 4] };
    let mut tiles = Vec::new();
    for &z in along(0) {
        for &y in along(1) {
            tiles.extend(along(2).iter().map(|&x| [z, y, x]));
        }
    }
    tiles
}

fn transformed(kernels: &Kernels, shape: &Shape, weights: &[f32]) -> Vec<f32> {
    let mut transformed = vec![f32::NAN; kernels.winograd_weights_len(shape)];
    kernels.winograd_weights(shape, weights, 0..shape.c_out(), &mut transformed);
    transformed
}

/// A whole pass over `y`, in one call.
fn run(kernels: &Kernels, shape: &Shape, x: &[f32], weights: &[f32], epilogue: &Epilogue<'_>, y: &mut [f32]) {
    let transformed = transformed(kernels, shape, weights);
    let groups = kernels.winograd_groups(shape, 0..shape.slabs());
    let mut scratch = vec![f32::NAN; kernels.winograd_scratch_len(shape, &groups)];
    let x = Rows::new(x, x.len() / shape.c_in());
    let y = RowsMut::new(y, y.len() / shape.c_out());
    kernels.winograd(shape, &groups, x, &transformed, epilogue, 0..shape.c_out(), y, &mut scratch);
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance, "{what}[{i}] is {found}, expected {expected}: {error:e} > {tolerance:e}");
    }
}

/// The gradient of the weights from `parts` ranges of slabs.
fn backward_weights(kernels: &Kernels, shape: &Shape, problem: &Problem, parts: usize) -> Vec<f32> {
    let geometry = &problem.geometry;
    let x = Rows::new(&problem.x, geometry.input_len());
    let dy = Rows::new(&problem.dy, geometry.output_len());
    let mut sum = vec![0.0; problem.weights.len()];
    for part in 0..parts {
        let slabs = shape.slabs() * part / parts..shape.slabs() * (part + 1) / parts;
        if slabs.is_empty() {
            continue;
        }
        let groups = kernels.winograd_backward_weights_groups(shape, slabs);
        let mut scratch = vec![f32::NAN; kernels.winograd_backward_weights_scratch_len(shape, &groups)];
        let mut dw = vec![f32::NAN; sum.len()];
        kernels.winograd_backward_weights(shape, &groups, x, dy, &mut dw, &mut scratch);
        sum.iter_mut().zip(dw).for_each(|(sum, dw)| *sum += dw);
    }
    sum
}

/// The largest error of an element, in units of the root of its number of terms: tiles of four multiply it.
fn tolerance(tile: [usize; 3]) -> f64 {
    tile.into_iter().map(|outputs| if outputs == 4 { 2.0 } else { 1.0 }).product::<f64>() * 1.5e-6
}

#[test]
fn passes_match_their_definitions() {
    for (seed, geometry) in geometries().into_iter().enumerate() {
        let problem = Problem::random(geometry, seed as u64);
        let ((y, y_scale), (dx, dx_scale)) = (problem.forward(), problem.backward_data());
        let (dw, dw_scale) = problem.backward_weights();
        for kernels in tiers() {
            for tile in tiles(&geometry) {
                let what = |pass| format!("{pass} of {geometry:?} by tiles {tile:?} on {}", kernels.isa());
                let shape = Shape::forward(&geometry, tile);
                let mut found = vec![f32::NAN; y.len()];
                run(&kernels, &shape, &problem.x, &problem.weights, &Epilogue::STORE, &mut found);
                assert_close(&found, &y, tolerance(tile) * y_scale, &what("forward"));
                for parts in [1, 3] {
                    let found = backward_weights(&kernels, &shape, &problem, parts);
                    assert_close(&found, &dw, tolerance(tile) * dw_scale, &what("backward_weights"));
                }
                let shape = Shape::backward_data(&geometry, tile);
                let mut found = vec![f32::NAN; dx.len()];
                run(&kernels, &shape, &problem.dy, &problem.weights, &Epilogue::STORE, &mut found);
                assert_close(&found, &dx, tolerance(tile) * dx_scale, &what("backward_data"));
            }
        }
    }
}

#[test]
fn small_integers_are_exact_with_tiles_of_two() {
    let geometry = Geometry::valid(3, 5, [9, 10, 40], [3, 3, 3], [1, 2, 1]);
    let mut problem = Problem::random(geometry, 5);
    for values in [&mut problem.x, &mut problem.weights] {
        values.iter_mut().for_each(|v| *v = (*v * 8.0).round());
    }
    let (y, _) = problem.forward();
    for kernels in tiers() {
        let mut found = vec![f32::NAN; y.len()];
        let shape = Shape::forward(&geometry, [2, 2, 2]);
        run(&kernels, &shape, &problem.x, &problem.weights, &Epilogue::STORE, &mut found);
        assert_close(&found, &y, 0.0, &kernels.isa().to_string());
    }
}

#[test]
fn bias_transfer_and_accumulation() {
    for (seed, geometry) in geometries().into_iter().enumerate().step_by(5) {
        let problem = Problem::random(geometry, seed as u64);
        let (sums, scale) = problem.forward();
        let bias: Vec<f32> = (0..geometry.c_out).map(|o| o as f32 / 4.0 - 1.0).collect();
        for kernels in tiers() {
            for tile in tiles(&geometry) {
                for accumulate in [false, true] {
                    let transfer = Transfer::RectifyLinear;
                    let epilogue = Epilogue { accumulate, bias: Some(&bias), transfer };
                    let mut found = if accumulate { problem.dy.clone() } else { vec![f32::NAN; sums.len()] };
                    let voxels = geometry.output_len();
                    let expected: Vec<f64> = (0..sums.len())
                        .map(|i| {
                            let former = if accumulate { f64::from(problem.dy[i]) } else { 0.0 };
                            (sums[i] + former + f64::from(bias[i / voxels])).max(0.0)
                        })
                        .collect();
                    let shape = Shape::forward(&geometry, tile);
                    run(&kernels, &shape, &problem.x, &problem.weights, &epilogue, &mut found);
                    let what = format!("{geometry:?} by tiles {tile:?} on {}", kernels.isa());
                    assert_close(&found, &expected, tolerance(tile) * (scale + 1.0), &what);
                }
            }
        }
    }
}

#[test]
fn splitting_changes_no_bit() {
    for (seed, geometry) in geometries().into_iter().enumerate().step_by(3) {
        let problem = Problem::random(geometry, seed as u64);
        for kernels in tiers() {
            for tile in tiles(&geometry) {
                let shape = Shape::forward(&geometry, tile);
                let mut whole = vec![f32::NAN; problem.dy.len()];
                run(&kernels, &shape, &problem.x, &problem.weights, &Epilogue::STORE, &mut whole);
                let transformed = transformed(&kernels, &shape, &problem.weights);
                let x = Rows::new(&problem.x, geometry.input_len());
                let block = kernels.winograd_block(&shape);
                for slab in 0..shape.slabs() {
                    let slabs = slab..slab + 1;
                    let voxels = shape.voxels_of(&slabs);
                    let groups = kernels.winograd_groups(&shape, slabs);
                    let mut scratch = vec![1e30; kernels.winograd_scratch_len(&shape, &groups)];
                    for start in (0..geometry.c_out).step_by(block) {
                        let maps = start..geometry.c_out.min(start + block);
                        let mut part = vec![f32::NAN; maps.len() * voxels.len()];
                        kernels.winograd(
                            &shape,
                            &groups,
                            x,
                            &transformed,
                            &Epilogue::STORE,
                            maps.clone(),
                            RowsMut::new(&mut part, voxels.len()),
                            &mut scratch,
                        );
                        for (map, part) in maps.zip(part.chunks(voxels.len())) {
                            let whole = &whole[map * geometry.output_len()..][voxels.clone()];
                            assert!(part == whole, "map {map}, slab {slab} of {geometry:?}, {tile:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The root mean square of the differences, relative to that of the exact values.
fn relative_error(found: &[f32], exact: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let errors = square(&mut found.iter().zip(exact).map(|(&found, &exact)| f64::from(found) - exact));
    (errors / square(&mut exact.iter().copied())).sqrt()
}

/// The errors of the passes by direct convolution.
fn direct_errors(kernels: Kernels, problem: &Problem, exact: [&[f64]; 3]) -> [f64; 3] {
    let geometry = problem.geometry;
    let x = Rows::new(&problem.x, geometry.input_len());
    let dy = Rows::new(&problem.dy, geometry.output_len());
    let weights = Rows::new(&problem.weights, geometry.c_in * geometry.taps());
    let rows = |[depth, height, _]: [usize; 3]| 0..depth * height;
    let maps = 0..geometry.c_out;

    let mut y = vec![0.0; problem.dy.len()];
    let pass = Forward::new(kernels, geometry);
    let mut scratch = vec![0.0; pass.scratch_len()];
    let to = RowsMut::new(&mut y, geometry.output_len());
    pass.run(x, weights, &Epilogue::STORE, maps.clone(), rows(geometry.output()), to, &mut scratch);

    let mut dx = vec![0.0; problem.x.len()];
    let pass = BackwardData::new(kernels, geometry);
    let mut scratch = vec![0.0; pass.scratch_len()];
    let to = RowsMut::new(&mut dx, geometry.input_len());
    pass.run(dy, weights, false, rows(geometry.input), to, &mut scratch);

    let mut dw = vec![0.0; problem.weights.len()];
    let pass = BackwardWeights::new(kernels, geometry);
    let mut scratch = vec![0.0; pass.scratch_len()];
    let planes = 0..geometry.output()[0];
    pass.run(x, dy, maps, 0..geometry.c_in, planes, false, &mut dw, &mut scratch);
    [relative_error(&y, exact[0]), relative_error(&dx, exact[1]), relative_error(&dw, exact[2])]
}

fn show(errors: [f64; 3]) -> String {
    errors.map(|error| format!("{error:.1e}")).join(" ")
}

/// The table of `kernels/README.md`; `--nocapture` prints it.
#[test]
fn errors_stay_within_the_documented_multiple_of_direct() {
    for (maps, output, kernel) in [
        (32, [12, 12, 12], [3, 3, 3]),
        (64, [12, 12, 12], [3, 3, 3]),
        (64, [4, 24, 24], [1, 3, 3]),
        (8, [32, 32, 32], [3, 3, 3]),
    ] {
        let input = [0, 1, 2].map(|axis| output[axis] + kernel[axis] - 1);
        let geometry = Geometry::valid(maps, maps, input, kernel, [1, 1, 1]);
        let problem = Problem::random(geometry, 1803);
        let ((y, _), (dx, _), (dw, _)) =
            (problem.forward(), problem.backward_data(), problem.backward_weights());
        let kernels = Kernels::best();
        let direct = direct_errors(kernels, &problem, [&y, &dx, &dw]);
        println!("{maps} maps k{kernel:?} out {output:?}: direct {}", show(direct));
        for tile in tiles(&geometry) {
            let shape = Shape::forward(&geometry, tile);
            let mut found = vec![0.0; y.len()];
            run(&kernels, &shape, &problem.x, &problem.weights, &Epilogue::STORE, &mut found);
            let forward = relative_error(&found, &y);
            let dw = relative_error(&backward_weights(&kernels, &shape, &problem, 1), &dw);
            let shape = Shape::backward_data(&geometry, tile);
            let mut found = vec![0.0; dx.len()];
            run(&kernels, &shape, &problem.dy, &problem.weights, &Epilogue::STORE, &mut found);
            let errors = [forward, relative_error(&found, &dx), dw];
            let ratios = [0, 1, 2].map(|pass| errors[pass] / direct[pass]);
            println!("    {tile:?}: {}, of direct {ratios:.1?}", show(errors));
            let fours = tile.into_iter().filter(|&outputs| outputs == 4).count();
            let forward = [2.0, 3.0, 6.0, 11.0][fours];
            let backward = [2.0, 4.0, 8.0, 15.0][fours];
            assert!(
                ratios[0] <= forward && ratios[1] <= backward && ratios[2] <= backward,
                "{tile:?}: {ratios:?}"
            );
        }
    }
}
