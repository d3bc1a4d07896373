"""Convolutions of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np

from . import _arrays
from ._arrays import Floats
from ._engine import Engine, default_engine

Sizes = Union[int, Sequence[int]]
#: Stride, zeros before and behind, dilation, passes, algorithm.
How = tuple[list[int], list[int], list[int], list[int], int, str]

#: What will be called with the same sizes: the algorithm is chosen for these passes.
INFERENCE, FIRST_LAYER, TRAINING = 0, 1, 2


def triple(name: str, value: Sizes) -> list[int]:
    """One size for all axes, or one for each of z, y, x."""
    sizes = [value] * 3 if isinstance(value, int) else [int(size) for size in value]
    if len(sizes) != 3 or min(sizes) < 0:
        raise ValueError(f"{name} is {value!r}, expected a size or three, not negative")
    return sizes


def output_extent(
    extent: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """The extent of the output of a convolution."""
    rest = [n + b + a - (k - 1) * d - 1 for n, b, a, k, d in zip(extent, before, after, kernel, dilation)]
    if min(rest) < 0 or 0 in kernel or 0 in stride:
        raise ValueError(f"a kernel {list(kernel)} of dilation {list(dilation)} does not fit into an image of {list(extent)}")
    return [r // s + 1 for r, s in zip(rest, stride)]


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    out: Floats | None = None,
    algorithm: str = "auto",
    training: bool = False,
    engine: Engine | None = None,
) -> Floats:
    """``y[n, o, p] = bias[o] + sum over i, k of weight[o, i, k] x[n, i, p * stride + k * dilation - padding]``.

    x: ``[image, map, z, y, x]``; weight: ``[c_out, c_in, kz, ky, kx]``; bias: ``[c_out]``; all float32. The first call
    with new sizes measures algorithms for a fraction of a second (``algorithm``: auto, estimate, direct, fft, winograd).
    With ``training`` the algorithm is the one that is best for all three passes.

    Nothing is copied where the voxels of each map are contiguous; images and maps may be a part of a larger array. The
    interpreter is free while the engine computes.
    """
    x, weight = _arrays.images("x", x), np.ascontiguousarray(_arrays.array("weight", weight, 5))
    bias = None if bias is None else np.ascontiguousarray(_arrays.array("bias", bias, 1))
    how = _how(stride, padding, dilation, TRAINING if training else INFERENCE, algorithm)
    if out is None:
        extent = output_extent(x.shape[2:], weight.shape[2:], *how[:4])
        out = np.empty((x.shape[0], weight.shape[0], *extent), np.float32)
    (engine or default_engine()).forward(x, weight, bias, out, how)
    return out


def conv3d_backward_data(
    dy: Any,
    weight: Any,
    extent: Sequence[int],
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    algorithm: str = "auto",
    engine: Engine | None = None,
) -> Floats:
    """The gradient of :func:`conv3d` by images of ``extent`` voxels (z, y, x), from that by its output."""
    dy, weight = _arrays.images("dy", dy), np.ascontiguousarray(_arrays.array("weight", weight, 5))
    dx = np.empty((dy.shape[0], weight.shape[1], *extent), np.float32)
    how = _how(stride, padding, dilation, TRAINING, algorithm)
    (engine or default_engine()).backward_data(dy, weight, dx, how)
    return dx


def conv3d_backward_weights(
    x: Any,
    dy: Any,
    kernel: Sequence[int],
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    algorithm: str = "auto",
    engine: Engine | None = None,
) -> Floats:
    """The gradient of :func:`conv3d` by weights of ``kernel`` taps (z, y, x), from that by its output."""
    x, dy = _arrays.images("x", x), _arrays.images("dy", dy)
    dw = np.empty((dy.shape[1], x.shape[1], *kernel), np.float32)
    how = _how(stride, padding, dilation, TRAINING, algorithm)
    (engine or default_engine()).backward_weights(x, dy, dw, how)
    return dw


def _how(stride: Sizes, padding: Sizes, dilation: Sizes, passes: int, algorithm: str) -> How:
    zeros = triple("padding", padding)
    return (triple("stride", stride), zeros, zeros, triple("dilation", dilation), passes, algorithm)
