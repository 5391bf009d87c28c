"""The size of the deployed network, chosen so that the targets can be met, if the user has not set one that can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from diffnas.data import DataSet
from diffnas.engine.aim import SHALLOWEST, Aim, reach, refuse_uncountable, sized_for
from diffnas.engine.costing import Interval
from diffnas.engine.target import TOLERANCE, Target
from diffnas.method import Method
from diffnas.nets.sized import Size, SizedSpace
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

FEWEST, MOST = 4, 1024
"""The least and the largest number of channels of the first cells."""

_STEMS: tuple[StemKind, ...] = ("cifar", "cifar-half")


def fitting_size(
    aim: Aim,
    space: SearchSpace,
    data: DataSet,
    method: Method,
    *,
    given: frozenset[str] = frozenset(),
    stays: bool = False,
) -> Size:
    """A size at which networks can meet the targets: that of the aim if possible, else one near it.

    The targets should be well inside the interval of each cost, so that the search has a choice: near an end of the
    interval it would have to drop nearly all operations, or none. If they are inside, but not well, only the width
    changes. If they are outside, the width changes first, as long as it stays between half and four times that of the
    aim, then the number of cells, and at last the stem, to one of half the resolution.

    Args:
        aim: the targets, and the size from which the search for another size begins.
        space, data, method: the arguments of the search.
        given: which of "channels", "depth" and "stem" the user has set; these stay.
        stays: whether the size of the aim stays if the targets are inside.

    Returns:
        The size; that of the aim if no size can meet the targets, so that ``aim.check`` refuses it with the reason.
    """
    at, fixed = sized_for(aim, space, data), "channels" in given
    if any(target.cost == "macs" for target in aim.targets):
        refuse_uncountable(at)
    sizes = _Sizes(aim, at, method)

    def like(size: Size) -> bool:
        return at.size.channels / 2 <= size.channels <= 4 * at.size.channels

    if sizes.fit(at.size) or ((stays or fixed) and sizes.can(at.size)):
        return at.size
    if sizes.can(at.size):
        found = sizes.widened(at.size)
        return found if sizes.fit(found) and like(found) else at.size
    possible: list[Size] = []
    for size in _shapes(at.size, given, own=space.own_depth is not None):
        found = size if fixed else sizes.widened(size)
        if sizes.fit(found) and like(found):
            return found
        if sizes.can(found):
            possible.append(found)
    # A size that fits is better than one at which the targets are only inside, and a like width better than another.
    return min(
        possible,
        key=lambda size: (not sizes.fit(size), abs(math.log(size.channels / at.size.channels))),
        default=at.size,
    )


class _Sizes:
    """What networks of a space can cost at any size, and whether they can meet the targets of an aim."""

    def __init__(self, aim: Aim, at: SizedSpace, method: Method) -> None:
        self.aim, self.at, self.method = aim, at, method
        self.between = at.skeleton.target_between
        self._known: dict[Size, list[Interval]] = {}

    def intervals(self, size: Size) -> list[Interval]:
        """The interval of each cost that has a target."""
        if size not in self._known:
            there, offered = replace(self.at, size=size), torch.tensor(self.at.space.offered)
            reaches = (reach(self.aim, target, there, self.method) for target in self.aim.targets)
            self._known[size] = [each.interval(offered) for each in reaches]
        return self._known[size]

    def fit(self, size: Size) -> bool:
        """Whether all targets are well inside their intervals."""
        pairs = zip(self.aim.targets, self.intervals(size), strict=True)
        return all(_well_inside(target, interval, self.between) for target, interval in pairs)

    def can(self, size: Size) -> bool:
        """Whether all targets are inside their intervals."""
        return all(map(_inside, self.aim.targets, self.intervals(size)))

    def widened(self, size: Size) -> Size:
        """The size with the number of channels, a multiple of a step, at which the targets are best placed.

        That is in the middle of the part of the interval in which they should be, on average over the targets.
        """
        channels, step, tried, targets = size.channels, self.at.step, set[int](), self.aim.targets
        share = sum(self.between) / 2
        # Beside other targets, a ceiling does not decide the width.
        wanted = [not target.ceiling or all(each.ceiling for each in targets) for target in targets]
        while channels not in tried:
            tried.add(channels)
            pairs = list(zip(targets, self.intervals(size._replace(channels=channels)), strict=True))
            # Most costs grow as the square of the width.
            logs = [
                math.log(target.value / (low + share * (high - low))) / 2
                for (target, (low, high)), counts in zip(pairs, wanted, strict=True)
                if counts
            ]
            wide = channels * math.exp(sum(logs) / len(logs))
            channels = step * round(min(MOST, max(FEWEST, step, round(wide))) / step)
        return size._replace(channels=channels)


def _shapes(size: Size, given: frozenset[str], *, own: bool) -> Iterator[Size]:
    """Sizes to try, with other depths and stems, the ones most like the given size first."""
    stems = [size.stem] if "stem" in given else [size.stem, *(stem for stem in _STEMS if stem != size.stem)]
    fewer = sorted({max(SHALLOWEST, round(size.depth * 0.75**power)) for power in range(1, 12)}, reverse=True)
    more = [round(1.5 * size.depth), 2 * size.depth]
    depths = [size.depth] if own or "depth" in given else [size.depth, *fewer, *more]
    for stem in stems:
        for depth in depths:
            yield size._replace(depth=depth, stem=stem)


def _inside(target: Target, interval: Interval) -> bool:
    """Whether a network can meet a target, within its tolerance."""
    if target.ceiling:
        return interval.low <= target.value
    return interval.low * (1 - TOLERANCE) <= target.value <= interval.high * (1 + TOLERANCE)


def _well_inside(target: Target, interval: Interval, between: tuple[float, float]) -> bool:
    """Whether a target is in a part of an interval, or close to the middle of that part if the interval is narrow.

    ``between`` are the ends of the part, as shares of the interval. A ceiling may be anywhere above the first.
    """
    first, last = (interval.low + share * (interval.high - interval.low) for share in between)
    if target.ceiling:
        return target.value >= first
    middle = (first + last) / 2
    return abs(target.value - middle) <= max((last - first) / 2, TOLERANCE * middle)
