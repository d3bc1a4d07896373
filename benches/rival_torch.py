"""Times single passes of layers in PyTorch: one JSON request a line in, one answer a line out."""
import json
import sys
import time

import torch

aten = torch.ops.aten
print(torch.__version__, flush=True)
kept = {}


def convolution(request, image):
    """The passes of a convolution."""
    x = image(request["c_in"], request["input"])
    w = torch.randn(request["c_out"], request["c_in"], *request["kernel"])
    w = w.contiguous(memory_format=image.memory_format)
    stride, padding, dilation = request["stride"], request["padding"], request["dilation"]

    def forward():
        return torch.nn.functional.conv3d(x, w, None, stride, padding, dilation)

    dy = torch.randn_like(forward())

    def backward(mask):
        return aten.convolution_backward(dy, x, w, None, stride, padding, dilation, False, [0, 0, 0], 1, mask)

    return {
        "forward": forward,
        "backward_data": lambda: backward([True, False, False]),
        "backward_weights": lambda: backward([False, True, False]),
    }


def maximum(request, image):
    """The passes of a maximum over windows, which remembers its winners."""
    x = image(request["maps"], request["input"])
    window = request["size"], request["stride"], [0, 0, 0], request["dilation"], False
    y, winners = aten.max_pool3d_with_indices(x, *window)
    dy = torch.randn_like(y)
    return {
        "forward": lambda: aten.max_pool3d_with_indices(x, *window),
        "backward": lambda: aten.max_pool3d_with_indices_backward(dy, x, *window, winners),
    }


def transfer(request, image):
    """Bias and transfer function in place; backward with the sums that are the gradients of the biases."""
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


class Images:
    """Makes random images of one memory format."""

    def __init__(self, memory_format):
        self.memory_format = memory_format

    def __call__(self, maps, extent):
        return torch.rand(1, maps, *extent).contiguous(memory_format=self.memory_format)


def prepare(request, memory_format):
    """The pass as a function, with its operands, made once for each request."""
    key = (json.dumps(request), memory_format)
    if key not in kept:
        kept.clear() if len(kept) > 3 else None
        operation = {"convolution": convolution, "maximum": maximum, "transfer": transfer}[request["operation"]]
        kept[key] = operation(request, Images(memory_format))[request["pass"]]
        kept[key]()
    return kept[key]


def measure(request, memory_format):
    """The mean milliseconds of as many calls as fit the time."""
    run = prepare(request, memory_format)
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < request["seconds"]:
        run()
        calls += 1
    return (time.perf_counter() - start) * 1e3 / calls


with torch.no_grad():
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        print(json.dumps({
            "contiguous": measure(request, torch.contiguous_format),
            "channels_last": measure(request, torch.channels_last_3d),
        }), flush=True)
