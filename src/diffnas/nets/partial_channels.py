"""Partial channels: a part of every node goes through the operations, and the rest passes them by.

Concatenation and shuffling are linear, so they are done once for each node and not for each edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from diffnas.nets.wiring import Wiring

Add = Callable[[Sequence[Tensor], Tensor], Tensor]


def weighted_sum(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The sum of tensors of one shape, each times its weight; ``weights`` is ``(N,)``."""
    return torch.stack([weight * tensor for weight, tensor in zip(weights, tensors, strict=True)]).sum(0)


def as_it_is(x: Tensor) -> Tensor:
    """``x`` itself."""
    return x


@dataclass(frozen=True, kw_only=True)
class Partial:
    """How much of a cell's nodes passes by its operations.

    Attributes:
        one_in: one in so many channels goes through the operations.
        halves: whether edges from the cell's inputs halve the resolution.
    """

    one_in: int
    halves: bool


class Passing:
    """What passes by the operations of a cell in one pass through it.

    PC-DARTS (Xu et al., 2020), as its code has it: the operations see the first channels, and on edges that halve the
    resolution the others go through 2x2 max pooling.

    Args:
        graph: the cell's wiring.
        partial: how much passes.
        weights: how much of each edge passes, ``(edges,)``.
        add: the weighted sum of tensors ``(B, C, H, W)`` by weights ``(N,)``.
        hold: puts what passes, and what the operations see, into the memory format that ``add`` wants.
    """

    def __init__(
        self,
        graph: Wiring,
        partial: Partial,
        *,
        weights: Tensor,
        add: Add = weighted_sum,
        hold: Callable[[Tensor], Tensor] = as_it_is,
    ) -> None:
        self.graph, self.partial, self.weights, self.add, self.hold = graph, partial, weights, add, hold
        self.rests: dict[int, Tensor] = {}

    def split(self, node: int, value: Tensor | None) -> Tensor | None:
        """What the operations see of a node: ``(B, C / one_in, H, W)`` of ``(B, C, H, W)``."""
        if value is None:
            return value
        seen, rest = value.tensor_split((value.shape[1] // self.partial.one_in,), dim=1)
        if self.partial.halves and node < self.graph.inputs:
            rest = F.max_pool2d(rest, 2, ceil_mode=True)
        self.rests[node] = self.hold(rest)
        return self.hold(seen)

    def join(self, node: int, mixed: Tensor | None) -> Tensor:
        """A node from what its operations give and what passes them by, shuffled."""
        rows = self.graph.incoming(node)
        rests = [self.rests[self.graph.edges[row].source] for row in rows]
        rest = self.add(rests, self.weights[rows])
        if mixed is None:
            mixed = torch.zeros_like(rest[:, : rest.shape[1] // (self.partial.one_in - 1)])
        return shuffled(mixed, rest)


def shuffled(first: Tensor, rest: Tensor) -> Tensor:
    """Channels joined, then shuffled so that the first ones are spread over all places.

    Shuffling as ShuffleNet (Zhang et al., 2018) does: of groups of N channels, the first of each group, then the
    second of each, and so on.

    Args:
        first: ``(B, N, H, W)``.
        rest: ``(B, k N, H, W)``.

    Returns:
        ``(B, N + k N, H, W)``, channels last in memory.

    >>> first, rest = torch.arange(2).view(1, 2, 1, 1), torch.arange(2, 6).view(1, 4, 1, 1)
    >>> shuffled(first, rest).flatten()
    tensor([0, 2, 4, 1, 3, 5])
    """
    # One copy with the channels last, several times as fast as torch.cat and F.channel_shuffle on a CPU.
    first, rest = first.permute(0, 2, 3, 1), rest.permute(0, 2, 3, 1)
    groups = [first, *rest.tensor_split(rest.shape[3] // first.shape[3], dim=3)]
    return torch.stack(groups, dim=4).flatten(3).permute(0, 3, 1, 2)
