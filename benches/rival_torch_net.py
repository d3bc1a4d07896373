"""Runs a network in PyTorch: one JSON request a line in, one answer a line out. The first request says which network,
as `Description` of src/cli/bench/torch/network.rs writes it, and how.

Networks of flat images (one voxel deep, as are their kernels) run as the 2D operations that a user would write, which are
the faster ones.
"""
import json
import sys
import time

import torch
from torch.nn import functional as F

ETA, MOMENTUM = 1e-6, 0.9


class Network(torch.nn.Module):
    """The network of a description."""

    def __init__(self, network, channels_last):
        super().__init__()
        self.nodes, self.outputs = network["nodes"], network["outputs"]
        self.flat = all(node["extent"][0] == 1 for node in self.nodes)
        last = torch.channels_last if self.flat else torch.channels_last_3d
        self.memory_format = last if channels_last else torch.contiguous_format
        self.convolve = F.conv2d if self.flat else F.conv3d
        self.pool = F.max_pool2d if self.flat else F.max_pool3d
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterDict()
        for place, node in enumerate(self.nodes):
            for edge in node["edges"]:
                if edge["op"] == "convolution":
                    shape = node["size"], self.nodes[edge["from"]]["size"], *self.axes(edge["kernel"])
                    fan_in = torch.Size(shape[1:]).numel()
                    edge["weights"] = len(self.weights)
                    self.weights.append(self.tensor(torch.randn(shape) * (2 / fan_in) ** 0.5))
            if node["kind"] == "transfer":
                self.biases[str(place)] = torch.nn.Parameter(torch.zeros(node["size"]))

    def axes(self, extent):
        return extent[1:] if self.flat else extent

    def tensor(self, values):
        return values.contiguous(memory_format=self.memory_format)

    def image(self, node):
        return self.tensor(torch.rand(1, node["size"], *self.axes(node["extent"])))

    def load(self, values):
        """Takes over weights and biases: lists by the names of edges and nodes."""
        with torch.no_grad():
            for place, node in enumerate(self.nodes):
                for edge in node["edges"]:
                    if "weights" in edge:
                        weights = self.weights[edge["weights"]]
                        weights.copy_(torch.tensor(values["edges"][edge["name"]]).view(weights.shape))
                if node["kind"] == "transfer":
                    self.biases[str(place)].copy_(torch.tensor(values["nodes"][node["name"]]))

    def operate(self, edge, x, bias):
        op = edge["op"]
        if op == "convolution":
            dilation = self.axes(edge["dilation"])
            return self.convolve(x, self.weights[edge["weights"]], bias, dilation=dilation)
        if op == "maximum":
            size, stride, dilation = (self.axes(edge[key]) for key in ("size", "stride", "dilation"))
            return self.pool(x, size, stride, 0, dilation)
        if op == "dropout":
            return F.dropout(x, 1 - edge["keep"], self.training)
        if op == "crop":
            for axis, offset in enumerate(self.axes(edge["offset"]), 2):
                x = x.narrow(axis, offset, x.shape[axis] - 2 * offset)
            return x
        return x

    def forward(self, images):
        images, values = iter(images), []
        for place, node in enumerate(self.nodes):
            if node["kind"] == "input":
                values.append(next(images))
                continue
            bias = self.biases[str(place)] if node["kind"] == "transfer" else None
            # A convolution that is alone adds the bias itself.
            fused = bias if [edge["op"] for edge in node["edges"]] == ["convolution"] else None
            terms = [self.operate(edge, values[edge["from"]], fused) for edge in node["edges"]]
            y = terms[0]
            for term in terms[1:]:
                y = torch.maximum(y, term) if node["kind"] == "maxout" else y + term
            if bias is not None:
                y = transfer(node, y if fused is not None else y + bias.view(-1, *[1] * (y.dim() - 2)))
            values.append(y)
        return [values[place] for place in self.outputs]


def transfer(node, x):
    """The transfer function of sums plus bias, which nothing else needs."""
    name = node["function"]
    if name == "linear":
        scale, shift = node["scale"], node["shift"]
        return x if (scale, shift) == (1, 0) else x * scale + shift
    if name == "tanh":
        return node["amplitude"] * torch.tanh(x * node["slope"])
    if name == "forward_logistic":
        return x + (torch.sigmoid(x) - x).detach()
    return {"rectify_linear": torch.relu_, "soft_sign": F.softsign, "logistic": torch.sigmoid}[name](x)


class Iteration:
    """What is timed, with its operands."""

    def __init__(self, setup):
        self.network = network = Network(setup["network"], setup["format"] == "channels_last")
        network.train(setup["mode"] == "training")
        if "parameters" in setup:
            network.load(setup["parameters"])
        nodes = network.nodes
        self.images = [network.image(node) for node in nodes if node["kind"] == "input"]
        self.targets = [torch.zeros_like(network.image(nodes[place])) for place in network.outputs]
        self.voxels = torch.Size(nodes[network.outputs[0]]["extent"]).numel()
        if "images" in setup:
            self.images = [network.tensor(torch.tensor(values).view(image.shape))
                           for values, image in zip(setup["images"], self.images)]
        self.eta = setup.get("eta", ETA)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=self.eta, momentum=MOMENTUM)

    def train(self):
        self.optimizer.zero_grad()
        outputs = self.network(self.images)
        losses = (F.mse_loss(y, target, reduction="sum") for y, target in zip(outputs, self.targets))
        (sum(losses) / self.voxels).backward()
        self.optimizer.step()

    def infer(self):
        with torch.inference_mode():
            return self.network(self.images)

    def __call__(self):
        self.train() if self.network.training else self.infer()

    def seconds(self, iterations):
        start = time.perf_counter()
        for _ in range(iterations):
            self()
        return (time.perf_counter() - start) / iterations


setup = json.loads(next(sys.stdin))
torch.set_num_threads(setup["threads"])
iteration = Iteration(setup)
print(json.dumps({"ready": torch.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "iterations" in request:
        answer = {"seconds": iteration.seconds(request["iterations"])}
    else:
        answer = {"outputs": [y.flatten().tolist() for y in iteration.infer()]}
    print(json.dumps(answer), flush=True)
