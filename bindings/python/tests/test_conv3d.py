"""Convolutions of numpy arrays, against their definition in float64."""

import os
import threading
import time

import numpy as np
import pytest

import znn


def assert_same(found, expected):
    """The same but for rounding, which depends on the algorithm."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def reference(x, w, b, stride, padding, dilation):
    """The sum over taps of strided views of the padded images."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding])
    kernel = w.shape[2:]
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], kernel, dilation, stride)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    for k in np.ndindex(*kernel):
        part = x[(slice(None), slice(None), *_taps(k, out, stride, dilation))]
        y += np.einsum("oi,nizyx->nozyx", w[(slice(None), slice(None), *k)], part)
    return y if b is None else y + b.astype(np.float64)[:, None, None, None]


def _taps(k, out, stride, dilation):
    return (slice(a * d, a * d + (n - 1) * s + 1, s) for a, n, s, d in zip(k, out, stride, dilation))


CASES = [
    # batch, c_in, c_out, image, kernel, stride, padding, dilation
    (1, 1, 1, (5, 6, 7), (3, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    (2, 3, 5, (8, 9, 10), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    (3, 2, 4, (6, 9, 12), (2, 3, 4), (2, 1, 3), (1, 0, 2), (1, 2, 1)),
    (1, 20, 33, (1, 12, 40), (1, 5, 5), (1, 1, 1), (0, 2, 2), (1, 1, 1)),
]


@pytest.mark.parametrize("case", CASES)
def test_passes(case):
    batch, c_in, c_out, image, kernel, stride, padding, dilation = case
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, c_in, *image), np.float32)
    w = rng.standard_normal((c_out, c_in, *kernel), np.float32)
    b = rng.standard_normal(c_out, np.float32)
    how = dict(stride=stride, padding=padding, dilation=dilation)
    y = znn.conv3d(x, w, b, training=True, **how)
    expected = reference(x, w, b, stride, padding, dilation)
    scale = np.sqrt(c_in * np.prod(kernel))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * scale)

    # The gradients are adjoint: <dy, f(x)> = <dx, x> for every x, and the same for the weights.
    dy = rng.standard_normal(y.shape, np.float32)
    dx = znn.conv3d_backward_data(dy, w, image, **how)
    dw = znn.conv3d_backward_weights(x, dy, kernel, **how)
    for found, at, name in [(dx, x, "x"), (dw, w, "w")]:
        direction = rng.standard_normal(at.shape, np.float32)
        moved = reference(direction if name == "x" else x, direction if name == "w" else w, None, stride, padding, dilation)
        product = np.vdot(moved, dy.astype(np.float64))
        norm = np.linalg.norm(moved) * np.linalg.norm(dy)
        assert abs(np.vdot(found.astype(np.float64), direction) - product) < 1e-5 * norm, name


def test_parts_of_larger_arrays_are_not_copied():
    rng = np.random.default_rng(2)
    host = rng.standard_normal((4, 6, 5, 8, 9), np.float32)
    w = rng.standard_normal((3, 2, 3, 3, 3), np.float32)
    # every other image, and some maps: strides for images and maps
    part = host[::2, 3:5]
    expected = znn.conv3d(np.ascontiguousarray(part), w)
    assert_same(znn.conv3d(part, w), expected)
    out = np.zeros((2, 5, *expected.shape[2:]), np.float32)
    assert znn.conv3d(part, w, out=out[:, 1:4]) is not None
    assert_same(out[:, 1:4], expected)
    assert not out[:, 0].any() and not out[:, 4].any()
    # maps outside, images inside
    turned = np.ascontiguousarray(part.transpose(1, 0, 2, 3, 4)).transpose(1, 0, 2, 3, 4)
    assert_same(znn.conv3d(turned, w), expected)
    # voxels that do not lie together are copied
    flipped = np.asfortranarray(part)
    assert_same(znn.conv3d(flipped, w), expected)


def test_dlpack():
    class Foreign:
        """An array of which only DLPack is known."""

        def __init__(self, array):
            self._array = array

        def __dlpack__(self, **options):
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    x, w = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((3, 2, 2, 2, 2), np.float32)
    assert_same(znn.conv3d(Foreign(x), Foreign(w)), 16)


def test_mistakes_are_errors():
    x, w = np.zeros((1, 2, 4, 4, 4), np.float32), np.zeros((3, 2, 3, 3, 3), np.float32)
    with pytest.raises(TypeError, match="float64"):
        znn.conv3d(x.astype(np.float64), w)
    with pytest.raises(ValueError, match="axes"):
        znn.conv3d(x[0], w)
    with pytest.raises(ValueError, match="2 input maps, but the images have 1"):
        znn.conv3d(x[:, :1], w)
    with pytest.raises(ValueError, match="does not fit"):
        znn.conv3d(x[:, :, :2], w)
    with pytest.raises(ValueError, match="bias has 2"):
        znn.conv3d(x, w, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="output has shape"):
        znn.conv3d(x, w, out=np.zeros((1, 3, 2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="expected auto"):
        znn.conv3d(x, w, algorithm="magic")
    with pytest.raises(ValueError, match="stride"):
        znn.conv3d(x, w, stride=(1, 2))


def test_other_threads_run_meanwhile():
    engine = znn.Engine(threads=1)
    x, w = np.ones((1, 16, 40, 40, 40), np.float32), np.ones((16, 16, 5, 5, 5), np.float32)
    out = znn.conv3d(x, w, algorithm="direct", engine=engine)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    znn.conv3d(x, w, algorithm="direct", engine=engine, out=out)
    end = time.perf_counter()
    stop.set()
    thread.join()
    assert sum(begin < at < end for at in ticks) >= 3, end - begin


def test_options_of_an_engine(tmp_path):
    core = min(os.sched_getaffinity(0))
    tuning = tmp_path / "tuning.jsonl"
    engine = znn.Engine(threads=1, cores=[core], deterministic=False, workspace=1 << 20, tuning=tuning)
    x, w = np.ones((1, 4, 12, 12, 12), np.float32), np.ones((4, 4, 3, 3, 3), np.float32)
    assert_same(znn.conv3d(x, w, engine=engine), 108)
    assert tuning.exists()
    with pytest.raises(ValueError, match="core"):
        znn.Engine(cores=[1 << 20])


def test_engines_and_threads():
    engine = znn.Engine(threads=1)
    assert engine.threads == 1 and engine.isa in repr(engine)
    x, w = np.ones((1, 1, 6, 6, 6), np.float32), np.ones((1, 1, 3, 3, 3), np.float32)
    errors = []

    def work(value):
        for _ in range(20):
            try:
                assert_same(znn.conv3d(value * x, w, engine=engine), 27 * value)
            except AssertionError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(np.float32(value),)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    engine.clear()
    assert_same(znn.conv3d(x, w, engine=engine), 27)
