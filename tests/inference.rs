//! Dense prediction: tiles, borders, the network that was trained, memory and errors.

mod common;

use std::sync::Arc;

use common::{Images, engine, network, random};
use znn::conv::{Choice, Method};
use znn::data::Normalisation;
use znn::data::formats::MemoryReader;
use znn::infer::{
    Border, DenseOptions, DensePlan, Flips, InferError, Input, Part, Pooling, Predictor, Stage, Tiling, dense,
};
use znn::network::{Network, Parameters};
use znn::train::Loss;
use znn::train::{Settings, StepOptions, TrainingStep};
use znn::{Extent, Tensor};

/// Pooling, a max filter of another stride, dropout, crop and maxout, two outputs.
const POOLED: &str = "
nodes in type=input size=2
edges c1 type=conv input=in output=n1 size=1,3,3 init=msra
nodes n1 type=transfer size=3 function=tanh init=uniform
edges p1 type=max_pool input=n1 output=n2 size=1,2,2
nodes n2 type=sum size=3
edges c2 type=conv input=n2 output=n3 size=2,2,2 init=msra
nodes n3 type=transfer size=4 function=rectify_linear init=uniform
edges p2 type=max_pool input=n3 output=n4 size=2,1,3
nodes n4 type=sum size=4
edges c3 type=conv input=n4 output=o1 size=2,2,1 init=msra
nodes o1 type=transfer size=2 function=logistics init=uniform
edges c4 type=conv input=n4 output=o2 size=2,2,1 init=msra
nodes o2 type=transfer size=1 function=linear
";

/// Without pooling, but with every other type.
const FILTERED: &str = "
nodes in type=input size=1
edges c1 type=conv input=in output=n1 size=2,3,3 init=msra
nodes n1 type=transfer size=4 function=rectify_linear init=uniform
edges f1 type=max_filter input=n1 output=n2 size=1,2,2 stride=1,2,2
nodes n2 type=sum size=4
edges c2 type=conv input=n2 output=n3 size=1,2,2 init=msra
nodes n3 type=transfer size=4 function=tanh
edges d type=dropout input=n3 output=n4 ratio=0.7
nodes n4 type=sum size=4
edges a type=maxout input=n4 output=m
edges c3 type=conv input=n4 output=l size=1,1,1 init=msra
nodes l type=transfer size=4 function=linear
edges b type=maxout input=l output=m
nodes m type=maxout size=4
edges k type=crop input=m output=n5 offset=0,1,1
nodes n5 type=sum size=4
edges c4 type=conv input=n5 output=out size=1,1,2 init=msra
nodes out type=transfer size=3 function=soft_sign
";

fn options(border: Border, tile: Option<Extent>, method: Method) -> DenseOptions {
    let algorithm = Choice::Fixed(method);
    DenseOptions {
        border,
        tile,
        memory: 1 << 30,
        algorithm,
        pooling: Pooling::Dilated,
        ..DenseOptions::default()
    }
}

fn parameters(network: &Network) -> Parameters {
    Parameters::init(network, 11)
}

/// The input of one output voxel, with what crops remove.
fn fov(network: &Network) -> Extent {
    let shapes = network.shapes(Extent::ONE).expect("shapes");
    network.inputs().map(|node| shapes[node].extent).fold(Extent::ONE, Extent::max)
}

#[track_caller]
fn assert_close(found: &[Tensor], expected: &[Tensor], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((found.channels(), found.extent()), (expected.channels(), expected.extent()), "{what}");
        let largest = expected.data().iter().fold(0.0f32, |max, v| max.max(v.abs()));
        assert!(largest > 0.01, "{what}: a prediction of zeros proves nothing");
        for (i, (a, b)) in found.data().iter().zip(expected.data()).enumerate() {
            assert!((a - b).abs() <= tolerance * largest, "{what}[{i}] is {a}, expected {b}");
        }
    }
}

