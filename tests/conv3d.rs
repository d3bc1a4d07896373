//! Convolutions on arrays of one's own: every pass against its definition in f64, whatever the batch, the strides, the
//! padding and the algorithm; the passes as adjoints of each other; and what is refused.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn::conv::{Choice, Method, Passes};
use znn::{
    Conv3d, Conv3dError, Conv3dOptions, Engine, EngineOptions, Extent, Problem, ProblemError, Strides,
    Transfer,
};

/// What f32 may cost, in units of the largest sum of the squares of an element's terms, by tiles of Winograd too.
const TOLERANCE: f64 = 1.5e-5;

fn engine(threads: usize) -> Engine {
    Engine::new(&EngineOptions { threads: Some(threads), ..Default::default() }).expect("an engine")
}

/// A problem, its batch and the places of its maps.
#[derive(Clone, Copy, Debug)]
struct Case {
    problem: Problem,
    batch: usize,
    input: Option<Strides>,
    output: Option<Strides>,
}

impl Case {
    fn options(&self, algorithm: Choice) -> Conv3dOptions {
        let &Self { batch, input, output, .. } = self;
        Conv3dOptions { batch, input, output, algorithm, ..Default::default() }
    }

    fn place(strides: Option<Strides>, maps: usize, voxels: usize) -> impl Fn(usize, usize) -> usize {
        let Strides { image, map } = strides.unwrap_or(Strides { image: maps * voxels, map: voxels });
        move |n, c| n * image + c * map
    }

    /// Calls `term` with the places (y, w, x) of every product.
    fn each_term(&self, mut term: impl FnMut(usize, usize, usize)) {
        let Problem { c_in, c_out, input, kernel, dilation, stride, padding: [before, _] } = self.problem;
        let output = self.problem.output();
        let x_place = Self::place(self.input, c_in, input.len());
        let y_place = Self::place(self.output, c_out, output.len());
        let axis = |p: usize, k: usize, stride: usize, dilation: usize, before: usize, size: usize| {
            (p * stride + k * dilation).checked_sub(before).filter(|&at| at < size)
        };
        for p in voxels(output) {
            for k in voxels(kernel) {
                let at = (
                    axis(p.z, k.z, stride.z, dilation.z, before.z, input.z),
                    axis(p.y, k.y, stride.y, dilation.y, before.y, input.y),
                    axis(p.x, k.x, stride.x, dilation.x, before.x, input.x),
                );
                let (Some(z), Some(y), Some(x)) = at else { continue };
                let (q, p, k) =
                    (input.index(z, y, x), output.index(p.z, p.y, p.x), kernel.index(k.z, k.y, k.x));
                for n in 0..self.batch {
                    for o in 0..c_out {
                        for i in 0..c_in {
                            term(y_place(n, o) + p, (o * c_in + i) * kernel.len() + k, x_place(n, i) + q);
                        }
                    }
                }
            }
        }
    }
}

fn voxels(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.z)
        .flat_map(move |z| (0..extent.y).flat_map(move |y| (0..extent.x).map(move |x| Extent::new(z, y, x))))
}

fn extent(rng: &mut ChaCha8Rng, from: &[usize]) -> Extent {
    Extent::from([0; 3].map(|_| from[rng.random_range(0..from.len())]))
}

