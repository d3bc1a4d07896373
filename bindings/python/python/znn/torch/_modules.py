"""PyTorch's modules, computed by this engine where it can."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from ._operator import conv2d, conv3d, is_supported


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
