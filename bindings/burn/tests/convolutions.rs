//! Outputs and gradients against those of burn's own convolutions.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Device, Distribution, Tensor, TensorData, module};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_burn::{Extent, plans};

/// Sizes of a convolution, and which operands are wanted.
#[derive(Clone, Debug)]
struct Sizes<const N: usize> {
    batch: usize,
    c_in: usize,
    c_out: usize,
    input: [usize; N],
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    dilation: [usize; N],
    bias: bool,
}

impl<const N: usize> Sizes<N> {
    fn draw(draw: &mut ChaCha8Rng) -> Self {
        const CHANNELS: [usize; 5] = [1, 3, 5, 20, 33];
        let mut below = |end: u32| (draw.next_u32() % end) as usize;
        let [c_in, c_out] = std::array::from_fn(|_| CHANNELS[below(5)]);
        let kernel = std::array::from_fn(|_| 1 + below(4));
        let stride = std::array::from_fn(|_| 1 + below(3) / 2 + below(8) / 7);
        let dilation = std::array::from_fn(|_| 1 + below(4) / 3);
        let padding: [usize; N] = std::array::from_fn(|axis| below(kernel[axis] as u32));
        let input = std::array::from_fn(|axis| {
            let reach = (kernel[axis] - 1) * dilation[axis];
            (1 + reach).saturating_sub(2 * padding[axis]).max(1) + below(6)
        });
        Self {
            batch: 1 + below(3),
            c_in,
            c_out,
            input,
            kernel,
            stride,
            padding,
            dilation,
            bias: below(2) == 0,
        }
    }

    fn options(&self) -> ConvOptions<N> {
        ConvOptions::new(self.stride, self.padding, self.dilation, 1)
    }

    /// The shape of an array with two other axes.
    fn shape<const D: usize>(first: [usize; 2], axes: [usize; N]) -> [usize; D] {
        std::array::from_fn(|axis| if axis < 2 { first[axis] } else { axes[axis - 2] })
    }
}

/// Values between -1 and 1.
fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|_| draw.next_u32() as f32 / (1_u64 << 31) as f32 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("32-bit floats")
}

/// `y`, and the gradients of a weighted sum of it by x, weight and bias.
fn all_of<const D: usize>(
    shapes: [[usize; D]; 2],
    bias: Option<usize>,
    device: &Device,
    function: impl Fn(Tensor<D>, Tensor<D>, Option<Tensor<1>>) -> Tensor<D>,
) -> Vec<(&'static str, Vec<f32>)> {
    let [x, weight] = [0, 1].map(|index| random(shapes[index], index as u64, device).require_grad());
    let bias = bias.map(|len| random([len], 2, device).require_grad());
    let y = function(x.clone(), weight.clone(), bias.clone());
    let gradients = (y.clone() * random(y.dims(), 3, device)).sum().backward();
    let mut found = vec![("y", values(y))];
    found.push(("dx", values(x.grad(&gradients).expect("x is tracked"))));
    found.push(("dw", values(weight.grad(&gradients).expect("weights are tracked"))));
    found.extend(bias.map(|bias| ("db", values(bias.grad(&gradients).expect("the bias is tracked")))));
    found
}

fn assert_close(found: &[(&'static str, Vec<f32>)], expected: &[(&'static str, Vec<f32>)], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{name} of {case}");
        let largest = expected.iter().fold(1e-3_f32, |largest, value| largest.max(value.abs()));
        let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= 2e-5 * largest, "{name} of {case}: {error} of {largest}");
    }
}

/// Whether a plan was made for a convolution of these input maps and kernel.
fn is_planned(c_in: usize, input: impl Into<Extent>, kernel: impl Into<Extent>) -> bool {
    let (input, kernel) = (input.into(), kernel.into());
    plans()
        .iter()
        .any(|plan| plan.problem.c_in == c_in && plan.problem.input == input && plan.problem.kernel == kernel)
}

#[test]
fn convolutions_of_volumes_are_those_of_burn() {
    let (mut draw, device) = (ChaCha8Rng::seed_from_u64(1), Device::flex().autodiff());
    for _ in 0..40 {
        let sizes = Sizes::<3>::draw(&mut draw);
        let shapes = [
            Sizes::shape([sizes.batch, sizes.c_in], sizes.input),
            Sizes::shape([sizes.c_out, sizes.c_in], sizes.kernel),
        ];
        let bias = sizes.bias.then_some(sizes.c_out);
        let found = all_of(shapes, bias, &device, |x, w, b| znn_burn::conv3d(x, w, b, sizes.options()));
        let expected = all_of(shapes, bias, &device, |x, w, b| module::conv3d(x, w, b, sizes.options()));
        assert_close(&found, &expected, &format!("{sizes:?}"));
        assert!(is_planned(sizes.c_in, sizes.input, sizes.kernel), "{sizes:?}");
    }
}

