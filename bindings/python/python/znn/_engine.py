"""Engines."""

from __future__ import annotations

import os
import threading

from . import _znn

Engine = _znn.Engine

_default: Engine | None = None
_lock = threading.Lock()


def default_engine() -> Engine:
    """The engine of calls that name none: made when first asked for, with a worker for each core that the process may
    use."""
    global _default
    with _lock:
        if _default is None:
            _default = Engine()
        return _default


def set_default_engine(engine: Engine | None) -> None:
    """Makes ``engine`` the one of calls that name none; None: a new one is made when needed."""
    global _default
    with _lock:
        _default = engine


def _forget() -> None:
    # A forked process has the memory of the engine, but not its threads.
    global _default, _lock
    _lock = threading.Lock()
    if _default is not None:
        _abandoned.append(_default)
        _default = None


# Engines of the parent process: ending them would wait for threads that are not there.
_abandoned: list[Engine] = []

os.register_at_fork(after_in_child=_forget)
