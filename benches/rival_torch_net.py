"""Runs a network in PyTorch, or in an engine that takes what it exports: one JSON request a line in, one answer a line out. The first request says which network,
as `Description` of src/cli/bench/torch/network.rs writes it, and how.

Networks of flat images (one voxel deep, as are their kernels) run as the 2D operations that a user would write, which are
the faster ones.
"""
import json
import sys
import tempfile
import time
import warnings

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
        self.deconvolve = F.conv_transpose2d if self.flat else F.conv_transpose3d
        self.pool = F.max_pool2d if self.flat else F.max_pool3d
        self.mean = F.avg_pool2d if self.flat else F.avg_pool3d
        # Of the edges and nodes, by their places.
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterDict()
        self.slopes = torch.nn.ParameterDict()
        self.places = {}
        for place, node in enumerate(self.nodes):
            size = node["size"]
            for edge in node["edges"]:
                of_input = self.nodes[edge["from"]]["size"]
                if edge["op"] == "convolution" and edge["share"] is None:
                    shape = size, of_input, *self.axes(edge["kernel"])
                elif edge["op"] == "deconvolution":
                    shape = of_input, size, *self.axes(edge["kernel"])
                elif edge["op"] == "scale":
                    shape = of_input, *[1] * len(self.axes(node["extent"]))
                else:
                    continue
                fan_in = torch.Size(shape[1:]).numel()
                self.places[edge["name"]] = len(self.weights)
                self.weights.append(self.tensor(torch.randn(shape) * (2 / fan_in) ** 0.5))
            if node["kind"] in ("transfer", "normalise"):
                self.biases[str(place)] = torch.nn.Parameter(torch.zeros(size))
            if node["kind"] == "normalise":
                self.slopes[str(place)] = torch.nn.Parameter(torch.ones(size))
                node["running"] = torch.zeros(size), torch.ones(size)
            elif "slope" in node and node["function"] == "parametric_rectify_linear":
                self.slopes[str(place)] = torch.nn.Parameter(torch.full((size,), node["slope"]))

    def axes(self, extent):
        return extent[1:] if self.flat else extent

    def tensor(self, values):
        if values.dim() != (4 if self.flat else 5):
            return values
        return values.contiguous(memory_format=self.memory_format)

    def image(self, node):
        return self.tensor(torch.rand(1, node["size"], *self.axes(node["extent"])))

    def load(self, values):
        """Takes over weights and biases: lists by the names of edges and nodes."""
        with torch.no_grad():
            for place, node in enumerate(self.nodes):
                for edge in node["edges"]:
                    if edge["name"] in self.places:
                        weights = self.weights[self.places[edge["name"]]]
                        weights.copy_(torch.tensor(values["edges"][edge["name"]]).view(weights.shape))
                parts = [own[str(place)] for own in (self.biases, self.slopes) if str(place) in own]
                if parts:
                    given = torch.tensor(values["nodes"][node["name"]]).view(len(parts), -1)
                    for part, value in zip(parts, given):
                        part.copy_(value)

    def gradients(self):
        """Those of the last backward pass: lists by the names of edges and nodes, as `load` takes values."""
        edges = {name: self.weights[place].grad for name, place in self.places.items()}
        nodes = {}
        for place, node in enumerate(self.nodes):
            parts = [own[str(place)].grad for own in (self.biases, self.slopes) if str(place) in own]
            if parts:
                nodes[node["name"]] = torch.cat(parts)
        return [{name: values.flatten().tolist() for name, values in group.items()} for group in (edges, nodes)]

    def operate(self, edge, x, bias):
        op = edge["op"]
        if op == "convolution":
            stride, padding, dilation = (self.axes(edge[key]) for key in ("stride", "padding", "dilation"))
            weights = self.weights[self.places[edge["share"] or edge["name"]]]
            return self.convolve(x, weights, bias, stride, padding, dilation)
        if op == "deconvolution":
            keys = "stride", "padding", "rest", "dilation"
            stride, padding, rest, dilation = (self.axes(edge[key]) for key in keys)
            weights = self.weights[self.places[edge["name"]]]
            return self.deconvolve(x, weights, bias, stride, padding, rest, 1, dilation)
        if op == "maximum":
            keys = "size", "stride", "padding", "dilation"
            return self.pool(x, *(self.axes(edge[key]) for key in keys))
        if op == "mean":
            return self.mean(x, self.axes(edge["size"]))
        if op == "upsample":
            return F.interpolate(x, scale_factor=self.axes(edge["size"]))
        if op == "dropout":
            return F.dropout(x, 1 - edge["keep"], self.training)
        if op == "node_dropout":
            return (F.dropout2d if self.flat else F.dropout3d)(x, 1 - edge["keep"], self.training)
        if op == "scale":
            return x * self.weights[self.places[edge["name"]]]
        if op == "slice":
            return x.narrow(1, edge["first"], edge["maps"])
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
            # A convolution or deconvolution adds the bias itself.
            ops = [edge["op"] for edge in node["edges"]]
            by = next((i for i, op in enumerate(ops) if op in ("convolution", "deconvolution")), None)
            terms = [self.operate(edge, values[edge["from"]], bias if i == by else None)
                     for i, edge in enumerate(node["edges"])]
            if node["kind"] == "concat":
                values.append(torch.cat(terms, 1))
                continue
            y = terms[0]
            for term in terms[1:]:
                if node["kind"] == "maxout":
                    y = torch.maximum(y, term)
                else:
                    y = y * term if node["kind"] == "multiply" else y + term
            if node["kind"] == "average":
                y = y / len(terms)
            elif node["kind"] == "softmax":
                y = y.softmax(1)
            elif node["kind"] == "normalise":
                running = node["running"] if node["fraction"] is not None else (None, None)
                y = F.batch_norm(y, *running, self.slopes[str(place)], self.biases[str(place)],
                                 self.training or node["fraction"] is None, node["fraction"] or 0, node["epsilon"])
                y = transfer(node, y, None)
            elif bias is not None:
                y = y if by is not None else y + bias.view(-1, *[1] * (y.dim() - 2))
                y = transfer(node, y, self.slopes[str(place)] if str(place) in self.slopes else None)
            values.append(y)
        return [values[place] for place in self.outputs]


