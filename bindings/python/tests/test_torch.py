"""The operator of PyTorch: values and gradients, tracing, models, several processes."""

import copy
import os

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import znn.torch  # noqa: E402

CASES = [
    # batch, c_in, c_out, image, kernel, stride, padding, dilation
    (1, 1, 3, (5, 6, 7), (3, 3, 3), 1, 0, 1),
    (2, 3, 5, (8, 9, 10), (3, 3, 3), 1, 1, 1),
    (2, 4, 6, (8, 9, 10), (3, 3, 3), 2, 1, 1),
    (3, 2, 4, (6, 9, 12), (2, 3, 4), (2, 1, 3), (1, 0, 2), (1, 2, 1)),
    (1, 8, 8, (9, 9, 9), (5, 5, 5), 1, "same", 1),
    (2, 3, 2, (1, 12, 20), (1, 4, 4), 1, "same", (1, 2, 1)),
]


def tensors(case, dtype=torch.float32):
    batch, c_in, c_out, image, kernel = case[:5]
    torch.manual_seed(1)
    shapes = [(batch, c_in, *image), (c_out, c_in, *kernel), (c_out,)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def assert_close(found, expected, what):
    scale = expected.abs().max().item() + 1e-6
    error = (found.double() - expected).abs().max().item()
    assert error <= 1e-5 * scale + 1e-6, f"{what}: {error} of {scale}"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_are_those_of_pytorch(case, format):
    how = case[5:]
    own, theirs = tensors(case), tensors(case, torch.float64)
    y = znn.torch.conv3d(own[0].to(memory_format=format), *own[1:], *how)
    expected = F.conv3d(*theirs, *how)
    assert y.shape == expected.shape
    assert_close(y, expected, "y")
    dy = torch.randn_like(y)
    found = torch.autograd.grad(y, own, dy)
    for name, f, e in zip(["x", "w", "b"], found, torch.autograd.grad(expected, theirs, dy.double())):
        assert_close(f, e, f"gradient by {name}")


def test_gradcheck():
    x, w, b = tensors((2, 2, 3, (4, 5, 5), (3, 3, 3)))
    # A convolution is linear in each argument: long steps have no error but rounding.
    inputs = (x, w, b)
    assert torch.autograd.gradcheck(
        lambda *args: znn.torch.conv3d(*args, 1, 1, 1), inputs, eps=0.1, atol=2e-3, rtol=2e-3, nondet_tol=0.0
    )


def test_only_wanted_gradients():
    x, w, b = tensors(CASES[1])
    for wanted in [[x], [w], [b], [w, b]]:
        for tensor in [x, w, b]:
            tensor.requires_grad_(any(tensor is other for other in wanted))
        y = znn.torch.conv3d(x, w, b, 1, 1)
        found = torch.autograd.grad(y.square().sum(), wanted)
        expected = torch.autograd.grad(F.conv3d(x, w, b, 1, 1).square().sum(), wanted)
        for f, e in zip(found, expected):
            torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-2)


def test_operator_is_registered_soundly():
    for op, args in [
        (torch.ops.znn.conv3d.default, (*tensors(CASES[1]), [1] * 3, [1] * 6, [1] * 3, 2)),
        (torch.ops.znn.conv3d.default, (*tensors(CASES[2])[:2], None, [2] * 3, [1] * 6, [1] * 3, 1)),
    ]:
        torch.library.opcheck(
            op, args, test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
        )


