"""Reading off a network of a given cost: a knapsack problem with one choice for each edge.

Costs must add up over the edges, as multiply-adds and parameters do in a chain. The problem is solved by dynamic
programming over the cost, in steps of ``target / STEPS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffnas.components.discretize import winners
from diffnas.genotype import Genotype
from diffnas.space import SearchSpace

STEPS = 2000
"""How many steps of the cost lie between 0 and the target."""


def within(
    scores: Tensor,
    keep: Tensor,
    space: SearchSpace,
    *,
    costs: Sequence[Sequence[float]],
    base: float,
    target: float,
    tolerance: float = 0.05,
) -> Genotype:
    """The likeliest genotype among those whose network costs ``target``, within ``tolerance``.

    Each edge has one operation, which may be ``none``. The likelihood of a network is the product of the scores of its
    operations. Of equally likely networks, the cheaper one is taken.

    Args:
        scores: ``(edges, ops)``, 0 or more. An operation with a score of 0 is taken only if the target requires it.
        keep: ``(edges, ops)``, bool; only operations that are kept are taken.
        space: the space of the rows and columns.
        costs: the cost of each operation, ``(edges, ops)``, 0 or more, in any unit.
        base: the cost of the network without any operation, in the same unit.
        target: the cost that the network should have, above 0, in the same unit.
        tolerance: the largest deviation from the target, up or down, as a share of the target.

    Raises:
        ValueError: if no network is within the tolerance. It tells the least, the largest and the nearest cost.
    """
    assert target > 0
    kept = [[column for column, does in enumerate(row) if does] for row in keep.tolist()]
    likely = scores.detach().double().clamp_min(1e-12).log().tolist()
    options = [
        _efficient([(float(costs[edge][op]), likely[edge][op], op) for op in row])
        for edge, row in enumerate(kept)
        if row
    ]
    chosen = _chosen(options, target - base, tolerance * target, target / STEPS)
    if chosen is None:
        raise ValueError(_refusal(options, base, target, tolerance))
    taken = torch.zeros_like(keep)
    taken[[edge for edge, row in enumerate(kept) if row], chosen] = True
    return winners(taken.double(), taken, space)


Option = tuple[float, float, int]
"""An operation of an edge: its cost, the logarithm of its score, and its column."""


def _efficient(options: Sequence[Option]) -> list[Option]:
    """The options, cheapest first; of options of equal cost, only the likeliest."""
    best: dict[float, Option] = {}
    for option in options:
        if option[0] not in best or option[1] > best[option[0]][1]:
            best[option[0]] = option
    return [best[cost] for cost in sorted(best)]


def _chosen(options: Sequence[Sequence[Option]], budget: float, slack: float, step: float) -> list[int] | None:
    """The column that each edge takes; None if no sum of costs is within ``slack`` of ``budget``.

    A state of the dynamic program is a sum of costs, rounded to whole steps. It holds the likeliest choices with that
    sum, and their exact cost, which decides at the end.
    """
    states: dict[int, tuple[float, float, tuple[int, ...]]] = {0: (0.0, 0.0, ())}
    rest = [min(option[0] for option in row) for row in options]
    left = sum(rest)
    for row, least in zip(options, rest, strict=True):
        left -= least
        following: dict[int, tuple[float, float, tuple[int, ...]]] = {}
        for likely, cost, columns in states.values():
            for more, score, column in row:
                total = cost + more
                if total + left > budget + slack:
                    break  # the following options cost more
                bin_ = round(total / step)
                found = (likely + score, total, (*columns, column))
                if bin_ not in following or (found[0], -found[1]) > (following[bin_][0], -following[bin_][1]):
                    following[bin_] = found
        states = following
    near = [state for state in states.values() if abs(state[1] - budget) <= slack * (1 + 1e-9)]
    return list(max(near, key=lambda state: (state[0], -state[1]))[2]) if near else None


def _refusal(options: Sequence[Sequence[Option]], base: float, target: float, tolerance: float) -> str:
    low = base + sum(row[0][0] for row in options)
    high = base + sum(row[-1][0] for row in options)
    nearest = base + _nearest(options, target - base, target / STEPS)
    return (
        f"no network that is left costs {target:,.0f} within {tolerance:.0%}: the cheapest costs {low:,.0f}, the "
        f"dearest {high:,.0f}, the nearest {nearest:,.0f}. Take that for the target, or other channels, or a larger "
        "tolerance."
    )


def _nearest(options: Sequence[Sequence[Option]], budget: float, step: float) -> float:
    """The sum of costs that is nearest to ``budget``."""
    sums = {0: 0.0}
    for row in options:
        sums = {round((known + cost) / step): known + cost for known in sums.values() for cost, _, _ in row}
    return min(sums.values(), key=lambda total: math.fabs(total - budget))
