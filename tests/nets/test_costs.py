from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffnas.nets.costs import operation_macs
from diffnas.nets.ops import count_macs
from diffnas.nets.sites import unseen
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, darts, nas_bench_201, s1, with_own_cells


class Held(nn.Module):
    def __init__(self, net: Supernet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, torch.zeros(self.net.edges, len(self.net.space.ops), device=x.device))


def macs_of(net: Supernet, picture: tuple[int, ...]) -> int:
    with unseen(own=False):
        return count_macs(Held(net), picture)


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (darts, {"depth": 3}),
        (s1, {"depth": 4, "stem": "cifar-half"}),
        (with_own_cells(s1, 3), {}),
        (nas_bench_201, {"depth": 5}),
    ],
    ids=["darts", "s1", "apart", "nas-bench-201"],
)
@pytest.mark.parametrize("size", [8, 11])
def test_the_costs_are_what_a_supernet_loses_with_each_operation(space: SearchSpace, options: dict, size: int):
    picture = (3, size, size)
    costs = torch.tensor(operation_macs(space, picture, channels=4, **options))
    with unseen(own=False):
        net = Supernet(space, classes=3, channels=4, **options)
    whole = macs_of(net, picture)
    keep = torch.tensor(space.offered)
    for column in range(len(space.ops)):
        keep = keep.clone()
        keep[:, column] = False
        # Something feeds every node until the end, so that sizes do not change.
        if keep.any(dim=1).all():
            net.prune_(keep)
            left = macs_of(net, picture)
            assert whole - left == costs[:, : column + 1].sum()
    net.prune_(torch.zeros_like(keep))
    assert whole - macs_of(net, picture) == costs.sum()


def test_partial_channels_cost_less():
    whole, part = (torch.tensor(operation_macs(darts, (3, 8, 8), channels=8, one_in=s)) for s in (1, 2))
    assert torch.equal(torch.tensor(operation_macs(darts, (3, 8, 8), channels=4)), part)
    assert ((part < whole) == (whole > 0)).all()


def test_operations_of_ones_own_are_counted():
    def conv(slot: Slot) -> nn.Module:
        return nn.Conv2d(slot.width, slot.width, 1, stride=slot.stride)

    cells = {k: replace(g, ops=(("mine",),) * len(g.ops)) for k, g in darts.cells.items()}
    space = replace(darts, cells=cells, ops=("mine",), factories={"mine": conv})
    assert operation_macs(space, (3, 8, 8), channels=4, depth=3)[0] == [4 * 4 * 64]
