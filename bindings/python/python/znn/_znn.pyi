"""The native half."""

import os
from collections.abc import Sequence
from typing import TypedDict, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine", "Network", "VERSION", "processors"]

VERSION: str
_Floats = NDArray[np.float32]
_How = tuple[list[int], list[int], list[int], list[int], int, str]

class _Training(TypedDict):
    """How a network is trained."""

    rate: float
    momentum: float
    weight_decay: float
    optimiser: str
    betas: tuple[float, float]
    epsilon: float
    batch: int
    clip_value: float | None
    clip_norm: float | None

def processors() -> list[int]: ...

@final
class Engine:
    def __new__(
        cls,
        threads: int | None = None,
        *,
        cores: Sequence[int] | None = None,
        deterministic: bool = False,
        workspace: int | None = None,
        tuning: str | os.PathLike[str] | None = None,
    ) -> Engine: ...
    @property
    def threads(self) -> int: ...
    @property
    def cores(self) -> list[int]: ...
    @property
    def isa(self) -> str: ...
    def clear(self) -> None: ...
    def forward(self, x: _Floats, weights: _Floats, bias: _Floats | None, y: _Floats, how: _How) -> str: ...
    def backward_data(self, dy: _Floats, weights: _Floats, dx: _Floats, how: _How) -> None: ...
    def backward_weights(self, x: _Floats, dy: _Floats, dw: _Floats, how: _How) -> None: ...
    def backward_bias(self, x_shape: list[int], kernel: list[int], dy: _Floats, db: _Floats, how: _How) -> None: ...

@final
class Network:
    @staticmethod
    def load(engine: Engine, path: str, seed: int) -> Network: ...
    def save(self, path: str) -> None: ...
    @property
    def fov(self) -> tuple[int, int, int]: ...
    @property
    def input_maps(self) -> int: ...
    @property
    def output_maps(self) -> int: ...
    @property
    def text(self) -> str: ...
    def output_extent(self, image: list[int]) -> tuple[int, int, int]: ...
    def training_extent(self, output: list[int]) -> tuple[int, int, int]: ...
    def forward(self, x: _Floats) -> _Floats: ...
    def parameters(self) -> list[tuple[str, _Floats]]: ...
    def train_step(self, x: _Floats, target: _Floats, how: _Training) -> float: ...
