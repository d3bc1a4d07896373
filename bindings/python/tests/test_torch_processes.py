"""Several processes: distributed training, and forks."""

import copy
import os

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import znn  # noqa: E402
import znn.torch  # noqa: E402
from znn.torch import _operator  # noqa: E402
from models import swap_all, unet  # noqa: E402

def _train_in_a_process(rank, world, file, folder):
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
        found = {"pid": os.getpid(), "cores": znn.default_engine().cores, "state": model.module.state_dict()}
        torch.save(found, folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def batch():
    return torch.randn(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without it")
def test_several_processes(tmp_path):
    torch.multiprocessing.spawn(_train_in_a_process, (2, tmp_path / "store", tmp_path), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert len({os.getpid(), *(each["pid"] for each in found)}) == 3
    cores = [core for each in found for core in each["cores"]]
    assert len(cores) == 2
    assert len(set(cores)) == min(2, len(os.sched_getaffinity(0)))

    single = unet().eval()
    before = copy.deepcopy(single.state_dict())
    optimizer = torch.optim.SGD(single.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        single(batch()).square().mean().backward()
        optimizer.step()
    moved = 0.0
    for name, expected in single.state_dict().items():
        assert torch.equal(found[0]["state"][name], found[1]["state"][name]), name
        torch.testing.assert_close(found[0]["state"][name], expected, rtol=1e-4, atol=1e-6, msg=name)
        moved = max(moved, (expected - before[name]).abs().max().item())
    assert moved > 1e-3


def test_each_process_of_a_job_has_processors_of_its_own(monkeypatch):
    def parts(threads, processes, allowed, machine):
        monkeypatch.setattr(_operator, "processors", lambda: allowed)
        monkeypatch.setattr(os, "cpu_count", lambda: machine)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        found = []
        for rank in range(processes):
            monkeypatch.setenv("LOCAL_RANK", str(rank))
            by_environment = _operator._own_part(threads)
            monkeypatch.delenv("LOCAL_RANK")
            for name, value in {"is_initialized": True, "get_rank": rank, "get_world_size": processes}.items():
                monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
            assert _operator._own_part(threads) == by_environment
            assert by_environment["threads"] == len(by_environment["cores"])
            found.append(by_environment["cores"])
        return found

    # Four cores of two threads.
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    assert parts(2, 2, order, 8) == [[0, 2], [4, 6]]
    assert parts(1, 4, order, 8) == [[0], [2], [4], [6]]
    # As many threads each as the machine has cores: divided.
    assert parts(4, 4, order, 8) == [[0, 2], [4, 6], [1, 3], [5, 7]]
    assert parts(4, 16, order, 8)[:2] == [[0], [2]]
    # Each process was given some of a larger machine, the same or others.
    assert parts(2, 2, [4, 5, 6, 7], 64) == [[4, 5], [6, 7]]
    assert [sorted(cores) for cores in parts(2, 2, [4, 5], 64)] == [[4, 5], [4, 5]]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    assert _operator._own_part(3) == {"threads": 3}


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
