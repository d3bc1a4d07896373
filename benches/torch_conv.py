"""Times single passes of convolution layers in PyTorch: one JSON request a line in, one answer a line out."""
import json
import sys
import time

import torch

print(torch.__version__, flush=True)
kept = {}


def prepare(request, memory_format):
    """Input, weights, output gradient and the pass as a function, made once for each request."""
    key = (json.dumps(request), memory_format)
    if key not in kept:
        kept.clear() if len(kept) > 3 else None
        x = torch.randn(1, request["c_in"], *request["input"]).contiguous(memory_format=memory_format)
        w = torch.randn(request["c_out"], request["c_in"], *request["kernel"])
        w = w.contiguous(memory_format=memory_format)
        stride, padding, dilation = request["stride"], request["padding"], request["dilation"]

        def forward():
            return torch.nn.functional.conv3d(x, w, None, stride, padding, dilation)

        dy = torch.randn_like(forward())

        def backward(mask):
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, stride, padding, dilation, False, [0, 0, 0], 1, mask)

        kept[key] = {
            "forward": forward,
            "backward_data": lambda: backward([True, False, False]),
            "backward_weights": lambda: backward([False, True, False]),
        }[request["pass"]]
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
