"""What callers give, as arrays that the engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


Floats = NDArray[np.float32]


def array(name: str, values: Any, axes: int) -> Floats:
    """``values`` as an array, without a copy: a numpy array, or anything with DLPack or the array protocol."""
    if not isinstance(values, np.ndarray) and hasattr(values, "__dlpack__"):
        values = np.from_dlpack(values)
    found = np.asarray(values)
    if found.dtype != np.float32:
        raise TypeError(f"{name} has type {found.dtype}, expected float32")
    if found.ndim != axes:
        raise ValueError(f"{name} has {found.ndim} axes, expected {axes}")
    return found


def images(name: str, values: Any) -> Floats:
    """Images ``[image, map, z, y, x]`` whose maps lie as the engine takes them; copied where they do not."""
    found = array(name, values, 5)
    return found if has_contiguous_maps(found.shape, [step // 4 for step in found.strides]) else np.ascontiguousarray(found)


def has_contiguous_maps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the voxels of a map lie next to each other, and maps do not overlap."""
    batch, maps, *extent = shape
    step = 1
    for size, stride in zip(reversed(extent), reversed(list(strides)[2:])):
        if size != 1 and stride != step:
            return False
        step *= size
    of_image, of_map = strides[0], strides[1]
    if batch == 1:
        return maps == 1 or of_map >= step
    if maps == 1:
        return of_image >= step
    images_outside = of_map >= step and of_image >= (maps - 1) * of_map + step
    maps_outside = of_image >= step and of_map >= (batch - 1) * of_image + step
    return images_outside or maps_outside
