"""What every operation of a supernet costs, without building the supernet."""

from __future__ import annotations

from functools import cache

from diffnas.nets import ops
from diffnas.nets.ops import count_macs
from diffnas.nets.own import offered, unseen
from diffnas.nets.sites import sites
from diffnas.nets.sizes import sizes_of_space
from diffnas.nets.slot import Slot
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace


def operation_macs(
    space: SearchSpace,
    picture: tuple[int, int, int],
    *,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
    one_in: int = 1,
) -> list[list[int]]:
    """Multiply-adds of every operation for one picture, in all cells of its kind together, ``(edges, ops)``.

    Args:
        space: the space.
        picture: channels, height and width.
        channels, depth, stem: as the supernet has them.
        one_in: one in so many channels goes through the operations.

    >>> from diffnas.space import s2
    >>> costs = operation_macs(s2, (3, 8, 8), channels=4, depth=3)
    >>> costs[0], costs[14]  # none for an identity; a convolution stands beside a skip that halves the resolution
    ([0, 6656], [2048, 7552])
    """
    sizes = sizes_of_space(space, 1, picture[0], channels=channels, depth=depth, stem=stem)

    @cache
    def macs(op: str, slot: Slot, size: tuple[int, ...]) -> int:
        if op == "none":
            return 0
        own = op in space.factories
        with unseen(own=own):
            module = ops.build(op, slot, factories=space.factories)
            return count_macs(module if own else module.to("meta"), (slot.width, *size))

    total = [[0] * len(space.ops) for _ in space.edges]
    places = {
        kind: [
            (row, space.ops.index(op)) for row, names in enumerate(graph.ops, space.rows[kind].start) for op in names
        ]
        for kind, graph in space.cells.items()
    }
    for site in sites(sizes, offered(space), picture, one_in=one_in):
        row, column = places[site.kind][site.number]
        total[row][column] += macs(site.op, site.slot, site.size)
    return total