#[test]
fn tiles_do_not_show() {
    for text in [POOLED, FILTERED] {
        let network = network(text);
        let parameters = parameters(&network);
        let inputs = network.inputs().next().map(|node| network[node].size).expect("an input");
        let volume = random(3, inputs, Extent::new(6, 17, 90));
        for (method, tolerance) in [(Method::Direct, 2e-6), (Method::Fft, 1e-4)] {
            for border in [Border::Mirror, Border::Valid] {
                let at_once = dense(
                    &engine(1, false),
                    &network,
                    &parameters,
                    &volume,
                    &options(border, None, method),
                    |_, _| true,
                )
                .expect("a prediction")
                .expect("not ended");
                for (threads, tile) in [
                    (1, Extent::new(1, 1, 1)),
                    (3, Extent::new(1, 5, 90)),
                    (3, Extent::new(3, 4, 7)),
                    (2, Extent::new(100, 100, 31)),
                    (2, Extent::new(100, 100, 100)),
                ] {
                    if tile == Extent::ONE && (border == Border::Mirror || method == Method::Fft) {
                        // Thousands of steps; the small valid output is enough.
                        continue;
                    }
                    let (mut last, mut calls) = ((0, 0), 0);
                    let engine = engine(threads, false);
                    let options = options(border, Some(tile), method);
                    let tiled = dense(&engine, &network, &parameters, &volume, &options, |done, total| {
                        (last, calls) = ((done, total), calls + 1);
                        true
                    });
                    let tiled = tiled.expect("a prediction").expect("not ended");
                    let output = tiled[0].extent();
                    let tiles = Tiling::new(output, tile).counts().len();
                    assert_eq!((last, calls), ((tiles, tiles), tiles), "progress");
                    assert_close(&tiled, &at_once, tolerance, &format!("{method} {border:?} tile {tile}"));
                }
            }
        }
    }
}

#[test]
fn mirrored_predictions_contain_the_valid_ones() {
    for text in [POOLED, FILTERED] {
        let network = network(text);
        let parameters = parameters(&network);
        let inputs = network.inputs().next().map(|node| network[node].size).expect("an input");
        let volume = random(4, inputs, Extent::new(7, 20, 24));
        let engine = engine(2, false);
        let predict = |border| {
            let options = options(border, None, Method::Direct);
            let found = dense(&engine, &network, &parameters, &volume, &options, |_, _| true);
            found.expect("a prediction").expect("not ended")
        };
        let (mirrored, valid) = (predict(Border::Mirror), predict(Border::Valid));
        let fov = fov(&network.to_dense());
        assert_eq!(mirrored[0].extent(), volume.extent());
        assert_eq!(valid[0].extent(), volume.extent() - (fov - Extent::ONE));
        let low = fov.zip(Extent::ONE, |fov, _| (fov - 1) / 2);
        let inside: Vec<Tensor> = mirrored.iter().map(|maps| maps.crop(low, valid[0].extent())).collect();
        assert_close(&inside, &valid, 1e-6, "the inside of the mirrored prediction");
    }
}

/// The dense prediction of a pooled network is, at each voxel, what the network itself makes of the patch around it.
#[test]
fn dense_prediction_is_the_network_patch_by_patch() {
    for method in Method::ALL {
        for threads in [1, 3] {
            let engine = engine(threads, false);
            let network = network(POOLED);
            let parameters = parameters(&network);
            let volume = random(5, 2, Extent::new(7, 16, 20));
            let options = options(Border::Valid, Some(Extent::new(2, 5, 6)), method);
            let dense = dense(&engine, &network, &parameters, &volume, &options, |_, _| true);
            let dense = dense.expect("a prediction").expect("not ended");
            let output = dense[0].extent();

            let choice = Choice::Fixed(method);
            let mut patch =
                Predictor::new(&engine, &network, &parameters, Extent::ONE, choice).expect("a plan");
            let input = patch.input_extent(network.inputs().next().expect("an input"));
            assert_eq!(input, fov(&network));
            let mut patchwise: Vec<Tensor> =
                dense.iter().map(|maps| Tensor::zeros(maps.channels(), output)).collect();
            for z in 0..output.z {
                for y in 0..output.y {
                    for x in 0..output.x {
                        let at = Extent::new(z, y, x);
                        let maps = patch.predict(&[&volume.crop(at, input)]).expect("a prediction");
                        patchwise.iter_mut().zip(maps).for_each(|(to, from)| to.paste(from, at));
                    }
                }
            }
            assert_close(&dense, &patchwise, 1e-5, &format!("{method} with {threads} threads"));
        }
    }
}

