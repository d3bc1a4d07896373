"""Which convolutions of a model are worth to be swapped."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from . import _openmp
from ._modules import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from ._operator import is_supported
from ._transposed import is_transposable

_SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv3d: Conv3d,
    nn.Conv2d: Conv2d,
    nn.ConvTranspose3d: ConvTranspose3d,
    nn.ConvTranspose2d: ConvTranspose2d,
}


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


@dataclass(frozen=True)
class Kept:
    """A convolution that was not timed, and why it stays with PyTorch."""

    name: str
    reason: str


@dataclass
class Report:
    """What was measured and swapped; ``print`` shows it as a table."""

    timings: list[Timing]
    kept: list[Kept]
    passes: str
    seconds: float
    _swapped: list[tuple[nn.Module, type]] = field(repr=False)

    def restore(self) -> None:
        """Makes the model what it was before."""
        for module, original in self._swapped:
            module.__class__ = original
        self._swapped.clear()

    @property
    def ratio(self) -> float:
        """How many times faster the timed convolutions became, all of them together."""
        before = sum(timing.torch_seconds for timing in self.timings)
        after = sum(t.znn_seconds if t.is_swapped else t.torch_seconds for t in self.timings)
        return before / after if after else 1.0

    def __str__(self) -> str:
        width = max([len(name) for name in [*(t.name for t in self.timings), *(k.name for k in self.kept)]], default=0)
        lines = [f"{'module':{width}}  {'input':24} {'torch ms':>9} {'znn ms':>9} {'ratio':>6}  ({self.passes})"]
        for t in self.timings:
            mark = "swapped" if t.is_swapped else "kept"
            milliseconds = f"{1e3 * t.torch_seconds:9.2f} {1e3 * t.znn_seconds:9.2f}"
            lines.append(f"{t.name:{width}}  {_sizes(t.shape):24} {milliseconds} {t.ratio:6.2f}  {mark}")
        lines += [f"{kept.name:{width}}  kept: {kept.reason}" for kept in self.kept]
        swapped, count = sum(timing.is_swapped for timing in self.timings), len(self.timings) + len(self.kept)
        lines.append(
            f"{swapped} of {count} convolutions swapped: those timed are {self.ratio:.2f} times faster together "
            f"(found in {self.seconds:.1f} s)"
        )
        if swapped and not _openmp.IS_LIMITED:
            lines.append(
                "PyTorch's threads spin for some milliseconds after each operation, on the engine's cores: import znn.torch "
                "before torch, or set GOMP_SPINCOUNT=1000 in the environment"
            )
        return "\n".join(lines)


def accelerate(
    model: nn.Module, *example: Any, training: bool | None = None, margin: float = 1.05, progress: bool = False
) -> Report:
    """Swaps the ``nn.Conv3d``, ``nn.Conv2d``, ``nn.ConvTranspose3d`` and ``nn.ConvTranspose2d`` of ``model`` that this engine
    computes at least ``margin`` times faster, for inputs like ``example``; :meth:`Report.restore` undoes it.

    The model is run once on ``example`` to learn the sizes. Then each convolution is timed in PyTorch (in the memory format
    that it got) and in this engine (contiguous, as its outputs are), in turn: forward, and with ``training`` (by default
    ``model.training``) backward too.
    Parameters stay where they are, so that optimisers, checkpoints and DistributedDataParallel notice nothing.

    That takes a fraction of a second to some seconds for each different size, longer for larger images; ``progress`` shows on
    the standard error where it is. Convolutions with groups and of other types than float32 stay with PyTorch; the report says
    so.
    """
    begin = time.perf_counter()
    training = model.training if training is None else training
    calls, reasons = _record(model, example, training)
    costs: dict[tuple[Any, ...], tuple[float, float]] = {}
    timings, kept, swapped = [], [], []
    for name, module in model.named_modules():
        if module in reasons:
            kept.append(Kept(name, reasons[module]))
        if module not in calls:
            continue
        times = (0.0, 0.0)
        for call in calls[module]:
            key = _key(module, call, training)
            if key not in costs:
                costs[key] = _measure(module, call, training)
            times = (times[0] + costs[key][0], times[1] + costs[key][1])
        is_swapped = times[1] * margin <= times[0]
        timing = Timing(name, calls[module][0].shape, times[0], times[1], is_swapped)
        timings.append(timing)
        if progress:
            print(
                f"znn: {len(timings)} of {len(calls)} convolutions timed: {name} {_sizes(timing.shape)}, "
                f"{timing.ratio:.2f} times as fast",
                file=sys.stderr,
            )
        if is_swapped:
            swapped.append((module, type(module)))
    for module, original in swapped:
        module.__class__ = _SWAPS[original]
    passes = "forward and backward" if training else "forward"
    return Report(timings, kept, passes, time.perf_counter() - begin, swapped)


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class _Call:
    """The input of a call of a module."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool


