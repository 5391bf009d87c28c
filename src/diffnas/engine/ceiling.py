"""Ceilings of memory, which a network of layers that run one after the other keeps if each of its layers does.

An operation that would break a ceiling is removed from the space before the search. Whatever is found then keeps it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffnas.components.discretize import winners
from diffnas.data import DataSet
from diffnas.engine.aim import Aim, reaches
from diffnas.engine.costing import Reach
from diffnas.method import Method
from diffnas.space import SearchSpace


def under_ceiling(aim: Aim, space: SearchSpace, data: DataSet, method: Method) -> SearchSpace:
    """The space without the operations in whose place no network keeps the aim's ceiling of memory.

    The same space if there is no such ceiling, if edges are not chosen one by one, or if an edge would lose all of its
    operations; ``aim.check`` says why.
    """
    ceilings = [target for target in aim.targets if target.cost == "memory" and target.ceiling]
    for target in ceilings:
        reach = reaches(aim, space, data, method)[target.cost]
        if reach.separate:
            keep = peaks(reach) <= target.value
            space = _kept(space, keep) if bool(keep.any(dim=1).all()) else space
    return space


def peaks(reach: Reach) -> Tensor:
    """The least memory that a network with an operation in its place takes, ``(edges, ops)``; infinite if not offered.

    Every network takes the most of these that its operations have.
    """
    space = reach.sized.space
    offered = torch.tensor(space.offered)
    lean = reach.additive.ops.masked_fill(~offered, torch.inf).argmin(dim=1)
    found = torch.full(offered.shape, torch.inf, dtype=torch.float64)
    for edge, op in offered.nonzero().tolist():
        chosen = lean.clone()
        chosen[edge] = op
        scores = torch.nn.functional.one_hot(chosen, offered.shape[1]).double()
        found[edge, op] = reach.costing.of(reach.sized, winners(scores, offered, space))
    return found


def _kept(space: SearchSpace, keep: Tensor) -> SearchSpace:
    """The space with the operations that are kept, ``(edges, ops)``, bool; its columns stay."""
    left = [tuple(op for op, kept in zip(space.ops, row, strict=True) if kept) for row in keep.tolist()]
    cells = {kind: replace(graph, ops=tuple(left[space.rows[kind]])) for kind, graph in space.cells.items()}
    return replace(space, cells=cells)
