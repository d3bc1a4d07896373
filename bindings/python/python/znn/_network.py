"""Networks on numpy arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _arrays, _znn
from ._engine import Engine, default_engine


class Network:
    """A network with its parameters: one input, one output. Images are ``[map, z, y, x]``, float32."""

    def __init__(self, native: _znn.Network) -> None:
        self._native = native

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, engine: Engine | None = None, seed: int = 1) -> Network:
        """Reads a model: a ``.safetensors`` file, an HDF5 file of the original ZNN, the folder of a training run, or the
        text of a network (``.znn``), whose parameters are then drawn by ``seed``."""
        return cls(_znn.Network.load(engine or default_engine(), os.fspath(path), seed))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model with its momentum as a ``.safetensors`` file, at once or not at all."""
        self._native.save(os.fspath(path))

    @property
    def fov(self) -> tuple[int, int, int]:
        """The field of view: the voxels of the input that a voxel of the output depends on."""
        return self._native.fov

    @property
    def input_maps(self) -> int:
        """Maps of the input."""
        return self._native.input_maps

    @property
    def output_maps(self) -> int:
        """Maps of the output."""
        return self._native.output_maps

    @property
    def text(self) -> str:
        """The network in the text format."""
        return self._native.text

    def output_extent(self, image: Sequence[int]) -> tuple[int, int, int]:
        """The extent of what :meth:`forward` gives for an image of this extent (z, y, x)."""
        return self._native.output_extent(list(image))

    def training_extent(self, output: Sequence[int]) -> tuple[int, int, int]:
        """The extent of the image from which the network, with its pooling as it is, makes an output of this extent."""
        return self._native.training_extent(list(output))

    def forward(self, x: Any) -> np.ndarray:
        """Applies the network around every voxel whose field of view lies inside of ``x``."""
        return self._native.forward(np.ascontiguousarray(_arrays.array("x", x, 4)))

    __call__ = forward

    def train_step(
        self, x: Any, target: Any, *, rate: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> float:
        """One iteration of stochastic gradient descent; gives the mean loss before it. ``x`` has the
        :meth:`training_extent` of ``target``. The loss is the squared error, or the binomial cross-entropy for outputs of
        type forward_logistics."""
        x, target = (np.ascontiguousarray(_arrays.array(name, values, 4)) for name, values in [("x", x), ("target", target)])
        return self._native.train_step(x, target, rate, momentum, weight_decay)

    def __repr__(self) -> str:
        return f"Network({self.input_maps} -> {self.output_maps} maps, field of view {self.fov})"
