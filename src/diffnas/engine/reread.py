"""A family of cells from one search, whose trace is read off again with the costs of operations.

Nothing is trained. For a multiplier, each mixing weight of an epoch is multiplied by
``exp(-multiplier * cost / target)``, and the method reads off cells from the result. Over all multipliers, these cells
are the best compromises between mixing weights and cost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from diffnas.engine import contract
from diffnas.engine.aim import Aim
from diffnas.engine.costing import Reach
from diffnas.engine.landing import Landing, land_near
from diffnas.engine.projection import projected
from diffnas.engine.scaling import land, land_far
from diffnas.engine.target import Target
from diffnas.genotype import Genotype, from_json
from diffnas.nets.sized import Size, is_network

# Negative multipliers give cells that cost more than those of the search. The smallest just reorder the weights of a
# short search; with the largest, only the cost counts.
_STRENGTHS = [1e-4 * 1.25**power for power in range(72)]
MULTIPLIERS = (0.0, *(sign * strength for strength in _STRENGTHS for sign in (1, -1)))


@dataclass(frozen=True, kw_only=True)
class Reread:
    """The cells for one target of a family.

    Attributes:
        epoch: the epoch from whose mixing weights they were read off, counted from 0.
        genotype: the cells.
        landing: the size at which they are nearest to the target.
    """

    epoch: int
    genotype: Genotype
    landing: Landing


def reread(
    trace: Sequence[Mapping[str, Any]], aim: Aim, reach: Reach, size_for: Callable[[Target], Size]
) -> Iterator[Reread]:
    """The cells for each target of a family: from the latest epoch with cells that meet it, else the nearest cells.

    If the target of the search tightens, these are the first cells that met the target, if any did. In a chain, they
    are the likeliest cells of that cost, at the width of the search.

    Args:
        trace: the trace of the search.
        aim: the aim of the search, with the family.
        reach: the values that the cost of the family can have, at the size of the aim.
        size_for: gives the size of the networks for a target.
    """
    for target in aim.family:
        own = replace(aim, targets=(target,), size=size_for(target), family=())
        there = replace(reach, sized=replace(reach.sized, size=own.size))
        here = replace(own, size=aim.size)
        yield _passed(trace, here, reach) or _projected(trace, here, reach) or _nearest(trace, own, there)


def _passed(trace: Sequence[Mapping[str, Any]], aim: Aim, reach: Reach) -> Reread | None:
    """The first cells of a search, as they were read off, that met a target while it tightened."""
    (target,) = aim.targets
    for line in trace if aim.tightens else ():
        cost = line["cost"][target.cost]["read_off"]
        if cost is not None and target.met(cost):
            cells = from_json(json.dumps(line["genotype"]))
            return Reread(epoch=line["epoch"], genotype=cells, landing=land(aim, reach.sized, cells))
    return None


def _projected(trace: Sequence[Mapping[str, Any]], aim: Aim, reach: Reach) -> Reread | None:
    """The likeliest cells by the last mixing weights that meet the target; None as in ``projected``."""
    (target,), line = aim.targets, trace[-1]
    cells = projected(torch.tensor(line["mix"], dtype=torch.float64), torch.tensor(line["keep"]), target, reach)
    if cells is None:
        return None
    return Reread(epoch=line["epoch"], genotype=cells, landing=land(aim, reach.sized, cells))


def _nearest(trace: Sequence[Mapping[str, Any]], aim: Aim, reach: Reach) -> Reread:
    best: Reread | None = None
    tried = set[str]()
    (target,) = aim.targets
    for line in reversed(trace):
        readings = sorted(
            _readings(line, target, reach, tried),
            key=lambda cells: target.distance(reach.costing.of(reach.sized, cells)),
        )
        for cells in readings[:1]:
            found = Reread(epoch=line["epoch"], genotype=cells, landing=land_near(aim, reach.sized, cells))
            if best is None or found.landing.distance < best.landing.distance:
                best = found
        if best is not None and best.landing.met:
            return best
    assert best is not None, "a search whose last cells are a network has one reading at the least"
    return replace(best, landing=land_far(best.landing, aim, reach.sized, best.genotype))


def _readings(line: Mapping[str, Any], target: Target, reach: Reach, tried: set[str]) -> Iterator[Genotype]:
    """The cells of an epoch under each multiplier, if they form a network and are not in ``tried``, which gets them."""
    mix = torch.tensor(line["mix"], dtype=torch.float64)
    keep = torch.tensor(line["keep"])
    relative = reach.additive.ops * reach.line[0] / target.value
    for multiplier in MULTIPLIERS:
        weight = (
            mix.clamp_min(0.0) * (-multiplier * (relative - relative.amin(dim=1, keepdim=True))).clamp(-500, 500).exp()
        )
        scores = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-300)
        cells = contract.read_off(reach.rule, scores * keep, keep, reach.sized.space)
        key = repr(cells)
        if key not in tried and is_network(cells):
            tried.add(key)
            yield cells
