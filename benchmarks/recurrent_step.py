"""Time one step of a recurrent supernet on text: forward, backward for weights and mixing weights.

    python benchmarks/recurrent_step.py --channels 128 --batch 32 --window 35 --threads 1

- one by one: a module for each edge and operation, called one after the other. Each multiplies by its node's matrix.
- stacked: what a search runs, one product for each node and each activation once.

Before anything is timed, both must give one loss and one set of gradients in float64. The supernet has all operations,
half of them, or one for each node.
"""

from __future__ import annotations

import argparse
import time

import torch
from common import difference, interleaved, machine, table
from torch import Tensor
from torch.nn import functional as F

from diffnas.nets.supernet import Supernet
from diffnas.space import recurrent

WAYS = ("one by one", "stacked")
LEFT = ("all", "half", "one a node")
VOCABULARY = 65
TOLERANCE = 1e-10


def kept(left: str) -> Tensor:
    """The operations in play, ``(36, 5)``, bool."""
    keep = torch.ones(36, 5, dtype=torch.bool)
    if left == "half":
        keep = torch.rand(36, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    if left == "one a node":
        keep = torch.zeros(36, 5, dtype=torch.bool)
        for node in range(1, 9):
            keep[node * (node + 1) // 2 - 1, 1 + node % 4] = True
    return keep


class Contender:
    """A supernet that is computed in one way, and a window of text."""

    def __init__(self, way: str, left: str, channels: int, batch: int, window: int) -> None:
        torch.manual_seed(0)
        keep = kept(left)
        self.net = Supernet(recurrent, classes=VOCABULARY, in_channels=VOCABULARY, channels=channels, tokens=True)
        self.net.prune_(keep)
        self.net.cells[0].stacks = way == "stacked"
        self.ids = torch.randint(VOCABULARY, (batch, window + 1))
        self.mix = (torch.rand(36, 5) * keep).requires_grad_()

    def step(self) -> tuple[Tensor, ...]:
        """The loss and its gradients."""
        logits = self.net(self.ids[:, :-1], self.mix)
        loss = F.cross_entropy(logits.flatten(0, 1), self.ids[:, 1:].flatten())
        return loss, *torch.autograd.grad(loss, [self.mix, *self.net.parameters()])

    def doubled(self) -> Contender:
        self.net, self.mix = self.net.double(), self.mix.detach().double().requires_grad_()
        return self


def verify(left: str) -> None:
    """Check that both ways compute the same."""
    one, other = (Contender(way, left, 8, 3, 4).doubled().step() for way in WAYS)
    apart = difference(one, other)
    assert apart < TOLERANCE, f"with {left} the ways differ by {apart:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("channels", 128), ("batch", 32), ("window", 35), ("threads", 1), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.threads == 1 else time.perf_counter
    print(machine())
    for left in LEFT:
        verify(left)
        contenders = {way: Contender(way, left, asked.channels, asked.batch, asked.window).step for way in WAYS}
        print(f"\n{left}, {asked.channels} features, batch {asked.batch}, window {asked.window}\n")
        print(table(interleaved(contenders, rounds=asked.rounds, clock=clock), WAYS[:1]))


if __name__ == "__main__":
    main()
