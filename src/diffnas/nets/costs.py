"""What every operation of a supernet costs, without building the supernet."""

from __future__ import annotations

from functools import cache

from diffnas.nets import ops
from diffnas.nets.ops import count_macs
from diffnas.nets.own import offered, unseen
from diffnas.nets.sites import sites
from diffnas.nets.skeleton import StemKind
from diffnas.nets.slot import Slot
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
    depth = space.depth if depth is None else depth
    widths = {kind: len(graph.output) for kind, graph in space.cells.items()}

    @cache
    def macs(op: str, width: int, stride: int, size: tuple[int, int]) -> int:
        if op == "none":
            return 0
        own = op in space.factories
        with unseen(own=own):
            module = ops.build(op, Slot(width=width, stride=stride), factories=space.factories)
            return count_macs(module if own else module.to("meta"), (width, *size))

    total = [[0] * len(space.ops) for _ in space.edges]
    places = {
        kind: [
            (row, space.ops.index(op)) for row, names in enumerate(graph.ops, space.rows[kind].start) for op in names
        ]
        for kind, graph in space.cells.items()
    }
    for kind, number, *site in sites(
        skeleton_of(space.skeleton),
        widths,
        offered(space),
        picture,
        channels=channels,
        depth=depth,
        stem=stem,
        share=share,
    ):
        row, column = places[kind][number]
        total[row][column] += macs(*site)
    return total
