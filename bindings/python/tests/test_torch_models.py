"""Whole models: the same outputs and gradients after `accelerate`, its report, and `torch.compile`."""

import copy
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import znn.torch  # noqa: E402
from models import assert_same_gradients, loss_and_gradients, swap_all, unet  # noqa: E402


def results(model, x):
    """The output, and the gradients by the input and by all parameters."""
    x = x.detach().clone().requires_grad_()
    y = model(x)
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(y.square().mean(), [x, *parameters])
    return dict(zip(["output", "input", *names], [y.detach(), *gradients]))


def check_accelerated(model, x):
    """After `accelerate` the model is as far from the results in double precision as PyTorch's single precision is, or
    not much farther than single precision can tell."""
    own, double = copy.deepcopy(model), copy.deepcopy(model).double()
    report = znn.torch.accelerate(own, x, margin=0.0)
    swapped = [module for module in own.modules() if type(module).__module__.startswith("znn.")]
    assert len(swapped) == len(report.timings) > 0, report
    plain, found, expected = results(model, x), results(own, x), results(double, x.double())
    # Biases before a normalisation have no gradient but rounding: errors are measured by the largest gradient.
    largest = max(value.abs().max().item() for name, value in expected.items() if name not in ["output", "input"])
    for name, exact in expected.items():
        scale = exact.abs().max().item() if name in ["output", "input"] else largest
        error, of_torch = ((each[name] - exact).abs().max().item() for each in [found, plain])
        assert error <= max(1e-5 * scale, 4 * of_torch), f"{name}: {error} of {scale}, PyTorch's {of_torch}"
    report.restore()
    assert all(torch.equal(value, plain[name]) for name, value in results(own, x).items())
    return report


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_unet_gives_the_same(training, format):
    model = unet().train(training).to(memory_format=format)
    report = check_accelerated(model, torch.randn(2, 1, 16, 16, 16).to(memory_format=format))
    assert len(report.timings) == 8 and not report.kept


# Smooth transfer functions, as in `models.UNet`.
NETWORKS_OF_MONAI = {
    "UNet": lambda nets: (
        nets.UNet(3, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2, act="SWISH"),
        (2, 1, 16, 16, 16),
    ),
    "BasicUNet": lambda nets: (nets.BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 16, 4), act="SWISH"), (1, 1, 32, 32, 32)),
    "SegResNet": lambda nets: (nets.SegResNet(3, 8, 1, 2, act="SWISH"), (1, 1, 16, 16, 16)),
    "UNet in 2D": lambda nets: (
        nets.UNet(2, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1, act="SWISH"),
        (2, 1, 32, 32),
    ),
}


@pytest.mark.parametrize("name", NETWORKS_OF_MONAI)
def test_networks_of_monai_give_the_same(name):
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(4)
    model, shape = NETWORKS_OF_MONAI[name](nets)
    report = check_accelerated(model, torch.randn(shape))
    assert len(report.timings) >= 8 and not report.kept


def test_accelerate_is_reversible(capsys):
    model, x = unet(12), torch.randn(1, 1, 16, 24, 24)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = copy.deepcopy(model)(x)
    report = znn.torch.accelerate(model, x, progress=True)
    assert "8 of 8 convolutions timed: head 1x12x16x24x24" in capsys.readouterr().err
    kinds = (nn.Conv3d, nn.ConvTranspose3d)
    assert {timing.name for timing in report.timings} == {n for n, m in model.named_modules() if isinstance(m, kinds)}
    kinds = (znn.torch.Conv3d, znn.torch.ConvTranspose3d)
    swapped = {name for name, module in model.named_modules() if isinstance(module, kinds)}
    assert swapped == {timing.name for timing in report.timings if timing.is_swapped}
    assert all(timing.is_swapped == (timing.ratio >= 1.05) for timing in report.timings)
    assert f"{len(swapped)} of 8 convolutions swapped" in str(report)
    assert model.training and report.ratio >= 1.0 and report.seconds > 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)
    report.restore()
    assert not any(isinstance(module, kinds) for module in model.modules())
    # With an impossible margin nothing is swapped.
    assert not any(t.is_swapped for t in znn.torch.accelerate(model, x, training=False, margin=1e9).timings)


class Mixed(nn.Module):
    """Convolutions that the engine takes over, and all kinds that it does not."""

    def __init__(self):
        super().__init__()
        self.taken = nn.Conv3d(4, 4, 3)
        self.grouped = nn.Conv3d(4, 4, 3, groups=2)
        self.depthwise = nn.Conv3d(4, 4, 1, groups=4)
        self.reflecting = nn.Conv3d(4, 4, 3, padding=1, padding_mode="reflect")
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv3d(4, 4, 1))
        self.doubled = nn.Conv3d(4, 4, 1).double()
        self.widened = nn.ConvTranspose3d(4, 4, 2, dilation=2, output_padding=1)
        self.transposed = nn.ConvTranspose3d(4, 4, 2, stride=2, output_padding=1)
        self.unused = nn.Conv3d(4, 4, 1)

    def forward(self, x):
        x = self.normed(self.reflecting(self.depthwise(self.grouped(self.taken(x)))))
        return self.transposed(self.widened(self.doubled(x.double()).float()))


