"""Whether groups of runs differ: a paired test over the seeds that two groups share, or Welch's test of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from diffnas.lookup import lookup
from diffnas.report.compare.columns import Column, columns_of
from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.groups import Group

SURE = 0.95
"""The confidence that all intervals together have."""

_NOTE = (
    "The mean difference of two groups on the same data and space: over the seeds that both have, if these are at "
    "least half of the runs of each (pairs), else between all runs. The test is the paired t-test or Welch's. The "
    "intervals hold together with {sure:.0%} confidence (Bonferroni over {many}). The effect is the mean difference in "
    "standard deviations, of the paired differences or of the runs (Hedges' g: below 0.5 is small, above 0.8 is "
    "large). p is corrected by Holm for {many}; only below 0.05 do the groups differ. Where no number varies there is "
    "no test. With few seeds, only large differences can be seen."
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two groups of runs differ.

    Attributes:
        first, second: their labels.
        runs: how many runs of each are compared.
        paired: whether these are compared seed by seed.
        difference: the mean of the first minus that of the second.
        low, high: the interval of the difference, which holds together with those of all others.
        effect: the difference in standard deviations, of the paired differences or of the runs of a group.
        p: the probability of such a difference by chance, by Holm.

    Interval, effect and p are None if there is no spread, as nothing then tells how much is chance.
    """

    first: str
    second: str
    runs: tuple[int, int]
    paired: bool
    difference: float
    low: float | None
    high: float | None
    effect: float | None
    p: float | None


class _Measured(NamedTuple):
    """A mean difference, with its effect and the test by scipy, which are None without spread."""

    runs: tuple[int, int]
    paired: bool
    mean: float
    effect: float | None
    test: Any

    @property
    def p(self) -> float | None:
        """The probability of such a difference by chance, uncorrected."""
        return None if self.test is None else float(self.test.pvalue)

    def interval(self, many: int) -> tuple[float | None, float | None]:
        """The interval of the difference that holds together with those of so many comparisons."""
        if self.test is None:
            return None, None
        low, high = self.test.confidence_interval(1 - (1 - SURE) / many)
        return float(low), float(high)


