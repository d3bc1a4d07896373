"""Convolutions of PyTorch models on CPUs.

``accelerate(model, example)`` swaps the convolutions that measure faster in this engine, and says which.
:func:`conv3d` and :func:`conv2d` take the arguments of their namesakes in ``torch.nn.functional``; they are registered as
operators with gradients, so that autograd, ``torch.compile`` and ``DistributedDataParallel`` treat them as any other.
"""

# First: it must come before PyTorch.
from . import _openmp  # noqa: F401  # isort: skip
from ._accelerate import Kept, Report, Timing, accelerate
from ._modules import Conv2d, Conv3d
from ._operator import conv2d, conv3d, is_supported

__all__ = ["Conv2d", "Conv3d", "Kept", "Report", "Timing", "accelerate", "conv2d", "conv3d", "is_supported"]
