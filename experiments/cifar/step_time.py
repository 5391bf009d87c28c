"""Time a training step of a search's pruned supernet against a step of the whole supernet, in turn.

    python experiments/cifar/step_time.py runs/cifar10/sparse-0 runs/cifar10/sparse-1

The seconds in a trace depend on the machine's other work in that epoch; this ratio does not.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from diffnas.nets.supernet import Supernet
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES


def seconds(net: Supernet, x: Tensor, mix: Tensor) -> float:
    """The seconds of a forward and backward pass, with gradients for the weights and the mix."""
    begun = time.perf_counter()
    net(x, mix).logsumexp(1).sum().backward()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| run | live ops | step of the pruned supernet / of the whole one: median (least to most) |")
    print("|---|---|---|")
    for run in options.runs:
        settings = RunFolder.open(run).record
        space, sizes = SPACES[settings["space"]["name"]], settings["settings"]
        last = RunFolder(run).trace()[-1]
        channels, (H, W) = settings["data"]["channels"], settings["data"]["size"]
        nets = [
            Supernet(
                space, classes=10, in_channels=channels, channels=sizes["channels"], depth=sizes["depth"],
                stem=sizes["stem"],
            ).to(memory_format=torch.channels_last)
            for _ in range(2)
        ]  # fmt: skip
        nets[1].prune_(torch.tensor(last["keep"]))
        x = torch.randn(sizes["batch"], channels, H, W).to(memory_format=torch.channels_last)
        even = torch.full((len(space.edges), len(space.ops)), 1 / len(space.ops))
        mixes = [even.requires_grad_(), torch.tensor(last["mix"]).requires_grad_()]
        ratios = []
        for step in range(options.steps + 2):
            whole, pruned = (seconds(net, x, mix) for net, mix in zip(nets, mixes, strict=True))
            if step >= 2:
                ratios.append(pruned / whole)
        live = last["indicators"]["live_ops"]
        print(f"| {run.name} | {live} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
