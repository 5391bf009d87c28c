"""Slopes of loss curves, and statistics over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Line = Mapping[str, Any]
FIRST = 80
"""Steps of the first two epochs, over which the slopes are measured."""


def slope(line: Line, until: int | None = FIRST) -> float:
    """The fall of the log training loss per hundred steps: the slope of a straight line, by least squares.

    Args:
        line: a line of a trace.
        until: the last step to use; None for all.

    Returns:
        The slope, positive if the loss falls; NaN for a curve that became infinite or NaN.

    >>> round(slope({"steps": [0, 50, 100], "loss": [1.0, 0.5, 0.25], "diverged": False}, None), 3)
    1.386
    """
    if line["diverged"]:
        return float("nan")
    points = [(at, loss) for at, loss in zip(line["steps"], line["loss"], strict=True) if until is None or at <= until]
    steps, losses = np.array(points).T
    return float(-100 * np.polyfit(steps, np.log(losses), 1)[0])


def picked(lines: Iterable[Line], **wanted: Any) -> list[Line]:
    """The lines of a trace in which every given field has the given value."""
    return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]


def by_seed(lines: Iterable[Line], measure: Callable[[Line], float] = slope) -> dict[int, float]:
    """One number for each seed, in the order of the seeds."""
    return {line["seed"]: measure(line) for line in sorted(lines, key=lambda line: line["seed"])}


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Mean ± standard deviation, as text.

    >>> spread([1.0, 2.0, 3.0], 1)
    '2.0 ± 1.0'
    """
    listed = list(values)
    deviation = np.std(listed, ddof=1) if len(listed) > 1 else float("nan")
    return f"{np.mean(listed):.{digits}f} ± {deviation:.{digits}f}"


def differences(one: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """``one - other`` from each seed that both have: they share pictures, order and initial weights."""
    return [one[seed] - other[seed] for seed in one if seed in other]


def verdict(values: Sequence[float]) -> str:
    """The verdict on paired differences: "yes" or "reversed" if all seeds agree on the sign, else "undecided".

    >>> verdict([0.1, 0.2]), verdict([-0.1, -0.2]), verdict([0.1, -0.2])
    ('yes', 'reversed', 'undecided')
    """
    if all(value > 0 for value in values):
        return "yes"
    return "reversed" if all(value < 0 for value in values) else "undecided"


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's correlation of ranks; NaN where one of the two does not vary.

    >>> spearman([1, 2, 3], [10, 20, 15])
    0.5
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # SciPy warns of these
        return float("nan")
    return float(stats.spearmanr(a, b).statistic.round(12))


def interval(a: ArrayLike, b: ArrayLike, draws: int = 2000) -> tuple[float, float]:
    """A 95% bootstrap interval of Spearman's correlation: the cells are resampled, with a fixed seed."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    drawn = np.random.default_rng(0).integers(0, len(x), (draws, len(x)))
    found = [spearman(x[rows], y[rows]) for rows in drawn]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def correlated(a: ArrayLike, b: ArrayLike) -> str:
    """Spearman's correlation with its interval, as text."""
    low, high = interval(a, b)
    return f"{spearman(a, b):+.2f} ({low:+.2f} to {high:+.2f})"
