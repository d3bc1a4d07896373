"""The operators ``znn::conv3d`` and ``znn::conv3d_backward``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor

from .. import _engine
from .._arrays import has_contiguous_maps
from .._convolution import FIRST_LAYER, INFERENCE, TRAINING, How, Sizes
from .._engine import Engine
from .._znn import processors


def is_supported(input: Tensor, weight: Tensor, groups: int = 1) -> bool:
    """Whether the engine can take a convolution over: dense float32 tensors on the CPU, and one group."""
    return (
        groups == 1
        and all(t.device.type == "cpu" and t.dtype == torch.float32 and t.layout == torch.strided for t in (input, weight))
        and not torch.is_autocast_enabled("cpu")
    )


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    stride: Sizes = 1,
    padding: Union[str, Sizes] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv3d`` by this engine, with gradients by input, weight and bias. See :func:`is_supported`.

    input: ``[image, map, z, y, x]`` or ``[map, z, y, x]``; weight: ``[c_out, c_in, kz, ky, kx]``; bias: ``[c_out]``.

    The output is contiguous, whatever the memory format of the input, and so are the gradients. An input in
    channels_last_3d is copied once; where convolutions follow each other (with what keeps the format in between), it is the
    first of them whose input is copied.
    """
    if not is_supported(input, weight, groups):
        raise ValueError("znn.torch.conv3d: expected dense float32 tensors on the CPU, and groups=1")
    if weight.dim() != 5 or input.dim() not in (4, 5):
        raise ValueError(f"znn.torch.conv3d: input of {input.dim()} axes and weight of {weight.dim()}")
    stride, dilation = _triple(stride), _triple(dilation)
    zeros = _zeros(padding, weight.shape[2:], stride, dilation)
    # Which passes will follow decides which algorithm is best.
    passes = INFERENCE
    if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
        passes = TRAINING if input.requires_grad else FIRST_LAYER
    # Here, not in the operator, so that the backward pass has the copy.
    batched = _maps(input if input.dim() == 5 else input.unsqueeze(0))
    output: Tensor = torch.ops.znn.conv3d(batched, weight, bias, stride, zeros, dilation, passes)
    return output if input.dim() == 5 else output.squeeze(0)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    stride: Sizes = 1,
    padding: Union[str, Sizes] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d`` by this engine; as :func:`conv3d`."""
    if isinstance(padding, str):
        flat: Union[str, Sizes] = padding
    else:
        flat = [0, *_pair(padding)]
    output = conv3d(
        input.unsqueeze(-3), weight.unsqueeze(2), bias, [1, *_pair(stride)], flat, [1, *_pair(dilation)], groups
    )
    return output.squeeze(-3)


def _pair(value: Sizes) -> list[int]:
    return _for_each_axis(value, 2)


def _triple(value: Sizes) -> list[int]:
    return _for_each_axis(value, 3)


def _for_each_axis(value: Sizes, axes: int) -> list[int]:
    sizes = [value] if isinstance(value, int) else list(value)
    if len(sizes) not in (1, axes):
        raise ValueError(f"znn.torch: found sizes {sizes}, expected one or {axes}")
    return sizes * (axes // len(sizes))


def _zeros(padding: Union[str, Sizes], kernel: Sequence[int], stride: list[int], dilation: list[int]) -> list[int]:
    """Zeros before and behind the input."""
    if padding == "valid":
        return [0] * 6
    if padding == "same":
        if any(step != 1 for step in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        reach = [(k - 1) * d for k, d in zip(kernel, dilation)]
        return [r // 2 for r in reach] + [r - r // 2 for r in reach]
    if isinstance(padding, str):
        raise ValueError(f"padding={padding!r}, expected 'valid', 'same' or sizes")
    return _triple(padding) * 2


def _shared_engine() -> Engine:
    """The default engine; where there is none, a new one with as many threads as PyTorch uses."""
    if _engine._default is None:
        _engine.set_default_engine(Engine(**_own_part(torch.get_num_threads())))
    return _engine.default_engine()


def _own_part(threads: int) -> dict[str, Any]:
    """Threads and processors for this process. Where it is one of several of a distributed job, these are behind those of the
    processes of lower rank on this machine; else any."""
    if "LOCAL_RANK" in os.environ:
        rank, processes = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    elif torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    else:
        return {"threads": threads}
    allowed = processors()
    if len(allowed) == os.cpu_count():
        # Nobody has given each process some of its own.
        threads = max(1, min(threads, len(allowed) // processes))
    return {"threads": threads, "cores": [allowed[(rank * threads + i) % len(allowed)] for i in range(threads)]}


def _maps(tensor: Tensor) -> Tensor:
    """The tensor with the voxels of each map in the order of memory; copied where they are not."""
    return tensor if has_contiguous_maps(tensor.shape, tensor.stride()) else tensor.contiguous()


def _how(stride: Sequence[int], zeros: Sequence[int], dilation: Sequence[int], passes: int) -> How:
    return (list(stride), list(zeros[:3]), list(zeros[3:]), list(dilation), passes, "auto")


def _output_shape(x: Tensor, weight: Tensor, stride: Sequence[int], zeros: Sequence[int], dilation: Sequence[int]) -> list[int]:
    extent = [
        (x.shape[2 + i] + zeros[i] + zeros[3 + i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(3)
    ]
    return [x.shape[0], weight.shape[0], *extent]


@torch.library.custom_op("znn::conv3d", mutates_args=(), device_types="cpu")
def _conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: Sequence[int],
    zeros: Sequence[int],
    dilation: Sequence[int],
    passes: int,
) -> Tensor:
    y = x.new_empty(_output_shape(x, weight, stride, zeros, dilation))
    if y.numel() == 0:
        return y
    given = None if bias is None else bias.detach().contiguous().numpy()
    images, weights = _maps(x.detach()).numpy(), weight.detach().contiguous().numpy()
    _shared_engine().forward(images, weights, given, y.numpy(), _how(stride, zeros, dilation, passes))
    return y


@_conv3d.register_fake
def _conv3d_fake(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: Sequence[int],
    zeros: Sequence[int],
    dilation: Sequence[int],
    passes: int,
) -> Tensor:
    return x.new_empty(_output_shape(x, weight, stride, zeros, dilation))


@torch.library.custom_op("znn::conv3d_backward", mutates_args=(), device_types="cpu")
def _conv3d_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    zeros: Sequence[int],
    dilation: Sequence[int],
    passes: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by input, weight and bias; empty where they are not wanted."""
    dx, dw, db = _gradients(x, weight, wanted)
    if dy.numel() == 0 or x.numel() == 0:
        return dx.zero_(), dw.zero_(), db.zero_()
    engine, how = _shared_engine(), _how(stride, zeros, dilation, passes)
    given = _maps(dy.detach()).numpy()
    if wanted[0]:
        # The plan of the forward pass may be one for fewer passes.
        of_all = how if passes == TRAINING else (*how[:4], TRAINING, how[5])
        engine.backward_data(given, weight.detach().contiguous().numpy(), dx.numpy(), of_all)
    if wanted[1]:
        engine.backward_weights(_maps(x.detach()).numpy(), given, dw.numpy(), how)
    if wanted[2]:
        engine.backward_bias(list(x.shape), list(weight.shape), given, db.numpy(), how)
    return dx, dw, db


def _gradients(x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    shapes = [x.shape, weight.shape, weight.shape[:1]]
    dx, dw, db = (x.new_empty(shape if is_wanted else [0]) for shape, is_wanted in zip(shapes, wanted))
    return dx, dw, db


@_conv3d_backward.register_fake
def _conv3d_backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    zeros: Sequence[int],
    dilation: Sequence[int],
    passes: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    return _gradients(x, weight, wanted)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, ctx.zeros, ctx.dilation, passes = inputs
    # Who comes here without a flag for gradients calls the operator itself.
    ctx.passes = passes if passes != INFERENCE else TRAINING
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, dy: Tensor) -> tuple[Optional[Tensor], ...]:
    x, weight = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[:3])
    gradients = torch.ops.znn.conv3d_backward(dy, x, weight, ctx.stride, ctx.zeros, ctx.dilation, ctx.passes, wanted)
    found = [gradient if is_wanted else None for gradient, is_wanted in zip(gradients, wanted)]
    return (*found, None, None, None, None)


_conv3d.register_autograd(_backward, setup_context=_setup_context)