def transfer(node, x, slopes):
    """The transfer function of sums plus bias, which nothing else needs."""
    name = node["function"]
    if name == "exponential_linear":
        return F.elu_(x, node["amplitude"])
    if name == "leaky_rectify_linear":
        return F.leaky_relu_(x, node["slope"])
    if name == "parametric_rectify_linear":
        return F.prelu(x, slopes)
    if name == "linear":
        scale, shift = node["scale"], node["shift"]
        return x if (scale, shift) == (1, 0) else x * scale + shift
    if name == "tanh":
        return node["amplitude"] * torch.tanh(x * node["slope"])
    if name == "forward_logistic":
        return x + (torch.sigmoid(x) - x).detach()
    return {"rectify_linear": torch.relu_, "soft_sign": F.softsign, "logistic": torch.sigmoid}[name](x)


class Timed:
    """What can be called many times."""

    def seconds(self, iterations):
        start = time.perf_counter()
        for _ in range(iterations):
            self()
        return (time.perf_counter() - start) / iterations


class Iteration(Timed):
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
        training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            outputs = self.network(self.images)
        self.network.train(training)
        return outputs

    def __call__(self):
        self.train() if self.network.training else self.infer()


class Exported(Timed):
    """The forward pass in another engine, of what PyTorch exports."""

    def __init__(self, setup, folder):
        iteration = Iteration(setup)
        network, images = iteration.network.eval(), iteration.images
        path = f"{folder}/network.onnx"
        # The older exporter, which needs no package beside onnx, warns of its age.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(network, (images,), path, dynamo=False)
        images = [image.numpy() for image in images]
        if setup["engine"] == "onnxruntime":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = setup["threads"]
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            feed = {given.name: image for given, image in zip(session.get_inputs(), images)}
            self.run = lambda: session.run(None, feed)
        else:
            import openvino

            # Single precision, as the others.
            options = {"INFERENCE_NUM_THREADS": setup["threads"], "PERFORMANCE_HINT": "LATENCY",
                       "INFERENCE_PRECISION_HINT": "f32"}
            model = openvino.Core().compile_model(path, "CPU", options)
            request = model.create_infer_request()
            self.run = lambda: request.infer(images)

    def __call__(self):
        self.run()

    def infer(self):
        outputs = self.run()
        return [torch.tensor(y) for y in (outputs if isinstance(outputs, list) else outputs.values())]


setup = json.loads(next(sys.stdin))
torch.set_num_threads(setup["threads"])
if setup.get("engine", "torch") == "torch":
    iteration = Iteration(setup)
else:
    with tempfile.TemporaryDirectory() as folder:
        iteration = Exported(setup, folder)
print(json.dumps({"ready": torch.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "iterations" in request:
        answer = {"seconds": iteration.seconds(request["iterations"])}
    elif "gradients" in request:
        edges, nodes = iteration.network.gradients()
        answer = {"edges": edges, "nodes": nodes}
    else:
        answer = {"outputs": [y.flatten().tolist() for y in iteration.infer()]}
    print(json.dumps(answer), flush=True)