def test_the_report_says_what_is_left_to_pytorch():
    torch.manual_seed(5)
    model, x = Mixed(), torch.randn(1, 4, 8, 8, 8)
    kinds, expected = [type(module) for module in model.modules()], model(x)
    report = znn.torch.accelerate(model, x, margin=0.0)
    reasons = {kept.name: kept.reason for kept in report.kept}
    assert reasons == {
        "grouped": "groups=2, expected 1",
        "depthwise": "groups=4, expected 1",
        "reflecting": "padding_mode='reflect', expected 'zeros'",
        "normed": "it is a ParametrizedConv3d, expected a convolution of two or three axes of PyTorch",
        "doubled": "torch.float64 on cpu, expected torch.float32 on cpu",
        "widened": "output_padding=(1, 1, 1), expected less than the stride",
        "unused": "the model does not call it on the example",
    }
    assert [timing.name for timing in report.timings] == ["taken", "transposed"]
    assert type(model.taken) is znn.torch.Conv3d and type(model.transposed) is znn.torch.ConvTranspose3d
    assert all(f"{name:10}  kept: {reason}" in str(report) for name, reason in reasons.items())
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    again = znn.torch.accelerate(model, x)
    assert {kept.name: kept.reason for kept in again.kept}["taken"] == "swapped before" and not again.timings
    report.restore()
    assert [type(module) for module in model.modules()] == kinds


SPINNING = """
import os
{imports}
conv = torch.nn.Conv3d(4, 4, 3)
report = znn.torch.accelerate(conv, torch.ones(1, 4, 6, 6, 6), margin=0.0)
print(os.environ.get("GOMP_SPINCOUNT"), "GOMP_SPINCOUNT" in str(report))
"""


@pytest.mark.parametrize(
    "imports, environment, expected",
    [
        ("import znn.torch, torch", {}, "1000 False"),
        ("import torch, znn.torch", {}, "None True"),
        ("import torch, znn.torch", {"GOMP_SPINCOUNT": "7"}, "7 False"),
        ("import znn.torch, torch", {"OMP_WAIT_POLICY": "active"}, "None False"),
    ],
)
def test_threads_of_openmp_are_told_not_to_spin(imports, environment, expected):
    rest = {name: value for name, value in os.environ.items() if name not in ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]}
    program = [sys.executable, "-c", SPINNING.format(imports=imports)]
    found = subprocess.run(program, env=rest | environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


def test_the_example_measures():
    example = Path(__file__).parent.parent / "examples" / "accelerate.py"
    options = ["--size", "32", "--width", "4", "--rounds", "1", "--only", "3D", "--profile", "--channels-last"]
    found = subprocess.run([sys.executable, example, *options], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines()[-2:]]
    assert [line[:3] for line in lines] == [["3D", "U-Net,", "training"], ["3D", "U-Net,", "inference"]]
    assert all(float(value) > 0 for line in lines for value in line[3:])
    assert "convolutions timed" in found.stderr and "native_batch_norm" in found.stdout


def has_compiler():
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.exists()


# The tracer and the partitioner of gradients alone, and with C++ made of all that is not the engine's.
BACKENDS = [
    "aot_eager",
    pytest.param("inductor", marks=pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler and Python.h")),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_models_give_the_same(backend):
    torch._dynamo.reset()
    model, x = swap_all(unet()), torch.randn(1, 1, 8, 8, 8)
    expected = loss_and_gradients(copy.deepcopy(model), x)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    assert_same_gradients(loss_and_gradients(compiled, x), expected)
    # Without gradients it is compiled anew, for the forward pass alone.
    with torch.no_grad():
        torch.testing.assert_close(compiled.eval()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_compiled_for_all_sizes(backend, format):
    torch._dynamo.reset()
    torch.manual_seed(6)
    model = swap_all(nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.SiLU(), nn.Conv3d(3, 2, 3, stride=2)))
    model = model.to(memory_format=format)
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=True)
    for size in [(1, 2, 9, 8, 7), (2, 2, 6, 7, 11), (3, 2, 5, 12, 9)]:
        x = torch.randn(size).to(memory_format=format)
        assert_same_gradients(loss_and_gradients(compiled, x), loss_and_gradients(model, x))
