"""Shares: each operation's part in the sum over all operations on all edges into a node."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnas.space import SearchSpace


def shares(likely: Tensor, keep: Tensor, space: SearchSpace) -> Tensor:
    """The part of each operation in the sum over all operations into its node, without ``none``.

    GOLD-NAS (Bi et al., 2020).

    Args:
        likely: the probability that each operation takes part, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        space: the space of the rows and columns.

    Returns:
        The shares, ``(edges, ops)``. They sum to one for each node; those of pruned operations and ``none`` are 0.

    >>> from diffnas.space import s2
    >>> half = torch.full((28, 2), 0.5)
    >>> shares(half, torch.ones(28, 2, dtype=torch.bool), s2)[[0, 13]]
    tensor([[0.2500, 0.2500],
            [0.1000, 0.1000]])
    """
    counted = likely * competing(keep, space)
    total = of_nodes(counted.sum(dim=1), space)
    return counted / total.clamp_min(torch.finfo(likely.dtype).tiny).unsqueeze(1)


def competing(keep: Tensor, space: SearchSpace) -> Tensor:
    """The kept operations except ``none``, ``(edges, ops)``, bool."""
    none = space.column("none")
    return keep if none is None else keep & (torch.arange(keep.shape[1], device=keep.device) != none)


def of_nodes(values: Tensor, space: SearchSpace) -> Tensor:
    """For each edge, the sum of ``values`` over all edges into its node, ``(edges,)``."""
    node = nodes(space, values.device)
    return torch.zeros_like(values).index_add(0, node, values)[node]


def nodes(space: SearchSpace, device: torch.device) -> Tensor:
    """For each edge, the number of its target, ``(edges,)``; it differs between nodes of different kinds of cell."""
    known: dict[tuple[str, int], int] = {}
    return torch.tensor(
        [known.setdefault((kind, edge.target), len(known)) for kind, edge in space.edges], device=device
    )
