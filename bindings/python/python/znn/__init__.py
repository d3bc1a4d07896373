"""3D convolutions and networks on many-core CPUs, on numpy arrays.

Images are ``[image, map, z, y, x]``, weights ``[c_out, c_in, kz, ky, kx]``, all of them 32-bit floats. Arrays of other
libraries are taken by DLPack where they lie. For PyTorch see :mod:`znn.torch`.
"""

from ._convolution import conv3d, conv3d_backward_data, conv3d_backward_weights
from ._engine import Engine, default_engine, set_default_engine
from ._network import Network
from ._znn import VERSION as __version__
from ._znn import processors

__all__ = [
    "Engine",
    "Network",
    "conv3d",
    "conv3d_backward_data",
    "conv3d_backward_weights",
    "default_engine",
    "processors",
    "set_default_engine",
    "__version__",
]
