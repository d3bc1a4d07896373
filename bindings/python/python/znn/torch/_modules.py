"""PyTorch's modules, computed by this engine where it can."""

from __future__ import annotations

import torch

from ._operator import conv2d, conv3d, is_supported


class Conv3d(torch.nn.Conv3d):
    """``torch.nn.Conv3d``. What the engine does not take (other types, devices, groups), PyTorch computes."""

    def _conv_forward(self, input, weight, bias):
        if self.padding_mode == "zeros" and is_supported(input, weight, self.groups):
            return conv3d(input, weight, bias, self.stride, self.padding, self.dilation)
        return super()._conv_forward(input, weight, bias)


class Conv2d(torch.nn.Conv2d):
    """``torch.nn.Conv2d``. What the engine does not take (other types, devices, groups), PyTorch computes."""

    def _conv_forward(self, input, weight, bias):
        if self.padding_mode == "zeros" and is_supported(input, weight, self.groups):
            return conv2d(input, weight, bias, self.stride, self.padding, self.dilation)
        return super()._conv_forward(input, weight, bias)
