"""The aim of a search: targets for the networks that will be deployed, and the size at which they should be met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from diffnas.components.discretize import Discretize
from diffnas.components.traits import traits_of
from diffnas.data import DataSet
from diffnas.engine.costing import COUNTED, Costing, Interval, Reach
from diffnas.engine.passes import as_read
from diffnas.engine.target import TOLERANCE, Target, amount
from diffnas.method import Method
from diffnas.nets.frames import Reading
from diffnas.nets.sized import Size, SizedSpace
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace

Width = Literal["fit", "fixed"]

SHALLOWEST = 3
"""The least number of cells, because a net with fewer cannot reduce twice."""

MARGIN = 0.25
"""How far the width and the depth of the network may change after the search, as a share of those before it."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The aim of a search.

    Attributes:
        targets: the targets, each for another cost.
        size: the size of the deployed network, before its width is fitted.
        width: "fit" if the width, and then the depth, may change after the search to meet the targets; or "fixed".
        costings: the costs, by name.
        family: more targets for one cost. Cells for each of them are kept beside the result.
        start: the multiplier of the penalty at the start; None chooses it by balance.
        tightens: whether the target falls to its value during the search. If cells meet a target of the family on the
            way, they are kept for it.
        window: the steps of a stream that the deployed network reads at once, if it carries no state.
    """

    targets: tuple[Target, ...]
    size: Size
    width: Width = "fit"
    costings: Mapping[str, Costing] = field(default_factory=lambda: dict(COUNTED))
    family: tuple[Target, ...] = ()
    start: float | None = 1.0
    tightens: bool = False
    window: int = 1

    @property
    def measured(self) -> bool:
        """Whether a clock measures a cost that has a target."""
        return any(self.costings[target.cost].measured for target in (*self.targets, *self.family))

    def record(self) -> dict[str, Any]:
        """What decides the result, as plain data."""
        return {
            "targets": [str(target) for target in self.targets],
            "family": [str(target) for target in self.family],
            "size": self.size._asdict(),
            "width": self.width,
            # Left out where they have the values of earlier runs, whose records lack them.
            **({} if self.start == 1.0 else {"start": self.start}),
            **({"tightens": True} if self.tightens else {}),
            **{target.cost: found for target in self.targets if (found := self.costings[target.cost].record())},
        }


def sized(space: SearchSpace, data: DataSet, size: Size, window: int = 1) -> SizedSpace:
    """A space at the size of its networks, for the data; networks without a state read ``window`` steps of a stream."""
    depth, data = space.own_depth or size.depth, as_read(data, skeleton_of(space.skeleton), window)
    return SizedSpace(
        space=space,
        picture=data.shape,
        classes=len(data.classes),
        size=size._replace(depth=depth),
        sequences=Reading(tokens=data.tokens is not None, forecast=data.forecasts) if data.in_steps else Reading(),
    )


def sized_for(aim: Aim, space: SearchSpace, data: DataSet) -> SizedSpace:
    """A space at the size of an aim."""
    return sized(space, data, aim.size, aim.window)


def reaches(aim: Aim, space: SearchSpace, data: DataSet, method: Method) -> dict[str, Reach]:
    """For each target, the values that its cost can have over the networks of a search, by the name of the cost."""
    at = sized_for(aim, space, data)
    return {target.cost: reach(aim, target, at, method) for target in aim.targets}


def reach(aim: Aim, target: Target, at: SizedSpace, method: Method) -> Reach:
    """The values that the cost of a target can have, over all networks that a method can read off in a sized space."""
    rule: Discretize = method.discretize
    # Gates of an edge may all be open; a chain that reads all that pruning left may have several operations in a layer.
    one_each = traits_of(method.weighting).competes and not traits_of(rule).needs_pruning
    return Reach(
        aim.costings[target.cost],
        at,
        rule,
        prunes=method.pruning is not None,
        separate=at.skeleton.residual and one_each,
    )


def check(aim: Aim, space: SearchSpace, data: DataSet, method: Method) -> dict[str, Interval]:
    """The interval of each cost at the size of the aim.

    Raises:
        ValueError: if a target is outside of the interval at every allowed width, with the interval and what to
            change; or if the multiply-adds of the user's own operations cannot be counted.
    """
    at = sized_for(aim, space, data)
    if any(target.cost == "macs" for target in aim.targets):
        refuse_uncountable(at)
    found = {}
    for target in aim.targets:
        found[target.cost] = interval = reach(aim, target, at, method).interval(_offered(space))
        widest = _with_widths(aim, target, at, method, interval)
        if complaint := _outside(target, widest):
            raise ValueError(_infeasible(aim, target, at, interval, complaint))
    return found


def refuse_uncountable(at: SizedSpace) -> None:
    """Refuse a target for multiply-adds in a space with operations whose multiply-adds cannot be counted.

    Raises:
        ValueError: with the name of the operation.
    """
    if at.space.factories and (said := at.uncountable()):
        raise ValueError(
            f"{said}, so its multiply-adds cannot be counted. Build it of Conv2d and Linear layers, or set a target "
            "for params= or latency= instead."
        )


def _offered(space: SearchSpace) -> torch.Tensor:
    return torch.tensor(space.offered)


def _with_widths(aim: Aim, target: Target, at: SizedSpace, method: Method, interval: Interval) -> Interval:
    """The interval of a cost over all allowed widths; ``interval``, that of the aim's width, if the width is fixed."""
    if aim.width == "fixed":
        return interval
    widths = [each for each in allowed(at.size.channels) if each % at.step == 0]
    ends = [
        reach(aim, target, replace(at, size=at.size._replace(channels=channels)), method).interval(_offered(at.space))
        for channels in (widths[0], widths[-1])
    ]
    return Interval(min(end.low for end in ends), max(end.high for end in ends))


def allowed(number: int) -> list[int]:
    """The widths, or depths, to which this number may change after the search.

    >>> allowed(16)
    [12, 13, 14, 15, 16, 17, 18, 19, 20]
    """
    return [each for each in range(1, 2 * number + 1) if abs(each - number) <= MARGIN * number]


def _outside(target: Target, interval: Interval) -> str:
    """ "smallest" if even the smallest network is above the target, "largest" if the largest is below, else ""."""
    if target.value < interval.low * (1 if target.ceiling else 1 - TOLERANCE):
        return "smallest"
    return "largest" if not target.ceiling and target.value > (1 + TOLERANCE) * interval.high else ""


def _infeasible(aim: Aim, target: Target, at: SizedSpace, interval: Interval, which: str) -> str:
    """The error message: why the target cannot be met, and what to do."""
    low, high = (amount(target.cost, cost) for cost in interval)
    bound, way = (interval.low, "fewer") if which == "smallest" else (interval.high, "more")
    middle = (interval.low + interval.high) / 2
    channels = at.step * max(1, round(at.size.channels * (target.value / middle) ** 0.5 / at.step))
    deeper = "" if at.space.own_depth is not None else f", or {way} cells (evaluate.depth)"
    return (
        f"the target {target} cannot be met: the {which} network of space {at.space.name!r} at {at.size} has "
        f"{amount(target.cost, bound)} ({low} to {high} are possible). Leave the size out, or take "
        f"evaluate.channels={channels}{deeper}."
    )
