"""The plan of a net's cells: the kind, the resolution and the channels of each."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from diffnas.lookup import lookup
from diffnas.skeleton import Place, Skeleton, StemKind


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One cell of a net, and its channels.

    Attributes:
        index: its position in the net, counted from 0.
        kind: its kind; None for a fixed residual block.
        reduces: whether it halves the resolution.
        after_reduction: whether the previous cell did, so that its older input has twice the height and width.
        channels: channels of every node.
        before: channels of its older input, the output of the cell before the previous one.
        previous: channels of its newer input, the output of the previous cell.
        out: channels of its output.
    """

    index: int
    kind: str | None
    reduces: bool
    after_reduction: bool
    channels: int
    before: int
    previous: int
    out: int


def kind_at(kinds: Container[str], index: int, place: Place) -> str | None:
    """The kind of the cell at ``index``: ``cell3`` for index 3 if ``kinds`` has it, else the kind of the place.

    >>> kind_at({"normal", "reduce", "cell1"}, 1, Place("normal", False))
    'cell1'
    """
    own = f"cell{index}"
    return own if place.kind is not None and own in kinds else place.kind


def plan(
    skeleton: Skeleton, widths: Mapping[str, int], channels: int, depth: int, stem: StemKind = "cifar"
) -> tuple[CellPlan, ...]:
    """The cells of a net in order, each with its channels.

    DARTS (Liu et al., 2019), section 3.1: every reduction doubles the channels of the nodes. The same holds for the
    residual blocks of NAS-Bench-201 (Dong & Yang, 2020).

    Args:
        skeleton: how the cells are stacked.
        widths: for every kind of cell, how many nodes its output concatenates.
        channels: channels of the nodes of the first cell.
        depth: number of cells, residual blocks included.
        stem: the layers before the cells.

    Raises:
        ValueError: for a kind of cell that has no width, too few cells, or a cell without a place in the net.

    >>> from diffnas.skeleton import DARTS
    >>> for cell in plan(DARTS, {"normal": 4, "reduce": 4}, channels=16, depth=3):
    ...     print(cell.kind, cell.before, cell.previous, cell.channels, cell.out)
    normal 48 48 16 64
    reduce 48 64 32 128
    reduce 64 128 64 256
    """
    cells: list[CellPlan] = []
    before = previous = skeleton.stem_width.get(stem, 1) * channels
    # The two outputs of the ImageNet stem differ in size, as if there were a reduction between them.
    after_reduction = stem == "imagenet"
    unit = channels
    for index, place in enumerate(skeleton.places(depth)):
        channels = place.width * unit
        kind = kind_at(widths, index, place)
        out = channels if kind is None else channels * lookup("kind of cell", kind, widths)
        cells.append(
            CellPlan(
                index=index,
                kind=kind,
                reduces=place.reduces,
                after_reduction=after_reduction,
                channels=channels,
                before=before,
                previous=previous,
                out=out,
            )
        )
        before, previous, after_reduction = previous, out, place.reduces
    lost = sorted(kind for kind in widths if kind.startswith("cell") and kind not in {cell.kind for cell in cells})
    if lost:
        raise ValueError(f"{lost[0]!r} has no place in a net of {depth} cells.")
    return tuple(cells)
