"""The operators ``znn::conv_transpose3d`` and ``znn::conv_transpose3d_backward``.

A transposed convolution is the gradient of a convolution by its input: its forward pass is that one's backward_data, and its
backward pass is the other's forward pass and backward_weights, with images and gradients in each other's places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from .._convolution import TRAINING, Sizes
from ._operator import _how, _maps, _pair, _shared_engine, _triple, is_supported


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose3d`` by this engine, with gradients by input, weight and bias. See
    :func:`is_supported`; the output padding must be below the stride.

    input: ``[image, map, z, y, x]`` or ``[map, z, y, x]``; weight: ``[c_in, c_out, kz, ky, kx]``; bias: ``[c_out]``. As for
    :func:`conv3d`, the output is contiguous.
    """
    stride, padding, dilation, extra = _triple(stride), _triple(padding), _triple(dilation), _triple(output_padding)
    if not is_supported(input, weight, groups):
        raise ValueError("znn.torch.conv_transpose3d: expected dense float32 tensors on the CPU, and groups=1")
    if not is_transposable(extra, stride):
        raise ValueError(f"znn.torch.conv_transpose3d: output_padding={extra}, expected less than the stride {stride}")
    if weight.dim() != 5 or input.dim() not in (4, 5):
        raise ValueError(f"znn.torch.conv_transpose3d: input of {input.dim()} axes and weight of {weight.dim()}")
    batched = _maps(input if input.dim() == 5 else input.unsqueeze(0))
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilation)]
    extent = [(n - 1) * s - 2 * p + r + e + 1 for n, s, p, r, e in zip(batched.shape[2:], stride, padding, reach, extra)]
    output: Tensor = torch.ops.znn.conv_transpose3d(batched, weight, bias, extent, stride, padding, dilation)
    return output if input.dim() == 5 else output.squeeze(0)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose2d`` by this engine; as :func:`conv_transpose3d`."""
    flat = [[first, *_pair(sizes)] for first, sizes in [(1, stride), (0, padding), (0, output_padding), (1, dilation)]]
    output = conv_transpose3d(input.unsqueeze(-3), weight.unsqueeze(2), bias, flat[0], flat[1], flat[2], groups, flat[3])
    return output.squeeze(-3)


def is_transposable(output_padding: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether there is a convolution of which this is the gradient."""
    return all(extra < step for extra, step in zip(output_padding, stride))


@torch.library.custom_op("znn::conv_transpose3d", mutates_args=(), device_types="cpu")
def _conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    extent: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"the weights are for {weight.shape[0]} input maps, but the images have {x.shape[1]}")
    y = x.new_empty([x.shape[0], weight.shape[1], *extent])
    if y.numel() == 0:
        return y
    how = _how(stride, [*padding, *padding], dilation, TRAINING)
    given, weights = _maps(x.detach()).numpy(), weight.detach().contiguous().numpy()
    _shared_engine().backward_data(given, weights, y.numpy(), how)
    if bias is not None:
        y += bias.detach().view(-1, 1, 1, 1)
    return y


@_conv_transpose3d.register_fake
def _conv_transpose3d_fake(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    extent: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    return x.new_empty([x.shape[0], weight.shape[1], *extent])


@torch.library.custom_op("znn::conv_transpose3d_backward", mutates_args=(), device_types="cpu")
def _conv_transpose3d_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor]:
    """The gradients by input and weight; empty where they are not wanted."""
    dx, dw = _gradients(x, weight, wanted)
    if dy.numel() == 0 or x.numel() == 0:
        return dx.zero_(), dw.zero_()
    engine, how = _shared_engine(), _how(stride, [*padding, *padding], dilation, TRAINING)
    given = _maps(dy.detach()).numpy()
    if wanted[0]:
        engine.forward(given, weight.detach().contiguous().numpy(), None, dx.numpy(), how)
    if wanted[1]:
        engine.backward_weights(given, _maps(x.detach()).numpy(), dw.numpy(), how)
    return dx, dw


def _gradients(x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Tensor]:
    dx, dw = (x.new_empty(shape if is_wanted else [0]) for shape, is_wanted in zip([x.shape, weight.shape], wanted))
    return dx, dw


@_conv_transpose3d_backward.register_fake
def _conv_transpose3d_backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor]:
    return _gradients(x, weight, wanted)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, _, ctx.stride, ctx.padding, ctx.dilation = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, dy: Tensor) -> tuple[Optional[Tensor], ...]:
    x, weight = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[:3])
    found: list[Optional[Tensor]] = [None, None]
    if any(wanted[:2]):
        how = ctx.stride, ctx.padding, ctx.dilation
        gradients = torch.ops.znn.conv_transpose3d_backward(dy, x, weight, *how, wanted[:2])
        found = [gradient if is_wanted else None for gradient, is_wanted in zip(gradients, wanted)]
    db = dy.sum([0, 2, 3, 4]) if wanted[2] else None
    return (*found, db, None, None, None, None)


_conv_transpose3d.register_autograd(_backward, setup_context=_setup_context)
