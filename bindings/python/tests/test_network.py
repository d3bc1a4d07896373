"""Networks on numpy arrays."""

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
