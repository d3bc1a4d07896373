"""PyTorch's threads beside those of the engine."""

import os
import sys


def limit_spinning() -> bool:
    """Lets OpenMP's threads sleep soon after an operation of PyTorch, where nobody has said how long they spin; whether it
    is known how long.

    GNU's OpenMP lets them spin for some milliseconds by default, on the cores where this engine's workers are to go on. It
    reads the variable when PyTorch is loaded, not later.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return True
    if "torch" in sys.modules:
        return False
    os.environ["GOMP_SPINCOUNT"] = "1000"
    return True


IS_LIMITED = limit_spinning()
