"""Networks on numpy arrays."""

import re

import numpy as np
import pytest

import znn

TEXT = """
nodes image
type input
size 2

edges a
type conv
init msra
size 1,3,3
input image
output hidden

nodes hidden
type transfer
function rectify_linear
size 4

edges b
type conv
init msra
size 2,3,3
input hidden
output result

nodes result
type transfer
function linear
size 1
"""


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.znn"
    path.write_text(TEXT)
    return znn.Network.load(path, seed=3)


def test_training_lowers_the_loss_and_is_saved(network, tmp_path):
    rng = np.random.default_rng(1)
    assert (network.input_maps, network.output_maps, network.fov) == (2, 1, (2, 5, 5))
    output = (3, 8, 8)
    extent = network.training_extent(output)
    assert extent == (4, 12, 12)
    x = rng.standard_normal((2, *extent), np.float32)
    target = x[:1, :3, 2:10, 2:10] * np.float32(0.5)
    losses = [network.train_step(x, target, rate=0.05) for _ in range(150)]
    assert losses[-1] < 0.2 * losses[0], losses[::30]

    y = network.forward(x)
    assert y.shape == (1, *network.output_extent(extent)) == (1, 3, 8, 8)
    mean = float(np.square(y - target).mean())
    assert mean < 0.25 * losses[0]
    network.save(tmp_path / "model.safetensors")
    copy = znn.Network.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(copy(x), y, rtol=1e-4, atol=1e-5)
    assert "nodes hidden" in copy.text


def patch(network):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, *network.training_extent((3, 8, 8))), np.float32)
    return x, x[:1, :3, 2:10, 2:10] * np.float32(0.5)


OPTIMISERS = [("sgd", 0.05), ("nesterov", 0.05), ("adam", 0.01), ("adamw", 0.01)]


@pytest.mark.parametrize("optimiser, rate", OPTIMISERS)
def test_optimisers(network, optimiser, rate):
    x, target = patch(network)
    losses = [network.train_step(x, target, rate=rate, optimiser=optimiser, weight_decay=1e-4) for _ in range(150)]
    assert losses[-1] < 0.3 * losses[0], losses[::30]


def moved(network, **options):
    """How far a step takes the parameters, all of them."""
    before = network.parameters()
    network.train_step(*patch(network), **options)
    after = network.parameters()
    return {name: after[name] - before[name] for name in before}


def test_parameters_are_copies_with_the_names_of_the_file(network):
    found = network.parameters()
    shapes = {name: values.shape for name, values in found.items()}
    assert shapes == {"a.weight": (4, 2, 1, 3, 3), "b.weight": (1, 4, 2, 3, 3), "hidden.bias": (4,), "result.bias": (1,)}
    found["a.weight"][:] = 0
    assert network.parameters()["a.weight"].any()
    # Without momentum a step is as long as the rate says, and the next one, with the first gradient of the same sign.
    steps = moved(network, rate=1e-3, momentum=0.0)
    twice = moved(network, rate=2e-3, momentum=0.0)
    for name, step in steps.items():
        assert step.any(), name
        np.testing.assert_allclose(twice[name], 2 * step, rtol=0.2, atol=0.1 * np.abs(step).max())


def test_first_steps_of_adam_are_of_the_length_of_the_rate(network):
    for name, step in moved(network, rate=1e-3, optimiser="adam").items():
        np.testing.assert_allclose(np.abs(step), 1e-3, rtol=1e-2, err_msg=name)
    # Another optimiser begins without its means, also in a file.
    assert max(np.abs(step).max() for step in moved(network, rate=0.0, momentum=0.9).values()) == 0


def test_a_saved_model_begins_anew_with_another_optimiser(network, tmp_path):
    for _ in range(3):
        moved(network, rate=1e-3, optimiser="adam")
    network.save(tmp_path / "adam.safetensors")
    steps = []
    for momentum in [0.0, 0.9]:
        copy = znn.Network.load(tmp_path / "adam.safetensors")
        steps.append(moved(copy, rate=1e-3, momentum=momentum))
    for name, step in steps[0].items():
        np.testing.assert_allclose(steps[1][name], step, rtol=1e-3, atol=1e-7)
    # The same one goes on: its third step is not as long as a first one.
    going_on = znn.Network.load(tmp_path / "adam.safetensors")
    assert any(np.abs(np.abs(step) - 1e-3).max() > 1e-5 for step in moved(going_on, rate=1e-3, optimiser="adam").values())


def test_batches_and_clipping(network):
    options = dict(rate=0.1, momentum=0.0, batch=3)
    assert all(not step.any() for _ in range(2) for step in moved(network, **options).values())
    assert any(step.any() for step in moved(network, **options).values())

    lengths = [
        np.sqrt(sum(np.square(step.astype(np.float64)).sum() for step in moved(network, rate=0.1, momentum=0.0, **clip).values()))
        for clip in [dict(clip_norm=1e-3), dict(clip_value=1e-4)]
    ]
    assert lengths[0] == pytest.approx(0.1 * 1e-3, rel=1e-2)
    assert 0 < lengths[1] <= 0.1 * 1e-4 * np.sqrt(4 * 2 * 9 + 4 * 18 + 5) * 1.01


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(rate=-1.0), "rate is -1, expected a number, not negative"),
        (dict(rate=float("nan")), "rate is NaN"),
        (dict(momentum=1.0), "momentum is 1, expected a number from 0 to below 1"),
        (dict(weight_decay=-0.5), "weight_decay is -0.5, expected a number from 0 to 1"),
        (dict(optimiser="lion"), "optimiser is \"lion\", expected sgd, nesterov, adam or adamw"),
        (dict(optimiser="adam", betas=(1.0, 0.9)), "beta1 is 1, expected a number from 0 to below 1"),
        (dict(optimiser="adamw", betas=(0.9, -0.1)), "beta2 is -0.1"),
        (dict(optimiser="adam", epsilon=0.0), "epsilon is 0, expected a number above 0"),
        (dict(batch=0), "batch is 0, expected a number from 1 to 65536"),
        (dict(batch=-1), "batch is -1, expected a number from 1 to 65536"),
        (dict(batch=1 << 20), "batch is 1048576, expected a number from 1 to 65536"),
        (dict(clip_value=0.0), "clip_value is 0, expected a number above 0"),
        (dict(clip_norm=-2.0), "clip_norm is -2, expected a number above 0"),
    ],
)
def test_wrong_options_are_named_and_train_nothing(network, options, message):
    before = network.parameters()
    with pytest.raises(ValueError, match=re.escape(message)):
        network.train_step(*patch(network), **options)
    assert all((values == before[name]).all() for name, values in network.parameters().items())


def test_networks_with_several_ends_say_so(tmp_path):
    path = tmp_path / "two.znn"
    path.write_text(TEXT + "\nedges c\ntype conv\ninit msra\nsize 1,1,1\ninput hidden\noutput second\n"
                    "\nnodes second\ntype transfer\nfunction linear\nsize 1\n")  # fmt: skip
    with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
        znn.Network.load(path)


def test_mistakes_are_errors(network, tmp_path):
    x = np.zeros((2, 4, 12, 12), np.float32)
    with pytest.raises(ValueError, match="field of view"):
        network.forward(x[:, :1])
    with pytest.raises(ValueError, match="1 maps, expected 2"):
        network.forward(x[:1])
    with pytest.raises(ValueError, match="expected 4,12,12 for a target of 3,8,8"):
        network.train_step(x[:, :, :11], np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(OSError, match="nowhere"):
        znn.Network.load(tmp_path / "nowhere.safetensors")
