"""The layout of a layered graph: the order of the things in each column, and their heights."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, combinations, pairwise
from statistics import fmean
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
_SWEEPS = 24


def neighbors(links: Iterable[tuple[T, T]]) -> dict[T, list[T]]:
    """For each thing, all things that a link connects with it, on either side."""
    found: dict[T, list[T]] = {}
    for start, end in links:
        found.setdefault(start, []).append(end)
        found.setdefault(end, []).append(start)
    return found


def crossings(columns: Sequence[Sequence[T]], links: Iterable[tuple[T, T]]) -> int:
    """How many pairs of links cross; each link leads from a column to the next.

    >>> crossings([["a", "b"], ["c", "d"]], [("a", "d"), ("b", "c")])
    1
    """
    place = {thing: (index, rank) for index, column in enumerate(columns) for rank, thing in enumerate(column)}
    spans = [(place[start][0], place[start][1], place[end][1]) for start, end in links]
    return sum(a == b and (s1 - s2) * (e1 - e2) < 0 for (a, s1, e1), (b, s2, e2) in combinations(spans, 2))


def ordered(columns: Sequence[Sequence[T]], links: Sequence[tuple[T, T]]) -> list[list[T]]:
    """The columns, each in an order in which few links cross; the first column stays as it is.

    Sweeps go from left to right and from right to left in turn (Sugiyama et al., 1981). Each sorts the things in a
    column by the mean place of their neighbors in the column before, and then swaps adjacent things while that removes
    crossings. The result is the best of all sweeps.

    >>> ordered([["a", "b"], ["c", "d"]], [("a", "d"), ("b", "c")])
    [['a', 'b'], ['d', 'c']]
    """
    linked = neighbors(links)
    now = best = [list(column) for column in columns]
    fewest = crossings(best, links)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        now = [list(column) for column in now]
        for index in range(1, len(now)) if forward else range(len(now) - 2, 0, -1):
            swept = now[index - 1] if forward else now[index + 1]
            now[index] = _by_mean_place(now[index], swept, linked)
        now = _swapped(now, linked)
        crossed = crossings(now, links)
        if crossed < fewest:
            best, fewest = now, crossed
    return best


def _by_mean_place(column: list[T], swept: Sequence[T], linked: Mapping[T, Sequence[T]]) -> list[T]:
    place = {thing: rank / len(swept) for rank, thing in enumerate(swept)}
    own = {thing: rank / len(column) for rank, thing in enumerate(column)}
    mean = {x: fmean([place[y] for y in linked.get(x, ()) if y in place] or [own[x]]) for x in column}
    return sorted(column, key=mean.__getitem__)


def _swapped(columns: Sequence[Sequence[T]], linked: Mapping[T, Sequence[T]]) -> list[list[T]]:
    """The columns after swaps of adjacent things, each of which removed at least one crossing."""
    now = [list(column) for column in columns]
    place = {thing: (index, rank) for index, column in enumerate(now) for rank, thing in enumerate(column)}
    swapped = True
    while swapped:
        swapped = False
        for index, rank in [(i, r) for i, column in enumerate(now) for r in range(len(column) - 1) if i > 0]:
            upper, lower = now[index][rank : rank + 2]
            ends = [(place[a], place[b]) for a in linked.get(upper, ()) for b in linked.get(lower, ())]
            if sum((a > b) - (a < b) for a, b in ends if a[0] == b[0]) > 0:
                now[index][rank : rank + 2] = lower, upper
                place[lower], place[upper] = (index, rank), (index, rank + 1)
                swapped = True
    return now


def heights(
    columns: Sequence[Sequence[T]], links: Iterable[tuple[T, T]], size: Mapping[T, float], space: float
) -> dict[T, float]:
    """The height of each thing's center: ascending in each column, with gaps of at least ``space``.

    Column by column, each thing moves as near as possible to the mean height of its neighbors.
    """
    linked = neighbors(links)
    y: dict[T, float] = {}
    for column in columns:
        y.update(zip(column, _with_gaps([0.0] * len(column), column, size, space), strict=True))
    for _ in range(_SWEEPS):
        for column in [*columns, *reversed(columns)]:
            wanted = [fmean([y[other] for other in linked.get(thing, [thing])]) for thing in column]
            y.update(zip(column, _with_gaps(wanted, column, size, space), strict=True))
    return y


def _with_gaps(wanted: Sequence[float], column: Sequence[T], size: Mapping[T, float], space: float) -> list[float]:
    """The heights nearest to the wanted ones, in least squares, with gaps of at least ``space`` between things."""
    steps = [(size[a] + size[b]) / 2 + space for a, b in pairwise(column)]
    offsets = list(accumulate(steps, initial=0.0))
    # Pool adjacent violators: after the offsets are subtracted, the only condition is that heights do not decrease.
    blocks: list[list[float]] = []
    for height, offset in zip(wanted, offsets, strict=True):
        blocks.append([height - offset])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            violator = blocks.pop()
            blocks[-1] += violator
    level = [fmean(block) for block in blocks for _ in block]
    return [low + offset for low, offset in zip(level, offsets, strict=True)]
