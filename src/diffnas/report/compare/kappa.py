"""How alike cells are beyond chance, and whether groups of runs differ more than the runs within a group."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product
from statistics import mean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffnas.genotype import Genotype, canonical, is_nas_bench_201
from diffnas.genotype.collapse import NONE
from diffnas.report.compare.found import Found
from diffnas.report.compare.likeness import similarity
from diffnas.report.records import SpaceRecord

Matrix = NDArray[np.float64]

CHANCE_PAIRS = 10_000
"""The level of chance is a mean over so many pairs of random cells."""

FEWEST = 4
"""A group of fewer runs is too small for a test."""


class Split(NamedTuple):
    """The mean similarity of pairs of runs of one group, and of two groups; None without such pairs.

    ``p`` is the probability of a difference as large by chance; None for groups too small to tell.
    """

    within: float | None
    between: float | None
    p: float | None


def kappa(one: Found, other: Found) -> float | None:
    """How alike the cells of two runs are: 0 for as much as random cells of their space, 1 for the same.

    ``(J - J0) / (1 - J0)``, where J is ``similarity``, and J0 that of random cells of the space and the rule that reads
    them off. Cells of NAS-Bench-201 that compute the same count as the same. None if the space is unknown.
    """
    if one.cells is None or one.cells != other.cells:
        return None
    level = max(chance_of(run.cells, edges_decide(run)) for run in (one, other) if run.cells is not None)
    return 1.0 if level == 1 else (_jaccard(one.genotype, other.genotype) - level) / (1 - level)


def edges_decide(run: Found) -> bool:
    """Whether each edge keeps its winner, which may be ``none``, whatever the space says of the inputs of a node."""
    return str(run.search.get("method.discretize", "")).startswith(("winners", "survivors"))


def chance_of(space: SpaceRecord, by_edge: bool = False) -> float:
    """The mean similarity of two random cells of a space.

    Args:
        space: the space, as a run folder describes it.
        by_edge: whether each edge keeps one operation, which may be ``none``. Otherwise that depends on the space: a
            node with an in-degree keeps that many edges, each with an operation other than ``none``.
    """
    degree = None if by_edge else space.in_degree
    edges = tuple(
        (kind, target, tuple(names))
        for kind, cell in space.cells.items()
        for (_, target), names in zip(cell.edges, cell.ops, strict=True)
    )
    return _chance(edges, degree)


@lru_cache(maxsize=32)
def _chance(edges: tuple[tuple[str, int, tuple[str, ...]], ...], degree: int | None) -> float:
    draw = np.random.default_rng(0)
    first, second = (_random(edges, degree, draw) for _ in range(2))
    shared = ((first == second) & (first >= 0)).sum(axis=1)
    either = (first >= 0).sum(axis=1) + (second >= 0).sum(axis=1) - shared
    return float(np.where(either, shared / np.maximum(either, 1), 1.0).mean())


def _random(
    edges: Sequence[tuple[str, int, tuple[str, ...]]], degree: int | None, draw: np.random.Generator
) -> NDArray[np.int64]:
    """Random cells, ``(pairs, edges)``: the number of the operation that an edge keeps, or -1 for none of them."""
    listed = [[op for op in names if degree is None or op != NONE] for _, _, names in edges]
    chosen = np.stack([draw.integers(len(names), size=CHANCE_PAIRS) for names in listed], axis=1)
    for column, names in enumerate(listed):
        if NONE in names:
            chosen[:, column] = np.where(chosen[:, column] == names.index(NONE), -1, chosen[:, column])
    if degree is not None:
        for node in dict.fromkeys((kind, target) for kind, target, _ in edges):
            columns = [place for place, (kind, target, _) in enumerate(edges) if (kind, target) == node]
            order = draw.random((CHANCE_PAIRS, len(columns))).argsort(axis=1).argsort(axis=1)
            chosen[:, columns] = np.where(order < degree, chosen[:, columns], -1)
    return chosen


def _jaccard(one: Genotype, other: Genotype) -> float:
    if is_nas_bench_201(one) and is_nas_bench_201(other) and canonical(one) == canonical(other):
        return 1.0
    return similarity(one, other)


def mean_kappa(runs: Sequence[Found], others: Sequence[Found] | None = None) -> float | None:
    """The mean kappa of all pairs of some runs, or of each run with each of ``others``; None if there is none."""
    pairs = combinations(runs, 2) if others is None else product(runs, others)
    values = [value for pair in pairs if (value := kappa(*pair)) is not None]
    return mean(values) if values else None


def split(groups: Sequence[Sequence[Found]], *, permutations: int = 1000) -> Split:
    """The mean kappa within groups and between them, and the p of a permutation test.

    The test deals the runs anew to groups of the same sizes, and asks how often they are as alike within and as unlike
    between groups.
    """
    runs = [run for group in groups for run in group]
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    places = range(len(runs))
    values = [[1.0 if row == column else kappa(runs[row], runs[column]) for column in places] for row in places]
    if any(value is None for row in values for value in row):
        return Split(None, None, None)
    alike: Matrix = np.array(values, dtype=np.float64).reshape(len(runs), len(runs))
    within, between = _means(alike, labels)
    if within is None or between is None or min(len(group) for group in groups) < FEWEST:
        return Split(within, between, None)
    return Split(within, between, permutation_p(alike, labels, permutations))


def permutation_p(alike: Matrix, labels: NDArray[np.int64], permutations: int = 1000, seed: int = 0) -> float:
    """The share of permutations of the labels whose runs are as alike within groups, against between them, or more so.

    Args:
        alike: how alike each two runs are, ``(runs, runs)``.
        labels: the group of each run, ``(runs,)``; there are two groups or more, one of them of two runs or more.
        permutations: how many; the given labels count as one more.
        seed: decides them.
    """
    draw = np.random.default_rng(seed)
    found = _gap(alike, labels)
    as_large = sum(_gap(alike, draw.permutation(labels)) >= found - 1e-12 for _ in range(permutations))
    return (1 + as_large) / (1 + permutations)


def _gap(alike: Matrix, labels: NDArray[np.int64]) -> float:
    within, between = _means(alike, labels)
    assert within is not None
    assert between is not None
    return within - between


def _means(alike: Matrix, labels: NDArray[np.int64]) -> tuple[float | None, float | None]:
    pairs = np.triu_indices(len(labels), 1)
    same, values = (labels[:, None] == labels[None, :])[pairs], alike[pairs]
    within = float(values[same].mean()) if same.any() else None
    return within, None if same.all() else float(values[~same].mean())
