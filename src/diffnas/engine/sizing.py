"""The size of the deployed network, chosen so that the targets can be met, if the user has not set one that can."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import torch

from diffnas.data import DataSet
from diffnas.engine.aim import SHALLOWEST, Aim, reach, refuse_uncountable, sized_for
from diffnas.engine.costing import Interval
from diffnas.engine.target import TOLERANCE, Target
from diffnas.method import Method
from diffnas.nets.sized import Size
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

FEWEST, MOST = 4, 1024
"""The least and the largest number of channels of the first cells."""

_STEMS: tuple[StemKind, ...] = ("cifar", "cifar-half")


def fitting_size(
    aim: Aim, space: SearchSpace, data: DataSet, method: Method, *, given: frozenset[str] = frozenset()
) -> Size:
    """A size at which networks can meet the targets: that of the aim if possible, else one near it.

    First only the width changes, as long as it stays between half and four times that of the aim. Then there are fewer
    or more cells, and at last a stem of half the resolution. The targets are well inside the interval of each cost, so
    that the search has a choice: near the end of the interval it would have to drop nearly all operations, or none. The
    width that the user has set stays if networks can meet the targets at all.

    Args:
        aim: the targets, and the size from which the search for another size begins.
        space, data, method: the arguments of the search.
        given: which of "channels", "depth" and "stem" the user has set; these stay.

    Returns:
        The size; that of the aim if no size can meet the targets, so that ``aim.check`` refuses it with the reason.
    """
    at = sized_for(aim, space, data)
    if any(target.cost == "macs" for target in aim.targets):
        refuse_uncountable(at)

    @cache
    def intervals(size: Size) -> list[Interval]:
        there = replace(at, size=size)
        offered = torch.tensor(space.offered)
        return [reach(aim, target, there, method).interval(offered) for target in aim.targets]

    between = at.skeleton.target_between
    pairs = list(zip(aim.targets, intervals(at.size), strict=True))
    if all(_well_inside(target, interval, between) for target, interval in pairs):
        return at.size
    if "channels" in given and all(_inside(target, interval) for target, interval in pairs):
        return at.size
    possible: list[Size] = []
    for size in _shapes(at.size, given, own=space.own_depth is not None):
        found = size if "channels" in given else _widened(aim, size, intervals, at.step, sum(between) / 2)
        if all(_well_inside(*pair, between) for pair in zip(aim.targets, intervals(found), strict=True)):
            if "channels" in given or at.size.channels / 2 <= found.channels <= 4 * at.size.channels:
                return found
            possible.append(found)
    return min(possible, key=lambda size: abs(math.log(size.channels / at.size.channels)), default=at.size)


def _shapes(size: Size, given: frozenset[str], *, own: bool) -> Iterator[Size]:
    """Sizes to try, with other depths and stems, the ones most like the given size first."""
    stems = [size.stem] if "stem" in given else [size.stem, *(stem for stem in _STEMS if stem != size.stem)]
    fewer = sorted({max(SHALLOWEST, round(size.depth * 0.75**power)) for power in range(1, 12)}, reverse=True)
    more = [round(1.5 * size.depth), 2 * size.depth]
    depths = [size.depth] if own or "depth" in given else [size.depth, *fewer, *more]
    for stem in stems:
        for depth in depths:
            yield size._replace(depth=depth, stem=stem)


def _widened(aim: Aim, size: Size, intervals: Callable[[Size], list[Interval]], step: int, share: float) -> Size:
    """The size with the number of channels, a multiple of ``step``, for which the targets are where they should be.

    That is ``share`` of the way from the least to the largest cost, on average over the targets.
    """
    channels, tried = size.channels, set[int]()
    # Beside other targets, a ceiling does not decide the width.
    wanted = [not target.ceiling or all(each.ceiling for each in aim.targets) for target in aim.targets]
    while channels not in tried:
        tried.add(channels)
        pairs = list(zip(aim.targets, intervals(size._replace(channels=channels)), strict=True))
        # Most costs grow as the square of the width.
        logs = [
            math.log(target.value / (low + share * (high - low))) / 2
            for (target, (low, high)), counts in zip(pairs, wanted, strict=True)
            if counts
        ]
        wide = channels * math.exp(sum(logs) / len(logs))
        channels = step * round(min(MOST, max(FEWEST, step, round(wide))) / step)
    return size._replace(channels=channels)


def _inside(target: Target, interval: Interval) -> bool:
    """Whether a network can meet a target, within its tolerance."""
    if target.ceiling:
        return interval.low <= target.value
    return interval.low * (1 - TOLERANCE) <= target.value <= interval.high * (1 + TOLERANCE)


def _well_inside(target: Target, interval: Interval, between: tuple[float, float]) -> bool:
    """Whether a target is well inside an interval, or in the middle of that part of it if the interval is narrow.

    ``between`` are the ends of the part, as shares of the interval. A ceiling may be anywhere above the first.
    """
    first, last = (interval.low + share * (interval.high - interval.low) for share in between)
    if target.ceiling:
        return target.value >= first
    middle = (first + last) / 2
    return abs(target.value - middle) <= max((last - first) / 2, TOLERANCE * middle)