def test_conv2d_and_images_without_batch():
    torch.manual_seed(2)
    x, w, b = torch.randn(2, 3, 17, 19), torch.randn(4, 3, 3, 5), torch.randn(4)
    for how in [(1, 0, 1), (2, (1, 2), 1), (1, "same", (1, 2))]:
        torch.testing.assert_close(znn.torch.conv2d(x, w, b, *how), F.conv2d(x, w, b, *how), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(znn.torch.conv2d(x[0], w), F.conv2d(x[0], w), rtol=1e-4, atol=1e-4)
    x, w = torch.randn(3, 6, 7, 8), torch.randn(4, 3, 3, 3, 3)
    torch.testing.assert_close(znn.torch.conv3d(x, w), F.conv3d(x, w), rtol=1e-4, atol=1e-4)


def test_what_is_not_supported_says_so():
    x, w = torch.randn(1, 2, 4, 4, 4), torch.randn(2, 2, 3, 3, 3)
    with pytest.raises(ValueError, match="float32"):
        znn.torch.conv3d(x.double(), w.double())
    with pytest.raises(ValueError, match="groups"):
        znn.torch.conv3d(x, w[:, :1], groups=2)
    assert znn.torch.conv3d(x[:0], w).shape == (0, 2, 2, 2, 2)


class UNet(nn.Module):
    """Two resolutions, normalisation, skip connection by concatenation, transposed convolution.

    Smooth: where a value near zero falls to the other side of a ReLU by rounding, gradients jump.
    """

    def __init__(self, width=8):
        super().__init__()

        def block(c_in, c_out):
            return nn.Sequential(
                nn.Conv3d(c_in, c_out, 3, padding=1), nn.BatchNorm3d(c_out), nn.SiLU(),
                nn.Conv3d(c_out, c_out, 3, padding=1), nn.BatchNorm3d(c_out), nn.SiLU(),
            )  # fmt: skip

        self.down, self.deep = block(1, width), block(width, 2 * width)
        self.up = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.merge, self.head = block(2 * width, width), nn.Conv3d(width, 2, 1)

    def forward(self, x):
        skip = self.down(x)
        deep = self.deep(F.avg_pool3d(skip, 2))
        return self.head(self.merge(torch.cat([skip, self.up(deep)], 1)))


def unet(width=8):
    torch.manual_seed(3)
    return UNet(width)


def swap_all(model):
    """A copy of the model with every convolution in the engine."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = znn.torch.Conv3d
    return model


def loss_and_gradients(model, x):
    loss = model(x).square().mean()
    return loss, torch.autograd.grad(loss, list(model.parameters()))


def assert_same_gradients(found, expected):
    assert abs(found[0].item() - expected[0].item()) <= 1e-5 * abs(expected[0].item())
    # Biases before a normalisation have no gradient but rounding: errors are measured by the largest gradient.
    scale = max(e.abs().max().item() for e in expected[1])
    for f, e in zip(found[1], expected[1]):
        assert (f - e).abs().max().item() <= 1e-5 * scale


def test_a_unet_gives_the_same():
    model, x = unet(), torch.randn(2, 1, 16, 16, 16)
    own, double = swap_all(model), copy.deepcopy(model).double()
    assert_close(own.eval()(x), model.eval()(x).double(), "output")
    expected = loss_and_gradients(double.train(), x.double())
    assert_same_gradients(loss_and_gradients(own.train(), x), expected)


def test_a_network_of_monai_gives_the_same():
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(4)
    model = nets.UNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1, act="SWISH"
    )
    x = torch.randn(2, 1, 16, 16, 16)
    own, double = swap_all(model), copy.deepcopy(model).double()
    assert sum(isinstance(module, znn.torch.Conv3d) for module in own.modules()) >= 6
    assert_close(own(x), double(x.double()), "output")
    assert_same_gradients(loss_and_gradients(own, x), loss_and_gradients(double, x.double()))


def test_accelerate_is_reversible():
    model, x = unet(12), torch.randn(1, 1, 16, 24, 24)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = copy.deepcopy(model)(x)
    report = znn.torch.accelerate(model, x)
    assert {timing.name for timing in report.timings} == {n for n, m in model.named_modules() if isinstance(m, nn.Conv3d)}
    swapped = {name for name, module in model.named_modules() if isinstance(module, znn.torch.Conv3d)}
    assert swapped == {timing.name for timing in report.timings if timing.is_swapped}
    assert all(timing.is_swapped == (timing.ratio >= 1.05) for timing in report.timings)
    print(report)
    assert f"{len(swapped)} of 7 convolutions swapped" in str(report)
    assert model.training and report.ratio >= 1.0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)
    report.restore()
    assert not any(isinstance(module, znn.torch.Conv3d) for module in model.modules())
    # With an impossible margin nothing is swapped.
    assert not any(t.is_swapped for t in znn.torch.accelerate(model, x, training=False, margin=1e9).timings)


def test_what_the_engine_does_not_take_stays_with_pytorch():
    module = znn.torch.Conv3d(4, 4, 3, groups=2)
    assert module(torch.randn(1, 4, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    assert znn.torch.Conv3d(2, 2, 3).double()(torch.randn(1, 2, 5, 5, 5).double()).dtype == torch.float64
    reflecting = znn.torch.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    assert reflecting(torch.randn(1, 2, 5, 5)).shape == (1, 2, 5, 5)


def test_compile_traces_the_operator():
    model, x = swap_all(unet()), torch.randn(1, 1, 8, 8, 8)
    expected = loss_and_gradients(copy.deepcopy(model), x)
    # The tracer and the partitioner of gradients, without a C++ compiler for the rest.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same_gradients(loss_and_gradients(compiled, x), expected)


def _train_in_a_process(rank, world, file, result):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        model = nn.parallel.DistributedDataParallel(swap_all(unet()))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = batch()[rank::world]
        # Statistics of each process's part of the batch would differ: those of training before are used.
        model.eval()
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        if rank == 0:
            torch.save(model.module.state_dict(), result)
    finally:
        torch.distributed.destroy_process_group()


def batch():
    return torch.randn(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without it")
def test_several_processes(tmp_path):
    file, result = tmp_path / "store", tmp_path / "model.pt"
    torch.multiprocessing.spawn(_train_in_a_process, (2, str(file), str(result)), nprocs=2)
    single = unet().eval()
    optimizer = torch.optim.SGD(single.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        single(batch()).square().mean().backward()
        optimizer.step()
    found = torch.load(result)
    for name, expected in single.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-5, msg=name)


def is_27(tensor):
    return torch.allclose(tensor, torch.tensor(27.0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_an_engine_of_its_own():
    x, w = torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 3, 3, 3)
    assert is_27(znn.torch.conv3d(x, w))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if is_27(znn.torch.conv3d(x, w)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
