"""Timing on a machine that may be busy: several rounds in which calls take turns, and the fastest round of each call.

A mean would include what else the machine did. The minimum is the time of the code alone, if in some round no other
program took the processor. If wall time is far above processor time in all rounds, processor time is taken instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, median
from typing import NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

ROUNDS, ROUND_SECONDS = 7, 0.03
SETTLED, FEWEST, MOST = 0.05, 3, 30
"""Warming up ends if two successive calls differ by less than this share, after at least and at most so many calls."""

BUSY = 1.15
"""The quotient of wall time and processor time above which a machine counts as busy."""


class Clock(NamedTuple):
    """Wall time, and the processor time of this process, both in seconds."""

    wall: Callable[[], float] = time.perf_counter
    processor: Callable[[], float] = time.process_time


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The time of a call, in seconds.

    Attributes:
        seconds: the time in the fastest round.
        median: the median over rounds.
        busy: whether the machine was busy, so that both are processor time.
    """

    seconds: float
    median: float
    busy: bool


def time_all(calls: Mapping[K, Callable[[], object]], clock: Clock = Clock()) -> dict[K, Timed]:  # noqa: B008
    """The time of each call. Calls take turns, so that a slow minute affects all of them.

    If the machine was busy for some calls, these are timed a second time.
    """
    times = {key: max(1, math.ceil(ROUND_SECONDS / max(_warm(call, clock), 1e-9))) for key, call in calls.items()}
    found = _rounds(calls, times, clock)
    again = {key: calls[key] for key, timed in found.items() if timed.busy}
    return found | _rounds(again, times, clock) if again else found


def _warm(call: Callable[[], object], clock: Clock) -> float:
    """The seconds of a call once it takes its usual time. The first calls are slower: they pack weights, get memory."""
    before = math.inf
    for number in range(1, MOST + 1):
        begun = clock.wall()
        call()
        took = clock.wall() - begun
        if number >= FEWEST and abs(took - before) < SETTLED * before:
            break
        before = took
    return took


def _rounds(calls: Mapping[K, Callable[[], object]], times: Mapping[K, int], clock: Clock) -> dict[K, Timed]:
    walls: dict[K, list[float]] = {key: [] for key in calls}
    processors: dict[K, list[float]] = {key: [] for key in calls}
    for _ in range(ROUNDS):
        for key, call in calls.items():
            wall, processor = clock.wall(), clock.processor()
            for _ in range(times[key]):
                call()
            walls[key].append((clock.wall() - wall) / times[key])
            processors[key].append((clock.processor() - processor) / times[key])
    return {key: _timed(walls[key], processors[key]) for key in calls}


def _timed(walls: Sequence[float], processors: Sequence[float]) -> Timed:
    busy = min(walls) > BUSY * min(processors) > 0
    rounds = processors if busy else walls
    return Timed(seconds=min(rounds), median=median(rounds), busy=busy)


class Line(NamedTuple):
    """A line that predicts the latency of networks from sums of their operations.

    Attributes:
        slope, offset: of the line; the offset is in seconds.
        error: the mean error for a network, as a share of its latency, of the line that was fitted without it.
    """

    slope: float
    offset: float
    error: float


def fit(sums: Sequence[float], networks: Sequence[float]) -> Line:
    """The line through pairs of a sum of operations and a network's latency, in seconds, by least squares.

    With fewer than three pairs, or if the line would fall, the slope is 1 and the offset the mean difference.

    >>> line = fit([1.0, 2.0, 4.0], [3.5, 5.5, 9.5])
    >>> round(line.slope, 9), round(line.offset, 9)
    (2.0, 1.5)
    >>> fit([1.0], [1.5])[:2]
    (1.0, 0.5)
    """
    slope, offset = _least_squares(sums, networks)
    errors = []
    for left in range(len(sums) if len(sums) > 3 else 0):
        others = [place for place in range(len(sums)) if place != left]
        a, b = _least_squares([sums[k] for k in others], [networks[k] for k in others])
        errors.append(abs(a * sums[left] + b - networks[left]) / networks[left])
    return Line(slope, offset, sum(errors) / len(errors) if errors else math.nan)


def _least_squares(sums: Sequence[float], networks: Sequence[float]) -> tuple[float, float]:
    slope = linear_regression(sums, networks).slope if len(sums) > 2 and len(set(sums)) > 1 else 1.0
    if slope <= 0:
        slope = 1.0
    return slope, fmean(networks) - slope * fmean(sums)
