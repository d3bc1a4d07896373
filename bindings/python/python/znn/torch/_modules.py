"""PyTorch's modules, computed by this engine where it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from ._operator import conv2d, conv3d, is_supported
from ._transposed import conv_transpose2d, conv_transpose3d, is_transposable


class Conv3d(torch.nn.Conv3d):
    """``torch.nn.Conv3d``. What the engine does not take (other types, devices, groups), PyTorch computes."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        if self.padding_mode == "zeros" and is_supported(input, weight, self.groups):
            return conv3d(input, weight, bias, self.stride, self.padding, self.dilation)
        output: Tensor = super()._conv_forward(input, weight, bias)
        return output


class Conv2d(torch.nn.Conv2d):
    """``torch.nn.Conv2d``. What the engine does not take (other types, devices, groups), PyTorch computes."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        if self.padding_mode == "zeros" and is_supported(input, weight, self.groups):
            return conv2d(input, weight, bias, self.stride, self.padding, self.dilation)
        output: Tensor = super()._conv_forward(input, weight, bias)
        return output


class ConvTranspose3d(torch.nn.ConvTranspose3d):
    """``torch.nn.ConvTranspose3d``. What the engine does not take (other types, devices, groups, an output padding that is
    not below the stride), PyTorch computes."""

    def forward(self, input: Tensor, output_size: Optional[Sequence[int]] = None) -> Tensor:
        return _transposed(self, conv_transpose3d, super().forward, input, output_size)


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d``, as :class:`ConvTranspose3d`."""

    def forward(self, input: Tensor, output_size: Optional[Sequence[int]] = None) -> Tensor:
        return _transposed(self, conv_transpose2d, super().forward, input, output_size)


def _transposed(
    module: Any, own: Callable[..., Tensor], theirs: Callable[..., Tensor], input: Tensor, output_size: Optional[Sequence[int]]
) -> Tensor:
    if not is_supported(input, module.weight, module.groups):
        return theirs(input, output_size)
    sizes = module.stride, module.padding, module.kernel_size
    extra = module._output_padding(input, output_size, *sizes, len(module.stride), module.dilation)
    if not is_transposable(extra, module.stride):
        return theirs(input, output_size)
    return own(input, module.weight, module.bias, module.stride, module.padding, extra, module.groups, module.dilation)
