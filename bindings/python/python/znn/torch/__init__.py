"""Convolutions of PyTorch models on CPUs.

``accelerate(model, example)`` swaps the convolutions that measure faster in this engine, and says which.
:func:`conv3d`, :func:`conv2d` and the transposed ones take the arguments of their namesakes in ``torch.nn.functional``; they
are registered as operators with gradients, so that autograd, ``torch.compile`` and ``DistributedDataParallel`` treat them as
any other.
"""

# First: it must come before PyTorch.
from . import _openmp  # noqa: F401  # isort: skip
from ._accelerate import Kept, Report, Timing, accelerate
from ._modules import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from ._operator import conv2d, conv3d, is_supported
from ._transposed import conv_transpose2d, conv_transpose3d

__all__ = [
    "Conv2d",
    "Conv3d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Kept",
    "Report",
    "Timing",
    "accelerate",
    "conv2d",
    "conv3d",
    "conv_transpose2d",
    "conv_transpose3d",
    "is_supported",
]