/// A small problem of any kind.
fn random(rng: &mut ChaCha8Rng) -> Case {
    const MAPS: [usize; 5] = [1, 2, 3, 5, 17];
    let maps = [0; 2].map(|_| MAPS[rng.random_range(0..MAPS.len())]);
    let plain = rng.random_bool(0.4);
    let (mut kernel, mut more) = (extent(rng, &[1, 2, 3, 3, 4]), extent(rng, &[1, 2, 5, 9]));
    let dilation = extent(rng, &[1, 1, 2, 3]);
    let (stride, padding) = match plain {
        true => (Extent::ONE, [Extent::ZERO; 2]),
        false => (extent(rng, &[1, 1, 2, 3]), [extent(rng, &[0, 1, 2]), extent(rng, &[0, 1, 2])]),
    };
    if rng.random_bool(0.3) {
        (kernel.z, more.z, more.x) = (1, 1, 30);
    }
    let reach = kernel.zip(dilation, |k, d| (k - 1) * d);
    // padding may be all that makes room for the kernel
    let full = more + reach;
    let input = full.zip(padding[0] + padding[1], |full, zeros| full.saturating_sub(zeros).max(1));
    let [c_in, c_out] = maps;
    let problem = Problem { stride, padding, ..Problem::valid(c_in, c_out, input, kernel, dilation) };
    let batch = rng.random_range(1..5);
    let kind = rng.random_range(0..3);
    let mut strides = |maps: usize, voxels: usize| match kind {
        0 => None,
        // a part of a larger array
        1 => {
            let map = voxels + rng.random_range(0..4);
            Some(Strides { image: maps * map + rng.random_range(0..9), map })
        }
        // maps outside, images inside
        _ => Some(Strides { image: voxels + 1, map: batch * (voxels + 1) }),
    };
    let (input, output) = (strides(c_in, input.len()), strides(c_out, problem.output().len()));
    Case { problem, batch, input, output }
}