/// What training sees as its prediction is what inference computes with the same weights.
#[test]
fn prediction_is_the_forward_pass_of_training() {
    let engine = engine(2, false);
    let network = network(POOLED);
    let output = Extent::new(2, 3, 4);
    let choice = Choice::Fixed(Method::Direct);
    let options = StepOptions { loss: Loss::SQUARE, algorithm: choice, ..StepOptions::default() };
    let mut step = TrainingStep::new(&engine, &network, output, &options).expect("a plan");
    let mut parameters = parameters(&network);
    step.load(&parameters).expect("load");
    let mut predictor = Predictor::new(&engine, &network, &parameters, output, choice).expect("a plan");
    for iteration in 0..4 {
        let images = Images::random(&network, &step, iteration);
        // Before the update of this iteration.
        step.store(&mut parameters).expect("store");
        let settings = Settings { eta: 0.1, factor: 1.0, key: 0 };
        step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration");
        predictor.load(&parameters).expect("load");
        for _ in 0..2 {
            let predicted = predictor.predict(&images.inputs()).expect("a prediction");
            assert_close(predicted, step.predictions(), 1e-5, &format!("iteration {iteration}"));
        }
    }
}

#[test]
fn the_memory_bound_decides_the_tiles() {
    let network = network(FILTERED);
    let (parameters, volume) = (parameters(&network), random(6, 1, Extent::new(8, 60, 70)));
    for method in Method::ALL {
        for threads in [1, 3] {
            let engine = engine(threads, false);
            let choice = Choice::Fixed(method);
            let whole = dense(
                &engine,
                &network,
                &parameters,
                &volume,
                &options(Border::Mirror, None, method),
                |_, _| true,
            )
            .expect("a prediction")
            .expect("not ended");
            let full = Tiling::new(volume.extent(), volume.extent());
            let stage = Stage { network: &network, parameters: &parameters, softmax: 0 };
            let bytes = |tiling: Tiling| {
                let options = options(Border::Mirror, None, method);
                let plan =
                    DensePlan::new(&engine, &[stage], 1, volume.extent(), &options, None).expect("a plan");
                let needed = plan.bytes(&engine, tiling.tile(), usize::MAX).expect("sizes that fit");
                let dense = Arc::new(network.to_dense());
                let own =
                    Predictor::new(&engine, &dense, &parameters, tiling.tile(), choice).expect("a plan");
                assert!(needed > own.bytes(), "the plan of the network is a part of it");
                needed
            };
            let most = bytes(full);
            for memory in [most, most - 1, most / 2, most / 9] {
                let mut tiling = full;
                while bytes(tiling) > memory {
                    tiling = tiling.halve().expect("a tile that fits");
                }
                let mut tiles = 0;
                let options = DenseOptions { memory, ..options(Border::Mirror, None, method) };
                let found = dense(&engine, &network, &parameters, &volume, &options, |_, total| {
                    tiles = total;
                    true
                });
                let what = format!("{method}, {threads} threads, {memory} of {most} bytes");
                assert_eq!(tiles, tiling.counts().len(), "{what}: the largest tiles that fit");
                assert_close(&found.expect("a prediction").expect("not ended"), &whole, 1e-4, &what);
            }
            let options = DenseOptions { memory: 1000, ..options(Border::Mirror, None, method) };
            let error = dense(&engine, &network, &parameters, &volume, &options, |_, _| true);
            match error.expect_err("no network fits a thousand bytes") {
                InferError::Memory { needed, bound } => assert!(bound.0 == 1000 && needed.0 > 1000),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn progress_can_end_the_work() {
    let network = network(FILTERED);
    let (parameters, volume) = (parameters(&network), random(7, 1, Extent::new(4, 20, 20)));
    let options = options(Border::Mirror, Some(Extent::new(1, 20, 20)), Method::Direct);
    let mut calls = 0;
    let found = dense(&engine(2, false), &network, &parameters, &volume, &options, |done, total| {
        calls += 1;
        assert_eq!((done, total), (calls, 4));
        done < 2
    });
    assert!(found.expect("no error").is_none());
    assert_eq!(calls, 2);
}

#[test]
fn volumes_that_do_not_fit_are_refused() {
    let network = network(POOLED);
    let parameters = parameters(&network);
    let engine = engine(1, false);
    let predict = |volume: &Tensor, border| {
        let options = options(border, None, Method::Direct);
        dense(&engine, &network, &parameters, volume, &options, |_, _| true)
    };
    let fov = fov(&network.to_dense());
    let exact = predict(&random(1, 2, fov), Border::Valid).expect("a prediction").expect("not ended");
    assert_eq!(exact[0].extent(), Extent::ONE);
    for axis in 0..3 {
        let mut size = fov.to_array();
        size[axis] -= 1;
        let error = predict(&random(1, 2, size.into()), Border::Valid).expect_err("too small");
        assert!(
            matches!(error, InferError::TooSmall { volume, fov: f } if volume == size.into() && f == fov)
        );
        let text = error.to_string();
        assert!(text.contains(&Extent::from(size).to_string()) && text.contains(&fov.to_string()), "{text}");
        let mirrored = predict(&random(1, 2, size.into()), Border::Mirror).expect("a prediction");
        assert_eq!(
            mirrored.expect("not ended")[0].extent(),
            Extent::from(size),
            "mirrored, it is large enough"
        );
    }
    let error = predict(&random(1, 3, fov), Border::Mirror).expect_err("three channels");
    assert!(
        matches!(&error, InferError::Channels { found: 3, expected: 2, node } if node == "in"),
        "{error}"
    );
}

#[test]
fn deterministic_predictions_have_the_same_bits_for_any_number_of_threads() {
    let network = network(POOLED);
    let (parameters, volume) = (parameters(&network), random(8, 2, Extent::new(6, 20, 70)));
    for method in Method::ALL {
        let predictions = [1, 2, 5].map(|threads| {
            let options = options(Border::Mirror, Some(Extent::new(3, 20, 70)), method);
            let found = dense(&engine(threads, true), &network, &parameters, &volume, &options, |_, _| true);
            found.expect("a prediction").expect("not ended")
        });
        assert!(predictions[1..].iter().all(|other| *other == predictions[0]), "{method}");
    }
}

/// A network that sees one voxel and gives it back.
const IDENTITY: &str = "
nodes in type=input size=1
edges c type=conv input=in output=out size=1,1,1 init=constant init_args=1
nodes out type=transfer size=1 function=linear
";

#[test]
fn blended_tiles_reproduce_a_constant_and_do_not_show() {
    let engine = engine(2, false);
    let blended =
        |text: &str, volume: &Tensor, tile: (usize, usize, usize), overlap: (usize, usize, usize)| {
            let network = network(text);
            let options = DenseOptions {
                overlap: Some(Extent::new(overlap.0, overlap.1, overlap.2)),
                ..options(Border::Mirror, Some(Extent::new(tile.0, tile.1, tile.2)), Method::Direct)
            };
            let found = dense(&engine, &network, &parameters(&network), volume, &options, |_, _| true);
            found.expect("a prediction").expect("not ended")
        };
    let constant = Tensor::from_fn(1, Extent::new(7, 20, 23), |_| 0.1);
    for (tile, overlap) in [((3, 8, 9), (1, 3, 4)), ((7, 9, 23), (0, 8, 0)), ((2, 20, 23), (1, 0, 0))] {
        assert_eq!(blended(IDENTITY, &constant, tile, overlap)[0].data(), constant.data(), "{tile:?}");
        let volume = random(9, 1, Extent::new(7, 20, 23));
        let whole = blended(FILTERED, &volume, (7, 20, 23), (0, 0, 0));
        assert_close(&blended(FILTERED, &volume, tile, overlap), &whole, 2e-6, &format!("{tile:?}"));
    }
}

#[test]
fn flips_average_what_the_network_makes_of_each_mirror_image() {
    let network = network(POOLED);
    let parameters = parameters(&network);
    let engine = engine(2, false);
    let volume = random(10, 2, Extent::new(6, 18, 18));
    let predict = |volume: &Tensor, flips: &str| {
        let flips = if flips.is_empty() { Flips::NONE } else { flips.parse().expect("flips") };
        let options =
            DenseOptions { flips, ..options(Border::Valid, Some(Extent::new(2, 4, 5)), Method::Direct) };
        let found = dense(&engine, &network, &parameters, volume, &options, |_, _| true);
        found.expect("a prediction").expect("not ended")
    };
    for flips in ["x", "zy", "zyx"] {
        let symmetries: Vec<_> = flips.parse::<Flips>().expect("flips").symmetries().collect();
        let mut mean: Vec<Tensor> = Vec::new();
        for symmetry in &symmetries {
            let maps = predict(&symmetry.apply(&volume), "");
            let maps: Vec<Tensor> = maps.iter().map(|maps| symmetry.undo(maps)).collect();
            if mean.is_empty() {
                mean = maps.iter().map(|maps| Tensor::zeros(maps.channels(), maps.extent())).collect();
            }
            for (mean, maps) in mean.iter_mut().zip(&maps) {
                let part = 1.0 / symmetries.len() as f32;
                mean.data_mut().iter_mut().zip(maps.data()).for_each(|(mean, value)| *mean += value * part);
            }
        }
        let found = predict(&volume, flips);
        assert_close(&found, &mean, 1e-5, flips);
        assert!(found[0] != predict(&volume, "")[0], "{flips}: the mean is another one");
    }
    // The field of view is not square.
    let options =
        DenseOptions { flips: "t".parse().expect("flips"), ..options(Border::Valid, None, Method::Direct) };
    let error =
        dense(&engine, &network, &parameters, &volume, &options, |_, _| true).expect_err("not square");
    assert!(matches!(error, InferError::Transpose { .. }), "{error}");
}

/// The second network gets what the first makes, alone or with the volume.
#[test]
fn stages_are_networks_applied_one_after_the_other() {
    let second = |inputs: usize| {
        network(&format!(
            "nodes in type=input size={inputs}\nedges c type=conv input=in output=out size=2,3,3 init=msra\n\
             nodes out type=transfer size=2 function=tanh init=uniform"
        ))
    };
    let engine = engine(2, false);
    let first = network(FILTERED);
    let own = parameters(&first);
    let volume = random(11, 1, Extent::new(9, 30, 32));
    let options = options(Border::Valid, None, Method::Direct);
    let before = dense(&engine, &first, &own, &volume, &options, |_, _| true)
        .expect("a prediction")
        .expect("not ended");
    let margin = fov(&first) - Extent::ONE;
    let middle = volume.crop(margin.zip(Extent::ONE, |margin, _| margin / 2), before[0].extent());
    for with_image in [false, true] {
        let next = second(if with_image { 4 } else { 3 });
        let next_parameters = parameters(&next);
        let image = if with_image { middle.data() } else { &[] };
        let values: Vec<f32> = image.iter().chain(before[0].data()).copied().collect();
        let input = Tensor::from_slice(if with_image { 4 } else { 3 }, before[0].extent(), &values);
        let expected = dense(&engine, &next, &next_parameters, &input, &options, |_, _| true);
        let expected = expected.expect("a prediction").expect("not ended");
        for tile in [Extent::new(100, 100, 100), Extent::new(2, 5, 6)] {
            let options = DenseOptions { tile: Some(tile), ..options };
            let stages = [
                Stage { network: &first, parameters: &own, softmax: 0 },
                Stage { network: &next, parameters: &next_parameters, softmax: 0 },
            ];
            let plan = DensePlan::new(&engine, &stages, 1, volume.extent(), &options, None).expect("a plan");
            let mut found = vec![Tensor::zeros(2, plan.output())];
            let mut input = Input::new(Box::new(MemoryReader::new(&volume)), Normalisation::NONE, "");
            let blocks: Vec<usize> = (0..plan.blocks()).collect();
            let mut write = |part: Part| {
                found[0].paste(&part.maps[0], part.origin);
                Ok(())
            };
            assert!(plan.run(&engine, &mut input, &blocks, &mut write, |_, _| true).expect("a prediction"));
            assert_close(&found, &expected, 1e-5, &format!("{with_image} {tile}"));
        }
    }
    let wrong = second(7);
    let wrong_parameters = parameters(&wrong);
    let stages = [
        Stage { network: &first, parameters: &own, softmax: 0 },
        Stage { network: &wrong, parameters: &wrong_parameters, softmax: 0 },
    ];
    let error = DensePlan::new(&engine, &stages, 1, volume.extent(), &options, None).err().expect("7 maps");
    assert!(matches!(error, InferError::Stage { maps: 3, channels: 1, expected: 7, .. }), "{error}");
}

/// Two poolings, the second along all axes, and a branch that begins and ends between them.
const TWICE_POOLED: &str = "
nodes in type=input size=2
edges c1 type=conv input=in output=n1 size=1,3,3 init=msra
nodes n1 type=transfer size=3 function=tanh init=uniform
edges p1 type=max_pool input=n1 output=n2 size=1,2,2
nodes n2 type=sum size=3
edges c2 type=conv input=n2 output=n3 size=2,2,2 init=msra
edges c3 type=conv input=n2 output=n3 size=2,2,2 init=msra
nodes n3 type=transfer size=4 function=rectify_linear init=uniform
edges p2 type=max_filter input=n3 output=n4 size=2,2,3 stride=2,2,3
nodes n4 type=sum size=4
edges c4 type=conv input=n4 output=out size=2,2,1 init=msra
nodes out type=transfer size=2 function=logistics init=uniform
";

#[test]
fn fragments_give_what_dilated_convolutions_give() {
    let engine = engine(2, false);
    // A crop is counted in voxels of the whole image: it must be a multiple of the stride.
    let cropped = FILTERED.replace("offset=0,1,1", "offset=0,2,4");
    for (text, tiles) in [(TWICE_POOLED, [(2, 4, 6), (4, 8, 18)]), (&*cropped, [(1, 4, 6), (3, 8, 20)])] {
        let network = network(text);
        let parameters = parameters(&network);
        let inputs = network.inputs().next().map(|node| network[node].size).expect("an input");
        let volume = random(12, inputs, Extent::new(7, 29, 31));
        for (border, method) in [(Border::Mirror, Method::Direct), (Border::Valid, Method::Fft)] {
            let predict = |pooling, tile| {
                let options = DenseOptions { pooling, ..options(border, tile, method) };
                dense(&engine, &network, &parameters, &volume, &options, |_, _| true)
                    .map(|it| it.expect("not ended"))
            };
            let expected = predict(Pooling::Dilated, None).expect("a prediction");
            for tile in [None, Some(tiles[0]), Some(tiles[1])] {
                let tile = tile.map(|(z, y, x)| Extent::new(z, y, x));
                for pooling in [Pooling::Fragments, Pooling::Auto] {
                    let found = predict(pooling, tile).expect("a prediction");
                    let tolerance = if method == Method::Direct { 2e-6 } else { 1e-4 };
                    assert_close(&found, &expected, tolerance, &format!("{pooling} {tile:?}"));
                }
            }
        }
    }
    // Two outputs; a crop that is no multiple; no pooling at all.
    for text in [POOLED, FILTERED, IDENTITY] {
        let network = network(text);
        let volume =
            random(1, network.inputs().next().map_or(1, |node| network[node].size), Extent::new(4, 20, 20));
        let options = DenseOptions { pooling: Pooling::Fragments, ..DenseOptions::default() };
        let error = dense(&engine, &network, &parameters(&network), &volume, &options, |_, _| true);
        assert!(matches!(error, Err(InferError::Fragments { .. })));
    }
}

/// Padded convolutions around a pooling and its reverse: outputs are as large as inputs, of even sizes along y and x.
const PADDED: &str = "
nodes in type=input size=1
edges c1 type=conv input=in output=n1 size=3,3,3 pad=1,1,1 init=msra
nodes n1 type=transfer size=3 function=rectify_linear
edges p1 type=max_pool input=n1 output=n2 size=1,2,2
nodes n2 type=sum size=3
edges c2 type=conv input=n2 output=n3 size=1,3,3 pad=0,1,1 init=msra
nodes n3 type=transfer size=4 function=rectify_linear
edges u type=deconv input=n3 output=n1up size=1,2,2 stride=1,2,2 init=msra
nodes n1up type=transfer size=3 function=linear
edges c3 type=conv input=n1up output=out size=1,1,1 init=msra
nodes out type=transfer size=2 function=tanh
";

/// A network that takes even sizes only is applied to a volume of odd ones, in one tile and in blended ones.
#[test]
fn networks_with_padding_predict_volumes_of_any_size() {
    let engine = engine(2, false);
    let network = network(PADDED);
    let parameters = parameters(&network);
    let volume = random(13, 1, Extent::new(5, 33, 41));
    let predict = |border, tile, independent| {
        let options = DenseOptions { independent, ..options(border, tile, Method::Direct) };
        let found = dense(&engine, &network, &parameters, &volume, &options, |_, _| true);
        found.expect("a prediction").expect("not ended")
    };
    let whole = predict(Border::Mirror, None, false);
    assert_eq!(whole[0].extent(), volume.extent());
    let even = Extent::new(5, 34, 42);
    let choice = Choice::Fixed(Method::Direct);
    let mut patch = Predictor::new(&engine, &network, &parameters, even, choice).expect("a plan");
    let mut input = Input::new(Box::new(MemoryReader::new(&volume)), Normalisation::NONE, "");
    let mirrored = input.patch([0, 0, 0], even).expect("memory");
    let maps = patch.predict(&[&mirrored]).expect("a prediction");
    assert_close(&whole, &[maps[0].crop(Extent::ZERO, volume.extent())], 1e-6, "one tile");
    for independent in [false, true] {
        let tiled = predict(Border::Mirror, Some(Extent::new(5, 20, 22)), independent);
        assert_eq!(tiled[0].extent(), volume.extent());
        // Far from borders of tiles nothing differs.
        let corner = Extent::new(5, 8, 8);
        let inside = [tiled[0].crop(Extent::ZERO, corner)];
        assert_close(&inside, &[whole[0].crop(Extent::ZERO, corner)], 1e-6, "the corner");
        assert!(tiled[0] != whole[0], "borders of tiles differ");
    }
}