def differences(groups: Sequence[Group], name: str | None = None, against: str | None = None) -> list[Difference]:
    """How each two groups on the same data and space differ that have two runs or more.

    Two groups are compared seed by seed if at least half of the runs of each have a partner with the same seeds, both
    groups are of searches, or of trainings alone, and no seed has several runs. Else all runs are compared.

    Args:
        groups: groups of runs.
        name: the name of the column that is compared; by default the metric that decides.
        against: the label of the group with which each other one is compared; None to compare each two.

    Raises:
        ValueError: if no group has this label, with the most similar one.
    """
    numbers = {group.label: _numbers(group, name) for group in groups}
    pairs = list(combinations(groups, 2))
    if against is not None:
        base = lookup("group", against, {group.label: group for group in groups})
        pairs = [(group, base) for group in groups if group is not base]
    found = [
        (one.label, other.label, measured)
        for one, other in pairs
        if _alike(one, other) and (measured := _measured(numbers[one.label], numbers[other.label]))
    ]
    corrected = holm([measured.p for *_, measured in found])
    return [
        Difference(
            first=first,
            second=second,
            runs=measured.runs,
            paired=measured.paired,
            difference=measured.mean,
            low=low,
            high=high,
            effect=measured.effect,
            p=p,
        )
        for (first, second, measured), p in zip(found, corrected, strict=True)
        for low, high in [measured.interval(len(found))]
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


def differences_grid(groups: Sequence[Group], against: str | None = None) -> Grid:
    """A row for each two groups that can be compared; with ``against``, for that group and each other one.

    Raises:
        ValueError: if no group has the label ``against``, with the most similar one, or none can be compared with it.
    """
    rows, many = [], 0
    labeled = {group.label: group for group in groups}
    for name in (None, "benchmark"):
        found = differences(groups, name, against)
        many = max(many, len(found))
        rows += [_row(each, labeled[each.first], name) for each in found]
    if against is not None and not rows:
        raise ValueError(f"nothing can be compared with {against!r}: both need two results on the same data and space.")
    return Grid(
        title="Differences",
        header=("methods", "of", "runs", "difference", "from", "to", "effect", "p"),
        rows=tuple(rows),
        note=_NOTE.format(sure=SURE, many=f"{many} comparison{'s' * (many != 1)}"),
    )


def _row(each: Difference, group: Group, name: str | None) -> tuple[str, ...]:
    # The accuracies of a benchmark's table are in percent already.
    scale = 100 if name is None and group.runs[0].task.metric.is_share else 1
    ends = (each.difference, each.low, each.high)
    numbers = ["" if number is None else f"{scale * number:+.2f}" for number in ends]
    runs = f"{each.runs[0]} pairs" if each.paired else f"{each.runs[0]} and {each.runs[1]}"
    effect = "" if each.effect is None else f"{each.effect:+.2f}"
    p = "" if each.p is None else f"{each.p:.3f}" if each.p >= 0.001 else "below 0.001"
    return (f"{each.first} - {each.second}", _column(group, name).title, runs, *numbers, effect, p)


def _column(group: Group, name: str | None) -> Column:
    """The column of this name; that of the metric that decides if it is None."""
    return columns_of(group.runs)[name or group.runs[0].task.deciding]


def _alike(one: Group, other: Group) -> bool:
    first, second = one.runs[0], other.runs[0]
    return (first.data, first.space, first.task) == (second.data, second.space, second.task)


def _numbers(group: Group, name: str | None) -> list[tuple[Found, float]]:
    """The runs of a group that have a number, with it."""
    column = _column(group, name)
    known = [(run, column.value(run)) for run in group.runs]
    return [(run, number) for run, number in known if number is not None]


def _measured(first: Sequence[tuple[Found, float]], second: Sequence[tuple[Found, float]]) -> _Measured | None:
    """How the numbers of two groups differ; None if one of them has fewer than two."""
    if min(len(first), len(second)) < 2:
        return None
    own, others = ({_seeds(run): number for run, number in each} for each in (first, second))
    shared = [seeds for seeds in own if seeds in others]
    once = len(own) == len(first) and len(others) == len(second)
    if once and 2 * len(shared) >= max(len(first), len(second)) and len(shared) > 1:
        return _paired([own[seeds] for seeds in shared], [others[seeds] for seeds in shared])
    return _unpaired([number for _, number in first], [number for _, number in second])


def _seeds(run: Found) -> tuple[object, ...]:
    """What runs must have in common to be a pair: all seeds but those that follow from the first, and what they are of.

    A run without a seed is a pair with none.
    """
    alone = bool(run.evaluation) and not run.search and not run.lines
    known = {"seed": run.seed, **{name: seed for name, seed in run.seeds.items() if seed is not None}}
    return (alone, *known.items(), *([id(run)] if run.seed is None else []))


def _paired(first: Sequence[float], second: Sequence[float]) -> _Measured:
    """The mean of the differences of paired numbers."""
    each = np.subtract(first, second)
    effect = _effect(each.mean(), each.std(ddof=1), len(each) - 1)
    test = None if effect is None else stats.ttest_rel(first, second)
    return _Measured((len(first), len(second)), True, float(each.mean()), effect, test)


def _unpaired(first: Sequence[float], second: Sequence[float]) -> _Measured:
    """The difference of two means, by the test of Welch (1947)."""
    difference = float(np.mean(first) - np.mean(second))
    freedom = len(first) + len(second) - 2
    squares = sum((len(each) - 1) * np.var(each, ddof=1) for each in (first, second))
    effect = _effect(difference, (squares / freedom) ** 0.5, freedom)
    test = None if effect is None else stats.ttest_ind(first, second, equal_var=False)
    return _Measured((len(first), len(second)), False, difference, effect, test)


def _effect(difference: float, deviation: float, freedom: int) -> float | None:
    """A difference in standard deviations, by the factor of Hedges (1981) for few runs; None without spread.

    The factor needs two degrees of freedom; the effect of two pairs is as it was measured.
    """
    if deviation <= 1e-12:
        return None
    if freedom < 2:
        return float(difference / deviation)
    logarithm = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - np.log(freedom / 2) / 2
    return float(difference / deviation * np.exp(logarithm))