#[test]
fn convolutions_of_images_are_those_of_burn() {
    let (mut draw, device) = (ChaCha8Rng::seed_from_u64(2), Device::flex().autodiff());
    for _ in 0..40 {
        let sizes = Sizes::<2>::draw(&mut draw);
        let shapes = [
            Sizes::shape([sizes.batch, sizes.c_in], sizes.input),
            Sizes::shape([sizes.c_out, sizes.c_in], sizes.kernel),
        ];
        let bias = sizes.bias.then_some(sizes.c_out);
        let found = all_of(shapes, bias, &device, |x, w, b| znn_burn::conv2d(x, w, b, sizes.options()));
        let expected = all_of(shapes, bias, &device, |x, w, b| module::conv2d(x, w, b, sizes.options()));
        assert_close(&found, &expected, &format!("{sizes:?}"));
        let flat = |[y, x]: [usize; 2]| [1, y, x];
        assert!(is_planned(sizes.c_in, flat(sizes.input), flat(sizes.kernel)), "{sizes:?}");
    }
}

#[test]
fn transposed_convolutions_are_those_of_burn() {
    let (mut draw, device) = (ChaCha8Rng::seed_from_u64(3), Device::flex().autodiff());
    let mut planned = 0;
    for _ in 0..40 {
        let sizes = Sizes::<3>::draw(&mut draw);
        let Sizes { batch, c_in, c_out, stride, padding, dilation, kernel, .. } = sizes;
        let input: [usize; 3] = std::array::from_fn(|axis| sizes.input[axis] / stride[axis] + 2);
        // The engine computes what is the adjoint of a convolution: those with less than a stride of voxels behind.
        let out: [usize; 3] =
            std::array::from_fn(|axis| (draw.next_u32() % 8 < 2 * stride[axis] as u32 - 1).into());
        let reached =
            |axis: usize| (input[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
        if (0..3).any(|axis| reached(axis) + out[axis] <= 2 * padding[axis]) {
            continue;
        }
        let options = ConvTransposeOptions::new(stride, padding, out, dilation, 1);
        let shapes = [Sizes::shape([batch, c_in], input), Sizes::shape([c_in, c_out], kernel)];
        let bias = sizes.bias.then_some(c_out);
        let case = format!("{sizes:?} + {out:?}");
        let found =
            all_of(shapes, bias, &device, |x, w, b| znn_burn::conv_transpose3d(x, w, b, options.clone()));
        let expected =
            all_of(shapes, bias, &device, |x, w, b| module::conv_transpose3d(x, w, b, options.clone()));
        assert_close(&found, &expected, &case);
        let output: [usize; 3] = std::array::from_fn(|axis| reached(axis) + out[axis] - 2 * padding[axis]);
        let computed = (0..3).all(|axis| out[axis] < stride[axis]);
        assert_eq!(is_planned(c_out, output, kernel), computed, "{case}");
        planned += usize::from(computed);
    }
    assert!(planned > 15, "{planned}");
}

#[test]
fn a_flat_transposed_convolution_is_that_of_burn() {
    let device = Device::flex().autodiff();
    let options = ConvTransposeOptions::new([2, 2], [1, 0], [1, 1], [1, 1], 1);
    let shapes = [[2, 5, 9, 8], [5, 3, 3, 2]];
    let found =
        all_of(shapes, Some(3), &device, |x, w, b| znn_burn::conv_transpose2d(x, w, b, options.clone()));
    let expected =
        all_of(shapes, Some(3), &device, |x, w, b| module::conv_transpose2d(x, w, b, options.clone()));
    assert_close(&found, &expected, "flat");
    assert!(is_planned(3, [1, 18, 17], [1, 3, 2]));
}

#[test]
fn groups_are_left_to_burn() {
    let device = Device::flex().autodiff();
    let options = ConvOptions::new([1; 3], [1; 3], [1; 3], 2);
    let shapes = [[1, 6, 7, 6, 5], [4, 3, 3, 3, 3]];
    let found = all_of(shapes, Some(4), &device, |x, w, b| znn_burn::conv3d(x, w, b, options.clone()));
    let expected = all_of(shapes, Some(4), &device, |x, w, b| module::conv3d(x, w, b, options.clone()));
    assert_close(&found, &expected, "two groups");
    assert!(!is_planned(6, [7, 6, 5], [3; 3]) && !is_planned(3, [7, 6, 5], [3; 3]));
}

#[test]
fn other_precisions_are_left_to_burn() {
    let device = Device::flex();
    let x = random([1, 2, 6, 6, 11], 1, &device).cast(DType::F64);
    let weight = random([3, 2, 3, 3, 3], 2, &device).cast(DType::F64);
    let y = znn_burn::conv3d(x, weight, None, ConvOptions::new([1; 3], [0; 3], [1; 3], 1));
    assert_eq!((y.dtype(), y.dims()), (DType::F64, [1, 3, 4, 4, 9]));
    assert!(!is_planned(2, [6, 6, 11], [3; 3]));
}

#[test]
fn tensors_need_not_be_contiguous() {
    let device = Device::flex().autodiff();
    let options = ConvOptions::new([1; 3], [1; 3], [1; 3], 1);
    // Axes exchanged, and a part of more channels.
    let strided = |x: Tensor<5>| x.swap_dims(2, 4).slice([0..2, 1..4]);
    let shapes = [[2, 5, 6, 8, 9], [4, 3, 3, 3, 3]];
    let found = all_of(shapes, None, &device, |x, w, b| {
        znn_burn::conv3d(strided(x), w.swap_dims(3, 4), b, options.clone())
    });
    let expected = all_of(shapes, None, &device, |x, w, b| {
        module::conv3d(strided(x), w.swap_dims(3, 4), b, options.clone())
    });
    assert_close(&found, &expected, "strided");
    assert!(is_planned(3, [9, 8, 6], [3; 3]));
}

#[test]
fn untracked_operands_have_no_gradient() {
    let options = || ConvOptions::new([1; 3], [0; 3], [1; 3], 1);
    let device = Device::flex().autodiff();
    let shapes = ([1, 3, 7, 7, 7], [2, 3, 3, 3, 3]);
    // Neither: the plain backend, and autodiff without anything to track.
    let plain = znn_burn::conv3d(
        random(shapes.0, 0, &Device::flex()),
        random(shapes.1, 1, &Device::flex()),
        None,
        options(),
    );
    let untracked =
        znn_burn::conv3d(random(shapes.0, 0, &device), random(shapes.1, 1, &device), None, options());
    assert!(!untracked.is_tracked());
    assert_close(&[("y", values(untracked))], &[("y", values(plain))], "untracked");
    // One of them.
    for wanted in 0..2 {
        let gradients = |function: &dyn Fn(Tensor<5>, Tensor<5>) -> Tensor<5>| {
            let (mut x, mut weight) = (random(shapes.0, 0, &device), random(shapes.1, 1, &device));
            if wanted == 0 {
                x = x.require_grad()
            } else {
                weight = weight.require_grad()
            }
            let gradients = function(x.clone(), weight.clone()).powi_scalar(2).sum().backward();
            let [of_x, of_weight] = [x.grad(&gradients), weight.grad(&gradients)];
            assert_eq!([of_x.is_some(), of_weight.is_some()], [wanted == 0, wanted == 1]);
            vec![("gradient", values(of_x.or(of_weight).expect("one of them")))]
        };
        let found = gradients(&|x, weight| znn_burn::conv3d(x, weight, None, options()));
        let expected = gradients(&|x, weight| module::conv3d(x, weight, None, options()));
        assert_close(&found, &expected, &format!("operand {wanted}"));
    }
}

#[test]
fn a_checkpointed_graph_gives_the_same_gradients() {
    let options = ConvOptions::new([1; 3], [1; 3], [1; 3], 1);
    let shapes = [[1, 5, 6, 7, 8], [5, 5, 3, 3, 3]];
    let twice = |x: Tensor<5>, w: Tensor<5>, b: Option<Tensor<1>>| {
        let x = znn_burn::conv3d(x, w.clone(), b.clone(), options.clone()).exp().tanh() * 2.0;
        znn_burn::conv3d(x, w, b, options.clone())
    };
    let found = all_of(shapes, Some(5), &Device::flex().autodiff().gradient_checkpointing(), twice);
    let expected = all_of(shapes, Some(5), &Device::flex().autodiff(), twice);
    assert_close(&found, &expected, "checkpointed");
}

#[test]
fn several_threads_may_call() {
    let convolve = || {
        let device = Device::flex().autodiff();
        let options = ConvOptions::new([1; 3], [1; 3], [1; 3], 1);
        all_of([[2, 3, 9, 9, 9], [4, 3, 3, 3, 3]], Some(4), &device, |x, w, b| {
            znn_burn::conv3d(x, w, b, options.clone())
        })
    };
    let expected = convolve();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(convolve)).collect();
    for thread in threads {
        assert_close(&thread.join().expect("no panic"), &expected, "threads");
    }
}

#[test]
#[should_panic(expected = "channels")]
fn wrong_channels_are_refused_as_burn_does() {
    let device = Device::flex();
    let x = Tensor::<5>::random([1, 4, 5, 5, 5], Distribution::Default, &device);
    let weight = Tensor::<5>::random([2, 3, 3, 3, 3], Distribution::Default, &device);
    znn_burn::conv3d(x, weight, None, ConvOptions::new([1; 3], [0; 3], [1; 3], 1));
}
