"""Cells that are read off under a target: if edges are chosen one by one, the likeliest network of a given cost.

So a chain meets its target by its operations, at the width of the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from diffnas.components.within import within
from diffnas.engine.costing import Reach
from diffnas.engine.target import TOLERANCE, Target
from diffnas.genotype import Genotype


def onto(
    found: Genotype, scores: Tensor, keep: Tensor, targets: Sequence[Target], reaches: Mapping[str, Reach]
) -> Genotype:
    """The cells themselves if their network meets all targets, else the likeliest that do; themselves if none do.

    Args:
        found: the cells as the method reads them off.
        scores: ``(edges, ops)``, the mixing weights.
        keep: ``(edges, ops)``, bool.
        targets: the targets.
        reaches: what the networks can cost, for the cost of each target.
    """

    def met(cells: Genotype) -> bool:
        there = ((target, reaches[target.cost]) for target in targets)
        return all(target.met(reach.costing.of(reach.sized, cells)) for target, reach in there)

    if not all(reach.separate for reach in reaches.values()) or met(found):
        return found
    tried = (projected(scores, keep, target, reaches[target.cost]) for target in targets)
    return next((cells for cells in tried if cells is not None and met(cells)), found)


def projected(scores: Tensor, keep: Tensor, target: Target, reach: Reach) -> Genotype | None:
    """The likeliest cells whose network meets a target; None if there are none, or edges are not chosen one by one."""
    if not reach.separate:
        return None
    slope, offset = reach.line
    # A ceiling is approached from below.
    middle, tolerance = (1 - TOLERANCE, TOLERANCE / (1 - TOLERANCE)) if target.ceiling else (1.0, TOLERANCE)
    try:
        cells = within(
            scores,
            keep,
            reach.sized.space,
            costs=(slope * reach.additive.ops).tolist(),
            base=slope * reach.additive.base + offset,
            target=middle * target.value,
            tolerance=tolerance,
        )
    except ValueError:
        return None
    # If the sum only approximates the cost, as for memory, these cells may miss the target.
    return cells if target.met(reach.costing.of(reach.sized, cells)) else None
