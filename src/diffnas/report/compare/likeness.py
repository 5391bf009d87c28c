"""The similarity of cells, and the edges on which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from statistics import mean

from diffnas.genotype import Genotype

Edge = tuple[str, int, int]
"""A kind of cell, a source and a target."""


def similarity(one: Genotype, other: Genotype) -> float:
    """The Jaccard index of two genotypes' connections: how many they share, divided by how many either has.

    A connection is its kind of cell, source, target and operation; ``none`` is not one. The index is 1 for the same
    cells, and 0 for cells that share no connection.

    >>> from diffnas.genotype import parse
    >>> similarity(parse("|skip_connect~0|+|nor_conv_3x3~0|none~1|"), parse("|skip_connect~0|+|none~0|none~1|"))
    0.5
    """
    first, second = _connections(one), _connections(other)
    either = first | second
    return sum((first & second).values()) / sum(either.values()) if either else 1.0


def same_edges(one: Genotype, other: Genotype) -> float:
    """The share of all possible edges on which two genotypes have the same operations. ``none`` counts as one.

    >>> from diffnas.genotype import parse
    >>> round(same_edges(parse("|skip_connect~0|+|nor_conv_3x3~0|none~1|"), parse("|skip_connect~0|+|none~0|")), 2)
    0.67
    """
    first, second = by_edge(one), by_edge(other)
    edges = first.keys() | second.keys()
    return mean(first.get(edge) == second.get(edge) for edge in edges)


def agreement(cells: Sequence[Genotype]) -> tuple[float, float] | None:
    """``similarity`` and ``same_edges``, averaged over all pairs of genotypes; None for fewer than two."""
    pairs = list(combinations(cells, 2))
    if not pairs:
        return None
    return mean(similarity(*pair) for pair in pairs), mean(same_edges(*pair) for pair in pairs)


def differing(cells: Sequence[Genotype]) -> dict[Edge, dict[str, int]]:
    """The edges on which genotypes differ, each with the number of genotypes by operation, the most frequent first."""
    found = [by_edge(genotype) for genotype in cells]
    edges = dict.fromkeys(edge for genotype in found for edge in genotype)
    counts = {edge: Counter(genotype.get(edge, "none") for genotype in found) for edge in edges}
    return {edge: dict(count.most_common()) for edge, count in counts.items() if len(count) > 1}


def by_edge(genotype: Genotype) -> dict[Edge, str]:
    """The text of each possible edge: its operation, several joined by ``+``, or ``none``."""
    return {
        (kind, source, target): " + ".join(sorted(c.op for c in cell.incoming(target) if c.source == source)) or "none"
        for kind, cell in genotype.cells.items()
        for target in range(cell.inputs, cell.nodes)
        for source in range(target)
    }


def _connections(genotype: Genotype) -> Counter[tuple[str, str, int, int]]:
    return Counter((kind, *connection) for kind, cell in genotype.cells.items() for connection in cell.connections)
