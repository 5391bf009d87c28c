"""What a factory may read, and what operations into one node have in common."""

import gc
from copy import deepcopy
from weakref import ref

import torch
from torch import nn

from diffnas.nets.cell import Cell
from diffnas.nets.slot import Shared, Slot
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, dense_cell


class Gated(nn.Module):
    """An activation behind a layer that all operations into a node share."""

    def __init__(self, slot: Slot, activation: nn.Module) -> None:
        super().__init__()
        self.stride, self.activation = slot.stride, activation
        self.gate = slot.share("gate", lambda: nn.Conv2d(slot.width, slot.out, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.gate(x[:, :, :: self.stride, :: self.stride]))


OPS = ("tanh", "relu")


def gated() -> SearchSpace:
    cells = {kind: dense_cell(inputs=2, nodes=2, ops=OPS) for kind in ("normal", "reduce")}
    factories = {"tanh": lambda slot: Gated(slot, nn.Tanh()), "relu": lambda slot: Gated(slot, nn.ReLU())}
    return SearchSpace(name="gated", cells=cells, ops=OPS, factories=factories)


def gates(cell: nn.Module) -> list[list[int]]:
    assert isinstance(cell, Cell)
    into = {edge.target for edge in cell.graph.edges}
    return [
        sorted({id(op.gate) for row in cell.graph.incoming(node) for op in cell.edges[row].ops.values()})
        for node in sorted(into)
    ]


def test_the_result_is_as_wide_as_the_input_unless_it_is_said() -> None:
    assert (Slot(width=8).out, Slot(width=8, out=16).out) == (8, 16)


def test_operations_into_one_node_share_a_module_and_those_into_others_do_not() -> None:
    net = Supernet(gated(), classes=3, channels=4, depth=3)
    for cell in net.cells:
        first, second = gates(cell)
        assert len(first) == len(second) == 1
        assert first != second
    net(torch.zeros(2, 3, 8, 8), torch.full((10, 2), 0.5)).sum().backward()
    assert sum("gate" in name for name, _ in net.named_parameters()) == 3 * 2 * 2


def test_a_shared_module_goes_with_the_last_operation_that_holds_it() -> None:
    net = Supernet(gated(), classes=3, channels=4, depth=3)
    edges, held = net.cells[0].edges, ref(net.cells[0].edges[0].ops["0"].gate)
    keep = torch.ones(10, 2, dtype=torch.bool)
    keep[0, 0] = keep[1] = False
    net.prune_(keep)
    gc.collect()
    assert held() is edges[0].ops["1"].gate
    keep[0] = False
    net.prune_(keep)
    gc.collect()
    assert held() is None


def test_an_operation_that_comes_back_shares_with_those_that_stayed() -> None:
    for net in (made := Supernet(gated(), classes=3, channels=4, depth=3), deepcopy(made)):
        keep = torch.ones(10, 2, dtype=torch.bool)
        keep[0, 0] = False
        net.prune_(keep)
        net.replace_(torch.ones(10, 2, dtype=torch.bool), {})
        assert all(len(found) == 1 for cell in net.cells for found in gates(cell))


def test_a_copy_shares_copies() -> None:
    shared = Shared()
    both = nn.ModuleList([nn.Sequential(shared("one", lambda: nn.Linear(2, 2))) for _ in range(2)])
    copied, own = deepcopy((both, shared))
    assert copied[0][0] is copied[1][0] is own("one", nn.Identity)
    assert copied[0][0] is not both[0][0]
