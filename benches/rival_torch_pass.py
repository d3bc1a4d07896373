"""Times single passes of layers in PyTorch: one JSON request a line in, one answer a line out.

Flat images (one voxel deep, as are their kernels) run as the 2D operations that a user would write, which are the faster
ones.
"""
import json
import sys
import time

import torch

aten = torch.ops.aten
# The longest first call, in seconds, that is repeated.
SHORT = 3.0


class Images:
    """Makes random images of one memory format, without the first axis where they are flat."""

    def __init__(self, channels_last, flat=False):
        self.flat = flat
        formats = torch.contiguous_format, torch.channels_last if self.flat else torch.channels_last_3d
        self.memory_format = formats[channels_last]

    def axes(self, extent):
        return extent[1:] if self.flat else extent

    def __call__(self, maps, extent):
        return self.tensor(torch.rand(1, maps, *self.axes(extent)))

    def tensor(self, values):
        return values.contiguous(memory_format=self.memory_format)


def convolution(request, channels_last):
    """The passes of a convolution; `step` is all that training computes, of which a layer on an image lacks one."""
    image = Images(channels_last, flat=request["input"][0] == request["kernel"][0] == 1)
    x = image(request["c_in"], request["input"])
    w = image.tensor(torch.randn(request["c_out"], request["c_in"], *image.axes(request["kernel"])))
    stride, padding, dilation = (image.axes(request[key]) for key in ("stride", "padding", "dilation"))
    convolve = torch.nn.functional.conv2d if image.flat else torch.nn.functional.conv3d

    def forward():
        return convolve(x, w, None, stride, padding, dilation)

    dy = torch.randn_like(forward())

    def backward(mask):
        nothing = [0] * len(stride)
        return aten.convolution_backward(dy, x, w, None, stride, padding, dilation, False, nothing, 1, mask)

    return {
        "forward": forward,
        "inference": forward,
        "backward_data": lambda: backward([True, False, False]),
        "backward_weights": lambda: backward([False, True, False]),
        "step": lambda: (forward(), backward([request["c_in"] > 1, True, False])),
    }


def maximum(request, channels_last):
    """The passes of a maximum over windows, which remembers its winners."""
    x = Images(channels_last)(request["maps"], request["input"])
    window = request["size"], request["stride"], [0, 0, 0], request["dilation"], False
    y, winners = aten.max_pool3d_with_indices(x, *window)
    dy = torch.randn_like(y)
    return {
        "forward": lambda: aten.max_pool3d_with_indices(x, *window),
        "backward": lambda: aten.max_pool3d_with_indices_backward(dy, x, *window, winners),
    }


def transfer(request, channels_last):
    """Bias and transfer function in place; backward with the sums that are the gradients of the biases."""
    image = Images(channels_last)
    y, dy = (image(request["maps"], request["input"]) for _ in range(2))
    bias = torch.zeros(request["maps"], 1, 1, 1)
    forward, backward = {
        "linear": (lambda x: x, lambda dy: dy.clone()),
        "rectify-linear": (torch.relu_, lambda dy: aten.threshold_backward(dy, y, 0)),
        "tanh": (lambda x: x.mul_(0.6666).tanh_().mul_(1.7159), lambda dy: aten.tanh_backward(dy, y)),
        "soft-sign": (lambda x: x.div_(1 + x.abs()), lambda dy: dy * (1 - y.abs()).square_()),
        "logistic": (torch.sigmoid_, lambda dy: aten.sigmoid_backward(dy, y)),
        "forward-logistic": (torch.sigmoid_, lambda dy: dy.clone()),
    }[request["function"]]
    return {
        "forward": lambda: forward(y.add_(bias)),
        "backward": lambda: backward(dy).sum((0, 2, 3, 4)),
    }


class Pass:
    """A pass with its operands in one memory format."""

    def __init__(self, request, channels_last):
        operation = {"convolution": convolution, "maximum": maximum, "transfer": transfer}[request["operation"]]
        self.run = operation(request, channels_last)[request["pass"]]
        self.first = self.time(0)

    def time(self, seconds):
        """The mean milliseconds of as many calls as fit the time; of one at least."""
        start, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - start < seconds:
            self.run()
            calls += 1
        return (time.perf_counter() - start) * 1e3 / calls

    def answer(self, seconds):
        single = self.first > 1e3 * SHORT
        return {"ms": self.first if single else self.time(seconds), "single": single}


kept = {"line": None}
with torch.no_grad():
    for line in sys.stdin:
        request = json.loads(line)
        if kept["line"] != line:
            torch.set_num_threads(request["threads"])
            kept = {"line": line, "passes": {}}
            kept["passes"] = {
                name: Pass(request, channels_last)
                for name, channels_last in (("contiguous", False), ("channels_last", True))
            }
        print(json.dumps({name: p.answer(request["seconds"]) for name, p in kept["passes"].items()}), flush=True)
