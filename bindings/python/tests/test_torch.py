"""The operator of PyTorch: values, gradients, how it is registered."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

import znn.torch  # noqa: E402
from models import assert_close  # noqa: E402

CASES = [
    # batch, c_in, c_out, image, kernel, stride, padding, dilation
    (1, 1, 3, (5, 6, 7), (3, 3, 3), 1, 0, 1),
    (2, 3, 5, (8, 9, 10), (3, 3, 3), 1, 1, 1),
    (2, 4, 6, (8, 9, 10), (3, 3, 3), 2, 1, 1),
    (3, 2, 4, (6, 9, 12), (2, 3, 4), (2, 1, 3), (1, 0, 2), (1, 2, 1)),
    (1, 8, 8, (9, 9, 9), (5, 5, 5), 1, "same", 1),
    (2, 3, 2, (1, 12, 20), (1, 4, 4), 1, "same", (1, 2, 1)),
]


def tensors(case, dtype=torch.float32):
    batch, c_in, c_out, image, kernel = case[:5]
    torch.manual_seed(1)
    shapes = [(batch, c_in, *image), (c_out, c_in, *kernel), (c_out,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_are_those_of_pytorch(case, format):
    how = case[5:]
    own, theirs = tensors(case), tensors(case, torch.float64)
    y = znn.torch.conv3d(own[0].to(memory_format=format), *own[1:], *how)
    expected = F.conv3d(*theirs, *how)
    assert y.shape == expected.shape
    assert_close(y, expected, "y")
    dy = torch.randn_like(y)
    found = torch.autograd.grad(y, own, dy)
    for name, f, e in zip(["x", "w", "b"], found, torch.autograd.grad(expected, theirs, dy.double())):
        assert_close(f, e, f"gradient by {name}")


def test_gradcheck():
    x, w, b = tensors((2, 2, 3, (4, 5, 5), (3, 3, 3)))
    # A convolution is linear in each argument: long steps have no error but rounding.
    inputs = (x, w, b)
    assert torch.autograd.gradcheck(
        lambda *args: znn.torch.conv3d(*args, 1, 1, 1), inputs, eps=0.1, atol=2e-3, rtol=2e-3, nondet_tol=0.0
    )


def test_only_wanted_gradients():
    x, w, b = tensors(CASES[1])
    for wanted in [[x], [w], [b], [w, b]]:
        for tensor in [x, w, b]:
            tensor.requires_grad_(any(tensor is other for other in wanted))
        y = znn.torch.conv3d(x, w, b, 1, 1)
        found = torch.autograd.grad(y.square().sum(), wanted)
        expected = torch.autograd.grad(F.conv3d(x, w, b, 1, 1).square().sum(), wanted)
        for f, e in zip(found, expected):
            torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-2)


def test_operator_is_registered_soundly():
    for op, args in [
        (torch.ops.znn.conv3d.default, (*tensors(CASES[1]), [1] * 3, [1] * 6, [1] * 3, 2)),
        (torch.ops.znn.conv3d.default, (*tensors(CASES[2])[:2], None, [2] * 3, [1] * 6, [1] * 3, 1)),
    ]:
        torch.library.opcheck(
            op, args, test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
        )


def test_conv2d_and_images_without_batch():
    torch.manual_seed(2)
    x, w, b = torch.randn(2, 3, 17, 19), torch.randn(4, 3, 3, 5), torch.randn(4)
    for how in [(1, 0, 1), (2, (1, 2), 1), (1, "same", (1, 2))]:
        torch.testing.assert_close(znn.torch.conv2d(x, w, b, *how), F.conv2d(x, w, b, *how), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(znn.torch.conv2d(x[0], w), F.conv2d(x[0], w), rtol=1e-4, atol=1e-4)
    x, w = torch.randn(3, 6, 7, 8), torch.randn(4, 3, 3, 3, 3)
    torch.testing.assert_close(znn.torch.conv3d(x, w), F.conv3d(x, w), rtol=1e-4, atol=1e-4)


def test_what_is_not_supported_says_so():
    x, w = torch.randn(1, 2, 4, 4, 4), torch.randn(2, 2, 3, 3, 3)
    with pytest.raises(ValueError, match="float32"):
        znn.torch.conv3d(x.double(), w.double())
    with pytest.raises(ValueError, match="groups"):
        znn.torch.conv3d(x, w[:, :1], groups=2)
    with pytest.raises(ValueError, match=r"found sizes \[1, 2\], expected one or 3"):
        znn.torch.conv3d(x, w, stride=(1, 2))
    with pytest.raises(ValueError, match="expected 'valid', 'same' or sizes"):
        znn.torch.conv3d(x, w, padding="full")
    with pytest.raises(ValueError, match="for 2 input maps, but the images have 1"):
        znn.torch.conv3d(x[:, :1], w)
    assert znn.torch.conv3d(x[:0], w).shape == (0, 2, 2, 2, 2)


def test_what_the_engine_does_not_take_stays_with_pytorch():
    module = znn.torch.Conv3d(4, 4, 3, groups=2)
    assert module(torch.randn(1, 4, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    assert znn.torch.Conv3d(2, 2, 3).double()(torch.randn(1, 2, 5, 5, 5).double()).dtype == torch.float64
    reflecting = znn.torch.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    assert reflecting(torch.randn(1, 2, 5, 5)).shape == (1, 2, 5, 5)
