"""Transposed convolutions of PyTorch: values, gradients, how they are registered."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import znn.torch  # noqa: E402
from models import assert_close  # noqa: E402

CASES = [
    # batch, c_in, c_out, image, kernel, stride, padding, output_padding, groups, dilation
    (1, 4, 3, (5, 6, 7), (2, 2, 2), 2, 0, 0, 1, 1),
    (2, 3, 5, (4, 5, 6), (3, 3, 3), 2, 1, 1, 1, 1),
    (2, 5, 1, (6, 4, 9), (4, 2, 3), (2, 1, 3), (1, 0, 2), (1, 0, 2), 1, (1, 2, 1)),
    (3, 2, 4, (1, 7, 8), (1, 5, 5), 1, (0, 2, 2), 0, 1, 1),
]


def tensors(case, dtype=torch.float32):
    batch, c_in, c_out, image, kernel = case[:5]
    torch.manual_seed(1)
    shapes = [(batch, c_in, *image), (c_in, c_out, *kernel), (c_out,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_are_those_of_pytorch(case, format):
    own, theirs = tensors(case), tensors(case, torch.float64)
    y = znn.torch.conv_transpose3d(own[0].to(memory_format=format), *own[1:], *case[5:])
    expected = F.conv_transpose3d(*theirs, *case[5:])
    assert y.shape == expected.shape
    assert_close(y, expected, "y")
    dy = torch.randn_like(y)
    for wanted in [[0, 1, 2], [0], [1], [2]]:
        found = torch.autograd.grad(y, [own[i] for i in wanted], dy, retain_graph=True)
        exact = torch.autograd.grad(expected, [theirs[i] for i in wanted], dy.double(), retain_graph=True)
        for i, f, e in zip(wanted, found, exact):
            assert_close(f, e, f"gradient by argument {i}")


def test_operator_is_registered_soundly():
    x, w, b = tensors(CASES[1])
    torch.library.opcheck(
        torch.ops.znn.conv_transpose3d.default,
        (x, w, b, [8, 10, 12], [2] * 3, [1] * 3, [1] * 3),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static"),
    )


def test_images_without_batch_and_of_two_axes():
    torch.manual_seed(2)
    x, w, b = torch.randn(2, 3, 7, 9), torch.randn(3, 4, 3, 5), torch.randn(4)
    for how in [(1, 0, 0, 1, 1), (2, (1, 2), 1, 1, 1), (3, 1, (2, 0), 1, (1, 2))]:
        expected = F.conv_transpose2d(x, w, b, *how)
        torch.testing.assert_close(znn.torch.conv_transpose2d(x, w, b, *how), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(znn.torch.conv_transpose2d(x[0], w), F.conv_transpose2d(x[0], w), rtol=1e-4, atol=1e-4)
    x, w = torch.randn(3, 4, 5, 6), torch.randn(3, 2, 2, 2, 2)
    torch.testing.assert_close(znn.torch.conv_transpose3d(x, w), F.conv_transpose3d(x, w), rtol=1e-4, atol=1e-4)
    assert znn.torch.conv_transpose3d(x[None][:0], w).shape == (0, 2, 5, 6, 7)


def test_what_is_not_supported_says_so():
    x, w = torch.randn(1, 2, 4, 4, 4), torch.randn(2, 2, 3, 3, 3)
    with pytest.raises(ValueError, match="float32"):
        znn.torch.conv_transpose3d(x.double(), w.double())
    with pytest.raises(ValueError, match="groups=1"):
        znn.torch.conv_transpose3d(x, w, groups=2)
    with pytest.raises(ValueError, match="output_padding=.* less than the stride"):
        znn.torch.conv_transpose3d(x, w, output_padding=1, dilation=2)
    with pytest.raises(ValueError, match="weights are for 2 input maps, but the images have 1"):
        znn.torch.conv_transpose3d(x[:, :1], w)


@pytest.mark.parametrize(
    "module",
    [
        nn.ConvTranspose3d(2, 4, 3, stride=2),
        nn.ConvTranspose3d(2, 4, 3, stride=2, groups=2),
        nn.ConvTranspose3d(2, 4, 2, dilation=2, output_padding=1),
        nn.ConvTranspose3d(2, 4, 3).double(),
        nn.ConvTranspose2d(2, 4, 3, stride=2),
    ],
)
def test_modules(module):
    axes = module.weight.dim() - 2
    own = copy.deepcopy(module)
    own.__class__ = getattr(znn.torch, type(module).__name__)
    x = torch.randn(2, 2, *[5] * axes, dtype=module.weight.dtype)
    torch.testing.assert_close(own(x), module(x), rtol=1e-4, atol=1e-5)
    # The size of the output where several are possible.
    if module.stride[0] > 1:
        size = [12] * axes
        assert own(x, size).shape == module(x, size).shape == (2, 4, *size)
        torch.testing.assert_close(own(x, output_size=size), module(x, size), rtol=1e-4, atol=1e-5)
