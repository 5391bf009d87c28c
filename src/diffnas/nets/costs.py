"""What every operation of a supernet costs, without building the supernet."""

from __future__ import annotations

from functools import cache

import torch

from diffnas.nets import ops
from diffnas.nets.ops import count_macs
from diffnas.nets.skeleton import Stem, StemKind, plan
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace


def operation_macs(
    space: SearchSpace,
    picture: tuple[int, int, int],
    *,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
    share: int = 1,
) -> list[list[int]]:
    """Multiply-adds of every operation for one picture, in all cells of its kind together, ``(edges, ops)``.

    Args:
        space: the space.
        picture: channels, height and width.
        channels, depth, stem: as the supernet has them.
        share: one in so many channels goes through the operations.

    >>> from diffnas.space import s2
    >>> costs = operation_macs(s2, (3, 8, 8), channels=4, depth=3)
    >>> costs[0], costs[14]  # none for an identity; a convolution stands beside a skip that halves the resolution
    ([0, 6656], [2048, 7552])
    """
    channels = space.channels if channels is None else channels
    widths = {kind: len(graph.output) for kind, graph in space.cells.items()}

    @cache
    def macs(op: str, width: int, stride: int, size: tuple[int, int]) -> int:
        if op == "none":
            return 0
        with torch.device("meta"):
            module = ops.build(op, width, stride, affine=False, factories=space.factories)
        return count_macs(module.to("meta"), (width, *size))

    total = [[0] * len(space.ops) for _ in space.edges]
    size = _after_stem(space, picture, channels, stem)
    for cell in plan(skeleton_of(space.skeleton), widths, channels, space.depth if depth is None else depth, stem):
        smaller = tuple(-(-length // 2) for length in size)
        inner = (smaller[0], smaller[1]) if cell.reduces else size
        if cell.kind is not None:
            graph, rows = space.cells[cell.kind], total[space.rows[cell.kind]]
            for edge, names, row in zip(graph.edges, graph.ops, rows, strict=True):
                from_input = edge.source < graph.inputs
                stride = 2 if cell.reduces and from_input else 1
                for op in names:
                    seen = size if from_input else inner
                    row[space.ops.index(op)] += macs(op, cell.channels // share, stride, seen)
        size = inner
    return total


def _after_stem(space: SearchSpace, picture: tuple[int, int, int], channels: int, stem: StemKind) -> tuple[int, int]:
    """Height and width of the newer input of the first cell."""
    with torch.device("meta"):
        first = Stem(skeleton_of(space.skeleton), stem, picture[0], channels).eval()
        height, width = first(torch.zeros(1, *picture))[1].shape[2:]
    return height, width
