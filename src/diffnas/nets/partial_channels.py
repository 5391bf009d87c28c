"""Partial channels: some channels of each node go through the operations, and the others bypass them.

Concatenation and shuffling are linear, so they are done once for each node, not for each edge.
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
    """The sum of N tensors of one shape, each times its weight; ``weights`` is ``(N,)``."""
    return torch.stack([weight * tensor for weight, tensor in zip(weights, tensors, strict=True)]).sum(0)


def as_it_is(x: Tensor) -> Tensor:
    """``x`` itself."""
    return x


@dataclass(frozen=True, kw_only=True)
class Partial:
    """Which channels of a cell's nodes bypass its operations.

    Attributes:
        one_in: 1 of ``one_in`` channels goes through the operations; the others bypass them.
        halves: whether edges from the cell's inputs halve the resolution.
    """

    one_in: int
    halves: bool


class Passing:
    """The channels that bypass the operations in one forward pass of a cell.

    PC-DARTS (Xu et al., 2020), as in its code: the operations read the first channels. On edges that halve the
    resolution, the other channels go through 2x2 max pooling.

    Args:
        graph: the cell's wiring.
        partial: which channels bypass the operations.
        weights: the weight of these channels on each edge, ``(edges,)``.
        add: the weighted sum of N tensors ``(B, C, H, W)`` by weights ``(N,)``.
        hold: puts both parts of a node into the memory format that ``add`` needs.
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
        """The channels of a node that the operations read: ``(B, C / one_in, H, W)`` of ``(B, C, H, W)``."""
        if value is None:
            return value
        seen, rest = value.tensor_split((value.shape[1] // self.partial.one_in,), dim=1)
        if self.partial.halves and node < self.graph.inputs:
            rest = F.max_pool2d(rest, 2, ceil_mode=True)
        self.rests[node] = self.hold(rest)
        return self.hold(seen)

    def join(self, node: int, mixed: Tensor | None) -> Tensor:
        """The value of a node: the sum of its operations and the channels that bypass them, shuffled."""
        rows = self.graph.incoming(node)
        rests = [self.rests[self.graph.edges[row].source] for row in rows]
        rest = self.add(rests, self.weights[rows])
        if mixed is None:
            mixed = torch.zeros_like(rest[:, : rest.shape[1] // (self.partial.one_in - 1)])
        return shuffled(mixed, rest)


def shuffled(first: Tensor, rest: Tensor) -> Tensor:
    """Two maps joined along channels and shuffled, so that channels of ``first`` are spread over the result.

    As in ShuffleNet (Zhang et al., 2018), the joined channels are groups of N. The result has the first channel of each
    group, then the second of each, and so on.

    Args:
        first: ``(B, N, H, W)``.
        rest: ``(B, k N, H, W)``.

    Returns:
        ``(B, N + k N, H, W)``, channels last in memory.

    >>> first, rest = torch.arange(2).view(1, 2, 1, 1), torch.arange(2, 6).view(1, 4, 1, 1)
    >>> shuffled(first, rest).flatten()
    tensor([0, 2, 4, 1, 3, 5])
    """
    # A single copy, with channels last, is several times as fast on a CPU as torch.cat and F.channel_shuffle.
    first, rest = first.permute(0, 2, 3, 1), rest.permute(0, 2, 3, 1)
    groups = [first, *rest.tensor_split(rest.shape[3] // first.shape[3], dim=3)]
    return torch.stack(groups, dim=4).flatten(3).permute(0, 3, 1, 2)
