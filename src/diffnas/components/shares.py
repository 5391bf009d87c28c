"""Shares: how much of what enters a node each operation brings, over all the edges that lead there."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnas.space import SearchSpace


def shares(likely: Tensor, keep: Tensor, space: SearchSpace) -> Tensor:
    """The part that each operation has in the sum over all operations that enter its node, ``none`` left out.

    GOLD-NAS (Bi et al., 2020).

    Args:
        likely: how likely each operation is to take part, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        space: whose edges lead into the nodes.

    Returns:
        The shares, ``(edges, ops)``: for every node they sum to one, and are 0 for what is pruned and for ``none``.

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
    """What is kept, but for ``none``, ``(edges, ops)``, bool."""
    none = space.column("none")
    return keep if none is None else keep & (torch.arange(keep.shape[1], device=keep.device) != none)


def of_nodes(values: Tensor, space: SearchSpace) -> Tensor:
    """For each edge, the sum over all edges that lead into its node, ``(edges,)``."""
    node = nodes(space, values.device)
    return torch.zeros_like(values).index_add(0, node, values)[node]


def nodes(space: SearchSpace, device: torch.device) -> Tensor:
    """A number for the node that each edge leads into, ``(edges,)``; nodes of different cells are different."""
    known: dict[tuple[str, int], int] = {}
    return torch.tensor(
        [known.setdefault((kind, edge.target), len(known)) for kind, edge in space.edges], device=device
    )
