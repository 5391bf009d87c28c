"""Quantities from a search's trace, each as a list with one value for every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffnas.genotype import Genotype
from diffnas.genotype.collapse import NONE
from diffnas.report.reading import Search
from diffnas.report.records import Line, SearchLine
from diffnas.space import WEIGHTLESS_OPS


def step_seconds(lines: Sequence[Line]) -> list[float | None]:
    """Seconds for each step, by epoch; None if the trace does not have the number of steps."""
    return [line.seconds / line.steps if line.steps else None for line in lines]


def live(search: Search, *, learning: bool = False) -> list[int]:
    """The number of operations in play after each epoch; with ``learning``, only operations with weights."""
    columns = [column for column, op in enumerate(search.ops) if not (learning and op in WEIGHTLESS_OPS)]
    return [sum(row[column] for row in line.keep for column in columns) for line in search.lines]


def offered(search: Search) -> int:
    """How many operations the space offers, over all edges."""
    return sum(len(ops) for kind in search.kinds for ops in kind.offered)


def indicator(search: Search, name: str) -> list[float | None]:
    """One of the trace's indicators, by epoch; None in epochs without it."""
    return [line.indicators.get(name) for line in search.lines]


def depths(search: Search, kind: str) -> list[int]:
    """The most operations with weights on one path through a kind of cell, by epoch."""
    return [cells.cells[kind].learned_depth if kind in cells.cells else 0 for cells in search.genotypes]


def effective(search: Search) -> list[float]:
    """How many operations an edge effectively mixes, by epoch: the exponential of the entropy, averaged over edges.

    An edge with only one weight gives 1; an edge with equal weights gives the number of its operations.
    """
    found = []
    for line in search.lines:
        counts = [_perplexity(row) for row in line.mix if sum(row) > 0]
        found.append(sum(counts) / len(counts) if counts else 1.0)
    return found


def _perplexity(row: Sequence[float]) -> float:
    total = sum(row)
    return math.exp(-sum(w / total * math.log(w / total) for w in row if w > 0))


def thrown_away(search: Search) -> list[float]:
    """The share of an edge's weight on operations that are not in the cells read off, by epoch, averaged over edges.

    On an edge that stays empty, the weight of ``none`` counts as kept.
    """
    return [
        _thrown_away(search, line, cells) for line, cells in zip(search.lines, search.genotypes, strict=True)
    ]  # fmt: skip


def _thrown_away(search: Search, line: SearchLine, genotype: Genotype) -> float:
    lost = []
    for kind in search.kinds:
        cell = genotype.cells.get(kind.name)
        for place, edge in enumerate(kind.edges):
            row = line.mix[kind.first + place]
            chosen = {c.op for c in cell.connections if (c.source, c.target) == edge} if cell else set()
            kept = sum(w for op, w in zip(search.ops, row, strict=True) if op in (chosen or {NONE}))
            if sum(row) > 0:
                lost.append(1 - kept / sum(row))
    return sum(lost) / len(lost) if lost else 0.0


def last_change(search: Search) -> int:
    """The index of the last epoch in which the cells changed; 0 if they never did."""
    place = len(search.genotypes) - 1
    while place > 0 and search.genotypes[place - 1] == search.genotypes[-1]:
        place -= 1
    return place
