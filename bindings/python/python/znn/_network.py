"""Networks on numpy arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from . import _arrays, _znn
from ._engine import Engine, default_engine

Optimiser = Literal["sgd", "nesterov", "adam", "adamw"]


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

    def forward(self, x: Any) -> _arrays.Floats:
        """Applies the network around every voxel whose field of view lies inside of ``x``."""
        return self._native.forward(np.ascontiguousarray(_arrays.array("x", x, 4)))

    __call__ = forward

    def parameters(self) -> dict[str, _arrays.Floats]:
        """Copies of the parameters after all training steps, by their names in a ``.safetensors`` file: ``EDGES.weight``
        is ``[c_out, c_in, kz, ky, kx]``, ``NODES.bias`` ``[map]``."""
        return dict(self._native.parameters())

    def train_step(
        self,
        x: Any,
        target: Any,
        *,
        rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        optimiser: Optimiser = "sgd",
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        batch: int = 1,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> float:
        """One iteration of training; gives the mean loss before it.

        x: ``[map, z, y, x]`` of the :meth:`training_extent` of ``target``; target: ``[map, z, y, x]``; float32. The loss is
        the squared error, the binomial cross-entropy for outputs of type forward_logistics, or the cross-entropy for a
        softmax. Gradients are means over the voxels of the output and the calls of a batch. Where a loss or a gradient is not
        finite, nothing is updated.

        rate: the learning rate of groups without one of their own; it may change from call to call. With other values of
        the rest, or of the sizes, the step is planned anew.
        momentum: of ``"sgd"`` and ``"nesterov"``, 0 to below 1. weight_decay: 0 to 1.
        optimiser: ``"sgd"``, ``"nesterov"``, ``"adam"``, or ``"adamw"``, whose weight decay is apart from the gradient;
        betas and epsilon are theirs.
        batch: the calls whose gradients are averaged for one update, which the last of them makes.
        clip_value: gradients are brought within minus this and this; clip_norm: all gradients are shortened by one factor
        where the root of the sum of their squares is above this.
        """
        x, target = (np.ascontiguousarray(_arrays.array(name, values, 4)) for name, values in [("x", x), ("target", target)])
        if batch < 1:
            raise ValueError(f"batch is {batch}, expected a number from 1 to 65536")
        how: _znn._Training = {
            "rate": rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "optimiser": optimiser,
            "betas": betas,
            "epsilon": epsilon,
            "batch": batch,
            "clip_value": clip_value,
            "clip_norm": clip_norm,
        }
        return self._native.train_step(x, target, how)

    def __repr__(self) -> str:
        return f"Network({self.input_maps} -> {self.output_maps} maps, field of view {self.fov})"