def _record(
    model: nn.Module, example: tuple[Any, ...], training: bool
) -> tuple[dict[nn.Module, list[_Call]], dict[nn.Module, str]]:
    """The calls of the convolutions that the engine could take, in a run of the model; and why it takes no others."""
    calls: dict[nn.Module, list[_Call]] = {}
    convolutions: list[nn.Module] = [module for module in model.modules() if isinstance(module, _ConvNd)]
    reasons = {module: reason for module in convolutions if (reason := _unfit(module))}

    def hook(module: Any, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        if is_supported(x, module.weight, module.groups):
            calls.setdefault(module, []).append(_Call(tuple(x.shape), tuple(x.stride()), x.requires_grad))
        else:
            found = "autocast" if torch.is_autocast_enabled("cpu") else f"{x.dtype} on {x.device}"
            reasons[module] = f"{found}, expected torch.float32 on cpu"

    hooks = [module.register_forward_pre_hook(hook) for module in convolutions if module not in reasons]
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
    for module in reasons:
        # One of several calls was not supported.
        calls.pop(module, None)
    for module in convolutions:
        if module not in calls:
            reasons.setdefault(module, "the model does not call it on the example")
    return calls, reasons


def _unfit(module: Any) -> str | None:
    """Why a module is not one to be swapped, whatever its input."""
    if type(module) in _SWAPS.values():
        return "swapped before"
    if type(module) not in _SWAPS:
        return f"it is a {type(module).__name__}, expected a convolution of two or three axes of PyTorch"
    if module.groups != 1:
        return f"groups={module.groups}, expected 1"
    if module.padding_mode != "zeros":
        return f"padding_mode={module.padding_mode!r}, expected 'zeros'"
    if module.transposed and not is_transposable(module.output_padding, module.stride):
        return f"output_padding={module.output_padding}, expected less than the stride"
    return None


def _key(module: Any, call: _Call, training: bool) -> tuple[Any, ...]:
    sizes = tuple(module.weight.shape), module.stride, module.padding, module.output_padding, module.dilation
    return (type(module), *sizes, module.bias is None, call, training and module.weight.requires_grad)


def _measure(module: Any, call: _Call, training: bool) -> tuple[float, float]:
    """The median times of a call in PyTorch and in the engine, in turn."""
    rounds, enough = 7, 1.0
    original, other = type(module), _SWAPS[type(module)]
    own = [parameter for parameter in module.parameters() if training and parameter.requires_grad]
    given = torch.empty_strided(call.shape, call.stride).uniform_(-1, 1)
    contiguous = given.contiguous()

    def run(kind: Any, x: torch.Tensor) -> Callable[[], None]:
        x.requires_grad_(training and call.requires_grad)
        wanted = [tensor for tensor in [x, *own] if tensor.requires_grad]

        def call_once() -> None:
            module.__class__ = kind
            y = module(x)
            if wanted:
                torch.autograd.grad(y, wanted, torch.ones_like(y))

        return call_once

    runs = [run(original, given), run(other, contiguous)]
    times: list[list[float]] = [[], []]
    try:
        with torch.set_grad_enabled(training):
            for each in runs:
                each()
            begin = time.perf_counter()
            for turn in range(rounds):
                for each, found in zip(runs, times):
                    start = time.perf_counter()
                    each()
                    found.append(time.perf_counter() - start)
                if turn >= 2 and time.perf_counter() - begin > enough:
                    break
    finally:
        module.__class__ = original
    return statistics.median(times[0]), statistics.median(times[1])
