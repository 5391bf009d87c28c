"""Cells scaled to a cost: any width, however far from the usual one, at which their network has that cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from diffnas.engine.aim import Aim, allowed
from diffnas.engine.costing import Counting
from diffnas.engine.landing import Landing, land_near, landing_at
from diffnas.engine.target import Target, amount
from diffnas.genotype import Genotype
from diffnas.nets.sized import SizedSpace

NARROWEST, WIDEST = 1, 1024
"""Channels of the first cells."""

LARGEST = 200_000_000
"""Parameters of the widest network that is considered. If a cost is measured, the network must be built."""


def land(aim: Aim, at: SizedSpace, found: Genotype) -> Landing:
    """The size at which the network of the cells that a search ``found`` is nearest to all targets.

    It is near the size of the aim if a size there meets the targets. Else the width may be any, unless a clock measures
    a cost.

    Raises:
        ValueError: if the cells pass nothing on.
    """
    return land_far(land_near(aim, at, found), aim, at, found)


def land_far(near: Landing, aim: Aim, at: SizedSpace, found: Genotype) -> Landing:
    """The landing of ``land``, from that of ``land_near``."""
    if near.met or near.fixed or aim.measured:
        return near
    return min(near, replace(nearest(aim, at, found), meant=at.size), key=_distance)


def nearest(aim: Aim, at: SizedSpace, cells: Genotype) -> Landing:
    """The width at which the network of some cells comes nearest to all targets, and what it costs there.

    Args:
        aim: the targets, and what their costs are.
        at: a space that holds the cells, at the size from which the width is moved; cells and stem stay.
        cells: the network.
    """
    best = min(_around(aim, at, cells), key=_distance)
    if at.step == 1 or at.space.own_depth is not None:
        return best
    # Where heads allow few widths, another depth may come nearer.
    for depth in sorted(set(allowed(at.size.depth)) - {at.size.depth}, key=lambda each: abs(each - at.size.depth)):
        if best.met:
            break
        there = replace(at, size=at.size._replace(depth=depth))
        best = min([best, *_around(aim, there, cells)], key=_distance)
    return best


def _distance(landing: Landing) -> float:
    return landing.distance


def fitted(aim: Aim, at: SizedSpace, cells: Genotype) -> Landing:
    """The landing of ``nearest`` if it meets all targets.

    Raises:
        ValueError: if no width meets the targets. The message has the costs of the nearest widths, or the range of all.
    """
    best = nearest(aim, at, cells)
    if best.met:
        return best
    around = _around(aim, at, cells)
    missed = next(target for target in aim.targets if not target.met(best.costs[target.cost]))
    if len(around) > 1:
        narrow, wide = (_told(missed, each) for each in around)
        ceiling = "" if missed.ceiling else f", or a ceiling: {replace(missed, ceiling=True)}"
        raise ValueError(
            f"the target {missed} cannot be met: the network has {narrow} and {wide}, and nothing between. Take one of "
            f"these for the target{ceiling}."
        )
    least, most = (_told(missed, _landing(aim, at, cells)(width)) for width in (at.step, _widest(at, cells)))
    raise ValueError(
        f"the target {missed} cannot be met: the network has from {least} to {most}. Take a target between the two, or "
        "other cells."
    )


def _told(target: Target, landing: Landing) -> str:
    channels = landing.size.channels
    return f"{amount(target.cost, landing.costs[target.cost])} at {channels} channel{'s' * (channels != 1)}"


def _around(aim: Aim, at: SizedSpace, cells: Genotype) -> list[Landing]:
    """The widest network that exceeds no target, and the next wider one; only one of them if the other has no width."""
    landing, widest = _landing(aim, at, cells), _widest(at, cells)

    def below(width: int) -> bool:
        return all(target.miss(landing(width).costs[target.cost]) <= 0 for target in aim.targets)

    last = _last(lambda steps: below(steps * at.step), at.size.channels // at.step, widest // at.step) * at.step
    return [landing(width) for width in (last, last + at.step) if NARROWEST <= width <= widest]


def _landing(aim: Aim, at: SizedSpace, cells: Genotype) -> Callable[[int], Landing]:
    """A function from a width to the landing of the network of this width; it computes each width once."""
    return cache(lambda width: landing_at(aim, at, cells, at.size._replace(channels=width)))


def _widest(at: SizedSpace, cells: Genotype) -> int:
    """The largest width that is tried."""

    def small(width: int) -> bool:
        there = replace(at, size=at.size._replace(channels=width))
        return Counting("params").of(there, cells) <= LARGEST

    steps = _last(lambda steps: small(steps * at.step), at.size.channels // at.step, WIDEST // at.step)
    return at.step * max(NARROWEST, steps)


def _last(holds: Callable[[int], bool], first: int, most: int) -> int:
    """The largest width, up to ``most``, for which ``holds`` is true; 0 if there is none.

    ``holds`` must be true for all narrower widths too. It is called for widths around ``first``, and for none
    above twice the width that is found.

    >>> _last(lambda width: width <= 37, 16, 1024), _last(lambda width: True, 16, 20), _last(lambda width: False, 3, 9)
    (37, 20, 0)
    """
    low, high = 0, min(max(first, 1), most)
    while high < most and holds(high):
        low, high = high, min(2 * high, most)
    high += holds(high)  # now it holds for ``low``, and not for ``high``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
