"""Whether methods differ: paired tests over the seeds that two groups of runs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special, stats

from diffnas.report.compare.columns import Column, columns_of
from diffnas.report.compare.found import Found, Group
from diffnas.report.compare.grids import Grid

SURE = 0.95
"""The confidence that all intervals together have."""

_NOTE = (
    "The mean difference of two methods over the seeds that both have, on the same data and space. The intervals are "
    "Student's t, and hold together with {sure:.0%} confidence (Bonferroni over {many}). The effect is the mean "
    "difference in standard deviations of the differences (Hedges' g: below 0.5 is small, above 0.8 is large). p is of "
    "the paired t-test, by Holm for {many}; only below 0.05 do the methods differ. With few seeds, "
    "only large differences can be seen."
)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How two groups of runs differ.

    Attributes:
        first, second: their labels.
        seeds: how many seeds both have.
        difference: the mean of the first minus that of the second.
        low, high: the interval of the difference, which holds together with those of all other pairs.
        effect: the difference in standard deviations of the paired differences; None if they are all the same.
        p: the probability of such a difference by chance, by Holm; None if all differences are the same.
    """

    first: str
    second: str
    seeds: int
    difference: float
    low: float
    high: float
    effect: float | None
    p: float | None


def paired(groups: Sequence[Group], name: str | None = None) -> list[Paired]:
    """How each two groups differ that have two seeds or more in common, on the same data and space.

    Args:
        groups: groups of runs that differ only in their seeds.
        name: the name of the column that is compared; by default the metric that decides.
    """
    found = [
        (one.label, other.label, differences)
        for one, other in combinations(groups, 2)
        if _alike(one, other) and len(differences := _differences(one, other, _column(one, name))) > 1
    ]
    tests = [_test(differences, len(found)) for _, _, differences in found]
    corrected = holm([p for *_, p in tests])
    return [
        Paired(
            first=first,
            second=second,
            seeds=len(differences),
            difference=float(np.mean(differences)),
            low=low,
            high=high,
            effect=effect,
            p=p,
        )
        for (first, second, differences), (low, high, effect, _), p in zip(found, tests, corrected, strict=True)
    ]


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Probabilities corrected for their number by Holm (1979); None stays None, but counts.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected: list[float | None] = [None] * len(probabilities)
    known = [(p, place) for place, p in enumerate(probabilities) if p is not None]
    least = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        least = max(least, min(1.0, (len(probabilities) - rank) * p))
        corrected[place] = least
    return corrected


def paired_grid(groups: Sequence[Group]) -> Grid:
    """A row for each two groups that can be compared; no rows if there are none."""
    rows, many = [], 0
    labeled = {group.label: group for group in groups}
    for name in (None, "benchmark"):
        found = paired(groups, name)
        many = max(many, len(found))
        rows += [_row(each, labeled[each.first], name) for each in found]
    return Grid(
        title="Differences",
        header=("methods", "of", "seeds", "difference", "from", "to", "effect", "p"),
        rows=tuple(rows),
        note=_NOTE.format(sure=SURE, many=f"{many} comparison{'s' * (many != 1)}"),
    )


def _row(each: Paired, group: Group, name: str | None) -> tuple[str, ...]:
    # The accuracies of a benchmark's table are in percent already.
    scale = 100 if name is None and group.runs[0].task.metric.is_share else 1
    numbers = [f"{scale * number:+.2f}" for number in (each.difference, each.low, each.high)]
    effect = "" if each.effect is None else f"{each.effect:+.2f}"
    p = "" if each.p is None else f"{each.p:.3f}" if each.p >= 0.001 else "below 0.001"
    return (f"{each.first} - {each.second}", _column(group, name).title, str(each.seeds), *numbers, effect, p)


def _column(group: Group, name: str | None) -> Column:
    """The column of this name; that of the metric that decides if it is None."""
    return columns_of(group.runs)[name or group.runs[0].task.deciding]


def _alike(one: Group, other: Group) -> bool:
    first, second = one.runs[0], other.runs[0]
    return (first.data, first.space, first.task) == (second.data, second.space, second.task)


def _differences(one: Group, other: Group, column: Column) -> list[float]:
    """The differences of a number, seed by seed."""
    first, second = _by_seed(one.runs, column), _by_seed(other.runs, column)
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def _by_seed(runs: Sequence[Found], column: Column) -> dict[str, float]:
    """The number of each run, by all of its seeds but those that follow from the first."""
    numbers = {}
    for run in runs:
        own = {name: seed for name, seed in run.seeds.items() if seed is not None}
        number = column.value(run)
        if run.seed is not None and number is not None:
            numbers[str({"seed": run.seed, **own})] = number
    return numbers


def _test(differences: Sequence[float], many: int) -> tuple[float, float, float | None, float | None]:
    """The ends of the interval, the effect, and the uncorrected probability."""
    count, mean = len(differences), float(np.mean(differences))
    spread = float(np.std(differences, ddof=1))
    if spread <= 1e-12:
        return mean, mean, None, None
    error = spread / count**0.5
    reach = float(stats.t.ppf(1 - (1 - SURE) / (2 * many), count - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
    return mean - reach, mean + reach, mean / spread * _hedges(count - 1), p


def _hedges(freedom: int) -> float:
    """The factor by which Hedges (1981) makes the effect size of few pairs unbiased."""
    if freedom < 2:
        return 1.0
    logarithm = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - np.log(freedom / 2) / 2
    return float(np.exp(logarithm))