fn floats(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// Sums of products, and how large their terms are. Places that are no voxel hold `None`.
struct Expected(Vec<Option<(f64, f64)>>);

impl Expected {
    fn new(len: usize) -> Self {
        Self(vec![None; len])
    }

    fn add(&mut self, place: usize, a: f32, b: f32) {
        let term = f64::from(a) * f64::from(b);
        let (sum, squares) = self.0[place].get_or_insert((0.0, 0.0));
        *sum += term;
        *squares += term * term;
    }

    /// `untouched` is what the array held before.
    #[track_caller]
    fn check(&self, found: &[f32], untouched: f32, is_voxel: impl Fn(usize) -> bool, what: &str) {
        assert_eq!(found.len(), self.0.len(), "{what}");
        let norm = self.0.iter().flatten().fold(1.0, |max: f64, &(_, squares)| max.max(squares)).sqrt();
        for (i, (&found, expected)) in found.iter().zip(&self.0).enumerate() {
            if !is_voxel(i) {
                assert_eq!(found, untouched, "{what}[{i}] lies between the maps");
                continue;
            }
            let (value, _) = expected.unwrap_or_default();
            let error = (f64::from(found) - value).abs();
            assert!(error <= TOLERANCE * norm, "{what}[{i}] is {found}, expected {value}");
        }
    }
}

/// The places of the maps of an array.
fn mask(len: usize, batch: usize, strides: Option<Strides>, maps: usize, voxels: usize) -> Vec<bool> {
    let place = Case::place(strides, maps, voxels);
    let mut mask = vec![false; len];
    for n in 0..batch {
        for c in 0..maps {
            mask[place(n, c)..][..voxels].fill(true);
        }
    }
    mask
}

const METHODS: [Choice; 4] = [
    Choice::Estimate,
    Choice::Fixed(Method::Direct),
    Choice::Fixed(Method::Winograd),
    Choice::Fixed(Method::Fft),
];

#[test]
fn passes_match_their_definitions() {
    const UNTOUCHED: f32 = 777.0;
    let engines = [engine(1), engine(3)];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for turn in 0..60 {
        let case = random(&mut rng);
        let Problem { c_in, c_out, input, .. } = case.problem;
        let out_voxels = case.problem.output().len();
        for algorithm in METHODS {
            let engine = &engines[turn % engines.len()];
            let mut conv = Conv3d::new(engine, case.problem, &case.options(algorithm)).expect("a plan");
            let what = |pass: &str| format!("{pass} of {case:?} by {algorithm:?}");
            let (x, dy) = (floats(&mut rng, conv.input_len()), floats(&mut rng, conv.output_len()));
            let weights = floats(&mut rng, conv.weights_len());
            let bias = floats(&mut rng, c_out);

            let mut y = Expected::new(conv.output_len());
            let mut dx = Expected::new(conv.input_len());
            let mut dw = Expected::new(conv.weights_len());
            case.each_term(|at_y, at_w, at_x| {
                y.add(at_y, weights[at_w], x[at_x]);
                dx.add(at_x, weights[at_w], dy[at_y]);
                dw.add(at_w, dy[at_y], x[at_x]);
            });
            let mut db = Expected::new(c_out);
            let place = Case::place(case.output, c_out, out_voxels);
            for n in 0..case.batch {
                for (o, &bias) in bias.iter().enumerate() {
                    let map = place(n, o)..place(n, o) + out_voxels;
                    dy[map.clone()].iter().for_each(|&dy| db.add(o, dy, 1.0));
                    map.for_each(|p| y.add(p, bias, 1.0));
                }
            }

            let in_maps = mask(conv.input_len(), case.batch, case.input, c_in, input.len());
            let out_maps = mask(conv.output_len(), case.batch, case.output, c_out, out_voxels);
            // The second round finds in the plan's memory what the first one left.
            for _ in 0..2 {
                let mut found = vec![UNTOUCHED; conv.output_len()];
                conv.forward(&x, &weights, Some(&bias), &mut found).expect("forward");
                y.check(&found, UNTOUCHED, |i| out_maps[i], &what("forward"));
                let mut found = vec![UNTOUCHED; conv.input_len()];
                conv.backward_data(&dy, &weights, &mut found).expect("backward_data");
                dx.check(&found, UNTOUCHED, |i| in_maps[i], &what("backward_data"));
                let mut found = vec![UNTOUCHED; conv.weights_len()];
                conv.backward_weights(&x, &dy, &mut found).expect("backward_weights");
                dw.check(&found, UNTOUCHED, |_| true, &what("backward_weights"));
                let mut found = vec![UNTOUCHED; c_out];
                conv.backward_bias(&dy, &mut found).expect("backward_bias");
                db.check(&found, UNTOUCHED, |_| true, &what("backward_bias"));
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[test]
fn passes_are_adjoint() {
    let engine = engine(2);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for algorithm in METHODS {
        for batch in [1, 6] {
            let valid = Problem::valid(5, 12, Extent::new(9, 14, 20), Extent::new(3, 3, 3), Extent::ONE);
            let problem = match algorithm {
                Choice::Fixed(Method::Fft) => valid,
                _ => Problem { padding: [Extent::ONE; 2], ..valid },
            };
            let options = Conv3dOptions { batch, algorithm, ..Default::default() };
            let mut conv = Conv3d::new(&engine, problem, &options).expect("a plan");
            let (x, dy) = (floats(&mut rng, conv.input_len()), floats(&mut rng, conv.output_len()));
            let w = floats(&mut rng, conv.weights_len());
            let mut y = vec![0.0; conv.output_len()];
            let (mut dx, mut dw) = (vec![0.0; conv.input_len()], vec![0.0; conv.weights_len()]);
            conv.forward(&x, &w, None, &mut y).unwrap();
            conv.backward_data(&dy, &w, &mut dx).unwrap();
            conv.backward_weights(&x, &dy, &mut dw).unwrap();
            let product = dot(&y, &dy);
            let tolerance = 1e-6 * dot(&y, &y).sqrt() * dot(&dy, &dy).sqrt();
            for (pass, found) in [("data", dot(&x, &dx)), ("weights", dot(&w, &dw))] {
                let error = (found - product).abs();
                assert!(
                    error <= tolerance,
                    "{pass} by {algorithm:?}, batch {batch}: {error:e} > {tolerance:e}"
                );
            }
        }
    }
}

#[test]
fn transfer_functions_and_their_gradients() {
    let engine = engine(2);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let problem = Problem::valid(3, 4, Extent::new(5, 6, 7), Extent::new(2, 2, 2), Extent::ONE);
    let voxels = problem.output().len();
    let strides = Strides { image: 4 * (voxels + 3), map: voxels + 3 };
    type Function = fn(f64) -> f64;
    let functions: [(Transfer, Function, Function); 3] = [
        (Transfer::IDENTITY, |x| x, |_| 1.0),
        (Transfer::RectifyLinear, |x| x.max(0.0), |y| if y > 0.0 { 1.0 } else { 0.0 }),
        (Transfer::Logistic, |x| 1.0 / (1.0 + (-x).exp()), |y| y * (1.0 - y)),
    ];
    for (transfer, f, derivative) in functions {
        let options = Conv3dOptions { batch: 3, output: Some(strides), ..Default::default() };
        let mut linear = Conv3d::new(&engine, problem, &options).unwrap();
        let mut conv = Conv3d::new(&engine, problem, &Conv3dOptions { transfer, ..options }).unwrap();
        let (x, bias) = (floats(&mut rng, conv.input_len()), floats(&mut rng, 4));
        let (weights, dy) = (floats(&mut rng, conv.weights_len()), floats(&mut rng, conv.output_len()));
        let [mut before, mut y] = [(); 2].map(|()| vec![0.0; conv.output_len()]);
        linear.forward(&x, &weights, Some(&bias), &mut before).unwrap();
        conv.forward(&x, &weights, Some(&bias), &mut y).unwrap();
        let (mut g, mut db) = (dy.clone(), vec![9.0; 4]);
        conv.backward_transfer(&y, &mut g, &mut db).unwrap();
        let maps = mask(conv.output_len(), 3, Some(strides), 4, voxels);
        for i in 0..y.len() {
            if maps[i] {
                assert!(
                    (f64::from(y[i]) - f(before[i].into())).abs() < 1e-5,
                    "{transfer:?} of {}",
                    before[i]
                );
                let expected = f64::from(dy[i]) * derivative(y[i].into());
                assert!((f64::from(g[i]) - expected).abs() < 1e-5, "{transfer:?}: {} for {expected}", g[i]);
            } else {
                assert_eq!((y[i], g[i]), (0.0, dy[i]), "between the maps");
            }
        }
        let mut expected = vec![0.0; 4];
        linear.backward_bias(&g, &mut expected).unwrap();
        for (found, expected) in db.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3, "{transfer:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn new_weights_count_and_old_ones_are_not_prepared_again() {
    let engine = engine(2);
    let problem = Problem::valid(2, 3, Extent::new(8, 8, 8), Extent::new(3, 3, 3), Extent::ONE);
    for method in Method::ALL {
        let options = Conv3dOptions { algorithm: Choice::Fixed(method), ..Default::default() };
        let mut conv = Conv3d::new(&engine, problem, &options).unwrap();
        let x = vec![1.0; conv.input_len()];
        let mut y = vec![0.0; conv.output_len()];
        for value in [0.0, 1.0, 1.0, 2.0, 0.0] {
            conv.forward(&x, &vec![value; conv.weights_len()], None, &mut y).unwrap();
            assert!(y.iter().all(|y| (y - 54.0 * value).abs() < 1e-3), "{method}: {} for {value}", y[0]);
        }
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    let engine = engine(2);
    let good = Problem::valid(2, 3, Extent::new(5, 5, 5), Extent::new(3, 3, 3), Extent::ONE);
    let problem = |change: fn(&mut Problem)| {
        let mut problem = good;
        change(&mut problem);
        match Conv3d::new(&engine, problem, &Conv3dOptions::default()).err() {
            Some(Conv3dError::Problem { source, .. }) => source,
            other => panic!("{problem}: {other:?}"),
        }
    };
    assert_eq!(problem(|p| p.c_in = 0), ProblemError::NoMaps);
    assert_eq!(problem(|p| p.c_out = 0), ProblemError::NoMaps);
    assert_eq!(problem(|p| p.stride.y = 0), ProblemError::Empty);
    assert_eq!(problem(|p| p.dilation.x = 0), ProblemError::Empty);
    assert_eq!(problem(|p| p.kernel = Extent::ZERO), ProblemError::Empty);
    assert_eq!(problem(|p| p.input.z = 2), ProblemError::KernelTooLarge { axis: 'z' });
    assert_eq!(problem(|p| p.dilation.x = usize::MAX), ProblemError::KernelTooLarge { axis: 'x' });
    assert_eq!(problem(|p| p.input.z = usize::MAX), ProblemError::TooLarge);
    assert_eq!(problem(|p| p.padding[0].y = usize::MAX), ProblemError::TooLarge);
    assert_eq!(problem(|p| p.c_out = usize::MAX), ProblemError::TooLarge);

    let new = |problem: Problem, options: Conv3dOptions| Conv3d::new(&engine, problem, &options).err();
    let empty = new(good, Conv3dOptions { batch: 0, ..Default::default() });
    assert_eq!(empty, Some(Conv3dError::EmptyBatch));
    let large = Problem { input: Extent::new(1 << 18, 1 << 18, 1 << 18), ..good };
    assert!(matches!(new(large, Conv3dOptions::default()), Some(Conv3dError::Memory(_))));
    let overlapping = Some(Strides { image: 250, map: 124 });
    let error = new(good, Conv3dOptions { batch: 2, input: overlapping, ..Default::default() });
    assert!(matches!(error, Some(Conv3dError::Strides { .. })), "{error:?}");

    let mut conv = Conv3d::new(&engine, good, &Conv3dOptions::default()).unwrap();
    let (x, w, y) = ([0.0; 250], [0.0; 162], [0.0; 81]);
    let length = |array, found, expected| Err(Conv3dError::Length { array, found, expected });
    assert_eq!(conv.forward(&x[1..], &w, None, &mut y.clone()), length("x", 249, 250));
    assert_eq!(conv.forward(&x, &w[1..], None, &mut y.clone()), length("weights", 161, 162));
    assert_eq!(conv.forward(&x, &w, Some(&[0.0; 2]), &mut y.clone()), length("bias", 2, 3));
    assert_eq!(conv.forward(&x, &w, None, &mut [0.0; 82]), length("y", 82, 81));
    assert_eq!(conv.backward_data(&y[1..], &w, &mut x.clone()), length("dy", 80, 81));
    assert_eq!(conv.backward_data(&y, &w, &mut [0.0; 3]), length("dx", 3, 250));
    assert_eq!(conv.backward_weights(&x, &y, &mut []), length("dw", 0, 162));
    assert_eq!(conv.backward_bias(&y, &mut [0.0; 4]), length("db", 4, 3));
    assert_eq!(conv.backward_transfer(&y, &mut [], &mut [0.0; 3]), length("dy", 0, 81));

    let options = Conv3dOptions { passes: Passes::Inference, ..Default::default() };
    let mut conv = Conv3d::new(&engine, good, &options).unwrap();
    conv.forward(&x, &w, None, &mut y.clone()).unwrap();
    let unplanned = |pass| Err(Conv3dError::NotPlanned { pass });
    assert_eq!(conv.backward_data(&y, &w, &mut x.clone()), unplanned("backward_data"));
    assert_eq!(conv.backward_weights(&x, &y, &mut w.clone()), unplanned("backward_weights"));
    assert_eq!(conv.backward_bias(&y, &mut [0.0; 3]), unplanned("backward_bias"));
}

#[test]
fn an_engine_bounds_what_algorithms_take() {
    let problem = Problem::valid(8, 8, Extent::new(40, 40, 40), Extent::new(7, 7, 7), Extent::ONE);
    let bytes = |workspace| {
        let engine =
            Engine::new(&EngineOptions { threads: Some(2), workspace, ..Default::default() }).unwrap();
        let options = Conv3dOptions { algorithm: Choice::Estimate, ..Default::default() };
        let conv = Conv3d::new(&engine, problem, &options).unwrap();
        (conv.decision().forward.method(), conv.bytes())
    };
    let ((fast, much), (small, little)) = (bytes(None), bytes(Some(1 << 16)));
    assert_eq!((fast, small), (Method::Fft, Method::Direct));
    assert!(little < much / 4, "{little} of {much}");
}

#[test]
fn convolutions_of_one_engine_are_called_from_several_threads() {
    let engine = engine(2);
    let problem = Problem::valid(2, 3, Extent::new(6, 7, 20), Extent::new(3, 3, 3), Extent::ONE);
    std::thread::scope(|scope| {
        for value in 1..5 {
            let mut conv = Conv3d::new(&engine, problem, &Conv3dOptions::default()).unwrap();
            scope.spawn(move || {
                let x = vec![value as f32; conv.input_len()];
                let w = vec![1.0; conv.weights_len()];
                let mut y = vec![0.0; conv.output_len()];
                for _ in 0..50 {
                    conv.forward(&x, &w, None, &mut y).unwrap();
                    assert!(y.iter().all(|&y| (y - 54.0 * value as f32).abs() < 1e-3), "{value}: {}", y[0]);
                    y.fill(0.0);
                }
            });
        }
    });
}
