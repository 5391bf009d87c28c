"""The one cell, by itself."""

import torch
from torch import Tensor, nn

from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.cell import Cell, Place
from diffnas.nets.wiring import Wiring
from diffnas.space import Edge

CHAIN = Wiring(inputs=1, nodes=3, edges=(Edge(0, 1), Edge(1, 2)), output=(1, 2))
X = torch.arange(6.0).view(2, 3)


class Times(nn.Module):
    """An edge that multiplies what it is given, and adds one; its row of the weights is a factor, or None."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor, factor: Tensor | None, backend: object) -> Tensor:
        return (x * self.by + 1) * (1 if factor is None else factor)


class Row(nn.Module):
    """An edge that keeps its row of the weights."""

    def forward(self, x: Tensor, row: object, backend: object) -> Tensor:
        self.row = row
        return x


def place(**options: int) -> Place:
    return Place(kind="cell", width=3, prepare=[nn.Identity()], **options)


def made(*edges: nn.Module, wiring: Wiring = CHAIN, **options: object) -> Cell:
    return Cell(wiring, place(), edges, **{"join": "concat", **options})


def test_the_output_joins_its_nodes_along_channels_or_by_their_mean() -> None:
    edges = Times(2), Times(3)
    first, second = 2 * X + 1, 3 * (2 * X + 1) + 1
    assert torch.equal(made(*edges)((X,)), torch.cat([first, second], dim=1))
    assert torch.equal(made(*edges, join="mean")((X,)), (first + second) / 2)


def test_a_factor_goes_to_its_edge() -> None:
    found = made(Times(2), Times(3), join="mean")((X,), [None, torch.zeros(())])
    assert torch.equal(found, (2 * X + 1) / 2)


def test_a_row_of_the_weights_goes_to_its_edge() -> None:
    cell, ops = made(Row(), Row()), torch.rand(2, 4)
    cell((X,), EdgeWeights(ops=ops, runs=[[True] * 4, [False] * 4]))
    for edge, weights, runs in zip(cell.edges, ops, (True, False), strict=True):
        assert torch.equal(edge.row[0], weights)
        assert edge.row[1] == [runs] * 4


def test_readers_of_a_node_that_nothing_feeds_are_left_out_or_read_zeros() -> None:
    unfed = Wiring(inputs=1, nodes=3, edges=(Edge(1, 2),), output=(2,))
    assert torch.equal(made(Times(2), wiring=unfed)((X,)), torch.zeros_like(X))
    assert torch.equal(made(Times(2), wiring=unfed, fills=True)((X,)), torch.ones_like(X))


def test_operations_behind_an_input_have_the_stride_and_all_have_the_widths() -> None:
    wiring = Wiring(inputs=1, nodes=3, edges=(Edge(0, 1), Edge(0, 2), Edge(1, 2)), output=(2,))
    slots = Place(kind="cell", width=4, out=8, stride=2, prepare=[nn.Identity()]).slots(wiring, affine=True)
    assert [(slot.width, slot.out, slot.stride, slot.affine) for slot in slots] == [
        (4, 8, 2, True),
        (4, 8, 2, True),
        (4, 8, 1, True),
    ]
    assert slots[1].share is slots[2].share is not slots[0].share
