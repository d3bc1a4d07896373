"""What `znn.torch.accelerate` makes of the time of a 3D U-Net and, where it is installed, of MONAI's BasicUNet.

    python bindings/python/examples/accelerate.py [--size 64] [--width 24] [--threads 2] [--profile]

Each network is timed as it is and accelerated, in turn: a training step (forward, backward, update) and inference. What is
shown are medians.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import znn.torch  # isort: skip  # before torch: its threads then leave the cores to the engine's
import torch
from torch import nn


class UNet(nn.Module):
    """A 3D U-Net (Çiçek et al. 2016, arXiv 1606.06650) of three resolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def block(c_in: int, c_out: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv3d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm3d(c_out), nn.ReLU(inplace=True),
                nn.Conv3d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm3d(c_out), nn.ReLU(inplace=True),
            )  # fmt: skip

        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList([block(1, widths[0]), block(widths[0], widths[1]), block(widths[1], widths[2])])
        self.up = nn.ModuleList([nn.ConvTranspose3d(2 * n, n, 2, stride=2) for n in widths[:2]])
        self.merge = nn.ModuleList([block(2 * n, n) for n in widths[:2]])
        self.head = nn.Conv3d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, 2))
            skips.append(x)
        for level in (1, 0):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        y: torch.Tensor = self.head(x)
        return y


def networks(width: int) -> dict[str, nn.Module]:
    torch.manual_seed(1)
    found: dict[str, nn.Module] = {"3D U-Net": UNet(width)}
    try:
        from monai.networks.nets.basic_unet import BasicUNet
    except ImportError:
        print("MONAI is not installed: pip install monai")
    else:
        found["MONAI BasicUNet"] = BasicUNet(3, 1, 2, features=(width, width, 2 * width, 4 * width, 8 * width, width))
    return found


class Runner:
    """A network with one thing to do."""

    def __init__(self, model: nn.Module, x: torch.Tensor, is_training: bool) -> None:
        self.model, self.x, self.is_training = model.train(is_training), x, is_training
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def __call__(self) -> None:
        if not self.is_training:
            with torch.inference_mode():
                self.model(self.x)
            return
        self.optimizer.zero_grad()
        self.model(self.x).square().mean().backward()
        self.optimizer.step()


def seconds(run: Runner) -> float:
    # Once before: the memory that the other network left is not what this one takes when it runs alone.
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def profile(run: Runner) -> str:
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    return str(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis, a multiple of 16 from 32 (default 64)")
    parser.add_argument("--width", type=int, default=24, help="maps of the first level (default 24)")
    parser.add_argument("--batch", type=int, default=1, help="images of a step (default 1)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch and of the engine (default: those of PyTorch)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn (default 5)")
    parser.add_argument("--channels-last", action="store_true", help="the model and its input in channels_last_3d")
    parser.add_argument("--only", default="", help="a part of the name of the networks to run")
    parser.add_argument("--mode", choices=["training", "inference"], help="one of the two (default: both)")
    parser.add_argument("--profile", action="store_true", help="also show where the time of the accelerated network goes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    x = torch.randn(args.batch, 1, args.size, args.size, args.size)
    chosen = {name: model for name, model in networks(args.width).items() if args.only in name}
    if args.channels_last:
        x = x.to(memory_format=torch.channels_last_3d)
        chosen = {name: model.to(memory_format=torch.channels_last_3d) for name, model in chosen.items()}

    lines = [f"{'':34} {'PyTorch ms':>10} {'znn ms':>8} {'ratio':>6}"]
    for name, model in chosen.items():
        for mode in [args.mode] if args.mode else ["training", "inference"]:
            is_training = mode == "training"
            plain, own = copy.deepcopy(model), copy.deepcopy(model).train(is_training)
            print(f"{name}, {mode}")
            print(znn.torch.accelerate(own, x, progress=True), "\n")
            runs = [Runner(plain, x, is_training), Runner(own, x, is_training)]
            times = [[seconds(run) for run in runs] for _ in range(args.rounds)]
            before, after = (1e3 * statistics.median(column) for column in zip(*times))
            lines.append(f"{f'{name}, {mode}':34} {before:10.1f} {after:8.1f} {before / after:6.2f}")
            if args.profile:
                print(profile(runs[1]))
    print(f"{args.batch} x 1 x {args.size}^3, width {args.width}, {torch.get_num_threads()} threads; medians of {args.rounds}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
