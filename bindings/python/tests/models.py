"""What the tests of the PyTorch operator share: a network, and when results are the same."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

import znn.torch


def assert_close(found, expected, what):
    scale = expected.abs().max().item() + 1e-6
    error = (found.double() - expected).abs().max().item()
    assert error <= 1e-5 * scale + 1e-6, f"{what}: {error} of {scale}"


class UNet(nn.Module):
    """Two resolutions, normalisation, skip connection by concatenation, transposed convolution.

    Smooth: where a value near zero falls to the other side of a ReLU by rounding, gradients jump.
    """

    def __init__(self, width=8):
        super().__init__()

        def block(c_in, c_out):
            return nn.Sequential(
                nn.Conv3d(c_in, c_out, 3, padding=1), nn.BatchNorm3d(c_out), nn.SiLU(),
                nn.Conv3d(c_out, c_out, 3, padding=1), nn.BatchNorm3d(c_out), nn.SiLU(),
            )  # fmt: skip

        self.down, self.deep = block(1, width), block(width, 2 * width)
        self.up = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.merge, self.head = block(2 * width, width), nn.Conv3d(width, 2, 1)

    def forward(self, x):
        skip = self.down(x)
        deep = self.deep(F.avg_pool3d(skip, 2))
        return self.head(self.merge(torch.cat([skip, self.up(deep)], 1)))


def unet(width=8):
    torch.manual_seed(3)
    return UNet(width)


def swap_all(model):
    """A copy of the model with every convolution in the engine."""
    model = copy.deepcopy(model)
    swaps = {nn.Conv3d: znn.torch.Conv3d, nn.ConvTranspose3d: znn.torch.ConvTranspose3d}
    for module in model.modules():
        if type(module) in swaps:
            module.__class__ = swaps[type(module)]
    return model


def loss_and_gradients(model, x):
    loss = model(x).square().mean()
    return loss, torch.autograd.grad(loss, list(model.parameters()))


def assert_same_gradients(found, expected):
    assert abs(found[0].item() - expected[0].item()) <= 1e-5 * abs(expected[0].item())
    # Biases before a normalisation have no gradient but rounding: errors are measured by the largest gradient.
    scale = max(e.abs().max().item() for e in expected[1])
    for f, e in zip(found[1], expected[1]):
        assert (f - e).abs().max().item() <= 1e-5 * scale
