"""Which convolutions of a model are worth to be swapped."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Union

import torch
from torch import nn

from ._modules import Conv2d, Conv3d
from ._operator import is_supported

_Convolution = Union[nn.Conv3d, nn.Conv2d]
_SWAPS: dict[type[_Convolution], type[_Convolution]] = {nn.Conv3d: Conv3d, nn.Conv2d: Conv2d}


@dataclass(frozen=True)
class Timing:
    """What a convolution of the model takes, in seconds, over its calls in one run of the model."""

    name: str
    shape: tuple[int, ...]
    torch_seconds: float
    znn_seconds: float
    is_swapped: bool

    @property
    def ratio(self) -> float:
        """How many times faster this engine is."""
        return self.torch_seconds / self.znn_seconds


@dataclass
class Report:
    """What was measured and swapped; ``print`` shows it as a table."""

    timings: list[Timing]
    passes: str
    _swapped: list[tuple[nn.Module, type]] = field(repr=False)

    def restore(self) -> None:
        """Makes the model what it was before."""
        for module, original in self._swapped:
            module.__class__ = original
        self._swapped.clear()

    @property
    def ratio(self) -> float:
        """How many times faster the convolutions became, all of them together."""
        before = sum(timing.torch_seconds for timing in self.timings)
        after = sum(t.znn_seconds if t.is_swapped else t.torch_seconds for t in self.timings)
        return before / after if after else 1.0

    def __str__(self) -> str:
        width = max([len(timing.name) for timing in self.timings], default=0)
        lines = [f"{'module':{width}}  {'input':24} {'torch ms':>9} {'znn ms':>9} {'ratio':>6}  ({self.passes})"]
        for t in self.timings:
            shape = "x".join(map(str, t.shape))
            mark = "swapped" if t.is_swapped else "kept"
            milliseconds = f"{1e3 * t.torch_seconds:9.2f} {1e3 * t.znn_seconds:9.2f}"
            lines.append(f"{t.name:{width}}  {shape:24} {milliseconds} {t.ratio:6.2f}  {mark}")
        swapped = sum(timing.is_swapped for timing in self.timings)
        lines.append(f"{swapped} of {len(self.timings)} convolutions swapped: {self.ratio:.2f} times faster together")
        return "\n".join(lines)


def accelerate(model: nn.Module, *example: Any, training: bool | None = None, margin: float = 1.05) -> Report:
    """Swaps the ``nn.Conv3d`` and ``nn.Conv2d`` of ``model`` that this engine computes at least ``margin`` times faster, for
    inputs like ``example``; :meth:`Report.restore` undoes it.

    The model is run once on ``example`` to learn the sizes. Then each convolution is timed in PyTorch (in the memory format
    that it got) and in this engine, in turn: forward, and with ``training`` (by default ``model.training``) backward too.
    Parameters stay where they are, so that optimisers, checkpoints and DistributedDataParallel notice nothing.
    """
    training = model.training if training is None else training
    calls = _record(model, example, training)
    costs: dict[tuple, tuple[float, float]] = {}
    timings, swapped = [], []
    for name, module in model.named_modules():
        if module not in calls:
            continue
        times = [0.0, 0.0]
        for call in calls[module]:
            key = _key(module, call, training)
            if key not in costs:
                costs[key] = _measure(module, call, training)
            times = [sum(pair) for pair in zip(times, costs[key])]
        is_swapped = times[1] * margin <= times[0]
        timings.append(Timing(name, calls[module][0].shape, times[0], times[1], is_swapped))
        if is_swapped:
            swapped.append((module, type(module)))
    for module, original in swapped:
        module.__class__ = _SWAPS[original]
    return Report(timings, "forward and backward" if training else "forward", swapped)


@dataclass(frozen=True)
class _Call:
    """The input of a call of a module."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool


def _record(model: nn.Module, example: tuple, training: bool) -> dict[nn.Module, list[_Call]]:
    """The calls of the convolutions that the engine could take, in a run of the model."""
    calls: dict[nn.Module, list[_Call]] = {}

    def hook(module: Any, inputs: tuple) -> None:
        x = inputs[0]
        if is_supported(x, module.weight, module.groups) and module.padding_mode == "zeros":
            calls.setdefault(module, []).append(_Call(tuple(x.shape), tuple(x.stride()), x.requires_grad))

    modules = [module for module in model.modules() if type(module) in _SWAPS]
    hooks = [module.register_forward_pre_hook(hook) for module in modules]
    modes = [(module, module.training) for module in model.modules()]
    try:
        # The statistics of normalisations must not change.
        model.eval()
        with torch.set_grad_enabled(training):
            model(*example)
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in hooks:
            handle.remove()
    return calls


def _key(module: Any, call: _Call, training: bool) -> tuple:
    sizes = tuple(module.weight.shape), module.stride, module.padding, module.dilation, module.bias is None
    return (*sizes, call, training and module.weight.requires_grad)


def _measure(module: Any, call: _Call, training: bool) -> tuple[float, float]:
    """The median times of a call in PyTorch and in the engine, in turn."""
    rounds, enough = 7, 1.0
    x = torch.empty_strided(call.shape, call.stride).uniform_(-1, 1)
    x.requires_grad_(training and call.requires_grad)
    original, other = type(module), _SWAPS[type(module)]
    own = [parameter for parameter in module.parameters() if training and parameter.requires_grad]
    wanted = [tensor for tensor in [x, *own] if tensor.requires_grad]

    def run(kind: Any) -> Callable[[], None]:
        def call() -> None:
            y = kind._conv_forward(module, x, module.weight, module.bias)
            if wanted:
                torch.autograd.grad(y, wanted, torch.ones_like(y))

        return call

    runs = [run(original), run(other)]
    with torch.set_grad_enabled(training):
        for each in runs:
            each()
        times: list[list[float]] = [[], []]
        begin = time.perf_counter()
        for turn in range(rounds):
            for each, found in zip(runs, times):
                start = time.perf_counter()
                each()
                found.append(time.perf_counter() - start)
            if turn >= 2 and time.perf_counter() - begin > enough:
                break
    return statistics.median(times[0]), statistics.median(times[1])
