"""Where operations stand in a net: the channels, the stride and the size of the map that each of them sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from diffnas.nets.skeleton import Stem, StemKind, plan
from diffnas.skeleton import Skeleton


class Site(NamedTuple):
    """An operation in one cell of a net.

    Attributes:
        kind: of the cell.
        number: of the operation among those of the cell.
        op: its name.
        channels: of its input and output.
        stride: 1 or 2.
        size: height and width of its input.
    """

    kind: str
    number: int
    op: str
    channels: int
    stride: int
    size: tuple[int, int]


def sites(
    skeleton: Skeleton,
    widths: Mapping[str, int],
    listed: Mapping[str, Sequence[tuple[str, bool]]],
    picture: tuple[int, int, int],
    *,
    channels: int,
    depth: int,
    stem: StemKind = "cifar",
    share: int = 1,
) -> Iterator[Site]:
    """Every operation of every cell of a net, cell by cell.

    Args:
        skeleton, widths, channels, depth, stem: as ``skeleton.plan`` has them.
        listed: for each kind of cell, its operations, and whether each reads an input of the cell.
        picture: channels, height and width.
        share: one in so many channels goes through the operations.

    >>> from diffnas.skeleton import DARTS
    >>> listed = {"normal": [("skip_connect", True)], "reduce": [("skip_connect", True)]}
    >>> [site[3:] for site in sites(DARTS, {"normal": 1, "reduce": 1}, listed, (3, 9, 9), channels=4, depth=3)]
    [(4, 1, (9, 9)), (8, 2, (9, 9)), (16, 2, (5, 5))]
    """
    size = after_stem(skeleton, picture, channels, stem)
    for cell in plan(skeleton, widths, channels, depth, stem):
        height, width = size
        inner = (-(-height // 2), -(-width // 2)) if cell.reduces else size
        for number, (op, reads_input) in enumerate(listed[cell.kind] if cell.kind is not None else ()):
            stride, seen = (2 if cell.reduces and reads_input else 1), size if reads_input else inner
            assert cell.kind is not None
            yield Site(cell.kind, number, op, cell.channels // share, stride, seen)
        size = inner


def after_stem(skeleton: Skeleton, picture: tuple[int, int, int], channels: int, stem: StemKind) -> tuple[int, int]:
    """Height and width of the newer input of the first cell."""
    with torch.device("meta"):
        first = Stem(skeleton, stem, picture[0], channels).eval()
        height, width = first(torch.zeros(1, *picture))[1].shape[2:]
    return height, width
